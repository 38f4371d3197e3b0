"""Entries on a local disk.

Layout (a change of it is a new version folder)::

    v2/bodies/<aa>/<sha256>          the bytes; shared by all entries that have the same ones
    v2/entries/<aa>/<hash of key>    metadata, the truth: key, sha256, size, fields (JSON);
                                     before it the bytes of a small body that nobody shares
    v2/flights/<hash>                claims on bodies in the making
    v2/flights/body-<hash>           these bodies; what else is there has no claim on it
    v2/session                       whether the last stop was a clean one
    v2/doubt                         there when the index has missed something
    v2/generation                    replaced when what processes remember counts no more
    v2/upkeep                        locked by the process that evicts
    v2/index/                        the secondary index; may be removed at any time (`index`)

No name is made of anything a client sends, and no name has a suffix (aiohttp's FileResponse would
serve `<name>.gz` in its place).

Commit order: body written, (over 1 MiB) fsynced, renamed into place, then the metadata in the same
way; what is one file is written and renamed once. Two fsyncs for each small file cost a factor of 6
to 50 (measured), so small ones are not fsynced: instead every entry is hashed again at its first
use after an unclean stop.

Reading: pingora `storage.rs`, goproxy `DirCacher.Put`. Non-goals: see `base`.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Record
from proxy.storage.bodies import DiskBody, OpenBodies, content_of, digest_of
from proxy.storage.claim import ClaimFile
from proxy.storage.entries import UNREADABLE, read, record_of
from proxy.storage.failures import Linked, cause, is_ours
from proxy.storage.folder import Folder
from proxy.storage.generation import Generation
from proxy.storage.known import Known
from proxy.storage.layout import (
    PARTS,
    VERSION,
    body_file,
    body_id,
    body_name,
    claim_name,
    entry_name,
    entry_tail,
    flight_name,
)
from proxy.storage.session import Session
from proxy.storage.takeover import take_over
from proxy.storage.writer import DiskWriter, ForeignFlight, Nobody, Place, Watcher

LOG = logging.getLogger(__name__)
_DOUBT = "doubt"


@final
class DiskStorage:
    """Implements `Storage` in one folder, which must belong to us alone.

    `max_body`: bytes of the largest body that is kept. `clock`: epoch seconds. Raises OSError when
    the folder cannot be made, or belongs to somebody else. `bodies`: those that are open here.
    `healed`: told of each entry that went because it, or its body, was not what it must be.
    """

    def __init__(
        self,
        directory: Path,
        *,
        watcher: Watcher | None = None,
        max_body: int | None = None,
        clock: Callable[[], float] = time.time,
        healed: Callable[[], None] = lambda: None,
    ) -> None:
        self.healed = healed
        take_over(directory)
        self.folder = Folder(directory / VERSION, PARTS)
        self.generation = Generation(self.folder)
        self.bodies = OpenBodies()
        self._known = Known()
        self._watcher = watcher or Nobody()
        self._place = Place(self.folder, self._watcher, max_body, self._known.forget)
        self._clock = clock
        self._serial = itertools.count()
        self._session = Session(self.folder, clock(), self._sweep)

    @property
    def unclean(self) -> bool:
        """Tell whether somebody left the store in disorder, and we are the first to see it."""
        return self._session.unclean

    @property
    def alone(self) -> bool:
        """See `Storage.alone`."""
        return self._session.alone

    @property
    def doubtful(self) -> bool:
        """Tell whether the index may have missed something."""
        return self.unclean or self.folder.size(_DOUBT) is not None

    def doubt(self) -> None:
        """Leave word that the index has missed something."""
        with suppress(OSError):
            os.close(self.folder.open_or_create(_DOUBT))

    def no_doubt(self) -> None:
        """Take the word back: the index itself says so now."""
        self.folder.unlink(_DOUBT)

    def close(self) -> None:
        """Leave the store in order."""
        self._session.end()
        self.folder.let_go()

    def lookup(self, key: str) -> Record | None:
        """See `Storage.lookup`."""
        if (known := self._known.find(key)) is not None:
            return known
        name = entry_name(key)
        if self.folder.lacks(name):
            # Or it cannot be got at, of which whoever stores it anew hears the reason.
            return None
        try:
            found = self.folder.find(name)
            if found is None:
                return None
            fd, status = found
            try:
                record = record_of(fd, status, self._session.suspect_before)
            finally:
                os.close(fd)
        except (OSError, *UNREADABLE) as error:
            if not isinstance(error, Linked):  # that is said once, by the folder
                LOG.warning("entry %s is unreadable (%s); treated as a miss", name, cause(error))
            if not (isinstance(error, OSError) and is_ours(error)):
                self._heal(key)
            return None
        if record.key != key:
            LOG.warning("entry %s holds another key; treated as a miss", name)
            self._heal(key)
            return None
        self._known.keep(record, self.folder.path(name), status)
        return record

    def open(self, record: Record) -> DiskBody | None:
        """See `Storage.open`."""
        if record.inside:
            return self._open_inside(record)
        name = body_file(record)
        try:
            fd, status = self.folder.open(name)
        except OSError as error:
            self._cannot_open(record, error)
            return None
        if status.st_size != record.size:
            os.close(fd)
            LOG.warning("body %s has another size than its entry; both dropped", name)
            self._drop_both(record)
            return None
        return self._body(fd, record)

    def _open_inside(self, record: Record) -> DiskBody | None:
        """The body inside an entry, if the entry's file is still one that has it."""
        try:
            found = self.folder.find(body_file(record))
        except OSError as error:
            self._cannot_open(record, error)
            return None
        if found is None:  # evicted, or removed, which is no damage
            self._known.forget(record.key)
            self._watcher.removed(record.key)
            return None
        fd, status = found
        try:
            now = self._known.of(record.key, status) or record_of(fd, status)
        except (OSError, *UNREADABLE) as error:
            os.close(fd)
            self._cannot_open(record, error)
            return None
        if now.key == record.key and body_id(now) == body_id(record):
            return self._body(fd, record)
        os.close(fd)
        # It has been stored again, with these bytes perhaps, in a file of their own.
        return self.open(now) if (now.key, now.sha256) == (record.key, record.sha256) else None

    def _body(self, fd: int, record: Record) -> DiskBody:
        self._watcher.used(record.key)
        return DiskBody(fd, record.size, body_id(record), self.bodies)

    def _cannot_open(self, record: Record, error: Exception) -> None:
        if not isinstance(error, Linked):
            name = body_file(record)
            LOG.warning("body %s cannot be opened (%s); treated as a miss", name, cause(error))
        if not (isinstance(error, OSError) and is_ours(error)):
            self._drop_both(record)

    def recheck(self, record: Record) -> bool:
        """See `Storage.recheck`."""
        body = self.open(record)
        if body is None:
            return False
        try:
            sound = digest_of(body) == record.sha256
        except OSError as error:
            LOG.warning("body %s cannot be read (%s)", body_file(record), cause(error))
            sound = False
        finally:
            body.close()
        if sound:
            # The clock may have been set back since the last start.
            now = max(self._clock(), self._session.suspect_before)
            self.folder.written(entry_name(record.key), now)
            return True
        LOG.warning("body %s does not match its digest; dropped", body_file(record))
        self._drop_both(record)
        return False

    def create(self, key: str) -> DiskWriter:
        """See `Storage.create`."""
        return DiskWriter(self._place, key, self._temporary())

    def claim(self, key: str, name: str) -> DiskWriter | ForeignFlight:
        """See `Storage.claim`."""
        try:
            claim = ClaimFile(self.folder, claim_name(name))
        except OSError as error:
            raise self._place.failed(error) from error
        body = flight_name(claim.name)
        if not claim.owned:
            return ForeignFlight(self._place, key, body, claim)
        if claim.inherited:
            # Of an owner that died: what it noted, and may have written, is gone on with by nobody.
            try:
                self.folder.unlink(body)
                claim.clear()
            except OSError as error:
                claim.close()
                raise self._place.failed(error) from error
        return DiskWriter(self._place, key, body, claim=claim)

    def update(self, record: Record, fields: Fields) -> Record:
        """See `Storage.update`."""
        current = self.lookup(record.key)
        if current is None or current.sha256 != record.sha256:
            raise StorageFailed("the entry is gone")
        changed = replace(current, fields=dict(fields))
        self._describe(changed, self._content(current) if current.inside else b"")
        # Not only used: if another process has removed it meanwhile, it is there again.
        self._watcher.stored(changed.key, body_id(changed), changed.size)
        return changed

    def _content(self, record: Record) -> bytes:
        """The body inside an entry. Raises StorageFailed."""
        body = self.open(record)
        if body is None:
            raise StorageFailed("the entry is gone")
        try:
            return content_of(body)
        except OSError as error:
            raise self._place.failed(error) from error

    def holds(self, sha256: str) -> bool:
        """See `Storage.holds`."""
        return self.folder.size(body_name(sha256)) is not None

    def share(self, key: str, sha256: str, fields: Fields) -> Record | None:
        """See `Storage.share`. A body that is evicted meanwhile leaves an entry that heals."""
        body = body_name(sha256)
        size, written = self.folder.size(body), self.folder.filled(body)
        if size is None or written is None:
            return None
        # Nobody can tell whether an old body was hashed since.
        record = Record(key, sha256, size, dict(fields), written < self._session.suspect_before)
        self._describe(record)
        self._watcher.stored(key, sha256, size)
        return record

    def _describe(self, record: Record, content: bytes = b"") -> None:
        """Write the entry of a body that is there already. Raises StorageFailed.

        `content`: the body, where it stands inside.
        """
        name = entry_name(record.key)
        try:
            self.folder.write(self._temporary(), name, content + entry_tail(record))
        except OSError as error:
            raise self._place.failed(error) from error
        finally:
            self._known.forget(record.key)
        if record.suspect:
            # A new entry proves nothing about an old body.
            self.folder.written(name, self._session.suspect_before - 1)

    def remove(self, key: str) -> None:
        """See `Storage.remove`. The body goes when the index knows that nobody shares it."""
        self.folder.unlink(entry_name(key))
        self._known.forget(key)
        self._watcher.removed(key)

    def evict(self, key: str, body: str, *, with_body: bool) -> None:
        """Remove an entry if it still has that body (`layout.body_id`); `with_body`: no other entry
        has it.

        The index, which says so, is not told: it is who asks.
        """
        if self._is(key, body):
            self.folder.unlink(entry_name(key))
            self._known.forget(key)
        if with_body:
            self.folder.unlink(body_name(body))  # of one inside an entry there is none

    def _is(self, key: str, body: str) -> bool:
        """Tell whether an entry has that body (`body_id`), or nothing that can be read."""
        try:
            return body_id(read(self.folder, entry_name(key))) == body
        except (OSError, *UNREADABLE):
            return True

    def _heal(self, key: str) -> None:
        self.remove(key)
        self.healed()

    def _drop_both(self, record: Record) -> None:
        """Remove a body and its entry, unless another body was stored under its key meanwhile."""
        self.healed()
        if not record.inside:
            self.folder.unlink(body_name(record.sha256))
        if self._is(record.key, body_id(record)):
            self.remove(record.key)

    def _temporary(self) -> str:
        # Of another container a process may have the same number.
        return f"flights/{os.getpid()}-{next(self._serial)}-{time.monotonic_ns()}"

    def _sweep(self) -> None:
        """Remove what dead processes left half-done: nobody else is in."""
        for name in self.folder.names("flights"):
            self.folder.unlink(name)
