"""`python -m tests.bench [--rounds N] [ROW ...]`: prints one line a row."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

import proxy
from tests.bench.compare import Contender, Load, by_turns, pin, ratios
from tests.bench.nginx import Nginx
from tests.origin import Artifact, Content, OriginThread
from tests.running import Process, process

JSON = "application/vnd.pypi.simple.v1+json"
PAGES = {"page-2k": ("small", 5), "page-60k": ("middle", 190), "page-1m": ("large", 3200)}
BLOB = "blob"


def content() -> Content:
    """Pages of about 2 KiB, 60 KiB and 1 MiB, one file of 100 MiB, one of 50 KiB."""
    made = Content()
    sample = made.synthetic(BLOB, 100 << 20, 1)
    made.synthetic("little", 50 << 10, 2)
    for project, count in PAGES.values():
        for number in range(count):
            made.add(_version_of(sample, project, number))
    return made


def _version_of(sample: Artifact, project: str, number: int) -> Artifact:
    version = f"1.{number}"
    filename = f"{project}-{version}-py3-none-any.whl"
    return replace(sample, filename=filename, project=project, version=version)


def main() -> int:
    """Run the rows that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("rows", nargs="*")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        origin = stack.enter_context(OriginThread(content=content()))
        tables = {"log": {"access": True}, "cache": {"document_ttl": "1h"}}
        ours = stack.enter_context(process(folder / "ours", origin, tables))
        address = urlsplit(ours.url).netloc
        peer = stack.enter_context(Nginx(folder / "nginx", address))
        clone = stack.enter_context(Nginx(folder / "clone", address))
        servers = (
            Contender("cgr-proxy", ours.url, (ours.pid,)),
            Contender("nginx", peer.url, (peer.pid,)),
            Contender("clone", clone.url, (clone.pid,)),
        )
        pin([pid for server in servers for pid in server.pids])
        print(_versions())
        for name, load in rows(ours).items():
            if options.rows and name not in options.rows:
                continue
            found = by_turns(load.once, servers, options.rounds)
            print(f"{name:12} / nginx         {ratios(found['cgr-proxy'], found['nginx'])}")
            print(f"{'':12} nginx / clone   {ratios(found['nginx'], found['clone'])}", flush=True)
    return 0


def rows(ours: Process) -> dict[str, Load]:
    """The rows whose requests wrk can make."""
    accept = {"Accept": JSON}
    made = {
        name: Load(f"/python/simple/{project}/", headers=accept)
        for name, (project, _) in PAGES.items()
    }
    etag = ours.get("/python/simple/middle/", Accept=JSON).header("ETag") or ""
    made["304"] = Load("/python/simple/middle/", headers={**accept, "If-None-Match": etag})
    for name in (BLOB, "little"):
        path = _file_of(ours, name)
        made[f"file-{name}-1"] = Load(path, connections=1, seconds=2)
        made[f"file-{name}-8"] = Load(path, connections=8, seconds=2)
    return made


def _file_of(ours: Process, project: str) -> str:
    page = json.loads(ours.get(f"/python/simple/{project}/", Accept=JSON).body)
    link: str = page["files"][0]["url"]
    return "/" + link.partition("#")[0].replace("../", "")


def _versions() -> str:
    nginx = subprocess.run(
        [shutil.which("nginx") or "nginx", "-v"], capture_output=True, text=True, check=True
    )
    return (
        f"cgr-proxy {proxy.__version__}, aiohttp {aiohttp.__version__},"
        f" Python {platform.python_version()}, {nginx.stderr.strip()}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
