"""Hits of images beside distribution's proxy mode and nginx: `python -m tests.bench.images`.

Purpose: a manifest by tag and by digest and a layer of 100 MiB, warm, from three caches of one
distribution registry, by turns: this proxy, distribution as pull-through cache (what people run
today), and nginx `proxy_cache`. What is required is said about distribution; nginx stands beside
it, with its own clone: where that ratio is outside 0.9 to 1.1 the machine was too restless and the
run is void. Exit code 1 where a required value was missed.

Non-goals: misses, and the rows of other ecosystems (`python -m tests.bench`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import proxy
from tests.bench.compare import Contender, pin
from tests.bench.nginx import Nginx, free_port
from tests.clients.engines import Skopeo
from tests.clients.images import written
from tests.origin.blobs import SyntheticBlob
from tests.origin.images import OCI_INDEX, PUBLIC, Repository
from tests.running import process

_LAYER = 100 << 20
_SERVER, _CLIENT = 0, 1  # cores: of the servers, of what asks
_FIGURES = re.compile(r"(Requests/sec|Transfer/sec):\s+([0-9.]+)([KMG]?)")
_BAD = re.compile(r"Non-2xx or 3xx responses: ([0-9]+)|Socket errors: (.*)")
_REGISTRY = """
version: 0.1
log: {{level: error, accesslog: {{disabled: {quiet}}}}}
storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {folder}/store}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Row:
    """What is asked for. `required`: times distribution's rate. `size` False: requests are counted,
    True: bytes."""

    path: str
    required: float
    size: bool = False
    seconds: float = 1.0
    connections: int = 16


@dataclass(frozen=True)
class Front:
    """The registry behind all three, as a proxy's configuration wants it."""

    registry_url: str
    username: str = "0" * 40 + "/" + "0" * 16
    password: str = "bench.pull.token"  # nobody asks for it

    @property
    def url(self) -> str:
        """There are no libraries."""
        return self.registry_url

    @property
    def store_url(self) -> str:
        """There is no object store: blobs come from the registry itself."""
        return self.registry_url


@dataclass
class Rates:
    """Rounds of each contender: `found` units a second, `cpu` seconds a unit."""

    found: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def against(self, ours: str, peer: str) -> float:
        """The median over the rounds of the ratio."""
        pairs = zip(self.found[ours], self.found[peer], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def cheaper(self, ours: str, peer: str) -> float:
        """The ratio of the cheapest rounds: says more on a busy machine."""
        return min(self.cpu[peer]) / max(min(self.cpu[ours]), 1e-12)


@contextmanager
def distribution(folder: Path, extra: str = "", *, quiet: bool = False) -> Iterator[Contender]:
    """A distribution registry. `extra`: more of its configuration."""
    folder.mkdir(parents=True)
    port = free_port()
    told = _REGISTRY.format(folder=folder, port=port, quiet=str(quiet).lower())
    (folder / "config.yml").write_text(told + extra)
    with (folder / "log").open("wb") as log:
        # Put on its core before it starts: Go counts the cores that it has only then.
        pinned = ("taskset", "--cpu-list", str(_SERVER))
        command = [*pinned, "docker-registry", "serve", str(folder / "config.yml")]
        served = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        done = subprocess.run(
            ["curl", "-sS", "--retry", "50", "--retry-connrefused", "--retry-delay", "1", url],
            check=False,
            capture_output=True,
        )
        if done.returncode:
            raise SystemExit((folder / "log").read_text())
        yield Contender("distribution", url, (served.pid,))
    finally:
        served.terminate()
        served.wait(10)


def filled(folder: Path, registry: Contender) -> dict[str, Row]:
    """Push an image with a large layer; what is asked for of it."""
    repository = Repository(PUBLIC)
    layer = SyntheticBlob(_LAYER)
    index = repository.image("bench", "latest", layers=[layer], architectures=("amd64",))
    written(folder / "image", (repository, index))
    target = f"{urlsplit(registry.url).netloc}/{PUBLIC}:latest"
    Skopeo(folder / "skopeo").push(folder / "image", target, ("nobody", "asks"))
    shutil.rmtree(folder / "image")
    start = f"/v2/{PUBLIC}"
    return {
        "manifest by tag": Row(f"{start}/manifests/latest", 40.0),
        "manifest by digest": Row(f"{start}/manifests/{index.digest}", 40.0),
        "blob 100 MiB": Row(f"{start}/blobs/sha256:{layer.sha256}", 1.3, True, 3.0, 8),
    }


def once(contender: Contender, row: Row) -> float:
    """One round: requests or bytes a second."""
    wrk = ["wrk", "-t1", f"-c{row.connections}", f"-d{row.seconds:g}s", "--timeout", "20s"]
    done = subprocess.run(
        [*wrk, "-H", f"Accept: {OCI_INDEX}", contender.url + row.path],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {_CLIENT}),
    )
    if bad := _BAD.search(done.stdout):
        raise SystemExit(f"{contender.name}: {bad.group(0)}")
    units = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
    figures = {what: float(n) * units[unit] for what, n, unit in _FIGURES.findall(done.stdout)}
    if not (rate := figures["Transfer/sec" if row.size else "Requests/sec"]):
        raise SystemExit(f"{contender.name} answered nothing to {row.path}:\n{done.stdout}")
    return rate


def measured(row: Row, contenders: Sequence[Contender], rounds: int) -> Rates:
    """All contenders, round after round, after one round of warming up."""
    names = [contender.name for contender in contenders]
    rates = Rates({name: [] for name in names}, {name: [] for name in names})
    for number in range(rounds + 1):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            before = contender.cpu()
            rate = once(contender, row)
            if number:
                rates.found[contender.name].append(rate)
                used = contender.cpu() - before
                rates.cpu[contender.name].append(used / (rate * row.seconds))
    return rates


def line(name: str, row: Row, rates: Rates) -> tuple[str, bool]:
    """A line of the table, and whether what is required was reached in a run that counts."""
    value = rates.against("cgr-proxy", "distribution")
    clone = rates.against("nginx", "clone")
    void = not 0.9 <= clone <= 1.1
    reached = value >= row.required and not void
    said = "**void**" if void else "yes" if reached else "no"
    middle = {peer: statistics.median(found) for peer, found in rates.found.items()}
    unit, scale = ("MB/s", 1e6) if row.size else ("req/s", 1.0)
    seen = " : ".join(
        f"{middle[peer] / scale:.0f}" for peer in ("cgr-proxy", "distribution", "nginx")
    )
    cheaper = rates.cheaper("cgr-proxy", "distribution")
    return (
        f"| {name} | {value:.3g}x | >= {row.required:g}x | {said} | {seen} {unit}"
        f" | {rates.against('cgr-proxy', 'nginx'):.2f} | {cheaper:.3g}x | {clone:.2f} |"
    ), reached


def main() -> int:
    """Run the rows."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.images", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="beginnings of names; all if none")
    options = parser.parse_args()
    rounds, wanted = options.rounds, tuple(options.rows) or ("",)
    for program in ("wrk", "nginx", "docker-registry", "skopeo", "curl", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        behind = stack.enter_context(distribution(folder / "registry", quiet=True))
        rows = filled(folder, behind)
        mirror = f"proxy: {{remoteurl: '{behind.url}'}}\n"
        peer = stack.enter_context(distribution(folder / "mirror", mirror))
        tables = {"log": {"access": True, "level": "info"}, "cache": {"tag_ttl": "1h"}}
        ours = stack.enter_context(process(folder / "ours", Front(behind.url), tables))
        address = urlsplit(behind.url).netloc
        nginx, clone = (
            stack.enter_context(Nginx(folder / name, address)) for name in ("nginx", "clone")
        )
        contenders = (
            Contender("cgr-proxy", ours.url, (ours.pid,)),
            peer,
            Contender("nginx", nginx.url, (nginx.pid,)),
            Contender("clone", clone.url, (clone.pid,)),
        )
        pin([pid for contender in contenders for pid in contender.pids])
        print(f"cgr-proxy {proxy.__version__}; hits, cores: one for servers, one for clients\n")
        peers = "ours : distribution : nginx"
        print(f"| row | / distribution | required | | {peers} | / nginx | in CPU | nginx / clone |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        missed = 0
        for name, row in rows.items():
            if not name.startswith(wanted):
                continue
            said, reached = line(name, row, measured(row, contenders, rounds))
            missed += not reached
            print(said, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
