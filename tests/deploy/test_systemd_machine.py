"""deploy/cgr-proxy.service under a real systemd: a small machine in a container.

Extra: whether systemd starts there depends on this machine's control groups.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.clients.machine import Done
from tests.deploy.containers import RUN, Engine
from tests.deploy.tools import DEPLOY
from tests.running import free_port

pytestmark = pytest.mark.extra

NAME = "cgr-proxy-machine"
LIMIT = 60.0
_BUILD = """
FROM localhost/cgr-proxy AS proxy
FROM localhost/systemd
COPY --from=proxy /opt/cgr-proxy /opt/cgr-proxy
COPY etc /etc
RUN chmod 0600 /etc/credstore/* && chmod 0700 /etc/credstore
"""
_FILES = {
    "passwd": "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n",
    "group": "root:x:0:\nmessagebus:x:100:\n",
    "nsswitch.conf": "passwd: files systemd\ngroup: files systemd\n",
    "machine-id": "",
    "credstore/cgr-proxy.python-username": "org/id",
    "credstore/cgr-proxy.python-password": "eyJhbGciOi.x.y",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """The container with its own systemd."""

    engine: Engine

    def run(self, *command: str) -> Done:
        """Run a command there."""
        return self.engine.run("podman", "exec", NAME, *command)

    def must(self, *command: str) -> str:
        """Run a command there that must do well; its output."""
        return self.engine.must("podman", "exec", NAME, *command)

    def show(self, *names: str) -> dict[str, str]:
        """Properties of the unit."""
        properties = ",".join(names)
        lines = self.must("systemctl", "show", f"--property={properties}", "cgr-proxy").split("\n")
        return dict(line.split("=", 1) for line in lines if line)

    def configure(self, text: str) -> None:
        """Write the proxy's configuration."""
        code = "import sys; open('/etc/cgr-proxy/cgr-proxy.toml', 'w').write(sys.argv[1])"
        self.must("python3", "-c", code, text)

    def status(self, pid: str) -> dict[str, str]:
        """/proc/PID/status."""
        text = self.must("cat", f"/proc/{pid}/status")
        pairs = (line.partition(":") for line in text.split("\n"))
        return {key: value.strip() for key, _, value in pairs}


@pytest.fixture(scope="module")
def machine(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    context = tmp_path_factory.mktemp("machine")
    unit = (DEPLOY / "cgr-proxy.service").read_text("utf-8")
    files = {**_FILES, "systemd/system/cgr-proxy.service": unit, "cgr-proxy/cgr-proxy.toml": ""}
    for name, text in files.items():
        file = context / "etc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (context / "Dockerfile").write_text(_BUILD, encoding="utf-8")
    base = engine.tools.folder / "bases" / "systemd.tar"
    engine.must("podman", "import", "--quiet", base, "localhost/systemd")
    options = ("bud", "--quiet", "--isolation=chroot", "--pull=false", "--tag=localhost/machine")
    engine.must("buildah", *options, context)
    narrowed = ("--rm", "--read-only", "--cap-drop", "--security-opt")
    usual = [option for option in RUN if not option.startswith(narrowed)]
    started = (*usual, "--detach", f"--name={NAME}", "--privileged", "--systemd=always")
    engine.must("podman", *started, "localhost/machine", "/lib/systemd/systemd")
    found = Machine(engine)
    deadline = time.monotonic() + LIMIT
    while found.run("systemctl", "is-system-running").output.strip() not in ("running", "degraded"):
        assert time.monotonic() < deadline, engine.must("podman", "logs", NAME)
    # As on a machine that systemd itself has set up: mounts are passed on.
    found.must("mount", "--make-rshared", "/")
    yield found
    engine.run("podman", "rm", "--force", "--time=0", NAME)


def table(**server: Any) -> str:
    """A [server] table over free ports."""
    listen = {"listen": f"127.0.0.1:{free_port()}", "admin_listen": "", **server}
    return "[server]\n" + "".join(f"{key} = {json.dumps(it)}\n" for key, it in listen.items())


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_once_the_start_is_over_with_no_right_to_anything(
    machine: Machine, workers: int
) -> None:
    machine.configure(table(workers=workers))

    machine.must("systemctl", "start", "cgr-proxy")

    health = ("/opt/cgr-proxy/bin/cgr-proxy", "health", "--ready")
    assert json.loads(machine.must(*health))["status"] in ("ok", "degraded")
    shown = machine.show("MainPID", "StatusText", "ActiveState")
    assert shown["StatusText"].startswith("cgr-proxy ready http://127.0.0.1:")
    status = machine.status(shown["MainPID"])
    assert int(status["Uid"].split()[0]) >= 61184  # of those that systemd makes
    assert (status["CapEff"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "1", "2")
    inside = ("nsenter", "-t", shown["MainPID"], "-m")
    assert machine.run(*inside, "touch", "/etc/written").code != 0
    credentials = machine.must(*inside, "ls", "/run/credentials/cgr-proxy.service").split()
    assert credentials == ["python-password", "python-username"]
    machine.must("test", "-d", "/var/cache/cgr-proxy/v2")

    machine.must("systemctl", "reload", "cgr-proxy")
    machine.must("systemctl", "stop", "cgr-proxy")
    assert machine.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}


def test_a_wrong_configuration_is_told_once_and_not_tried_again(machine: Machine) -> None:
    machine.configure("[server]\nlisten = 1\n")

    assert machine.run("systemctl", "start", "cgr-proxy").code != 0

    shown = machine.show("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    log = machine.must("journalctl", "--no-pager", "--unit=cgr-proxy")
    assert "/etc/cgr-proxy/cgr-proxy.toml:server.listen: must be a text" in log
    machine.must("systemctl", "reset-failed", "cgr-proxy")
