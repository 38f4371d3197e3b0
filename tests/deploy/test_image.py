"""deploy/Dockerfile: linted, built without the internet, and started as a cluster would start it.

The bases here are unpacked Debian packages in the place of the vendor's images (`bases.sh`): a
Python without a shell. Buildah builds in a chroot and podman runs with runc, as root; the image's
own user is 65532, its root is read-only, it has no /tmp and no capability.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.containers import IMAGE, RUN, USER, Engine
from tests.deploy.tools import DEPLOY, Tools
from tests.origin import OriginThread
from tests.running import Process, client, free_port, process

HTML = (("Content-Type", "text/html; charset=utf-8"),)
PAGE = "/python/simple/alpha/"
CLIENTS = [client("here", "python", "javascript", networks=["127.0.0.0/8"])]


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread() as running:
        yield running


@contextmanager
def serving(
    engine: Engine, folder: Path, origin: OriginThread, *options: str, **tables: Any
) -> Iterator[Process]:
    """A container that serves, and ends well when it is told to: podman passes the signal on."""
    command = engine.command(*owned(folder), *options)
    with process(folder, origin, {"clients": CLIENTS, **tables}, command=command) as proxy:
        try:
            yield proxy
        finally:
            proxy.signal(signal.SIGTERM)
            code = proxy.wait()
        assert code == 0


def huge() -> bytes:
    """A page of more than two MiB."""
    link = '<a href="/files/a/b/huge/huge-{0}.tar.gz#sha256={1}">huge-{0}.tar.gz</a><br>\n'
    links = "".join(link.format(number, "0" * 64) for number in range(20_000))
    return f"<!DOCTYPE html><html><body>\n{links}</body></html>\n".encode()


def owned(folder: Path) -> list[str]:
    """Make a folder for the image's user, as an operator would; how to mount it."""
    for path in (folder, folder / "cache"):
        path.mkdir(exist_ok=True)
        os.chown(path, USER, USER)
    return [f"--volume={folder}:{folder}:ro", f"--volume={folder / 'cache'}:{folder / 'cache'}"]


def test_hadolint_finds_nothing_to_say(tools: Tools) -> None:
    done = tools.run("hadolint", DEPLOY / "Dockerfile")

    assert (done.code, done.output) == (0, "")


def test_it_serves_as_nobody_on_a_root_that_cannot_be_written(
    engine: Engine, origin: OriginThread, short: Path
) -> None:
    folder = short / "served"
    with serving(engine, folder, origin) as proxy:
        assert proxy.get(PAGE).status == 200
        assert proxy.get(PAGE).cache == "cgr-proxy; hit"
        # A large document is worked on by a second process.
        origin.fault("origin", "/simple/huge/", times=None, status=200, body=huge(), headers=HTML)
        assert len(proxy.get("/python/simple/huge/", accept="text/html").body) > 2 << 20
    entries = [path for path in (folder / "cache").rglob("*") if path.is_file()]
    assert entries
    assert {path.stat().st_uid for path in entries} == {USER}


def test_its_workers_need_nothing_that_can_be_written_either(
    engine: Engine, origin: OriginThread, short: Path
) -> None:
    with serving(engine, short / "crew", origin, server={"workers": 2}) as proxy:
        assert [proxy.get(PAGE).status for _ in range(6)] == [200] * 6
        assert proxy.get("/metrics", url=proxy.admin_url).status == 200


def test_the_health_check_is_the_images_own_and_needs_no_shell(
    engine: Engine, origin: OriginThread, short: Path
) -> None:
    folder = short / "health"
    name = "cgr-proxy-health"
    server = {"listen": f"127.0.0.1:{free_port()}", "admin_listen": ""}
    told = f"--env=CGR_PROXY_CONFIG={folder / 'cgr-proxy.toml'}"
    check = engine.inspect()["Healthcheck"]["Test"]
    assert check[0] == "CMD"

    with serving(engine, folder, origin, f"--name={name}", told, server=server):
        done = engine.run("podman", "exec", name, *check[1:])
        assert (done.code, done.output) == (0, '{"status": "ok"}\n')
    done = engine.run("podman", *RUN, *owned(folder), told, IMAGE, "health")
    assert done.code == 1
    assert "no answer from" in done.output


def test_without_clients_it_says_what_is_missing(engine: Engine) -> None:
    done = engine.run("podman", *RUN, IMAGE)

    assert done.code == 78
    assert "no [[clients]]" in done.output


def test_it_runs_under_the_system_calls_of_the_unit(
    engine: Engine, origin: OriginThread, short: Path
) -> None:
    """What deploy/cgr-proxy.service lets through, enforced by the container's runtime."""
    profile = short / "seccomp.json"
    profile.write_text(json.dumps(system_calls(engine.tools)), encoding="utf-8")
    filtered = f"--security-opt=seccomp={profile}"
    with serving(engine, short / "filtered", origin, filtered) as proxy:
        assert proxy.get(PAGE).status == 200
        assert proxy.get("/javascript/alpha-js").status == 200


def test_it_starts_as_the_chart_starts_it(
    engine: Engine, origin: OriginThread, short: Path, tmp_path: Path
) -> None:
    """With the chart's configuration and arguments, and a volume as Kubernetes hands it over."""
    manifests = engine.tools.rendered(tmp_path / "rendered.yaml")
    told = {it["kind"]: it for it in manifests}
    (container,) = told["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    folder = short / "chart"
    config, volume = folder / "etc", folder / "volume"
    for path in (config, volume):
        path.mkdir(parents=True)
    (config / "cgr-proxy.toml").write_text(told["ConfigMap"]["data"]["cgr-proxy.toml"], "utf-8")
    os.chown(volume, 0, USER)  # what fsGroup does
    volume.chmod(0o2775)
    mounts = (f"--volume={config}:/etc/cgr-proxy:ro", f"--volume={volume}:/var/cache/cgr-proxy")

    serve, *arguments = container["args"]
    free = ("--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0")
    proxy = Process(origin, folder, [*arguments, *free], command=engine.command(*mounts))
    try:
        proxy.ready()
        answer = proxy.get(container["readinessProbe"]["httpGet"]["path"])
        assert (serve, answer.status) == ("serve", 200)
        pause = container["lifecycle"]["preStop"]["exec"]["command"]
        assert engine.must("podman", "exec", "--latest", *pause[:2], "print('has it')").strip()
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
    finally:
        proxy.kill()
    assert (volume / "store").stat().st_uid == USER


def test_there_is_nothing_in_it_but_python_and_the_proxy(engine: Engine) -> None:
    listing = "import os; print(sorted(os.listdir('/bin')), sorted(os.listdir('/opt/cgr-proxy')))"
    entry = ("--entrypoint=/opt/cgr-proxy/bin/python3", IMAGE)
    found = engine.must("podman", *RUN, *entry, "-c", listing)
    modules = "import importlib.metadata as m; print(sorted({d.name for d in m.distributions()}))"
    packages = engine.must("podman", *RUN, *entry, "-c", modules)

    assert "'sh'" not in found
    assert "'pip'" not in packages
    assert "hatchling" not in packages
    assert "cgr-proxy" in packages


def test_what_it_says_about_itself(engine: Engine) -> None:
    said = engine.inspect()

    assert said["User"] == f"{USER}:{USER}"
    assert said["Config"]["Entrypoint"] == ["/opt/cgr-proxy/bin/cgr-proxy"]
    assert list(said["Config"]["Volumes"]) == ["/var/cache/cgr-proxy"]
    history = json.dumps(said["History"])
    assert "pip.conf" not in history
    assert "/wheels" not in history


def system_calls(tools: Tools) -> dict[str, Any]:
    """The unit's SystemCallFilter as a profile for containers."""
    text = (DEPLOY / "cgr-proxy.service").read_text("utf-8")
    allowed: set[str] = expand(tools, ["@default"])
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            named = expand(tools, value.removeprefix("~").split())
            allowed = allowed - named if value.startswith("~") else allowed | named
    assert len(allowed) > 200
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}],
    }


def expand(tools: Tools, names: Sequence[str]) -> set[str]:
    """Groups of system calls, as systemd has them."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        done = tools.run("systemd-analyze", "--no-pager", "syscall-filter", name)
        lines = [line.strip() for line in done.output.splitlines()[1:]]
        found |= expand(tools, [line for line in lines if line and not line.startswith("#")])
    return found
