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
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import proxy
from tests.bench.compare import SERVER_CORE, Contender, Load, Series, Turn, by_turns, paired, pin
from tests.bench.nginx import Nginx, listening
from tests.clients.engines import Skopeo
from tests.clients.images import written
from tests.origin.blobs import SyntheticBlob
from tests.origin.images import OCI_INDEX, PUBLIC, Repository
from tests.running import free_port, process

_LAYER = 100 << 20
_ACCEPT = {"Accept": OCI_INDEX}
_START = 50.0
_REGISTRY = """
version: 0.1
log: {{level: error, accesslog: {{disabled: {quiet}}}}}
storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {folder}/store}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Row:
    """What is asked for. `required`: times distribution's rate."""

    load: Load
    required: float

    def once(self, contender: Contender, _: int) -> Turn:
        """One round. Whoever answers nothing ends the run."""
        turn = self.load.once(contender)
        if not turn.rate:
            raise SystemExit(f"{contender.name} answered nothing to {self.load.path}")
        return turn


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


@contextmanager
def distribution(folder: Path, extra: str = "", *, quiet: bool = False) -> Iterator[Contender]:
    """A distribution registry. `extra`: more of its configuration."""
    folder.mkdir(parents=True)
    port = free_port()
    told = _REGISTRY.format(folder=folder, port=port, quiet=str(quiet).lower())
    (folder / "config.yml").write_text(told + extra)
    with (folder / "log").open("wb") as log:
        # Put on its core before it starts: Go counts the cores that it has only then.
        pinned = ("taskset", "--cpu-list", str(SERVER_CORE))
        command = [*pinned, "docker-registry", "serve", str(folder / "config.yml")]
        served = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        listening(port, "docker-registry", folder / "log", _START)
        yield Contender("distribution", f"http://127.0.0.1:{port}", (served.pid,))
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
        "manifest by tag": Row(Load(f"{start}/manifests/latest", headers=_ACCEPT), 40.0),
        "manifest by digest": Row(Load(f"{start}/manifests/{index.digest}", headers=_ACCEPT), 40.0),
        "blob 100 MiB": Row(
            Load(f"{start}/blobs/sha256:{layer.sha256}", 8, _ACCEPT, 3.0, size=True), 1.3
        ),
    }


def line(name: str, row: Row, found: Mapping[str, Series]) -> tuple[str, bool]:
    """A line of the table, and whether what is required was reached in a run that counts."""
    ours, peer, nginx = (found[one] for one in ("cgr-proxy", "distribution", "nginx"))
    value, clone = paired(ours, peer), paired(nginx, found["clone"])
    void = not 0.9 <= clone <= 1.1
    reached = value >= row.required and not void
    said = "**void**" if void else "yes" if reached else "no"
    unit, scale = ("MB/s", 1e6) if row.load.size else ("req/s", 1.0)
    seen = " : ".join(f"{one.median / scale:.0f}" for one in (ours, peer, nginx))
    cheaper = peer.least_cpu / max(ours.least_cpu, 1e-12)
    return (
        f"| {name} | {value:.3g}x | >= {row.required:g}x | {said} | {seen} {unit}"
        f" | {paired(ours, nginx):.2f} | {cheaper:.3g}x | {clone:.2f} |"
    ), reached


def main() -> int:
    """Run the rows."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.images", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="beginnings of names; all if none")
    options = parser.parse_args()
    rounds, wanted = options.rounds, tuple(options.rows) or ("",)
    for program in ("wrk", "nginx", "docker-registry", "skopeo", "taskset"):
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
            said, reached = line(name, row, by_turns(row.once, contenders, rounds))
            missed += not reached
            print(said, flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
