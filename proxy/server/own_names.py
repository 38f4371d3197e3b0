"""By which names a client may call a proxy that anybody on this machine may use.

Purpose: where no client is configured, being on this machine is all the proof there is, and a page
in a browser on this machine has it too: its own name, looked up again as 127.0.0.1, makes the
browser send our answers to its script (DNS rebinding). The one thing that such a request cannot
forge is the Host it was made for. So there only names of this machine count (the listening address
is one of them then), and the host of `public_url`.

Reading: RFC 6761 section 6.3 (localhost); "DNS rebinding" in OWASP's words. Non-goals: clients with
a credential (a page has none), ports (a name that is ours on one port is ours on all), probes.
"""

from __future__ import annotations

import ipaddress
from typing import final
from urllib.parse import urlsplit

from aiohttp import web

from proxy.errors import ClientForbidden
from proxy.server.canonical import check_host

_SHOWN = 100


@final
class OwnNames:
    """The names of this machine, and the host of `public_url` where it is not empty."""

    def __init__(self, public_url: str) -> None:
        self._known = ""  # the last Host that was one
        self._public = _plain(urlsplit(public_url).hostname or "localhost")

    def require(self, request: web.BaseRequest) -> None:
        """Raise ClientForbidden for a Host that is none of ours, BadRequest for one that is no
        host. HTTP/1.0 may have none: no browser speaks that."""
        host = request.headers.get("Host")
        if host is None or host == self._known:
            return
        name, _ = check_host(host)
        plain = _plain(name)
        if plain == self._public or _is_loopback(plain):
            self._known = host
            return
        shown = name[:_SHOWN]
        raise ClientForbidden(
            f"{shown} is no name of this machine, and without clients only this machine is served:"
            " a web page may be asking in its user's stead (DNS rebinding). Call the proxy"
            f" localhost or 127.0.0.1, or let its operator set server.public_url to {shown},"
            " or configure clients."
        )


def _plain(host: str) -> str:
    return host.removeprefix("[").removesuffix("]").lower().removesuffix(".")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python before 3.13 does not look into ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
