"""Whatever a request shows of its sender, judged in order: client tokens before ID tokens."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network

import pytest

from proxy.access.claims import Job
from proxy.access.clients import Client, Clients
from proxy.access.gate import Gate
from proxy.access.oidc import Oidc
from proxy.errors import BadRequest, IssuerUnavailable, Unauthenticated
from proxy.model import Principal
from tests.origin.oidc import AUDIENCE, JobIssuer, SigningKey

NOW = 1_800_000_000.0
PYTHON = frozenset({"python"})
FARM, ELSEWHERE = "10.1.0.1", "192.0.2.1"


class Yard:
    """A gate with one client by network, one whose token is a JWT, and one issuer of ID tokens."""

    def __init__(self) -> None:
        self.issuer = JobIssuer(SigningKey.make("key-1", "ES256"), lambda: NOW)
        self.url = self.issuer.url
        self.away = False
        self.asked = 0
        # Good in form, of the configured issuer, and worth nothing as an ID token.
        self.given = self.issuer.mint(repository="others/app", exp=1)
        hashed = "sha256:" + hashlib.sha256(self.given.encode()).hexdigest()
        clients = (
            Client("net", networks=(ip_network("10.1.0.0/16"),), ecosystems=PYTHON),
            Client("given", token_hashes=(hashed,), ecosystems=PYTHON),
            Client("build", subjects=("CN=b",), ecosystems=PYTHON),
        )
        job = Job("ci", self.url, AUDIENCE, (("repository", "my-org/*"),), PYTHON)
        self.oidc = Oidc([job], self.fetch, wall=lambda: NOW, clock=lambda: NOW)
        self.gate = Gate(Clients(clients, loopback_default=False), self.oidc)

    async def fetch(self, url: str, issuer: str) -> object:
        self.asked += 1
        if self.away:
            raise IssuerUnavailable("it is away")
        if url.endswith("openid-configuration"):
            return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
        return {"keys": [self.issuer.key.jwk()]}

    async def identify(
        self, token: str | None, peer: str | None, *, lenient: bool = False, subject: str = ""
    ) -> Principal:
        return await self.gate.identify(
            [f"Bearer {token}"] if token is not None else [],
            ip_address(peer) if peer is not None else None,
            subjects=(subject,) if subject else (),
            forwarded=peer is None,
            lenient=lenient,
        )


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    yard = Yard()
    yield yard
    await yard.oidc.close()


@pytest.mark.parametrize("away", [False, True])
async def test_a_clients_token_that_looks_like_an_id_token_is_the_clients(
    yard: Yard, *, away: bool
) -> None:
    yard.away = away
    assert (await yard.identify(yard.given, ELSEWHERE)).name == "given"
    assert yard.asked == 0


async def test_an_id_token_is_its_job_from_a_clients_network_too(yard: Yard) -> None:
    assert (await yard.identify(yard.issuer.mint(), FARM)).kind == "oidc"


async def test_an_id_token_that_does_not_hold_is_refused_from_a_clients_network(yard: Yard) -> None:
    with pytest.raises(Unauthenticated):
        await yard.identify(yard.issuer.mint(exp=1), FARM)
    assert (await yard.identify(yard.issuer.mint(exp=1), FARM, lenient=True)).name == "net"


async def test_while_the_issuer_is_away_a_lenient_path_goes_on_for_whom_something_else_names(
    yard: Yard,
) -> None:
    yard.away = True
    token = yard.issuer.mint()
    assert (await yard.identify(token, FARM, lenient=True)).name == "net"
    assert (await yard.identify(token, ELSEWHERE, lenient=True, subject="CN=b")).name == "build"
    for peer, lenient in ((FARM, False), (ELSEWHERE, True), (ELSEWHERE, False)):
        with pytest.raises(IssuerUnavailable):
            await yard.identify(token, peer, lenient=lenient)


async def test_who_comes_through_a_front_that_names_nobody_may_show_a_token(yard: Yard) -> None:
    assert (await yard.identify(yard.given, None)).name == "given"
    assert (await yard.identify(yard.issuer.mint(), None)).kind == "oidc"
    for token, lenient in ((None, False), ("x", True)):
        with pytest.raises(Unauthenticated):
            await yard.identify(token, None, lenient=lenient)


FOREIGN = ["Digest x", "Bearer", "Bearer a b", "Basic Og==", "Basic !!", "Basic /w==", "x" * 9000]


@pytest.mark.parametrize("value", FOREIGN)
async def test_a_credential_that_cannot_be_read_is_a_foreign_one(yard: Yard, value: str) -> None:
    async def ask(peer: str, *, lenient: bool) -> Principal:
        address = ip_address(peer)
        return await yard.gate.identify([value], address, forwarded=False, lenient=lenient)

    assert (await ask(FARM, lenient=True)).name == "net"
    for peer, lenient in ((FARM, False), (ELSEWHERE, True)):
        with pytest.raises(Unauthenticated, match="The Authorization header "):
            await ask(peer, lenient=lenient)


async def test_two_credentials_are_a_bad_request_everywhere(yard: Yard) -> None:
    with pytest.raises(BadRequest):
        await yard.gate.identify(
            ["Bearer a", "Bearer b"], ip_address(FARM), forwarded=False, lenient=True
        )
