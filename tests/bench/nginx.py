"""nginx: as the peer, with `proxy_cache`, one worker and an access log; and as a plain server.

Purpose: one process each, on a free port, ended by its id. Non-goals: tuning beyond what its own
documentation says for a cache.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.running import free_port

_MAIN = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile 16384;
events {{ worker_connections 4096; }}
http {{
  proxy_temp_path {folder}/temporary; client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
"""
_CACHE = """
  access_log {folder}/access.log combined buffer=32k flush=1s;
  sendfile on; tcp_nopush on; keepalive_timeout 65; keepalive_requests 100000000;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=bench:64m max_size=20g inactive=10h
                   use_temp_path=off;
  upstream behind {{ server {upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_max_temp_file_size 8192m;
      proxy_cache bench; proxy_cache_key "$uri $http_accept"; proxy_cache_valid 200 10h;
      proxy_ignore_headers Cache-Control Expires Vary Set-Cookie;
      proxy_cache_lock {lock}; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s;
    }}
  }}
"""


class Server:
    """One instance. `config`: what stands inside of `http {}`, with {folder} and {port} in it."""

    def __init__(self, folder: Path, config: str, **values: str) -> None:
        program = shutil.which("nginx")
        if program is None:
            raise SystemExit("nginx is missing: apt-get install nginx-light")
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        text = (_MAIN + config + "}}\n").format(folder=folder, port=self.port, **values)
        (folder / "nginx.conf").write_text(text)
        self._process = subprocess.Popen(
            [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "e")]
        )
        self.pid = self._process.pid
        listening(self.port, "nginx", folder / "e")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


class Nginx(Server):
    """A cache in front of `upstream` (host:port). `lock`: one request a miss."""

    def __init__(self, folder: Path, upstream: str, *, lock: bool = False) -> None:
        super().__init__(folder, _CACHE, upstream=upstream, lock="on" if lock else "off")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def listening(port: int, name: str, log: Path, seconds: float = 10) -> None:
    """Wait until somebody listens there. Raises SystemExit, with the end of the log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)  # a bounded poll of another process
    raise SystemExit(f"{name} does not start: {log.read_text(errors='replace')[-500:]}")
