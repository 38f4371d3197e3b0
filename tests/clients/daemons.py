"""docker's engine and containerd as daemons of a test: a folder, a socket and a process each.

Purpose: started when made, ready when the constructor returns, gone after `stop`, with everything
that they started. Nothing of theirs is outside their folder but network interfaces, of which they
are told to make none. Non-goals: running containers; the machine's own daemons, which are not met.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LIMIT = 60.0


class Daemon:
    """A process with a log. It has a process group of its own, which ends with it."""

    def __init__(
        self, folder: Path, command: Sequence[str], variables: Mapping[str, str], socket_: Path
    ) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                start_new_session=True,
            )
        self._wait_for(socket_)

    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End it, and what it started."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(_LIMIT)

    def _wait_for(self, path: Path) -> None:
        end = time.monotonic() + _LIMIT
        while not _answers(path):
            gone = self._process.poll() is not None
            if gone or time.monotonic() > end:
                self.stop()
                raise AssertionError(self.log())
            time.sleep(0.05)  # a bounded poll of another process


class Dockerd(Daemon):
    """docker's engine. `address`: what `docker --host` takes."""

    def __init__(self, folder: Path, inside: Sequence[str], variables: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        path = folder / "socket"
        self.address = f"unix://{path}"
        options = (
            *("--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"),
            *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "pid"), "--host", self.address),
            *("--config-file", str(folder / "daemon.json")),
        )
        (folder / "daemon.json").write_text("{}\n")
        command = [*inside, shutil.which("dockerd") or "dockerd", *options]
        super().__init__(folder, command, variables, path)


class Containerd(Daemon):
    """containerd. `socket`: what `ctr --address` takes."""

    def __init__(
        self, folder: Path, program: str, inside: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        folder.mkdir(parents=True)
        path = folder / "socket"
        self.socket = str(path)
        config = folder / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{path}"\n'
        )
        super().__init__(folder, [*inside, program, "--config", str(config)], variables, path)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
