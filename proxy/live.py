"""What of the configuration can change while the process runs, and what has to wait.

Purpose: clients, the jobs whose ID tokens are believed, and the listener's certificate are taken
anew at SIGHUP and within 10 s of a change of their files. A configuration with a mistake changes
nothing: each mistake is a line in the log and the old one stays in force as a whole. What takes a
restart (addresses, the cache folder, ...) is said.

Part of the composition root, below `app`. Reading: Kubernetes' atomic writer (a symlink is swung).
Non-goals: the pull tokens' files (the upstream room polls them), entitlements.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

from proxy.access.asking import PlatformHttp
from proxy.access.claims import Job
from proxy.access.clients import Client, Clients
from proxy.access.discovery import Discovery
from proxy.access.gate import Gate
from proxy.access.oidc import Oidc
from proxy.config import ConfigError, Settings
from proxy.server import process
from proxy.server.rounds import repeat
from proxy.server.tls import Certificates, ServerTls, TlsFiles
from proxy.server.watch import Seen, Watch, fingerprint, settled
from proxy.upstream.addresses import AddressRules, check_resolved

LOG = logging.getLogger("proxy.configuration")
POLL = 2.0
"""Seconds between two looks at the files; a change counts when two looks saw the same."""
# The parts that are replaced as a whole while the process runs.
_LIVE = ("clients", "oidc")


@final
class Live:
    """Holds what can change. Raises CannotStart for TLS files that cannot be used.

    `load` gives the settings anew, with the environment and the options of the start; None: they
    never change. `http`: asks issuers.
    """

    def __init__(
        self,
        settings: Settings,
        http: PlatformHttp,
        *,
        load: Callable[[], Settings] | None,
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._load = load
        self._turn = asyncio.Lock()
        # The settings were loaded before this process had even imported us.
        self._watch = Watch([settings.file] if settings.file is not None else [], taken=False)
        self._complained: tuple[str, ...] = ()
        given = settings.upstream
        rules = AddressRules(given.redirect_hosts, given.allow_networks, given.allow_insecure)
        discovery = Discovery(http, partial(check_resolved, rules))
        self.oidc = Oidc(_jobs(settings), discovery, wall=wall, clock=clock)
        # Once there were clients, a file without any (emptied by accident?) opens to nobody:
        # only a start does that.
        self._open = settings.server.listen.is_loopback and not (settings.clients or settings.oidc)
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
        if self._load is not None and await asyncio.to_thread(self._watch.changed):
            await self._take(self._load)

    async def reload(self) -> str:
        """Take everything anew, changed or not; else why the configuration stays as it was.

        Never raises.
        """
        if self.tls is not None:
            await self.tls.reload()
        if self._load is not None:
            self._complained = ()  # who asks is told, again if need be
            return await self._take(self._load)
        return ""

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

    async def _take(self, load: Callable[[], Settings]) -> str:
        """Take what is there once it has settled; "" when it was, else why it was not."""
        async with self._turn:
            # Half of a file can be a valid configuration: that of half the clients.
            reading = await settled(partial(_read, load, self.settings.file))
            if reading is None:
                self._watch.doubt()
                LOG.warning("the configuration stays as it was: it is being written all the time")
                return "it is being written"
            seen, found, mistakes = reading
            if seen is not None and not seen[1]:
                # Not there, or no descriptor was left to read it with: whoever was to be removed
                # is still in, so the file need not change once more to be looked at again.
                self._watch.doubt()
            self._complain(mistakes)
            if found is None:
                return "it has mistakes"
            for key in _waiting(self.settings, found):
                LOG.warning("%s has changed in the configuration: that takes a restart", key)
            if any(getattr(found, name) != getattr(self.settings, name) for name in _LIVE):
                self._apply(found)
            return ""

    def _complain(self, mistakes: tuple[str, ...]) -> None:
        if mistakes != self._complained:
            self._complained = mistakes
            for mistake in mistakes:
                LOG.error("the configuration stays as it was: %s", mistake)

    def _apply(self, found: Settings) -> None:
        self._open = self._open and not (found.clients or found.oidc)
        self.gate.clients = _clients(found, open_to_loopback=self._open)
        self.oidc.replace(_jobs(found))
        self.oidc.poll()
        self.settings = replace(self.settings, clients=found.clients, oidc=found.oidc)
        LOG.info(
            "the configuration was read anew: %d clients, %d issuers of ID tokens",
            len(found.clients),
            len(found.oidc),
        )
        if not self._open and not (found.clients or found.oidc):
            LOG.warning("no clients are left: nobody may come in until some are configured")


_Reading = tuple[Seen | None, Settings | None, tuple[str, ...]]


def _read(load: Callable[[], Settings], file: Path | None) -> _Reading:
    """What the file is, and what it holds: settings, or mistakes. Both are of the same file only
    where a second reading is equal."""
    seen = fingerprint(file) if file is not None else None
    try:
        return seen, load(), ()
    except ConfigError as error:
        return seen, None, tuple(error.mistakes)


def _waiting(running: Settings, found: Settings) -> Iterator[str]:
    """The keys whose change takes a restart."""
    for section in fields(Settings):
        if section.name in _LIVE or section.name == "file":
            continue
        before, after = getattr(running, section.name), getattr(found, section.name)
        if is_dataclass(before):
            for key in fields(before):
                if getattr(before, key.name) != getattr(after, key.name):
                    yield f"{section.name}.{key.name}"
        elif isinstance(before, Mapping):
            for name in sorted({*before, *after}):
                if before.get(name) != after.get(name):
                    yield f"{section.name}.{name}"


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
