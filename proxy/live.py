"""What of the configuration can change while the process runs, and what has to wait.

Purpose: clients, the jobs whose ID tokens are believed, and the listener's certificate are taken
anew at SIGHUP and within 10 s of a change of their files.

Part of the composition root, below `app`. Non-goals: reading the configuration (`reloads`);
the pull tokens' files (the upstream room polls them), entitlements.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import final

from proxy.access.asking import PlatformHttp
from proxy.access.claims import Job
from proxy.access.clients import Client, Clients
from proxy.access.discovery import Discovery
from proxy.access.gate import Gate
from proxy.access.oidc import Oidc
from proxy.config import Settings
from proxy.reloads import POLL, Reloads, opens_to_loopback
from proxy.server import process
from proxy.server.rounds import repeat
from proxy.server.tls import Certificates, ServerTls, TlsFiles
from proxy.upstream.addresses import AddressRules, check_resolved

LOG = logging.getLogger("proxy.configuration")


@final
class Live:
    """Holds what can change. Raises CannotStart for TLS files that cannot be used.

    `load` gives the settings anew, with the environment and the options of the start; None: who
    reads them calls `apply`. `http`: asks issuers. `opens` False: without clients nobody may come
    in, wherever we listen.
    """

    def __init__(  # noqa: PLR0913  # the composition root's one call
        self,
        settings: Settings,
        http: PlatformHttp,
        *,
        load: Callable[[], Settings] | None,
        wall: Callable[[], float],
        clock: Callable[[], float],
        opens: bool = True,
    ) -> None:
        self._reloads = Reloads(settings, load, self.apply) if load is not None else None
        given = settings.upstream
        rules = AddressRules(given.redirect_hosts, given.allow_networks, given.allow_insecure)
        discovery = Discovery(http, partial(check_resolved, rules))
        self.oidc = Oidc(_jobs(settings), discovery, wall=wall, clock=clock)
        # Once there were clients, a file without any (emptied by accident?) opens to nobody:
        # only a start does that.
        self._open = opens and opens_to_loopback(settings)
        self.gate = Gate(_clients(settings, open_to_loopback=self._open), self.oidc)
        self.tls = _tls(settings)
        self.certificates: Certificates | None = None
        if self.tls is not None and settings.server.client_ca is not None:
            self.certificates = Certificates(self.tls, wall)

    async def run(self) -> None:
        """Look at the files, and at the age of keys, until cancelled."""
        self.oidc.poll()
        await repeat(POLL, self.poll, "looking at the configuration and the TLS files")

    async def poll(self) -> None:
        """Take what has changed since the last look."""
        self.oidc.poll()
        if self.tls is not None:
            await self.tls.poll()
        if self._reloads is not None:
            await self._reloads.poll()

    async def reload(self) -> str:
        """Take everything anew, changed or not; else why the configuration stays as it was.

        Never raises.
        """
        if self.tls is not None:
            await self.tls.reload()
        return await self._reloads.reload() if self._reloads is not None else ""

    def on_authority_gone(
        self, close: Callable[[Callable[[asyncio.BaseTransport], bool]], None]
    ) -> None:
        """Have `close` end the connections of certificates that count no more, once there are."""
        if self.tls is not None and self.certificates is not None:
            self.tls.on_withdrawn = partial(close, self.certificates.has_gone)

    async def renew_keys(self) -> None:
        """Ask the issuers of ID tokens for their keys; returns when each has answered, or will not
        in time. Never raises."""
        await self.oidc.renew()

    async def close(self) -> None:
        """Stop asking issuers."""
        await self.oidc.close()

    def apply(self, found: Settings) -> None:
        """Take the parts of `found` that can change."""
        self._open = self._open and not (found.clients or found.oidc)
        self.gate.clients = _clients(found, open_to_loopback=self._open)
        self.oidc.replace(_jobs(found))
        self.oidc.poll()
        if not self._open and not (found.clients or found.oidc):
            LOG.warning("no clients are left: nobody may come in until some are configured")


def _clients(given: Settings, *, open_to_loopback: bool) -> Clients:
    """The clients of `given`. `open_to_loopback`: with none, this machine may use everything."""
    return Clients(
        [
            Client(
                name=item.name,
                token_hashes=item.token_hashes,
                networks=item.networks,
                ecosystems=item.ecosystems,
                subjects=item.subjects,
                packages=item.packages,
            )
            for item in given.clients
        ],
        loopback_default=open_to_loopback,
    )


def _jobs(settings: Settings) -> list[Job]:
    return [
        Job(item.name, item.issuer, item.audience, item.claims, item.ecosystems, item.packages)
        for item in settings.oidc
    ]


def _tls(settings: Settings) -> ServerTls | None:
    given = settings.server
    if given.tls_certificate is None or given.tls_key is None:
        return None
    with process.using("server.tls_certificate, tls_key or client_ca"):
        return ServerTls(TlsFiles(given.tls_certificate, given.tls_key, given.client_ca))
