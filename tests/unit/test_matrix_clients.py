"""Who may have what: every way to be somebody, in every way of asking, cold and cached.

The table stands here, written beforehand; the rows are made from the tuple of ecosystems. For each
cell one proxy: the first request finds nothing cached, the second everything. Whoever is refused
gets the same status in every way of asking, no byte and no 304, and costs the upstream nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from proxy.ecosystems import ECOSYSTEMS
from proxy.model import PUBLIC
from tests.certificates import Authority, Pair
from tests.matrix.samples import samples_of
from tests.origin import Origin
from tests.origin.oidc import JobIssuer, SigningKey
from tests.running import Answer, Running, basic, bearer, client, running, token

ELSEWHERE = ("127.0.0.9", 0)  # the address of a client that the network stanza is about


class Paths(NamedTuple):
    """What to ask in one ecosystem: an artifact's file name ("": that of its samples), its listing,
    a root ("": it has none), its package."""

    filename: str
    listing: str
    root: str
    package: str

    def artifact(self, farm: Farm) -> str:
        """The artifact's path."""
        if self.filename:
            return farm.origin.content.find(self.filename).path
        return samples_of(self.ecosystem).artifact(farm.origin)

    def sha256(self, farm: Farm) -> str:
        """Of the artifact."""
        if self.filename:
            return farm.origin.content.find(self.filename).blob.sha256
        return samples_of(self.ecosystem).sha256(farm.origin)

    @property
    def ecosystem(self) -> str:
        """Whose row this is."""
        return next(name for name, paths in PATHS.items() if paths is self)


# Not those that every client may use: there is no right to it that could be missing.
NAMES = [item.name for item in ECOSYSTEMS if {m.scope for m in item.mounts} != {PUBLIC}]
PATHS = {
    "python": Paths(
        "alpha-1.0-py3-none-any.whl", "/python/simple/alpha/", "/python/simple/", "pkg:pypi/alpha"
    ),
    "java": Paths(
        "demo-1.0.jar",
        "/java/org/example/demo/maven-metadata.xml",
        "/java/",
        "pkg:maven/org.example/demo",
    ),
    "javascript": Paths(
        *("alpha-js-1.0.0.tgz", "/javascript/alpha-js", "/javascript/-/v1/search?text=alpha"),
        "pkg:npm/alpha-js",
    ),
    "oci": Paths("", "/v2/chainguard/static/manifests/latest", "", "pkg:oci/chainguard/static"),
    "go": Paths("v1.0.0.zip", "/go/example.org/demo/@v/list", "", "pkg:golang/example.org/demo"),
    "dotnet": Paths(
        *("alpha.net.1.0.0.nupkg", "/dotnet/v3-flatcontainer/alpha.net/index.json", ""),
        "pkg:nuget/alpha.net",
    ),
    # Indexes are of no package, so that whoever is limited to some can install those.
    "apk": Paths(
        "", "/apk/example/x86_64/alpha-apk-1.1-r2.apk", "", "pkg:apk/chainguard/alpha-apk"
    ),
}


@dataclass(frozen=True, slots=True)
class Farm:
    """Everybody there is: the issuer of ID tokens, an authority and what it signed."""

    issuer: JobIssuer
    authority: Authority
    server: Pair
    known: ssl.SSLContext
    unknown: ssl.SSLContext
    origin: Origin


class Who(NamedTuple):
    """One way to be somebody. `status`: of every refusal; 0: let in."""

    status: int
    authorization: Callable[[Farm], str | None] = lambda _: None
    certificate: str = ""
    source: tuple[str, int] | None = None
    removed: bool = False


def _forged(farm: Farm) -> str:
    return bearer(farm.issuer.mint(key=SigningKey.make("key-1", "ES256")))


WHO: dict[str, Who] = {
    "nobody": Who(401),
    "wrong token, Basic": Who(401, lambda _: basic(token("nobody"))),
    "wrong token, Bearer": Who(401, lambda _: bearer(token("nobody"))),
    "the upstream's pull token": Who(401, lambda f: basic(f.origin.password, f.origin.username)),
    "no credential at all in it": Who(401, lambda _: "Digest nothing-of-ours"),
    "wrong token from a known network": Who(401, lambda _: basic("x"), source=ELSEWHERE),
    "wrong token with a known certificate": Who(401, lambda _: basic("x"), certificate="known"),
    "client of another ecosystem": Who(403, lambda _: basic(token("other"))),
    "client of another package": Who(403, lambda _: basic(token("packages"))),
    "right token, Basic": Who(0, lambda _: basic(token("right"))),
    "right token, Bearer": Who(0, lambda _: bearer(token("right"))),
    "right token, npm-like": Who(0, lambda _: basic(token("right"), "_authToken")),
    "right token, docker-like": Who(0, lambda _: basic(token("right"), "<token>")),
    "right token, its second one": Who(0, lambda _: basic(token("right-next"))),
    "client of this package": Who(0, lambda _: basic(token("this-package"))),
    "by network": Who(0, source=ELSEWHERE),
    "by certificate": Who(0, certificate="known"),
    "certificate of a stranger": Who(401, certificate="unknown"),
    "ID token, Bearer": Who(0, lambda f: bearer(f.issuer.mint())),
    "ID token, Basic": Who(0, lambda f: basic(f.issuer.mint())),
    "ID token of another project": Who(401, lambda f: bearer(f.issuer.mint(repository="x/y"))),
    "ID token that has ended": Who(401, lambda f: bearer(f.issuer.mint(exp=1))),
    "ID token, forged": Who(401, _forged),
    "ID token for another ecosystem": Who(403, lambda f: bearer(f.issuer.mint(aud="other"))),
    "removed": Who(401, lambda _: basic(token("removed")), removed=True),
}

# Where credentials that are meant for others do no harm, these are let in by what else they show.
LENIENT = {"wrong token from a known network", "wrong token with a known certificate"}


def status_of(name: str, ecosystem: str) -> int:
    """The status of every refusal; 0: let in."""
    lenient = name in LENIENT and samples_of(ecosystem).lenient
    return 0 if lenient else WHO[name].status


CASES = [(ecosystem, name) for ecosystem in NAMES for name in WHO]
KINDS = ("GET", "HEAD", "Range", "If-None-Match", "listing")
# What whoever is let in gets, cold and cached. The artifacts are small: verified before the head
# goes out, so that a tag that a client has from elsewhere holds on a cold cache too.
LET_IN = {
    "GET": (200, 200),
    "HEAD": (200, 200),
    "Range": (206, 206),
    "If-None-Match": (304, 304),
    "listing": (200, 200),
}


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.make("key-1")


@asynccontextmanager
async def farm_at(folder: Path, key: SigningKey) -> AsyncIterator[Farm]:
    authority = Authority("farm", folder)
    async with JobIssuer(key) as issuer, Origin() as origin:
        yield Farm(
            issuer,
            authority,
            authority.server("127.0.0.1"),
            authority.context(authority.client("CN=build-7,O=farm")),
            authority.context(authority.client("CN=build-8,O=farm")),
            origin,
        )
        assert origin.violations == []
        assert issuer.journal.violations == []


def tables(farm: Farm, ecosystem: str, *, removed: bool = False) -> dict[str, Any]:
    """The configuration of the table. `removed`: without the client that is taken out."""
    other = next(name for name in ("go", "java") if name != ecosystem)
    right = client("right", ecosystem)
    right["token_hashes"] += client("right-next")["token_hashes"]
    clients = [
        right,
        client("other", other),
        {**client("packages", ecosystem), "packages": ["pkg:generic/beta", "pkg:generic/al"]},
        {**client("this-package", ecosystem), "packages": [PATHS[ecosystem].package]},
        client("net", ecosystem, networks=[f"{ELSEWHERE[0]}/32"]),
        {"name": "mtls", "subjects": ["CN=build-7, O=farm"], "ecosystems": [ecosystem]},
    ]
    if not removed:
        clients.append(client("removed", ecosystem))
    return {
        "server": {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "tls_certificate": str(farm.server.certificate),
            "tls_key": str(farm.server.key),
            "client_ca": str(farm.authority.file),
        },
        "clients": clients,
        "oidc": [
            farm.issuer.stanza(ecosystem),
            farm.issuer.stanza(other, name="others", audience="other"),
        ],
    }


@asynccontextmanager
async def farmed(farm: Farm, folder: Path, ecosystem: str) -> AsyncIterator[Running]:
    """A proxy over TLS with all of the clients; the one that is removed has been let in before."""
    async with running(folder, farm.origin, tables(farm, ecosystem)) as proxy:
        proxy.tls = farm.authority.context()
        proxy.keep_secret(*(token(name) for name in ("right", "right-next", "removed", "other")))
        yield proxy


async def ask(proxy: Running, farm: Farm, who: Who, kind: str, paths: Paths) -> Answer:
    """One request the way `who` makes it, for the artifact or for its listing."""
    artifact = paths.artifact(farm)
    fields = {
        "Range": {"range": "bytes=0-9"},
        "If-None-Match": {"if_none_match": _tag(farm, paths)},
    }
    given = who.authorization(farm)
    if given is not None:
        proxy.keep_secret(given.partition(" ")[2])
    contexts = {"": farm.authority.context(), "known": farm.known, "unknown": farm.unknown}
    proxy.tls, proxy.source = contexts[who.certificate], who.source
    try:
        return await proxy.request(
            "HEAD" if kind == "HEAD" else "GET",
            paths.listing if kind == "listing" else artifact,
            **fields.get(kind, {}),
            **({"authorization": given} if given is not None else {}),
        )
    finally:
        proxy.tls, proxy.source = contexts[""], None


def _tag(farm: Farm, paths: Paths) -> str:
    return f'"sha256:{paths.sha256(farm)}"'


async def warm(proxy: Running, farm: Farm, paths: Paths) -> None:
    for kind in ("GET", "listing"):
        answer = await ask(proxy, farm, WHO["right token, Basic"], kind, paths)
        assert answer.status == 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ecosystem", "name"), [c for c in CASES if not status_of(c[1], c[0])])
async def test_who_is_let_in_gets_it_in_every_way_of_asking(
    tmp_path: Path, key: SigningKey, ecosystem: str, name: str, kind: str
) -> None:
    paths = PATHS[ecosystem]
    async with (
        farm_at(tmp_path, key) as farm,
        farmed(farm, tmp_path, ecosystem) as proxy,
    ):
        cold = await ask(proxy, farm, WHO[name], kind, paths)
        await warm(proxy, farm, paths)
        cached = await ask(proxy, farm, WHO[name], kind, paths)
        assert (cold.status, cached.status) == LET_IN[kind]
        assert cached.cache == "cgr-proxy; hit"
        if kind == "GET":
            expected = paths.sha256(farm)
            assert {cold.sha256, cached.sha256} == {expected}


@pytest.mark.parametrize(("ecosystem", "name"), [c for c in CASES if status_of(c[1], c[0])])
async def test_who_is_refused_gets_nothing_in_any_way_of_asking(
    tmp_path: Path, key: SigningKey, ecosystem: str, name: str
) -> None:
    paths, who = PATHS[ecosystem], WHO[name]
    async with (
        farm_at(tmp_path, key) as farm,
        farmed(farm, tmp_path, ecosystem) as proxy,
    ):
        if who.removed:
            before = await ask(proxy, farm, who, "GET", paths)
            assert before.status == 200
            await proxy.reconfigure(farm.origin, tables(farm, ecosystem, removed=True))
        asked = len(farm.origin.log)
        cold = [await ask(proxy, farm, who, kind, paths) for kind in KINDS]
        assert len(farm.origin.log) == asked
        await warm(proxy, farm, paths)
        cached = [await ask(proxy, farm, who, kind, paths) for kind in KINDS]
        blob = paths.sha256(farm)
        for answer in (*cold, *cached):
            assert answer.status == who.status
            assert answer.cache == "cgr-proxy; detail=denied"
            assert answer.header("ETag") is None
            assert answer.sha256 != blob
            challenge = 'Basic realm="cgr-proxy"' if who.status == 401 else None
            assert answer.header("WWW-Authenticate") == challenge


@pytest.mark.parametrize("ecosystem", [name for name in NAMES if PATHS[name].root])
async def test_a_client_limited_to_packages_gets_no_root(
    tmp_path: Path, key: SigningKey, ecosystem: str
) -> None:
    paths = PATHS[ecosystem]
    async with (
        farm_at(tmp_path, key) as farm,
        farmed(farm, tmp_path, ecosystem) as proxy,
    ):
        limited = await proxy.get(paths.root, authorization=basic(token("this-package")))
        free = await proxy.get(paths.root, authorization=basic(token("right")))
        assert (limited.status, free.status) == (403, 200)
