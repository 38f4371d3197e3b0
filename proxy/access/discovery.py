"""Gets the documents of an OpenID issuer: its configuration, its keys.

Purpose: one bounded question over HTTPS, asked like those to the vendor's platform. The address of
the keys was learnt from the issuer, and must not make the proxy reach into the networks around it:
off the issuer's own origin it has to be public, or in a network that the operator allows, and no
less protected than the issuer itself.

The name is resolved once for the check and once more for the connection; who could answer
differently each time is whoever the operator believes about the keys anyway.

Reading: OpenID Connect Discovery 1.0 section 4. Non-goals: keeping anything (`keys`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import final
from urllib.parse import SplitResult, urlsplit

from proxy.access.asking import DEADLINE, PlatformHttp
from proxy.errors import ForbiddenAddress, IssuerUnavailable, PlatformSilent

OK = 200
_PORTS = {"http": 80, "https": 443}
_SHOWN = 100


@final
class Discovery:
    """Implements `keys.Fetch`. `check` raises ForbiddenAddress for resolved addresses that may not
    be asked."""

    def __init__(self, http: PlatformHttp, check: Callable[[Sequence[str]], None]) -> None:
        self._http = http
        self._check = check

    async def __call__(self, url: str, issuer: str) -> object:
        """The JSON at `url`, which the configured `issuer` named. Raises IssuerUnavailable."""
        failure = ""
        try:
            async with asyncio.timeout(DEADLINE):
                await self._require(urlsplit(url), urlsplit(issuer))
            reply = await self._http.get(url, {}, None)
            if reply.status == OK and reply.data is not None:
                return reply.data
            failure = f"it answers {reply.status}" if reply.status != OK else "it sends no JSON"
        except PlatformSilent as error:
            failure = str(error)
        except ForbiddenAddress as error:
            failure = f"its keys may not be asked for: {error.detail}"
        except (OSError, ValueError) as error:
            failure = f"its address cannot be used: {type(error).__name__}"
        raise IssuerUnavailable(failure)

    async def _require(self, url: SplitResult, issuer: SplitResult) -> None:
        """Raise ForbiddenAddress, OSError or ValueError unless the address may be asked."""
        if url.scheme not in _PORTS or not url.hostname or "@" in url.netloc:
            raise ForbiddenAddress("their address is no http(s) one")
        if _origin(url) == _origin(issuer):
            return
        if url.scheme != "https" and issuer.scheme == "https":
            raise ForbiddenAddress("their address is one without TLS")
        found = await asyncio.get_running_loop().getaddrinfo(
            url.hostname, url.port or _PORTS[url.scheme], type=socket.SOCK_STREAM
        )
        try:
            self._check([str(address[0]) for *_, address in found])
        except ForbiddenAddress:
            raise ForbiddenAddress(
                f"{url.hostname[:_SHOWN]} lies in a private network that upstream.allow_networks"
                " does not name"
            ) from None


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
