"""Who asks: the matrix of tokens, networks, loopback and fronts."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network

import pytest

from proxy.access.clients import Client, Clients
from proxy.access.credential import Credential
from proxy.errors import AccessError, ClientForbidden, Unauthenticated
from proxy.model import Principal


def hashed(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


PYTHON = frozenset({"python"})
CONFIGURED = Clients(
    (
        Client("farm", token_hashes=(hashed("old"), hashed("new")), ecosystems=PYTHON),
        Client("lan", networks=(ip_network("10.1.0.0/16"),), ecosystems=PYTHON),
        Client(
            "both",
            token_hashes=(hashed("both"),),
            networks=(ip_network("10.2.0.0/16"), ip_network("fd00::/8")),
            ecosystems=PYTHON,
        ),
        Client("inner", networks=(ip_network("10.1.5.0/24"),), ecosystems=PYTHON),
        Client("build", subjects=("CN=b,O=farm", "DNS:b.example"), ecosystems=PYTHON),
        Client(
            "safe",
            token_hashes=(hashed("safe"),),
            subjects=("CN=safe",),
            networks=(ip_network("10.4.0.0/16"),),
            packages=("pkg:pypi/flask",),
        ),
        # one token in two stanzas: either is enough
        Client("either", token_hashes=(hashed("both"),), networks=(ip_network("10.3.0.0/16"),)),
    ),
    loopback_default=True,
)
OPEN = Clients((), loopback_default=True)
SHUT = Clients((), loopback_default=False)


def ask(
    clients: Clients, token: str | None, peer: str, *, forwarded: bool, lenient: bool
) -> Principal:
    credential = None if token is None else Credential(token)
    return clients.identify(credential, ip_address(peer), forwarded=forwarded, lenient=lenient)


@pytest.mark.parametrize(
    ("clients", "token", "peer", "forwarded", "lenient", "expected"),
    [
        # a token, from anywhere; a list of hashes is a rotation
        (CONFIGURED, "old", "192.0.2.1", False, False, "farm"),
        (CONFIGURED, "new", "192.0.2.1", True, False, "farm"),
        # a token wins over the network
        (CONFIGURED, "new", "10.1.0.1", False, False, "farm"),
        # a network, no token
        (CONFIGURED, None, "10.1.0.1", False, False, "lan"),
        (CONFIGURED, None, "10.1.0.1", True, False, "lan"),
        (CONFIGURED, None, "::ffff:10.1.0.1", False, False, "lan"),
        (CONFIGURED, None, "10.1.5.1", False, False, "lan"),  # the first stanza counts
        (CONFIGURED, None, "192.0.2.1", False, False, Unauthenticated),
        # token and network: both
        (CONFIGURED, "both", "10.2.0.1", False, False, "both"),
        (CONFIGURED, "both", "fd00::7", False, False, "both"),
        (CONFIGURED, "both", "10.3.0.1", False, False, "either"),
        (CONFIGURED, "both", "192.0.2.1", False, False, Unauthenticated),
        (CONFIGURED, None, "10.2.0.1", False, False, Unauthenticated),
        # a credential that matches nobody, even from a known network
        (CONFIGURED, "wrong", "192.0.2.1", False, False, Unauthenticated),
        (CONFIGURED, "wrong", "10.1.0.1", False, False, Unauthenticated),
        (CONFIGURED, "", "10.1.0.1", False, False, Unauthenticated),
        # lenient: the network is enough, but only where it is enough by itself
        (CONFIGURED, "wrong", "10.1.0.1", False, True, "lan"),
        (CONFIGURED, "wrong", "10.2.0.1", False, True, Unauthenticated),
        (CONFIGURED, "wrong", "192.0.2.1", False, True, Unauthenticated),
        (CONFIGURED, "both", "10.1.0.1", False, True, "lan"),
        # with clients configured loopback is nobody
        (CONFIGURED, None, "127.0.0.1", False, False, Unauthenticated),
        (CONFIGURED, None, "::1", False, True, Unauthenticated),
        # none configured, on loopback
        (OPEN, None, "127.0.0.1", False, False, "loopback"),
        (OPEN, None, "127.8.9.1", False, False, "loopback"),
        (OPEN, None, "::1", False, False, "loopback"),
        (OPEN, None, "::ffff:127.0.0.1", False, False, "loopback"),
        (OPEN, None, "127.0.0.1", True, False, ClientForbidden),
        (OPEN, "x", "127.0.0.1", True, True, ClientForbidden),
        (OPEN, None, "192.0.2.1", False, False, Unauthenticated),
        (OPEN, None, "192.0.2.1", True, False, Unauthenticated),
        (OPEN, "wrong", "127.0.0.1", False, False, Unauthenticated),
        (OPEN, "wrong", "127.0.0.1", False, True, "loopback"),
        # none configured, not on loopback
        (SHUT, None, "127.0.0.1", False, False, Unauthenticated),
        (SHUT, "x", "127.0.0.1", True, True, Unauthenticated),
    ],
)
def test_who_asks(  # noqa: PLR0917  # the columns of the table
    clients: Clients,
    token: str | None,
    peer: str,
    forwarded: bool,
    lenient: bool,
    expected: str | type[AccessError],
) -> None:
    if isinstance(expected, str):
        found = ask(clients, token, peer, forwarded=forwarded, lenient=lenient)
        assert found.name == expected
    else:
        with pytest.raises(expected):
            ask(clients, token, peer, forwarded=forwarded, lenient=lenient)


def test_a_principal_says_how_it_was_found_and_what_it_may() -> None:
    assert ask(CONFIGURED, "new", "192.0.2.1", forwarded=False, lenient=False) == Principal(
        "farm", "token", PYTHON
    )
    assert ask(CONFIGURED, None, "10.1.0.1", forwarded=False, lenient=False) == Principal(
        "lan", "network", PYTHON
    )
    assert ask(OPEN, None, "::1", forwarded=False, lenient=False) == Principal(
        "loopback", "loopback", None
    )


@pytest.mark.parametrize(
    ("clients", "token", "peer", "forwarded", "words"),
    [
        (OPEN, None, "127.0.0.1", True, "trusted_proxies"),
        (OPEN, "cgrp_canary", "127.0.0.1", False, "none is configured"),
        (CONFIGURED, "cgrp_canary", "192.0.2.1", False, "operator"),
        (CONFIGURED, None, "192.0.2.1", False, "Basic password"),
    ],
)
def test_a_refusal_says_what_to_do_and_never_the_token(
    clients: Clients, token: str | None, peer: str, forwarded: bool, words: str
) -> None:
    with pytest.raises(AccessError) as caught:
        ask(clients, token, peer, forwarded=forwarded, lenient=False)
    assert words in caught.value.detail
    assert "canary" not in caught.value.detail


def test_the_hash_of_a_token_is_no_token() -> None:
    with pytest.raises(Unauthenticated):
        ask(CONFIGURED, hashed("new"), "192.0.2.1", forwarded=False, lenient=False)


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 64, "0" * 64])
def test_a_malformed_hash_is_refused_at_construction(text: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        Clients((Client("x", token_hashes=(text,)),), loopback_default=False)


def test_a_stanza_without_token_and_network_matches_nobody() -> None:
    clients = Clients((Client("empty", ecosystems=None),), loopback_default=True)
    with pytest.raises(Unauthenticated):
        ask(clients, None, "127.0.0.1", forwarded=False, lenient=True)


JOB = Principal("ci:x", "oidc", PYTHON)


@pytest.mark.parametrize(
    ("token", "peer", "subjects", "job", "lenient", "expected"),
    [
        # a certificate, under any of its names; over the network; under a token
        (None, "192.0.2.1", ("CN=b,O=farm",), None, False, "build"),
        (None, "192.0.2.1", ("CN=x", "DNS:b.example"), None, False, "build"),
        (None, "10.1.0.1", ("CN=b,O=farm",), None, False, "build"),
        ("new", "10.1.0.1", ("CN=b,O=farm",), None, False, "farm"),
        # one that nobody has: the network is still there
        (None, "10.1.0.1", ("CN=x",), None, False, "lan"),
        (None, "192.0.2.1", ("CN=x",), None, False, Unauthenticated),
        (None, "192.0.2.1", ("CN=b,O=farm,C=XX",), None, False, Unauthenticated),
        # a credential that matches nobody, with a certificate that would do
        ("x", "192.0.2.1", ("CN=b,O=farm",), None, False, Unauthenticated),
        ("x", "192.0.2.1", ("CN=b,O=farm",), None, True, "build"),
        # token, certificate and network of one stanza: all of them
        ("safe", "10.4.0.1", ("CN=safe",), None, False, "safe"),
        ("safe", "10.4.0.1", (), None, False, Unauthenticated),
        ("safe", "10.5.0.1", ("CN=safe",), None, False, Unauthenticated),
        (None, "10.4.0.1", ("CN=safe",), None, False, Unauthenticated),
        # an ID token: under a client's token, over certificate and network
        ("eyJ", "10.1.0.1", ("CN=b,O=farm",), JOB, False, "ci:x"),
        ("new", "10.1.0.1", (), JOB, False, "farm"),
    ],
)
def test_token_then_id_token_then_certificate_then_network(  # noqa: PLR0917
    token: str | None,
    peer: str,
    subjects: tuple[str, ...],
    job: Principal | None,
    lenient: bool,
    expected: str | type[AccessError],
) -> None:
    credential = None if token is None else Credential(token)

    def identify() -> Principal:
        return CONFIGURED.identify(
            credential,
            ip_address(peer),
            subjects=subjects,
            job=job,
            forwarded=False,
            lenient=lenient,
        )

    if isinstance(expected, str):
        assert identify().name == expected
        return
    with pytest.raises(expected):
        identify()


def test_a_principal_has_the_kind_and_the_limits_of_its_stanza() -> None:
    def kind(token: str | None, peer: str, *subjects: str) -> tuple[str, tuple[str, ...]]:
        credential = None if token is None else Credential(token)
        found = CONFIGURED.identify(
            credential, ip_address(peer), subjects=subjects, forwarded=False
        )
        return found.kind, found.packages

    assert kind("safe", "10.4.0.1", "CN=safe") == ("token", ("pkg:pypi/flask",))
    assert kind(None, "192.0.2.1", "CN=b,O=farm") == ("mtls", ())
    assert kind(None, "10.1.0.1") == ("network", ())


def test_a_certificate_that_nobody_has_is_named_in_the_refusal() -> None:
    with pytest.raises(Unauthenticated, match="CN=stranger"):
        CONFIGURED.identify(
            None, ip_address("192.0.2.1"), subjects=("CN=stranger",), forwarded=False
        )
