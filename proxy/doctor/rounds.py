"""All that the doctor does, at the same time.

Purpose: which hosts, tokens and ecosystems there are to look at, by the settings; what is not worth
asking once something before it has failed; whose a refused token is. Non-goals: how any of it is
asked, or printed.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

from proxy.access.asking import PlatformHttp
from proxy.access.memory import Clocks as AccessClocks
from proxy.access.memory import read_boot_id, steady_seconds
from proxy.access.wiring import token_exchange
from proxy.config import Settings
from proxy.doctor import disk, entitlements, hosts, tokens
from proxy.doctor.findings import ALL, CHECKS, Finding, bad, good, shown
from proxy.doctor.hosts import Lookout, Sight
from proxy.doctor.trial import NotingRules, Trial
from proxy.doctor.visit import Visit
from proxy.ecosystems.base import Ecosystem, Probing
from proxy.errors import Blocked, CredentialRefused, ForbiddenAddress
from proxy.observe.redaction import Redactor
from proxy.secret import Secret
from proxy.upstream.addresses import AddressRules
from proxy.upstream.client import HttpUpstream, UpstreamLimits
from proxy.upstream.credentials import Clocks, Credentials, PairSource, Source
from proxy.wiring.egress import way_out
from proxy.wiring.entitlements import asks_platform
from proxy.wiring.pull_tokens import credential_sources
from proxy.wiring.upstreams import challenging, ecosystems_of, origins_of


class Watcher(Protocol):
    """Told of what is being looked at, by name."""

    def begun(self, what: str) -> None:
        """It begins."""
        ...

    def ended(self, what: str) -> None:
        """It has ended."""
        ...


class _Unobserved:
    """Implements `UpstreamObserver`: there are no metrics here."""

    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        """Nobody counts."""

    def limit_reached(self, limit: str) -> None:
        """Nobody counts."""

    def upstream_bytes(self, ecosystem: str, count: int) -> None:
        """Nobody counts."""


@final
@dataclass
class Rounds:
    """One visit of the doctor. `tls`: what the proxy trusts; `token`: of a client of the proxy.

    `wall`: seconds since the epoch.
    """

    settings: Settings
    tls: ssl.SSLContext
    token: Secret | None = None
    wall: Callable[[], float] = time.time
    watcher: Watcher | None = None

    async def make(self) -> list[Finding]:
        """Look at everything; the findings, in an order that is always the same."""
        redactor, limits = Redactor(), self.settings.limits
        clocks = AccessClocks(steady_seconds, self.wall, read_boot_id())
        try:
            self._egress = await asyncio.to_thread(way_out, self.settings, redactor.register)
        except ValueError as error:
            fix = "Write user name and password of the proxy on the way out, a line each."
            return [bad(ALL, "host", f"upstream.proxy_password_file: {error}", fix)]
        self._asking = PlatformHttp(self.tls, self._egress, limits.first_byte_timeout)
        self._exchange = token_exchange(self.settings.upstream.issuer, self._asking, clocks)
        self._sources: Mapping[str, Sequence[Source]] = credential_sources(self.settings)
        self._lookout = Lookout(
            *(self.tls, limits.connect_timeout, limits.first_byte_timeout, self.wall),
            egress=self._egress,
        )
        self._looks: dict[tuple[str, bool], asyncio.Task[Sight]] = {}
        self._visit = Visit(self.settings, self.token)
        self._redactor = redactor
        self._list_is_there = asyncio.Event()
        self._lacking: set[str] = set()
        credentials = await self._credentials(self._sources)
        tried = [item for item in ecosystems_of(self.settings) if isinstance(item, Probing)]
        used = [item for item in tried if self._is_used(item)]
        found = await asyncio.gather(
            self._step("hosts", self._hosts(used)),
            self._step("the disk", self._disk()),
            self._step("entitlements", self._entitled(used, credentials, clocks)),
            self._step("the proxy", self._knock()),
            self._step("pull tokens", self._tokens(credentials)),
            *(self._step(item.name, self._ecosystem(item, credentials)) for item in used),
        )
        findings = [finding for some in found for finding in some]
        findings = [*findings, *self._unused(tried, used)]
        names = [ALL, *(item.name for item in tried)]
        names += sorted({item.ecosystem for item in findings if item.ecosystem not in names})
        findings.sort(key=lambda item: (names.index(item.ecosystem), CHECKS.index(item.check)))
        return [
            replace(
                item,
                detail=shown(redactor.redact(item.detail)),
                fix=shown(redactor.redact(item.fix)),
            )
            for item in findings
        ]

    async def _step(
        self, what: str, work: Coroutine[Any, Any, Sequence[Finding]]
    ) -> Sequence[Finding]:
        if self.watcher is not None:
            self.watcher.begun(what)
        try:
            return await work
        finally:
            if self.watcher is not None:
                self.watcher.ended(what)

    # --- what there is -----------------------------------------------------------------------

    def _is_used(self, ecosystem: Ecosystem) -> bool:
        """Those with a pull token. Of containers there are public ones, to be had without; but
        where other ecosystems have one, only a client that names containers wants them."""
        name = ecosystem.name
        if name in self.settings.upstream.frozen:
            return False
        open_to_all = name in challenging(self.settings)
        wanted = self._is_named(name) or not self._sources
        return name in self._sources or (open_to_all and wanted)

    def _is_named(self, ecosystem: str) -> bool:
        wanted = [client.ecosystems for client in self.settings.clients]
        wanted += [jobs.ecosystems for jobs in self.settings.oidc]
        return any(ecosystem in names for names in wanted)

    def _unused(self, tried: Sequence[Ecosystem], used: Sequence[Ecosystem]) -> list[Finding]:
        found = []
        for item in tried:
            if item.name in self.settings.upstream.frozen:
                found.append(good(item.name, "document", "served from the cache only (frozen)"))
            elif item not in used:
                found.append(good(item.name, "token", "no pull token is configured: not in use"))
        if not self._sources and not any(self._is_named(item.name) for item in used):
            fix = "Name one in [credentials.<ecosystem>]; `chainctl auth pull-token` makes it."
            found.append(bad(ALL, "token", "no pull token is configured at all", fix))
        return found

    async def _credentials(self, sources: Mapping[str, Sequence[Source]]) -> Credentials:
        clocks = Clocks(self.wall, steady_seconds)
        made = Credentials(sources, self._redactor.register, self._exchange, clocks)
        await made.load()
        await made.exchange()
        return made

    # --- the rounds --------------------------------------------------------------------------

    async def _hosts(self, used: Sequence[Ecosystem]) -> list[Finding]:
        """Every configured host that is in use, and the clock by what they tell."""
        upstream = self.settings.upstream
        needed = {item.name: getattr(upstream, item.upstream) for item in used}
        names = origins_of(self.settings)
        needed |= {name: url for name, url in names.items() if ":" in name}
        asked = asks_platform(self.settings)
        platform = {upstream.issuer: "issuer", upstream.api: "platform"} if asked else {}
        # An upstream is asked, though the platform, which answers nobody, may lie there too.
        looks = [(url, True) for url in needed.values()] + [(url, False) for url in platform]
        every = list(dict.fromkeys(looks))
        seen = await asyncio.gather(*(self._look(url, ask=ask) for url, ask in every))
        sights = dict(zip(every, seen, strict=True))
        found = [sights[url, True].finding(name) for name, url in needed.items()]
        found += [sights[url, False].finding(ALL, f"the {role}") for url, role in platform.items()]
        told = [sight.behind for sight in sights.values() if sight.behind is not None]
        return [*found, hosts.clock(max(told, key=abs))] if told else found

    async def _disk(self) -> list[Finding]:
        cache = self.settings.cache
        return await asyncio.to_thread(disk.examine, cache.directory, cache.max_size, os.geteuid())

    async def _knock(self) -> list[Finding]:
        return [await self._visit.knock()]

    async def _entitled(
        self, used: Sequence[Ecosystem], credentials: Credentials, clocks: AccessClocks
    ) -> list[Finding]:
        names = frozenset(item.name for item in used)
        try:
            found = await entitlements.examine(
                self.settings, names, credentials, self._asking, clocks
            )
            self._lacking |= {item.ecosystem for item in found if not item.ok}
        finally:
            self._list_is_there.set()
        return found

    async def _tokens(self, credentials: Credentials) -> list[Finding]:
        found: list[Finding] = []
        for name, sources in self._sources.items():
            pairs = [source for source in sources if isinstance(source, PairSource)]
            found += await asyncio.to_thread(tokens.examine, name, pairs, self.wall())
            if len(pairs) < len(sources):
                found.append(self._assumed(name, credentials))
        return found

    def _assumed(self, name: str, credentials: Credentials) -> Finding:
        """Of an identity that needs no pull token."""
        issuer = self.settings.upstream.issuer
        if credentials.authorization(name) is not None:
            return good(name, "token", f"{issuer} gives a token for the assumed identity")
        fix = (
            f"Let this machine reach {issuer}, look whether identity_token_file is there and young,"
            " and whether the identity may be assumed with it."
        )
        return bad(name, "token", f"{issuer} gives no token for the assumed identity", fix)

    async def _ecosystem(self, item: Ecosystem, credentials: Credentials) -> list[Finding]:
        """Try one out; directly, and if that goes well through the proxy."""
        origin = getattr(self.settings.upstream, item.upstream)
        if (await self._look(origin)).check:
            return []  # its host is a finding already
        if credentials.configured(item.name) and credentials.authorization(item.name) is None:
            return []  # its token is
        async with AsyncExitStack() as stack:
            trial = self._trial(item, credentials, stack)
            found = await trial.run()
            if not trial.evidence.artifact and await self._may_be_strange(item.name, trial):
                owner = await self._owner(item, stack)
                found = [_strange(found[0], owner)] if owner else found
        found = [*found, *await self._stores(item.name, trial, found)]
        if trial.evidence.sha256:
            found += await self._visit.compare(item.name, trial.evidence)
        return found

    async def _may_be_strange(self, name: str, trial: Trial) -> bool:
        """Whether a refusal can be because of the pull token: not where the organisation lacks the
        right, which looks the same."""
        if isinstance(trial.evidence.error, CredentialRefused):
            return True
        if not isinstance(trial.evidence.error, Blocked):
            return False
        await self._list_is_there.wait()
        return name not in self._lacking

    async def _look(self, url: str, *, ask: bool = True) -> Sight:
        """Look at a host, once however many need it."""
        if (url, ask) not in self._looks:
            looking = self._lookout.look(url, ask=ask)
            self._looks[url, ask] = asyncio.get_running_loop().create_task(looking)
        return await self._looks[url, ask]

    async def _stores(self, name: str, trial: Trial, found: Sequence[Finding]) -> list[Finding]:
        """Where the object store is the trouble: at which step it is. Not of one that may not be
        asked: an upstream could have this machine connect to whatever it names."""
        if not any(item.check == "object-store" and not item.ok for item in found):
            return []
        if isinstance(trial.evidence.error, ForbiddenAddress):
            return []
        sights = await asyncio.gather(*map(self._look, trial.stores))
        return [_of_store(sight, name) for sight in sights if sight.check]

    def _trial(self, item: Ecosystem, credentials: Credentials, stack: AsyncExitStack) -> Trial:
        given, limits = self.settings.upstream, self.settings.limits
        rules = NotingRules(
            AddressRules(given.redirect_hosts, given.allow_networks, given.allow_insecure)
        )
        upstream = HttpUpstream(
            origins_of(self.settings),
            credentials,
            rules,
            UpstreamLimits(
                connect_timeout=limits.connect_timeout,
                first_byte_timeout=limits.first_byte_timeout,
            ),
            tls=self.tls,
            clock=time.monotonic,
            observer=_Unobserved(),
            challenging=challenging(self.settings),
            egress=self._egress,
        )
        stack.push_async_callback(upstream.close)
        return Trial(item, upstream, rules, limits.max_document)

    async def _owner(self, item: Ecosystem, stack: AsyncExitStack) -> str:
        """The ecosystem whose pull token it is that was refused for another one; "": not known.

        It is shown where it was configured for only: to ecosystems of the same upstream.
        """
        if not (sources := self._sources.get(item.name)):
            return ""
        for other in ecosystems_of(self.settings):
            if other.name == item.name or other.upstream != item.upstream:
                continue
            if not isinstance(other, Probing):
                continue
            credentials = await self._credentials({other.name: sources})
            if await self._trial(other, credentials, stack).opens():
                return other.name
        return ""


def _strange(refusal: Finding, owner: str) -> Finding:
    """What a refusal means of a pull token that is taken for another ecosystem."""
    name = refusal.ecosystem
    detail = f"{refusal.detail}; but it takes the same pull token for {owner}"
    fix = f"It is a pull token for {owner}: each ecosystem has its own. Make one for {name}."
    return bad(name, "token-ecosystem", detail, fix)


def _of_store(sight: Sight, name: str) -> Finding:
    return sight.finding(name, "the object store")
