"""JAR and metadata hits beside nginx: `python -m tests.bench.java [--rounds N] [ROW ...]`.

Purpose: the rows of a Maven repository, by turns with nginx `proxy_cache` of the same bytes, and
nginx with its own clone: where that is outside 0.9 to 1.1 the line is void. Values are medians over
the rounds; nothing here fails by what is required, since the machine is shared.

Non-goals: misses, other ecosystems' rows (`python -m tests.bench`).
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.compare import Contender, Load, by_turns, pin
from tests.bench.hits import compared
from tests.bench.nginx import Nginx
from tests.bench.table import HEAD, Need, line, machine
from tests.origin import Content, OriginThread
from tests.origin.blobs import SyntheticBlob
from tests.origin.jars import JAVA, MavenFile
from tests.running import Process, process

KIB, MIB = 1 << 10, 1 << 20
SIZES = {"pom-2k": 2 * KIB, "jar-50k": 50 * KIB, "jar-1m": MIB, "jar-100m": 100 * MIB}
NEEDS = {
    "metadata": Need(1.0, 1.4),
    "metadata-304": Need(0.9, 1.15),
    "sha1": Need(1.0, 1.4),
    "pom-2k": Need(1.0, 1.4),
    "jar-50k": Need(0.7, 1.0),
    "jar-1m": Need(1.2, 1.6),
    "jar-100m-1": Need(0.8, 0.95),
    "jar-100m-8": Need(1.0, 1.3),
}
_VERSIONS = 60  # lines of a metadata file of about 2 KiB


def content() -> Content:
    """One file of each size, and an artifact with many versions."""
    made = Content()
    for name, size in SIZES.items():
        made.add(_file(f"org.example:{name}", "1.0", SyntheticBlob(size, size)))
    little = SyntheticBlob(KIB)
    for number in range(_VERSIONS):
        made.add(_file("org.example:many", f"1.{number}", little))
    return made


def _file(project: str, version: str, blob: SyntheticBlob) -> MavenFile:
    return MavenFile(f"{project.partition(':')[2]}-{version}.jar", project, version, blob, JAVA)


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
        print(f"{machine()}\n\n{HEAD}", flush=True)
        for name, load in rows(ours).items():
            if options.rows and name not in options.rows:
                continue
            found = by_turns(load.turn, servers, options.rounds)
            print(line(compared(name, NEEDS[name], found, "req/s")), flush=True)
    return 0


def rows(ours: Process) -> dict[str, Load]:
    """The rows; each address has been asked for once before."""
    metadata = "/java/org/example/many/maven-metadata.xml"
    found = ours.get(metadata)
    assert found.status == 200
    etag = found.header("ETag") or ""
    made = {
        "metadata": Load(metadata),
        "metadata-304": Load(metadata, headers={"If-None-Match": etag}),
    }
    for name in SIZES:
        path = f"/java/org/example/{name}/1.0/{name}-1.0.jar"
        assert ours.get(path).status == 200
        if name == "jar-100m":
            made[f"{name}-1"] = Load(path, connections=1, seconds=2)
            made[f"{name}-8"] = Load(path, connections=8, seconds=2)
        else:
            made[name] = Load(path)
    made["sha1"] = Load("/java/org/example/jar-50k/1.0/jar-50k-1.0.jar.sha1")
    return made


if __name__ == "__main__":
    raise SystemExit(main())
