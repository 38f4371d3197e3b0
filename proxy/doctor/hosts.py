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
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509

from proxy.doctor.findings import ALL, Finding, bad, good

MAX_SKEW = 60.0  # seconds
_PORTS = {"https": 443, "http": 80}
_INSPECTED = (
    "Something between here and the host looks into TLS, or the system's authorities are old. Name"
    " that authority's certificate in [upstream] ca_bundle, or exempt the host from inspection."
)


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
    connection, `patience` for an answer; `wall`: seconds since the epoch."""

    tls: ssl.SSLContext
    limit: float
    patience: float
    wall: Callable[[], float]

    async def look(self, url: str, *, ask: bool = True) -> Sight:
        """Go as far as it goes. `ask` False: up to a connection, for a host that answers nobody
        who has no token."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        try:
            await self._resolve(host, port)
            reader, writer = await self._connect(host, port, secure=parts.scheme == "https")
            try:
                behind = await self._ask(parts.netloc, reader, writer) if ask else None
                return Sight(url, behind=behind)
            finally:
                writer.transport.abort()
        except _Failed as failed:
            return Sight(url, failed.check, failed.detail, failed.fix)

    async def _resolve(self, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(self.limit):
                loop = asyncio.get_running_loop()
                await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            fix = f"Mend DNS. {_open(host, port)}"
            raise _Failed("host", "its name cannot be resolved", fix) from None

    async def _connect(
        self, host: str, port: int, *, secure: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = self.tls if secure else None
        try:
            async with asyncio.timeout(self.limit):
                return await asyncio.open_connection(host, port, ssl=tls)
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
            raise _Failed("host", detail, _open(host, port)) from None
        except OSError as error:
            words = error.strerror or type(error).__name__
            detail = f"no connection could be made ({words})"
            raise _Failed("host", detail, _open(host, port)) from None

    async def _ask(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> float | None:
        """Seconds that the clock here is behind the date of the answer; None: it has none."""
        fields = (f"Host: {host}", "Accept-Encoding: identity", "User-Agent: cgr-proxy")
        lines = ("GET / HTTP/1.1", *fields, "Connection: close", "", "")
        try:
            async with asyncio.timeout(self.patience):
                writer.write("\r\n".join(lines).encode("ascii"))
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            fix = f"Let nothing answer in the place of {host}."
            raise _Failed("host", "it connects, but gives no answer", fix) from None
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
                _, writer = await asyncio.open_connection(host, port, ssl=blind)
        except (OSError, TimeoutError):
            return "nobody (it is shown no more)"
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        try:
            name = x509.load_der_x509_certificate(shown).issuer.rfc4514_string()
        except ValueError:
            return "nobody who can be read"
        return repr(name.encode("ascii", "backslashreplace").decode("ascii")[:200])


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
