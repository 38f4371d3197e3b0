"""The configuration's file, read again when it has changed, or when somebody asks for it.

Purpose: a configuration with a mistake changes nothing: each mistake is a line in the log and the
old one stays in force as a whole; so does one that is being written. What takes a restart
(addresses, the cache folder, ...) is said.

Reading: Kubernetes' atomic writer (a symlink is swung). Non-goals: what becomes of the parts that
can change (`proxy.live`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

from proxy.config import ConfigError, Settings
from proxy.server.watch import Seen, Watch, fingerprint, settled

LOG = logging.getLogger("proxy.configuration")
POLL = 2.0
"""Seconds between two looks at the files; a change counts when two looks saw the same."""
# The parts that are replaced as a whole while the process runs.
_LIVE = ("clients", "oidc")


@final
class Reloads:
    """`load` gives the settings anew, with the environment and the options of the start; `apply`
    is given those whose changeable parts differ from the last ones."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        apply: Callable[[Settings], None],
    ) -> None:
        self.settings = settings
        self._load = load
        self._apply = apply
        self._turn = asyncio.Lock()
        # The settings were loaded before this process had even imported us.
        self._watch = Watch([settings.file] if settings.file is not None else [], taken=False)
        self._complained: tuple[str, ...] = ()

    async def poll(self) -> None:
        """Take what has changed since the last look."""
        if await asyncio.to_thread(self._watch.changed):
            await self._take()

    async def reload(self) -> str:
        """Take it anew, changed or not; else why it stays as it was. Never raises."""
        self._complained = ()  # who asks is told, again if need be
        return await self._take()

    async def _take(self) -> str:
        """Take what is there once it has settled; "" when it was, else why it was not."""
        async with self._turn:
            # Half of a file can be a valid configuration: that of half the clients.
            reading = await settled(partial(_read, self._load, self.settings.file))
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
                self.settings = taking(self.settings, found)
                _tell(found)
                self._apply(found)
            return ""

    def _complain(self, mistakes: tuple[str, ...]) -> None:
        if mistakes != self._complained:
            self._complained = mistakes
            for mistake in mistakes:
                LOG.error("the configuration stays as it was: %s", mistake)


def taking(running: Settings, found: Settings) -> Settings:
    """The running settings with those parts of the found ones that can change meanwhile."""
    return replace(running, clients=found.clients, oidc=found.oidc)


def opens_to_loopback(settings: Settings) -> bool:
    """Whether a start with these settings lets this machine use everything."""
    return settings.server.listen.is_loopback and not (settings.clients or settings.oidc)


def _tell(found: Settings) -> None:
    LOG.info(
        "the configuration was read anew: %d clients, %d issuers of ID tokens",
        len(found.clients),
        len(found.oidc),
    )


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
