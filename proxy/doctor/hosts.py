"""One host, step by step: its name, a connection, its certificate, an answer and its date.

Purpose: say at which step it fails, and whose fault that is. A certificate that is not trusted is
fetched once more and its issuer named: that is who looks into the connection. Nothing is sent
there, and nowhere a credential. Asked with a GET of `/`; any answer will do.

Reading: RFC 9110 section 6.6.1 (Date). Non-goals: what the host has (`trial`).
"""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from cryptography import x509

from proxy.doctor.findings import ALL, Finding, bad, good
from proxy.egress import Egress

MAX_SKEW = 60.0  # seconds
_PORTS = {"https": 443, "http": 80}
_INSPECTED = (
    "Something between here and the host looks into TLS, or the system's authorities are old. Name"
    " that authority's certificate in [upstream] ca_bundle, or exempt the host from inspection."
)
_WAY_OUT = "Look at [upstream] proxy and proxy_password_file, and at what that proxy allows."
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Failed(Exception):
    """A step failed: the finding's words."""

    def __init__(self, check: str, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.check, self.detail, self.fix = check, detail, fix


@dataclass(frozen=True, slots=True)
class Sight:
    """How far it went. `check` of the step that failed, "" where none did; `behind`: seconds that
    this machine's clock is behind the host's, None where it told no time."""

    url: str
    check: str = ""
    detail: str = ""
    fix: str = ""
    behind: float | None = None

    def finding(self, ecosystem: str, role: str = "") -> Finding:
        """What to say of it, for the ecosystem that needs it. `role`: of the host, in words."""
        shown = f"{role} {self.url}".strip()
        if not self.check:
            return good(ecosystem, "host", f"{shown} answers")
        return bad(ecosystem, self.check, f"{shown}: {self.detail}", self.fix)


@dataclass(frozen=True, slots=True)
class Lookout:
    """Looks at hosts. `tls`: what the proxy trusts; `limit`: seconds for each step up to a
    connection, `patience` for an answer; `wall`: seconds since the epoch; `egress`: the proxy
    on the way out."""

    tls: ssl.SSLContext
    limit: float
    patience: float
    wall: Callable[[], float]
    egress: Egress | None = None

    async def look(self, url: str, *, ask: bool = True) -> Sight:
        """Go as far as it goes. `ask` False: up to a connection, for a host that answers nobody
        who has no token."""
        host, port = _place(url)
        try:
            await self._resolve(host, port)
            reader, writer = await self._connect(host, port, secure=urlsplit(url).scheme == "https")
            try:
                behind = await self._ask(url, reader, writer) if ask else None
                return Sight(url, behind=behind)
            finally:
                writer.transport.abort()
        except _Failed as failed:
            return Sight(url, failed.check, failed.detail, failed.fix)

    async def _resolve(self, host: str, port: int) -> None:
        """By way of a proxy it is that one's name that is looked up here."""
        if self.egress is not None:
            host, port = _place(self.egress.url)
        try:
            async with asyncio.timeout(self.limit):
                loop = asyncio.get_running_loop()
                await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):  # the last: a name that no host can have
            fix = f"Mend DNS. {_open(host, port)}"
            raise _Failed("host", f"the name {host} cannot be resolved", fix) from None

    async def _connect(self, host: str, port: int, *, secure: bool) -> Streams:
        tls = self.tls if secure else None
        try:
            async with asyncio.timeout(self.limit):
                return await self._stream(host, port, tls)
        except ssl.SSLCertVerificationError as error:
            detail = f"is issued by {await self._issuer(host, port)} and not trusted"
            detail = f"its certificate {detail}: {error.verify_message}"
            raise _Failed("tls", detail, _INSPECTED) from None
        except ssl.SSLError as error:
            detail = f"no TLS connection could be made ({error.reason})"
            fix = f"Let nothing answer in the place of {host}: only TLS 1.2 or newer will do."
            raise _Failed("tls", detail, fix) from None
        except TimeoutError:
            detail = f"no connection within {self.limit:g} s"
            raise _Failed("host", detail, self._reach(host, port)) from None
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            words = getattr(error, "strerror", None) or type(error).__name__
            detail = f"no connection could be made ({words})"
            raise _Failed("host", detail, self._reach(host, port)) from None

    async def _stream(self, host: str, port: int, tls: ssl.SSLContext | None) -> Streams:
        """A connection, through a tunnel where there is a proxy on the way out."""
        if self.egress is None:
            return await asyncio.open_connection(host, port, ssl=tls)
        there = self.tls if self.egress.url.startswith("https:") else None
        reader, writer = await asyncio.open_connection(*_place(self.egress.url), ssl=there)
        try:
            if tls is not None:
                place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                await _tunnel(self.egress, place, reader, writer)
                await writer.start_tls(tls, server_hostname=host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    def _reach(self, host: str, port: int) -> str:
        if self.egress is None:
            return _open(host, port)
        return f"{_open(*_place(self.egress.url))} {_WAY_OUT}"

    async def _ask(
        self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> float | None:
        """Seconds that the clock here is behind the date of the answer; None: it has none."""
        host, target = urlsplit(url).netloc, "/"
        more: Mapping[str, str] = {}
        if self.egress is not None and url.startswith("http:"):
            target, more = f"http://{host}/", self.egress.headers
        fields = {"Host": host, "Accept-Encoding": "identity", "User-Agent": "cgr-proxy", **more}
        lines = (f"{name}: {value}" for name, value in fields.items())
        asked = "\r\n".join((f"GET {target} HTTP/1.1", *lines, "Connection: close", "", ""))
        try:
            async with asyncio.timeout(self.patience):
                writer.write(asked.encode("ascii"))
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            fix = f"Let nothing answer in the place of {host}."
            raise _Failed("host", "it connects, but gives no answer", fix) from None
        if head[9:12] == "407":
            raise _Failed("host", "the proxy on the way out answers 407", _WAY_OUT)
        dates = [line[5:] for line in head.splitlines() if line.lower().startswith("date:")]
        try:
            told = email.utils.parsedate_to_datetime(dates[0].strip()).timestamp()
        except (IndexError, ValueError, TypeError, OverflowError):
            return None
        return told - self.wall()

    async def _issuer(self, host: str, port: int) -> str:
        """Who has signed the certificate that is shown. No byte is sent over that connection."""
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE
        try:
            async with asyncio.timeout(self.limit):
                _, writer = await self._stream(host, port, blind)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, _Failed):
            return "nobody (it is shown no more)"
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        try:
            name = x509.load_der_x509_certificate(shown).issuer.rfc4514_string()
        except (ValueError, x509.InvalidVersion):
            return "nobody who can be read"
        return repr(name.encode("ascii", "backslashreplace").decode("ascii")[:200])


async def _tunnel(
    egress: Egress, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Have a proxy open a way to a place (host:port)."""
    fields = (f"{name}: {value}" for name, value in egress.headers.items())
    lines = (f"CONNECT {place} HTTP/1.1", f"Host: {place}", *fields, "", "")
    writer.write("\r\n".join(lines).encode("ascii"))
    status = (await reader.readuntil(b"\r\n\r\n"))[9:12]
    if status != b"200":
        told = status.decode("ascii", "replace")
        detail = f"the proxy on the way out, {egress.url}, answers {told}"
        raise _Failed("host", detail, _WAY_OUT)


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _open(host: str, port: int) -> str:
    return f"Let this machine reach {host} on port {port} (firewall, egress rules)."


def clock(behind: float) -> Finding:
    """What to say of this machine's clock, which is so many seconds behind a host's."""
    if abs(behind) <= MAX_SKEW:
        return good(ALL, "clock", "this machine's clock is right, by the date of the upstream")
    way = "behind" if behind > 0 else "ahead of"
    return bad(
        ALL,
        "clock",
        f"this machine's clock is {abs(behind):.0f} s {way} the upstream's",
        "Set the clock (NTP): tokens, certificates and pre-signed addresses are judged by it.",
    )
