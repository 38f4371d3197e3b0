"""The pull tokens: read from where the operator put them, re-read when they change.

Purpose: a pair (user name and password) per ecosystem, taken only when both halves are complete and
unchanged for one poll, the last good one kept while a file is half-written, empty or odd. A pair
that the upstream refused is tried once in ten seconds, by one request, unless it changed.

Reading: systemd `LoadCredential=`, Kubernetes secret volumes (detect change by reading, not by
inotify). Non-goals: knowing when a token ends; what a pair looks like (see `pairs`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import final

from proxy.upstream.pairs import Pair, PairSource, Unusable, read_pair

__all__ = ["Credentials", "PairSource"]

LOG = logging.getLogger(__name__)
REFUSED_PAUSE = 10.0
SETTLE = 0.2  # seconds that a pair must stay the same when there is no time to wait for a poll


@final
class _Slot:
    """The state of one ecosystem's pair."""

    def __init__(self, source: PairSource) -> None:
        self.source = source
        self.current: Pair | None = None
        self.candidate: Pair | None = None
        self.seen: Pair | None = None  # the last one that was read, told to `redact`
        self.header: str | None = None
        self.refused = False
        self.next_try = 0.0
        self.renewed_at: float | None = None
        self.complained = False
        self.reading = asyncio.Lock()

    def take(self, pair: Pair) -> None:
        self.current = pair
        self.header = pair.authorization
        self.candidate = None
        self.refused = False
        self.renewed_at = None


@final
class Credentials:  # implements proxy.model.TokenSource
    """All configured pairs. `authorization` is what the data path calls; the rest runs beside it.

    `redact` is told every secret value that becomes known, before it is used, so that logs can
    mask it. Times (`now`) are monotonic seconds.
    """

    def __init__(
        self, sources: Mapping[str, PairSource], redact: Callable[[str], None] | None = None
    ) -> None:
        self._slots = {name: _Slot(source) for name, source in sources.items()}
        self._redact = redact or _nobody

    def authorization(self, ecosystem: str) -> str | None:
        """The Authorization value for an ecosystem, or None where nothing usable is configured."""
        slot = self._slots.get(ecosystem)
        return slot.header if slot is not None else None

    def configured(self, ecosystem: str) -> bool:
        """Tell whether a source is configured, readable or not."""
        return ecosystem in self._slots

    @property
    def unusable(self) -> tuple[str, ...]:
        """Ecosystems that have a source and no good pair: none was ever read, or it is refused."""
        return tuple(
            name for name, slot in self._slots.items() if slot.header is None or slot.refused
        )

    # --- what the upstream thinks of a pair ---------------------------------------------------

    def pause(self, ecosystem: str, now: float) -> float:
        """Seconds for which the current pair is not to be tried: the upstream refused it."""
        slot = self._slots.get(ecosystem)
        return max(0.0, slot.next_try - now) if slot is not None and slot.refused else 0.0

    def use(self, ecosystem: str, now: float) -> str | None:
        """`authorization`, for a request that goes out now: of a refused pair it is the one try."""
        slot = self._slots.get(ecosystem)
        if slot is None:
            return None
        if slot.refused:
            slot.next_try = now + REFUSED_PAUSE
        return slot.header

    def accepted(self, ecosystem: str, header: str) -> None:
        """Note that the upstream took `header`."""
        slot = self._slots.get(ecosystem)
        if slot is not None and slot.header == header:
            slot.refused = False

    def refused(self, ecosystem: str, header: str, now: float) -> None:
        """Note that the upstream answered 401 to `header`; a pair read since is not meant."""
        slot = self._slots.get(ecosystem)
        if slot is None or slot.header != header:
            return
        if not slot.refused:
            LOG.warning("the upstream refuses the pull token for %s; it must be renewed", ecosystem)
        slot.refused = True
        slot.next_try = now + REFUSED_PAUSE

    async def renew(self, ecosystem: str, header: str | None, now: float) -> bool:
        """Tell whether there is another pair than `header`, which the upstream just refused.

        The files are read at most once per pause, whoever asks. A pair found here must stay the
        same for a moment only: nothing is lost with the old one.
        """
        slot = self._slots.get(ecosystem)
        if slot is None:
            return False
        async with slot.reading:
            due = slot.renewed_at is None or now >= slot.renewed_at + REFUSED_PAUSE
            if slot.header == header and due:
                slot.renewed_at = now
                await self._renew(ecosystem, slot)
        return slot.header is not None and slot.header != header

    # --- reading ------------------------------------------------------------------------------

    async def load(self) -> None:
        """First reading, at start: complete pairs are taken at once."""
        for name, slot in self._slots.items():
            async with slot.reading:
                pair = await self._read(name, slot)
                if pair is not None:
                    slot.take(pair)

    async def poll(self) -> None:
        """Read again: a changed pair is taken when it was the same at two polls in a row."""
        for name, slot in self._slots.items():
            async with slot.reading:
                pair = await self._read(name, slot)
                if pair is None or pair == slot.current:
                    slot.candidate = None
                elif pair == slot.candidate:
                    self._replace(name, slot, pair)
                else:
                    slot.candidate = pair

    async def _renew(self, name: str, slot: _Slot) -> None:
        pair = await self._read(name, slot)
        if pair is None or pair == slot.current:
            return
        if pair != slot.candidate:
            await asyncio.sleep(SETTLE)
            if pair != await self._read(name, slot):
                return
        self._replace(name, slot, pair)

    def _replace(self, name: str, slot: _Slot, pair: Pair) -> None:
        slot.take(pair)
        LOG.info("the pull token for %s was replaced", name)

    async def _read(self, name: str, slot: _Slot) -> Pair | None:
        try:
            pair = await asyncio.to_thread(read_pair, slot.source)
        except Unusable as error:
            if not slot.complained:
                slot.complained = True
                LOG.warning(
                    "the pull token for %s cannot be used (%s); %s",
                    name,
                    error,
                    "the last good one stays" if slot.current else "there is none yet",
                )
            return None
        slot.complained = False
        if pair != slot.seen:
            slot.seen = pair
            for spelling in pair.spellings:
                self._redact(spelling)
        return pair


def _nobody(_: str) -> None:
    """Nobody wants to know."""
