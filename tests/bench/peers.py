"""Rows against what people run today: devpi-server and proxpi, on a page that all have cached.

Purpose: both come through the machine's own package client, from lock files beside this module,
into environments under `.cache/bench`, and are fed by the same upstream. Non-goals: tuning them:
they run as their documentation says, on the same core as everybody else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.bench.compare import Contender, Load, by_turns, paired, pin
from tests.bench.hits import PAGES, page_of
from tests.bench.nginx import listening
from tests.bench.scene import Scene
from tests.bench.table import Need, Result
from tests.bench.upstream import JSON
from tests.running import free_port

TOP = Path(__file__).resolve().parent
_START = 60.0
_USER = "root"  # devpi's own, without a password after `devpi-init`
_SLOW = 3.0  # seconds a round: a slow server gives few answers in one


def devpi(scene: Scene) -> list[Result]:
    """The page of 60 KiB from devpi's mirror of the upstream."""
    return [_against(scene, "devpi", Need(80, 200))]


def proxpi(scene: Scene) -> list[Result]:
    """The same from proxpi."""
    return [_against(scene, "proxpi", Need(25, 60))]


def _against(scene: Scene, name: str, need: Need) -> Result:
    path = page_of(scene, "page-60k", PAGES["page-60k"][1])
    environment = installed(name)
    start = {"devpi": _devpi, "proxpi": _proxpi}[name]
    with start(scene, environment) as (pids, url, prefix):
        served = _get(url + prefix + "page-60k/")
        if b"page_60k-1.4-py3-none-any.whl" not in served:
            raise SystemExit(f"{name} does not serve the page")
        ours = Contender("cgr-proxy", scene.ours.url + path, (scene.ours.pid,))
        theirs = Contender(name, f"{url}{prefix}page-60k/", pids)
        pin([scene.ours.pid, *pids])
        load = Load("", headers={"Accept": JSON}, seconds=_SLOW)
        rounds = max(5, scene.rounds // 2)
        found = by_turns(load.turn, (ours, theirs), rounds)
    ratio = paired(found["cgr-proxy"], found[name])
    version = installed_version(environment, {"devpi": "devpi-server"}.get(name, name))
    seen = f"{found['cgr-proxy'].median:.3g} req/s : {found[name].median:.3g}; {name} {version}"
    return Result(f"page 60 KiB, hit, 16 clients / {name}", ratio, "x", need, seen)


# --- what they run in -----------------------------------------------------------------------------


def installed(name: str) -> Path:
    """The environment of a lock file, made when it is not there."""
    lock = TOP / f"{name}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    environment = TOP.parents[1] / ".cache" / "bench" / f"{name}-{digest}"
    done = environment / "complete"
    if not done.exists():
        print(f"installing {name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(lock)], check=True)
        done.touch()
    return environment


def installed_version(environment: Path, distribution: str) -> str:
    """The version of a distribution in an environment."""
    asked = f"from importlib.metadata import version; print(version({distribution!r}))"
    command = [str(environment / "bin" / "python"), "-c", asked]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def _running(
    command: list[str], port: int, log: Path, variables: Mapping[str, str]
) -> Iterator[int]:
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **variables}, cwd=log.parent
        )
    try:
        listening(port, command[0], log, _START)
        yield running.pid
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def _devpi(scene: Scene, environment: Path) -> Iterator[tuple[tuple[int, ...], str, str]]:
    folder, port = scene.folder / "devpi", free_port()
    folder.mkdir()
    programs = environment / "bin"
    where = ["--serverdir", str(folder / "data")]
    subprocess.run(
        [str(programs / "devpi-init"), *where, "--no-root-pypi"], check=True, capture_output=True
    )
    command = [str(programs / "devpi-server"), *where, "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, port, folder / "log", {}) as pid:
        url = f"http://127.0.0.1:{port}"
        login = _send("POST", f"{url}/+login", {"user": _USER, "password": ""})
        secret = base64.b64encode(f"{_USER}:{login['result']['password']}".encode()).decode()
        index = {
            "type": "mirror",
            "mirror_url": f"{scene.upstream.url}/python/simple/",
            "mirror_cache_expiry": 36000,
            "mirror_use_external_urls": False,
        }
        _send("PUT", f"{url}/{_USER}/mirror", index, {"X-Devpi-Auth": secret})
        yield (pid,), url, f"/{_USER}/mirror/+simple/"


@contextmanager
def _proxpi(scene: Scene, environment: Path) -> Iterator[tuple[tuple[int, ...], str, str]]:
    folder, port = scene.folder / "proxpi", free_port()
    folder.mkdir()
    variables = {
        "PROXPI_INDEX_URL": f"{scene.upstream.url}/python/simple/",
        "PROXPI_INDEX_TTL": "36000",
        "HOME": str(folder),
        "PROXPI_CACHE_DIR": str(folder / "cache"),
    }
    command = [str(environment / "bin" / "gunicorn"), "--preload", "--workers", "1"]
    command += ["--threads", "2", "--bind", f"127.0.0.1:{port}", "proxpi.server:app"]
    with _running(command, port, folder / "log", variables) as pid:
        url = f"http://127.0.0.1:{port}"
        _get(f"{url}/index/page-60k/")
        yield (pid, *_children(pid)), url, "/index/"


def _children(pid: int) -> tuple[int, ...]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return tuple(int(child) for child in listed)


def _get(url: str) -> bytes:
    deadline = time.monotonic() + _START
    while True:
        try:
            with urlopen(Request(url, headers={"Accept": JSON}), timeout=_START) as answer:  # noqa: S310
                body: bytes = answer.read()
                return body
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # a bounded poll of another process


def _send(
    method: str, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    request = Request(  # noqa: S310
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})},
        method=method,
    )
    with urlopen(request, timeout=_START) as answer:  # noqa: S310
        found: dict[str, Any] = json.loads(answer.read())
        return found
