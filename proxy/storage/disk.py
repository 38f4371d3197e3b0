"""Entries on a local disk.

Layout (a change of it is a new version folder)::

    v1/bodies/<aa>/<sha256>          the bytes; shared by all entries that have the same ones
    v1/entries/<aa>/<hash of key>    metadata, the truth: key, sha256, size, fields (JSON)
    v1/flights/<hash>                bodies in the making, and the claims on them
    v1/session                       whether the last stop was a clean one

No name is made of anything a client sends, and no name has a suffix (aiohttp's FileResponse would
serve `<name>.gz` in its place).

Commit order: body written, (over 1 MiB) fsynced, renamed into place, then the metadata in the same
way. Two fsyncs for each small file cost a factor of 6 to 50 (measured), so small ones are not
fsynced: instead every entry is hashed again at its first use after an unclean stop.

Reading: pingora `storage.rs`, goproxy `DirCacher.Put`. Non-goals: see `base`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Record
from proxy.storage.claim import ClaimFile
from proxy.storage.folder import Folder, cause
from proxy.storage.layout import (
    VERSION,
    body_name,
    entry_bytes,
    entry_name,
    hashed,
    parse_entry,
)
from proxy.storage.session import Session
from proxy.storage.writer import DiskBody, DiskWriter, ForeignFlight

LOG = logging.getLogger(__name__)
_MAX_METADATA = 1 << 20
_CHUNK = 1 << 20


class Watcher(Protocol):
    """Who hears of every entry that comes and goes (the secondary index)."""

    def stored(self, record: Record) -> None:
        """An entry became visible, in place of an older one perhaps."""
        ...

    def removed(self, key: str) -> None:
        """An entry became invisible."""
        ...


class _Nobody:
    def stored(self, record: Record) -> None:
        """Nobody wants to know."""

    def removed(self, key: str) -> None:
        """Nobody wants to know."""


@final
class DiskStorage:
    """Implements `Storage` in one folder, which must belong to us alone.

    Raises OSError when the folder cannot be made. `clock`: epoch seconds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        watcher: Watcher | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Folder(directory / VERSION, ("bodies", "entries", "flights"))
        self._watcher = watcher or _Nobody()
        self._serial = 0
        self._session = Session(self._folder, clock())
        self._sweep()

    def close(self) -> None:
        """Leave the store in order."""
        self._session.end()

    def lookup(self, key: str) -> Record | None:
        """See `Storage.lookup`."""
        name = entry_name(key)
        try:
            raw, written = self._folder.read(name, _MAX_METADATA)
            record = parse_entry(raw, suspect=written < self._session.suspect_before)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            LOG.warning("entry %s is unreadable (%s); treated as a miss", name, cause(error))
            self._folder.unlink(name)
            return None
        if record.key != key:
            LOG.warning("entry %s holds another key; treated as a miss", name)
            return None
        return record

    def open(self, record: Record) -> DiskBody | None:
        """See `Storage.open`."""
        name = body_name(record.sha256)
        try:
            fd, status = self._folder.open(name)
        except OSError as error:
            LOG.warning("body %s cannot be opened (%s); entry dropped", name, cause(error))
            self.remove(record.key)
            return None
        if status.st_size != record.size:
            os.close(fd)
            LOG.warning("body %s has another size than its entry; both dropped", name)
            self._folder.unlink(name)
            self.remove(record.key)
            return None
        return DiskBody(fd, status.st_size)

    def recheck(self, record: Record) -> bool:
        """See `Storage.recheck`."""
        body = self.open(record)
        if body is None:
            return False
        digest = hashlib.sha256()
        offset = 0
        try:
            while piece := os.pread(body.fileno(), _CHUNK, offset):
                digest.update(piece)
                offset += len(piece)
        except OSError as error:
            LOG.warning("body %s cannot be read (%s)", body_name(record.sha256), cause(error))
        finally:
            body.close()
        if digest.hexdigest() == record.sha256:
            self._folder.touch(entry_name(record.key))
            return True
        LOG.warning("body %s does not match its digest; dropped", body_name(record.sha256))
        self._folder.unlink(body_name(record.sha256))
        self.remove(record.key)
        return False

    def create(self, key: str) -> DiskWriter:
        """See `Storage.create`."""
        return DiskWriter(self._folder, key, self._temporary(), self._watcher.stored)

    def claim(self, key: str, name: str) -> DiskWriter | ForeignFlight:
        """See `Storage.claim`."""
        try:
            claim = ClaimFile(self._folder, f"flights/{hashed(name)}")
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        body = f"flights/{hashed(f'body {name}')}"
        if not claim.owned:
            return ForeignFlight(self._folder, key, body, claim, self._watcher.stored)
        try:
            self._folder.unlink(body)  # of an owner that died
            return DiskWriter(self._folder, key, body, self._watcher.stored, claim=claim)
        except StorageFailed:
            claim.close()
            raise

    def update(self, record: Record, fields: Fields) -> Record:
        """See `Storage.update`."""
        changed = Record(record.key, record.sha256, record.size, dict(fields))
        try:
            self._folder.write(self._temporary(), entry_name(record.key), entry_bytes(changed))
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        return changed

    def remove(self, key: str) -> None:
        """See `Storage.remove`. The body goes at the next prune: others may share it."""
        self._folder.unlink(entry_name(key))
        self._watcher.removed(key)

    def _temporary(self) -> str:
        self._serial += 1
        return f"flights/{hashed(f'{os.getpid()} {self._serial} {time.monotonic_ns()}')}"

    def _sweep(self) -> None:
        """Remove what dead processes left half-done. A claim that is still held stays."""
        if not self._session.first:
            return
        for name in self._folder.names("flights"):
            self._folder.unlink(name)
