"""nginx with `proxy_cache` as the peer: one worker, access log on, in front of the same bytes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

_CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {folder}/access.log combined buffer=32k flush=1s;
  sendfile on; tcp_nopush on; keepalive_timeout 65; keepalive_requests 100000000;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=bench:64m max_size=20g inactive=10h
                   use_temp_path=off;
  proxy_temp_path {folder}/temporary; client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream behind {{ server {upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_cache bench; proxy_cache_key "$uri $http_accept"; proxy_cache_valid 200 10h;
      proxy_ignore_headers Cache-Control Expires Vary Set-Cookie;
      proxy_cache_lock {lock};
      {extra}
    }}
  }}
}}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Nginx:
    """One instance; `upstream` is host:port."""

    def __init__(self, folder: Path, upstream: str, *, lock: bool = False, extra: str = "") -> None:
        program = shutil.which("nginx")
        if program is None:
            raise SystemExit("nginx is missing: apt-get install nginx-light")
        folder.mkdir(parents=True)
        self.port = free_port()
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder,
                upstream=upstream,
                port=self.port,
                lock="on" if lock else "off",
                extra=extra,
            )
        )
        self._process = subprocess.Popen([program, "-c", str(config), "-e", str(folder / "e")])
        self.pid = self._process.pid
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit("nginx does not start")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
