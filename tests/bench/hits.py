"""Rows of what is in the cache: pages, 304, one large file."""

from __future__ import annotations

from tests.bench.compare import CLIENT_CORE, Contender, Load, Series, Turn, by_turns, paired, ratios
from tests.bench.fetcher import Plan, fetch
from tests.bench.scene import Scene
from tests.bench.table import Need, Result
from tests.bench.upstream import JSON

PAGES = {
    "page-2k": ("page 2 KiB, hit, 16 clients / nginx", 5, Need(1.0, 1.4)),
    "page-60k": ("page 60 KiB, hit, 16 clients / nginx", 170, Need(0.7, 1.0)),
    "page-1m": ("document 1 MiB, hit, 16 clients / nginx", 3000, Need(1.2, 1.6)),
}
MIB = 1 << 20


def page(scene: Scene, name: str) -> list[Result]:
    """One size of page."""
    label, versions, need = PAGES[name]
    path = page_of(scene, name, versions)
    return [_judged(scene, label, need, Load(path, headers={"Accept": JSON}))]


def page_of(scene: Scene, name: str, versions: int) -> str:
    """The path of a page, made at its first use and held by everybody."""
    path = f"/python/simple/{name}/"
    if name not in scene.upstream.files:
        scene.upstream.page(name, versions)
        scene.listed(scene.upstream.files[name][:1])
    return path


def not_modified(scene: Scene) -> list[Result]:
    """304 for the page of 60 KiB. Each server is asked with its own validator."""
    path = page_of(scene, "page-60k", PAGES["page-60k"][1])
    etag = scene.ours.get(path, Accept=JSON).header("ETag") or ""
    tags = ", ".join([etag, _etag(scene.nginx.url, path)])
    headers = {"Accept": JSON, "If-None-Match": tags}
    load = Load(path, headers=headers)
    return [_judged(scene, "304 / nginx", Need(0.9, 1.15), load)]


def _etag(url: str, path: str) -> str:
    from urllib.request import Request, urlopen  # noqa: PLC0415  # one question

    with urlopen(Request(url + path, headers={"Accept": JSON})) as answer:  # noqa: S310
        return str(answer.headers["ETag"])


def _judged(scene: Scene, label: str, need: Need, load: Load) -> Result:
    scene.pinned()
    found = by_turns(load.turn, scene.contenders, scene.rounds)
    return compared(label, need, found, "req/s")


def compared(label: str, need: Need, found: dict[str, Series], unit: str) -> Result:
    """The line for a rate against nginx."""
    ours, nginx = found["cgr-proxy"], found["nginx"]
    seen = f"{ours.median:.3g} {unit} : {nginx.median:.3g}; {ratios(ours, nginx)}"
    return Result(label, paired(ours, nginx), "", need, seen, paired(nginx, found["clone"]))


def artifact(scene: Scene, connections: int) -> list[Result]:
    """100 MiB, over and over for two seconds a round."""
    if "blob" not in scene.upstream.files:
        scene.warm(scene.upstream.names("blob", 100 * MIB, 1))
    path = scene.upstream.files["blob"][0].path
    scene.pinned()

    def once(contender: Contender, _: int) -> Turn:
        plan = Plan((contender.url,), (path,), connections, seconds=2.0, core=CLIENT_CORE)
        before = contender.cpu()
        report = fetch(plan)
        mib = report.received / MIB
        return Turn(mib / report.elapsed, (contender.cpu() - before) / mib)

    found = by_turns(once, scene.contenders, scene.rounds)
    need = Need(1.0, 1.3) if connections > 1 else Need(0.8, 0.95)
    label = f"artifact 100 MiB, hit, {connections} client{'s' * (connections > 1)} / nginx"
    return [compared(label, need, found, "MiB/s")]
