"""Entries on a local disk.

Layout (a change of it is a new version folder)::

    v1/bodies/<aa>/<sha256>          the bytes; shared by all entries that have the same ones
    v1/entries/<aa>/<hash of key>    metadata, the truth: key, sha256, size, fields (JSON)
    v1/flights/<hash>                bodies in the making

No name is made of anything a client sends, and no name has a suffix (aiohttp's FileResponse would
serve `<name>.gz` in its place).

Commit order: body written, (over 1 MiB) fsynced, renamed into place, then the metadata in the same
way. Two fsyncs for each small file cost a factor of 6 to 50 (measured), so small ones are not
fsynced: instead every entry is hashed again at its first use after an unclean stop.

Reading: pingora `storage.rs`, goproxy `DirCacher.Put`. Non-goals: see `base`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import final

from proxy.errors import StorageFailed
from proxy.storage.base import Fields, Record
from proxy.storage.folder import Folder, cause, write_all

LOG = logging.getLogger(__name__)
VERSION = "v1"
FSYNC_FROM = 1 << 20
_MAX_METADATA = 1 << 20


@final
class DiskBody:
    """An open file with a known size."""

    __slots__ = ("_fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def close(self) -> None:
        """Close it once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@final
class DiskStorage:
    """Implements `Storage` in one folder, which must belong to us alone."""

    def __init__(self, directory: Path) -> None:
        self._folder = Folder(directory / VERSION, ("bodies", "entries", "flights"))
        self._serial = 0
        for name in self._folder.names("flights"):
            self._folder.unlink(name)

    def lookup(self, key: str) -> Record | None:
        """See `Storage.lookup`."""
        name = _entry(key)
        try:
            record = _parse(self._folder.read(name, _MAX_METADATA))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            LOG.warning("entry %s is unreadable (%s); treated as a miss", name, cause(error))
            self._folder.unlink(name)
            return None
        if record.key != key:
            LOG.warning("entry %s holds another key; treated as a miss", name)
            return None
        return record

    def open(self, record: Record) -> DiskBody | None:
        """See `Storage.open`."""
        name = _body(record.sha256)
        try:
            fd, size = self._folder.open(name)
        except OSError as error:
            LOG.warning("body %s cannot be opened (%s); entry dropped", name, cause(error))
            self.remove(record.key)
            return None
        if size != record.size:
            os.close(fd)
            LOG.warning("body %s has another size than its entry; both dropped", name)
            self._folder.unlink(name)
            self.remove(record.key)
            return None
        return DiskBody(fd, size)

    def create(self, key: str) -> DiskWriter:
        """See `Storage.create`."""
        return DiskWriter(self._folder, key, self._temporary())

    def update(self, record: Record, fields: Fields) -> Record:
        """See `Storage.update`."""
        changed = Record(record.key, record.sha256, record.size, dict(fields))
        try:
            write_entry(self._folder, self._temporary(), changed, durable=False)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        return changed

    def remove(self, key: str) -> None:
        """See `Storage.remove`. The body goes at the next prune: others may share it."""
        self._folder.unlink(_entry(key))

    def _temporary(self) -> str:
        self._serial += 1
        return f"flights/{_hash(f'{os.getpid()} {self._serial}')}"


@final
class DiskWriter:
    """Implements `Writer`: one temporary file."""

    def __init__(self, folder: Folder, key: str, name: str) -> None:
        self._folder = folder
        self._key = key
        self._name = name
        self._size = 0
        try:
            self._fd = folder.create(name)
        except OSError as error:
            raise StorageFailed(cause(error)) from error

    def write(self, piece: bytes) -> None:
        """See `Writer.write`."""
        try:
            write_all(self._fd, piece)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        self._size += len(piece)

    def commit(self, sha256: str, fields: Fields) -> Record:
        """See `Writer.commit`."""
        record = Record(self._key, sha256, self._size, dict(fields))
        durable = self._size > FSYNC_FROM
        name = _body(record.sha256)
        try:
            if durable:
                os.fsync(self._fd)
            self._folder.replace(self._name, name)
            if durable:
                self._folder.sync_parent(name)
            # The temporary name is free again: the body has moved away from it.
            write_entry(self._folder, self._name, record, durable=durable)
        except OSError as error:
            raise StorageFailed(cause(error)) from error
        self.close()
        return record

    def open(self) -> DiskBody:
        """See `Writer.open`."""
        return DiskBody(os.dup(self._fd), self._size)

    def close(self) -> None:
        """See `Writer.close`."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        self._folder.unlink(self._name)


def write_entry(folder: Folder, temporary: str, record: Record, *, durable: bool) -> None:
    """Write one entry's metadata into place by way of a temporary file. Raises OSError."""
    data = {
        "key": record.key,
        "sha256": record.sha256,
        "size": record.size,
        "fields": dict(record.fields),
    }
    fd = folder.create(temporary)
    try:
        try:
            write_all(fd, json.dumps(data, separators=(",", ":")).encode("ascii"))
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        folder.replace(temporary, _entry(record.key))
    except OSError:
        folder.unlink(temporary)
        raise


def _parse(raw: bytes) -> Record:
    data = json.loads(raw)
    key, sha256, size, fields = data["key"], data["sha256"], data["size"], data["fields"]
    if not isinstance(key, str) or not isinstance(sha256, str) or len(sha256) != len(_hash("")):
        raise ValueError("wrong shape")
    if not isinstance(size, int) or not isinstance(fields, dict):
        raise TypeError("wrong shape")
    return Record(key, sha256, size, fields)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _entry(key: str) -> str:
    name = _hash(key)
    return f"entries/{name[:2]}/{name}"


def _body(sha256: str) -> str:
    return f"bodies/{sha256[:2]}/{sha256}"
