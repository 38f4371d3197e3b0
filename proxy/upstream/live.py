"""One live pull token: read from where the operator put it, re-read when it changes.

Purpose: a pair is taken only when both halves are complete and unchanged for one poll; where it
changes faster than it is polled, when it stays for a moment. The last good one stays while a file
is half-written, empty or odd.

Reading: systemd `LoadCredential=`, Kubernetes secret volumes (detect change by reading, not by
inotify). Non-goals: what the upstream thinks of it (`credentials`), what a pair looks like
(`pairs`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, final

from proxy.upstream.lifetime import Lifetime
from proxy.upstream.pairs import Pair, PairSource, Unusable, read_pair

LOG = logging.getLogger(__name__)
SETTLE = 0.05  # seconds that a pair must stay the same when there is no time to wait for a poll
LOOKS = 6


class Live(Protocol):
    """What an upstream can be asked with. `header` None: nothing usable yet."""

    @property
    def header(self) -> str | None:
        """The value of an Authorization header."""
        ...

    @property
    def lifetime(self) -> Lifetime | None:
        """Of what `header` holds; None: not known."""
        ...

    async def load(self) -> None:
        """First reading, at start: what is complete is taken at once."""
        ...

    async def poll(self) -> None:
        """Look whether it changed."""
        ...

    async def renew(self, header: str) -> None:
        """`header` was refused: look now for another one."""
        ...


@final
class LivePair:  # implements Live
    """A pair of one source. `name`: for logs. `redact` is told who tells, and every form of what
    is held, before it is used."""

    def __init__(self, name: str, source: PairSource, redact: Callable[..., None]) -> None:
        self._name = name
        self._source = source
        self._redact = redact
        self._current: Pair | None = None
        self._candidate: Pair | None = None
        self._seen: Pair | None = None  # the last one that was read, told to `redact`
        self._complained = False
        self._reading = asyncio.Lock()
        self.header: str | None = None
        self.lifetime: Lifetime | None = None

    async def load(self) -> None:
        """See `Live.load`."""
        async with self._reading:
            if (pair := await self._read()) is not None:
                self._take(pair)

    async def poll(self) -> None:
        """See `Live.poll`."""
        async with self._reading:
            pair = await self._read()
            if pair is None or pair == self._current:
                self._candidate = None
            elif pair == self._candidate:
                self._replace(pair)
            elif self._candidate is None:
                self._candidate = pair
            else:
                # It changes from poll to poll: waiting for one more would go on for ever.
                await self._settle(pair)

    async def renew(self, header: str) -> None:
        """See `Live.renew`. A pair found here must stay for a moment only: nothing is lost."""
        async with self._reading:
            if self.header == header:
                await self._read_now()

    async def reload(self) -> None:
        """Read again now; a changed pair must stay for a moment only, for somebody waits for it."""
        async with self._reading:
            await self._read_now()

    async def _read_now(self) -> None:
        pair = await self._read()
        if pair is not None and pair != self._current:
            await self._settle(pair)

    async def _settle(self, pair: Pair | None) -> None:
        for _ in range(LOOKS):
            await asyncio.sleep(SETTLE)
            again = await self._read()
            if again is not None and again == pair:
                if again != self._current:
                    self._replace(again)
                return
            pair = again
        self._candidate = pair

    def _replace(self, pair: Pair) -> None:
        self._take(pair)
        LOG.info("the pull token for %s was replaced", self._name)

    def _take(self, pair: Pair) -> None:
        self._current = pair
        self._candidate = None
        self.header = pair.authorization
        self.lifetime = pair.lifetime

    async def _read(self) -> Pair | None:
        try:
            pair = await asyncio.to_thread(read_pair, self._source)
        except Unusable as error:
            if not self._complained:
                self._complained = True
                LOG.warning(
                    "the pull token for %s cannot be used (%s); %s",
                    self._name,
                    error,
                    "the last good one stays" if self._current else "there is none yet",
                )
            return None
        self._complained = False
        if pair != self._seen:
            self._seen = pair
            held = (self._current, self._candidate, pair)
            self._redact(self, *(text for each in held if each for text in each.spellings))
        return pair
