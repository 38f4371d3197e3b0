"""Turn a credential and an address into a principal.

Purpose: the table of `[[clients]]`, resolved once at start, asked on every request.

The rules: of tokens, subjects of certificates and networks a stanza needs everything that it names;
several stanzas make an OR. A token that matches wins over the certificate, that over the network.
A credential that matches nobody is 401 even from a known network, because a client that presents
one means it; `lenient` lifts that (on `/v2/`, where docker sends other registries' credentials to
mirrors).
With no stanza at all, a proxy on loopback serves loopback.

Reading: RFC 9110 section 15.5.2. Non-goals: reading certificates (the server room has them),
verifying ID tokens (`oidc`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from proxy.access.credential import Credential
from proxy.access.peer import Address, Network, unwrap, within
from proxy.errors import ClientForbidden, Unauthenticated
from proxy.model import Principal

_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
_SHOWN = 200
_LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True)
class Client:
    """One stanza. `token_hashes`: `sha256:<64 hex>` over the UTF-8 token. `subjects`: names that
    a verified certificate may show.

    `ecosystems` None: all of them; an empty set: none. `packages`: patterns; empty: all of them.
    """

    name: str
    token_hashes: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    ecosystems: frozenset[str] | None = frozenset()
    subjects: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stanza:
    networks: tuple[Network, ...]
    subjects: tuple[str, ...]
    principal: Principal

    def holds(self, peer: Address | None, subjects: tuple[str, ...]) -> bool:
        """Tell whether everything that is named besides a token is there."""
        known = not self.subjects or not set(self.subjects).isdisjoint(subjects)
        if not self.networks:
            return known
        return known and peer is not None and within(peer, self.networks)


class Clients:
    """Who may come in. Immutable: a reload makes a new one.

    `loopback_default`: the listener is on loopback, so that with no client configured loopback
    may use everything. Raises ValueError for a token hash that is none.
    """

    def __init__(self, clients: Sequence[Client], *, loopback_default: bool) -> None:
        self._open_to_loopback = loopback_default and not clients
        # A decoy under the look-up's own default: an unknown token is compared like a known one.
        self._decoy: tuple[bytes, tuple[_Stanza, ...]] = (bytes(32), ())
        self._by_digest: dict[bytes, tuple[bytes, tuple[_Stanza, ...]]] = {}
        self._by_subject: dict[str, list[_Stanza]] = {}
        self._by_network: list[_Stanza] = []
        for client in clients:
            self._add(client)
        if self._open_to_loopback:
            everything = Principal("loopback", "loopback", None)
            self._by_network.append(_Stanza(_LOOPBACK, (), everything))

    @property
    def open_to_loopback(self) -> bool:
        """Whether this machine may use everything without showing anything."""
        return self._open_to_loopback

    def _add(self, client: Client) -> None:
        kind: Literal["token", "mtls", "network"] = "network"
        if client.token_hashes or client.subjects:
            kind = "token" if client.token_hashes else "mtls"
        principal = Principal(client.name, kind, client.ecosystems, client.packages)
        stanza = _Stanza(client.networks, client.subjects, principal)
        if client.token_hashes:
            for text in client.token_hashes:
                digest = _digest_of(client.name, text)
                _, others = self._by_digest.get(digest, self._decoy)
                self._by_digest[digest] = (digest, (*others, stanza))
        elif client.subjects:
            for subject in client.subjects:
                self._by_subject.setdefault(subject, []).append(stanza)
        elif client.networks:
            self._by_network.append(stanza)

    def identify(  # noqa: PLR0913  # everything that a request shows of its sender
        self,
        credential: Credential | None,
        peer: Address | None,
        *,
        subjects: tuple[str, ...] = (),
        job: Principal | None = None,
        forwarded: bool,
        lenient: bool = False,
    ) -> Principal:
        """Say who asks.

        `peer`: the address that `resolve_peer` found; None is in no network, not in one of all
        addresses either. `subjects`: the names that the connection's verified certificate shows.
        `job`: whose ID token the credential was found to be. `forwarded`: the request carries a
        `Forwarded`, `X-Forwarded-*` or `Via` header. `lenient`: an unknown credential does not
        stand in the way of a certificate or network that is enough by itself. Of two networks that
        both hold the peer, the first stanza counts.
        Raises Unauthenticated, or ClientForbidden for a forwarded request to the loopback default.
        """
        peer = unwrap(peer) if peer is not None else None
        local = peer is not None and within(peer, _LOOPBACK)
        if self._open_to_loopback and forwarded and local:
            raise ClientForbidden(
                "The request came through a front that makes every client look local; name the "
                "front in server.trusted_proxies and configure clients."
            )
        if credential is not None:
            principal = self._by_token(credential, peer, subjects) or job
            if principal is not None:
                return principal
        if credential is None or lenient:
            named = [stanza for name in subjects for stanza in self._by_subject.get(name, ())]
            for stanza in (*named, *self._by_network):
                if stanza.holds(peer, subjects):
                    return stanza.principal
        raise self._refusal(credential, peer, subjects)

    def holds_token(
        self, credential: Credential, peer: Address | None, subjects: tuple[str, ...]
    ) -> bool:
        """Tell whether the credential is a client's token, and everything else of it is there."""
        return self._by_token(credential, peer, subjects) is not None

    def _by_token(
        self, credential: Credential, peer: Address | None, subjects: tuple[str, ...]
    ) -> Principal | None:
        presented = hashlib.sha256(credential.token.encode("utf-8", "surrogatepass")).digest()
        known, stanzas = self._by_digest.get(presented, self._decoy)
        if not hmac.compare_digest(known, presented):
            return None
        for stanza in stanzas:
            if stanza.holds(peer, subjects):
                return stanza.principal
        return None

    def _refusal(
        self, credential: Credential | None, peer: Address | None, subjects: tuple[str, ...]
    ) -> Unauthenticated:
        if credential is not None and self._open_to_loopback:
            return Unauthenticated(
                "The credential matches no client, because none is configured here; remove it "
                "from the client's configuration, or configure clients."
            )
        if credential is not None:
            return Unauthenticated(
                "The credential matches no client of this proxy from this address; use a token "
                "that the proxy's operator gave you, not the upstream's."
            )
        if subjects:
            return Unauthenticated(
                f"The certificate of {subjects[0][:_SHOWN]} belongs to no client of this proxy "
                "from this address; ask the operator to add it to a client's subjects."
            )
        if peer is None:
            return Unauthenticated(
                "This proxy needs a client token: the request came through a trusted front that "
                "names no client in X-Forwarded-For, so that no network is known; send a token, or "
                "ask the operator to have the front name its clients."
            )
        return Unauthenticated(
            "This proxy needs a client token; send it as Basic password (any user name) or as "
            "Bearer, or ask the operator to allow your network."
        )


def _digest_of(name: str, text: str) -> bytes:
    if _HASH.fullmatch(text):
        return bytes.fromhex(text.partition(":")[2])
    raise ValueError(f"client {name}: a token hash is sha256: and 64 hexadecimal digits")
