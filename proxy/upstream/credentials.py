"""The credentials of all ecosystems: which one a request goes out with, and what became of it.

Purpose: one or two live credentials for each ecosystem. The first that is not refused is used; one
that the upstream answered 401 to gives way to the other; with none left, one request in ten seconds
tries, unless a file changed. How they are had is the work of `live` and `keyless`.

Reading: RFC 9110 section 15.5.2 (401). Non-goals: reading files, asking the issuer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

from proxy.model import Subject, TokenExchange
from proxy.upstream.expiry import Watch
from proxy.upstream.keyless import Clocks, KeylessSource, LiveToken
from proxy.upstream.lifetime import Lifetime
from proxy.upstream.live import Live, LivePair
from proxy.upstream.pairs import PairSource

__all__ = ["Clocks", "Credentials", "KeylessSource", "PairSource"]

LOG = logging.getLogger(__name__)
REFUSED_PAUSE = 10.0
Source = PairSource | KeylessSource


@final
class _Held:
    """One live credential as one ecosystem sees it. `name`: for logs."""

    def __init__(self, name: str, live: Live) -> None:
        self.name = name
        self.live = live
        self.next_try = 0.0
        # What the upstream answered 401 to: what is live, or what was before it.
        self.remembered: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the upstream answered 401 to it; another one in its place is not meant."""
        return self.remembered is not None and self.remembered == self.live.header

    def refuse(self, now: float) -> None:
        self.remembered = self.live.header
        self.next_try = now + REFUSED_PAUSE

    def accept(self) -> None:
        self.remembered = None


@final
class _Slot:
    """What one ecosystem has. `next_try`: when a refused one may be tried, while all are."""

    def __init__(self, held: Sequence[_Held]) -> None:
        self.held = tuple(held)
        self.only = self.held[0] if len(self.held) == 1 else None  # as mostly
        self.next_try = 0.0
        self.renewed: tuple[str | None, float] | None = None  # what was to be renewed, and when
        self.renewing = asyncio.Lock()

    def best(self, wall: float) -> _Held | None:
        """The one to use: not refused before refused, good before ended, first before second."""

        def rank(held: _Held) -> tuple[bool, bool, float]:
            ended = held.live.lifetime is not None and held.live.lifetime.end <= wall
            return held.refused, ended, held.next_try if held.refused else 0.0

        return min((held for held in self.held if held.live.header), key=rank, default=None)

    def of(self, header: str) -> _Held | None:
        """The one that has this header."""
        for held in self.held:  # mostly one: `next` would cost more
            if held.live.header == header:
                return held
        return None

    def lifetime(self) -> Lifetime | None:
        """The longest of those that the upstream takes, or of all; None: not known of each."""
        held = [held for held in self.held if held.live.header]
        held = [one for one in held if not one.refused] or held
        known = [one.live.lifetime for one in held if one.live.lifetime is not None]
        if not known or len(known) < len(held):
            return None
        return max(known, key=lambda lifetime: lifetime.end)


@final
class Credentials:  # implements proxy.model.TokenSource
    """All configured ones. `authorization` is what the data path calls; the rest runs beside it.

    `sources`: by ecosystem, the one to be preferred first. `exchange`: needed for KeylessSource.
    `redact` is told who holds which secret values (see `LivePair`), before they are used, so that
    logs can mask them. Times (`now`) are monotonic seconds.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[Source]],
        redact: Callable[..., None] | None = None,
        exchange: TokenExchange | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self._redact = redact or _nobody
        self._exchange = exchange
        self._clocks = clocks or Clocks(time.time, time.monotonic)
        self._tell: Callable[[str, str, bool], None] = _nobody
        # Ecosystems that share a source share what comes of it: it is read once and told of once.
        users = _users(sources)
        lives = {source: self._live(name, source) for source, name in users.items()}
        self._lives = tuple(lives.values())
        self._watches = {lives[source]: Watch(name) for source, name in users.items()}
        self._slots = {
            name: _Slot([_Held(_called(name, given, at), lives[s]) for at, s in enumerate(given)])
            for name, given in sources.items()
            if given
        }

    def authorization(self, ecosystem: str) -> str | None:
        """The Authorization value for an ecosystem, or None where nothing usable is configured."""
        best = self._best(ecosystem)
        return best.live.header if best is not None else None

    def subject(self, ecosystem: str) -> Subject | None:
        """The identity that an ecosystem assumes; None for a pull token. See `proxy.model`."""
        best = self._best(ecosystem)
        return best.live.subject if best and isinstance(best.live, LiveToken) else None

    def configured(self, ecosystem: str) -> bool:
        """Tell whether a source is configured, readable or not."""
        return ecosystem in self._slots

    @property
    def unusable(self) -> tuple[str, ...]:
        """Ecosystems that have a source and nothing good: none was ever had, or it is refused."""
        best = {name: self._best(name) for name in self._slots}
        return tuple(name for name, held in best.items() if held is None or held.refused)

    def troubles(self, ecosystems: Collection[str]) -> Sequence[str]:
        """What an operator has to mend for these ecosystems, a line each; no secret in it."""
        wall = self._clocks.wall()
        found = {name: self._trouble(name, wall) for name in self._slots if name in ecosystems}
        return [f"{trouble}: {name}" for name, trouble in found.items() if trouble]

    def _trouble(self, ecosystem: str, wall: float) -> str:
        best, lifetime = self._best(ecosystem), self._slots[ecosystem].lifetime()
        if best is None:
            return "no usable token"
        if lifetime is not None and lifetime.end <= wall:
            return "the token has ended"
        if best.refused:
            return "the upstream refuses the token"
        if lifetime is not None and lifetime.end - lifetime.soon <= wall:
            return "the token ends soon"
        return ""

    def lifetimes(self) -> Mapping[str, Lifetime]:
        """How long each ecosystem can go on with what it has; those where it is known."""
        found = {name: slot.lifetime() for name, slot in self._slots.items()}
        return {name: lifetime for name, lifetime in found.items() if lifetime is not None}

    def ends(self) -> Mapping[str, float]:
        """Of `lifetimes` the ends only: seconds since the epoch."""
        return {name: lifetime.end for name, lifetime in self.lifetimes().items()}

    # --- what the upstream thinks of them -----------------------------------------------------

    def untroubled(self, ecosystem: str) -> str | None:
        """What `use` gives, where that is sure without a look at the time: there is one credential
        and no 401 is remembered. None: ask `outlook` and `use`."""
        slot = self._slots.get(ecosystem)
        if slot is None or slot.only is None or slot.only.remembered is not None:
            return None
        return slot.only.live.header

    def pause(self, ecosystem: str, now: float) -> float:
        """Seconds for which nothing is to be tried: the upstream refused all there is."""
        return self.outlook(ecosystem, now) or 0.0

    def outlook(self, ecosystem: str, now: float) -> float | None:
        """The same, and None where there is nothing usable."""
        best = self._best(ecosystem)
        if best is None:
            return None
        if not best.refused:
            return 0.0
        return max(0.0, self._slots[ecosystem].next_try - now)

    def use(self, ecosystem: str, now: float) -> str | None:
        """`authorization`, for a request that goes out now: of a refused one it is the one try."""
        best = self._best(ecosystem)
        if best is None:
            return None
        if best.refused and best.live.header:
            best.refuse(now)
            self._slots[ecosystem].next_try = now + REFUSED_PAUSE
            self._tell(ecosystem, _mark(best.live.header), True)  # noqa: FBT003  # see `on_news`
        return best.live.header

    def accepted(self, ecosystem: str, header: str) -> None:
        """Note that the upstream took `header`."""
        slot = self._slots.get(ecosystem)
        if slot is None or (slot.only is not None and slot.only.remembered is None):
            return  # as mostly: there is nothing to take back
        held = slot.of(header)
        if held is None or held.remembered is None:
            return
        if held.refused:
            self._tell(ecosystem, _mark(header), False)  # noqa: FBT003  # see `on_news`
        held.accept()

    def refused(self, ecosystem: str, header: str, now: float) -> None:
        """Note that the upstream answered 401 to `header`; what was read since is not meant."""
        held = self._holder(ecosystem, header)
        if held is None:
            return
        slot, before = self._slots[ecosystem], held.refused
        others = [other for other in slot.held if other is not held and other.live.header]
        held.refuse(now)
        # The other one may have become good since it was refused: it is tried once, now.
        due = not before and any(not other.refused or other.next_try <= now for other in others)
        slot.next_try = now if due else now + REFUSED_PAUSE
        self._tell(ecosystem, _mark(header), True)  # noqa: FBT003  # see `on_news`
        if not before:
            hope = "the other one is used" if due else "it must be renewed"
            LOG.warning("the upstream refuses the pull token for %s; %s", held.name, hope)

    def on_news(self, tell: Callable[[str, str, bool], None]) -> None:
        """Have other processes told of an ecosystem's credential, by its mark, whether the upstream
        refuses it; also when it is about to be tried nevertheless."""
        self._tell = tell

    def hear(self, ecosystem: str, mark: str, refused: bool, now: float) -> None:  # noqa: FBT001  # as told
        """Take what another process was told; of what was read since nothing is meant."""
        slot = self._slots.get(ecosystem)
        if slot is None:
            return
        for held in slot.held:
            if held.live.header is None or _mark(held.live.header) != mark:
                continue
            if refused:
                held.refuse(now)
                slot.next_try = now + REFUSED_PAUSE
            else:
                held.accept()

    async def renew(self, ecosystem: str, header: str | None, now: float) -> bool:
        """Tell whether there is another one than `header`, which the upstream just refused.

        Where it comes from is asked at most once per pause, whoever calls.
        """
        slot = self._slots.get(ecosystem)
        if slot is None:
            return False
        async with slot.renewing:
            last = slot.renewed
            due = last is None or last[0] != header or now >= last[1] + REFUSED_PAUSE
            if due and header is not None and not self._has_other(ecosystem, header, now):
                slot.renewed = (header, now)
                await asyncio.gather(
                    *(held.live.renew(held.live.header or "") for held in slot.held)
                )
        return self._has_other(ecosystem, header, now)

    # --- where they come from -----------------------------------------------------------------

    async def load(self) -> None:
        """First reading, at start: what is complete is taken at once."""
        await asyncio.gather(*(live.load() for live in self._lives))
        self._look()

    async def poll(self) -> None:
        """Read again; see `Live.poll`."""
        await asyncio.gather(*(live.poll() for live in self._lives))
        self._look()

    async def reload(self) -> None:
        """Read again, now: what changed and is complete is taken within half a second."""
        pairs = (live for live in self._lives if isinstance(live, LivePair))
        await asyncio.gather(*(pair.reload() for pair in pairs))
        self._look()

    async def exchange(self) -> None:
        """Renew short-lived tokens that are due. Waits for the issuer: `poll` runs beside it."""
        tokens = (live for live in self._lives if isinstance(live, LiveToken))
        await asyncio.gather(*(token.exchange() for token in tokens))

    def _look(self) -> None:
        wall = self._clocks.wall()
        for live, watch in self._watches.items():
            users = [slot.held for slot in self._slots.values()]
            users = [held for held in users if any(one.live is live for one in held)]
            replaced = all(
                any(one.live.header and not one.refused for one in held if one.live is not live)
                for held in users
            )
            watch.look(live.lifetime, wall, others=replaced)

    def _live(self, name: str, source: Source) -> Live:
        if isinstance(source, PairSource):
            return LivePair(name, source, self._redact)
        if self._exchange is None:
            raise ValueError("an identity is assumed by means of an exchange")
        return LiveToken(source, self._exchange, self._clocks, self._redact)

    def _best(self, ecosystem: str) -> _Held | None:
        slot = self._slots.get(ecosystem)
        if slot is None:
            return None
        if slot.only is not None:
            return slot.only if slot.only.live.header else None
        return slot.best(self._clocks.wall())

    def _holder(self, ecosystem: str, header: str) -> _Held | None:
        slot = self._slots.get(ecosystem)
        return slot.of(header) if slot is not None else None

    def _has_other(self, ecosystem: str, header: str | None, now: float) -> bool:
        best = self._best(ecosystem)
        if best is None or best.live.header == header:
            return False
        return not best.refused or self.pause(ecosystem, now) == 0


def _mark(header: str) -> str:
    """What tells one credential from another and gives none away."""
    return hashlib.sha256(header.encode("utf-8", "surrogatepass")).hexdigest()


def _called(ecosystem: str, sources: Sequence[Source], at: int) -> str:
    return ecosystem if len(sources) == 1 else f"{ecosystem} (no. {at + 1})"


def _users(sources: Mapping[str, Sequence[Source]]) -> Mapping[Source, str]:
    """Each source once, with the names of those that use it."""
    found: dict[Source, list[str]] = {}
    for ecosystem, given in sources.items():
        for at, source in enumerate(given):
            found.setdefault(source, []).append(_called(ecosystem, given, at))
    return {source: ", ".join(names) for source, names in found.items()}


def _nobody(*_: object) -> None:
    """Nobody wants to know."""
