"""TLS for the clients' listener: one context that can be renewed while it is in use.

Purpose: TLS 1.2 or newer, certificate and key read again when their files change, client
certificates asked for (never demanded) where authorities for them are configured. Each handshake
takes the context that is in force then; what is established goes on. A new pair counts only when it
loads as a whole: half of a rotation leaves the old one in force, with a line in the log.

Where authorities were taken out of `client_ca`, a client certificate that was verified while they
were in it names nobody any more: which of them vouched for it is not known afterwards. Its
connection ends, so that whoever still has the right comes back with a new handshake.

Reading: RFC 9325 (use of TLS), RFC 5280 (names), RFC 4514 (their text form). Non-goals: revocation
lists (short-lived certificates instead), choosing a certificate by name, ACME.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

from aiohttp import web

from proxy.distinguished import spell_name
from proxy.server.watch import Watch

LOG = logging.getLogger(__name__)
HANDSHAKE_TIMEOUT = 10.0
SHUTDOWN_TIMEOUT = 5.0
MAX_CERTIFICATES = 1024
_BEGIN = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_PEM = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END (?:X509 )?CERTIFICATE-----"
)


@final
class _Loaded(ssl.SSLContext):
    """What the files held at one time. `authorities`: the certificates in `client_ca` (DER)."""

    authorities: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `client_ca` None: no client certificates."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def load(self) -> _Loaded:
        """Make a context of what the files hold now. Raises OSError (ssl.SSLError is one)."""
        context = _Loaded(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        # With a password given OpenSSL does not ask the terminal for that of an encrypted key.
        context.load_cert_chain(self.certificate, self.key, password=b"")
        context.authorities = frozenset()
        if self.client_ca is not None:
            context.authorities = _read_authorities(self.client_ca)
            context.load_verify_locations(cadata=b"".join(context.authorities))
            context.verify_mode = ssl.CERT_OPTIONAL
            # Whoever names an intermediate authority means that one, not the root above it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def _read_authorities(file: Path) -> frozenset[bytes]:
    """The certificates in a PEM file, read once: what is compared later is what was loaded."""
    data = file.read_bytes()
    found = _PEM.findall(data)
    if not found or len(found) != len(_BEGIN.findall(data)):
        raise ssl.SSLError(errno.EINVAL, "client_ca holds no certificate, or one unreadable")
    try:
        return frozenset(base64.b64decode(b"".join(text.split()), validate=True) for text in found)
    except ValueError as error:
        raise ssl.SSLError(errno.EINVAL, "client_ca holds an unreadable certificate") from error


@final
class _Current(ssl.SSLContext):
    """What asyncio is given: it hands every handshake to the context that is in force."""

    inner: _Loaded

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  # ssl's own signature
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See SSLContext."""
        return self.inner.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


@final
class ServerTls:
    """The listener's TLS. Raises OSError when the files cannot be used.

    `on_withdrawn` is called when an authority of clients was taken out.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        named = (files.certificate, files.key, files.client_ca)
        self._watch = Watch(file for file in named if file is not None)
        self._turn = asyncio.Lock()
        self._trouble = ""  # said already
        self.context = _Current(ssl.PROTOCOL_TLS_SERVER)
        self.context.inner = files.load()
        self.on_withdrawn: Callable[[], None] | None = None

    async def poll(self) -> None:
        """Take what has changed, once it has been the same for two polls. Never raises."""
        if await asyncio.to_thread(self._watch.changed):
            await self.reload()

    async def reload(self) -> None:
        """Take what the files hold now; what cannot be used leaves the old in force."""
        # One at a time: of two the one that has read earlier must not have the last word.
        async with self._turn:
            try:
                found = await asyncio.to_thread(self._files.load)
            except OSError as error:
                self._failed(error)
                return
            self._trouble = ""
            gone = self.context.inner.authorities - found.authorities
            self.context.inner = found
        LOG.info("the TLS certificate was read anew")
        if gone:
            LOG.info("%d authorities of clients are gone: who was let in by them ends", len(gone))
            if self.on_withdrawn is not None:
                self.on_withdrawn()

    def _failed(self, error: OSError) -> None:
        if not isinstance(error, ssl.SSLError):
            # What could not be read (no descriptor was left, say) is nothing that was found: the
            # files need not change once more to be looked at again.
            self._watch.doubt()
        trouble = error.strerror or type(error).__name__
        if trouble != self._trouble:
            self._trouble = trouble
            LOG.warning("the TLS certificate stays as it was: %s", trouble)

    def trusts(self, connection: ssl.SSLObject) -> bool:
        """Tell whether the client certificate of a connection would be asked for and verified, as
        it was, by authorities that all count still."""
        context = connection.context
        if not isinstance(context, _Loaded) or context.verify_mode == ssl.CERT_NONE:
            return False
        return context.authorities <= self.context.inner.authorities


@final
class Certificates:
    """Reads off a connection whom its verified client certificate names.

    `wall`: epoch seconds. A certificate that ended while its connection was open names nobody, nor
    does one of an authority that has gone.
    """

    def __init__(self, tls: ServerTls, wall: Callable[[], float] = time.time) -> None:
        self._tls = tls
        self._wall = wall
        self._read = lru_cache(maxsize=MAX_CERTIFICATES)(_read)

    def subjects(self, request: web.BaseRequest) -> tuple[str, ...]:
        """The distinguished name (RFC 4514), then `DNS:...` and `URI:...`; () without one."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        if tls is None or not self._tls.trusts(tls):
            return ()
        der = tls.getpeercert(binary_form=True)
        if not der:
            return ()
        subjects, ends = self._read(der)
        return subjects if self._wall() < ends else ()

    def has_gone(self, transport: asyncio.BaseTransport) -> bool:
        """Tell whether a connection shows a certificate whose authorities count no more."""
        tls = transport.get_extra_info("ssl_object")
        if tls is None or self._tls.trusts(tls):
            return False
        return tls.getpeercert(binary_form=True) is not None


def _read(der: bytes) -> tuple[tuple[str, ...], float]:
    """Names and end (epoch seconds) of a certificate that OpenSSL has verified."""
    from cryptography import x509  # noqa: PLC0415  # late: 50 ms that few proxies need

    try:
        certificate = x509.load_der_x509_certificate(der)
        ends = certificate.not_valid_after_utc.timestamp()
        subject = spell_name(certificate.subject)
        found = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion):
        return (), 0.0  # what the library cannot read names nobody
    names = [subject] if subject else []
    try:
        extension = found.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType):
        return tuple(names), ends
    alternative = extension.value
    names += [f"DNS:{name.lower()}" for name in alternative.get_values_for_type(x509.DNSName)]
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier)
    return (*names, *(f"URI:{uri}" for uri in uris)), ends
