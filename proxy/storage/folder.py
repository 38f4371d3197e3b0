"""One folder that belongs to us alone: the few file operations the disk storage is made of.

Purpose: every path is relative to the root and made of names we chose; no folder on the way to a
file may be a symbolic link, from the root on: the kernel follows none (`straight`), or each is
opened from the one before it. Files are opened in the same way and must be plain; new files are
0600 and exclusive; a folder that was removed under the running process is made again; a root that
others may write to is refused.

No descriptor is kept, but for a moment that of the folder where files are made (`workshop`).

Reading: `openat(2)`, `rename(2)`. Non-goals: knowing what the files mean.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, final

from proxy.storage import files
from proxy.storage.failures import Linked
from proxy.storage.straight import StraightWay
from proxy.storage.workshop import Workshop

LOG = logging.getLogger(__name__)
_DOWN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHARED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WORKSHOP: Final = "flights"  # the part where every file is made
_TOLD_AT_ONCE = frozenset({-errno.EEXIST, -errno.ENOENT})  # no need to find out why


@final
class Folder:
    """File operations below `root`. All raise OSError, Linked among them."""

    def __init__(self, root: Path, parts: tuple[str, ...]) -> None:
        self.root = root
        self._path = str(root)
        self._parts = parts
        self._told: set[str] = set()
        self._workshop = Workshop(lambda: self._parent(f"{WORKSHOP}/")[0])
        self.make()
        self._own()

    def make(self) -> None:
        """Make the root and its parts, 0700, where they are missing."""
        with suppress(FileExistsError):
            self.root.mkdir(mode=0o700, parents=True)
        self._straight = StraightWay(self.root)
        self._workshop.forget()
        for part in self._parts:
            with self._in(part) as (fd, name):
                files.make_folder(fd, name)
            os.close(self._parent(f"{part}/")[0])  # it is a folder

    def _parent(self, name: str) -> tuple[int, str]:
        """Open the folder that a name stands in; its descriptor, to be closed, and the rest."""
        folder, _, last = name.rpartition("/")
        fd = self._straight.open(folder, _DOWN)
        if fd >= 0:
            return fd, last
        if fd == -errno.ENOENT:
            raise FileNotFoundError(errno.ENOENT, "a folder is missing")
        return self._step_by_step(name)

    def _step_by_step(self, name: str) -> tuple[int, str]:
        """The same where that did not go, to find out why. Raises OSError, Linked."""
        folders = name.split("/")
        last = folders.pop()
        try:
            fd = os.open(self._path, _DOWN)
            for folder in folders:
                above = fd
                try:
                    fd = os.open(folder, _DOWN, 0, dir_fd=above)
                finally:
                    os.close(above)
        except NotADirectoryError:
            self._look_for_link(folders)
            raise
        return fd, last

    @contextmanager
    def _in(self, name: str) -> Iterator[tuple[int, str]]:
        """The same for what is not called all the time."""
        fd, last = self._parent(name)
        try:
            yield fd, last
        finally:
            os.close(fd)

    def _look_for_link(self, folders: list[str]) -> None:
        """Raise Linked if one of these, each in the one before, is a link; say so once."""
        for count in range(len(folders) + 1):
            path = self.root.joinpath(*folders[:count])
            if not stat.S_ISLNK(os.lstat(path).st_mode):
                continue
            name = str(path.relative_to(self.root.parent))
            if name not in self._told:
                self._told.add(name)
                LOG.error("%s of the store is a symbolic link; it is not followed", name)
            raise Linked(name)

    def _own(self) -> None:
        """Refuse a root that somebody else may have filled; close one that the group may enter.

        A group's rights are nobody's fault: Kubernetes gives them to every folder of a volume.
        """
        status = os.lstat(self.root)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "the store is not a folder")
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "the store belongs to another user")
        if status.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "anybody may write to the store")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            with suppress(OSError), self._listing("") as fd:  # a read-only disk
                os.fchmod(fd, stat.S_IRWXU)

    def path(self, name: str) -> str:
        """Where a file is, for looking at it only: links on the way would be followed."""
        return f"{self._path}/{name}"

    def open(self, name: str) -> tuple[int, os.stat_result]:
        """Open a plain file for reading: descriptor and status. Anything else raises OSError."""
        fd = self._open_there(name, _READ)
        return fd, files.opened(fd)

    def _open_there(self, name: str, flags: int) -> int:
        fd = self._straight.open(name, flags)
        if fd >= 0:
            return fd
        if fd in _TOLD_AT_ONCE:
            raise OSError(-fd, os.strerror(-fd))
        with self._in(name) as (folder, last):
            return os.open(last, flags, 0o600, dir_fd=folder)

    def lacks(self, name: str) -> bool:
        """Tell at the least cost that there is no such file. False: perhaps there is one; links on
        the way would be followed."""
        return not os.access(f"{self._path}/{name}", os.F_OK)

    def find(self, name: str) -> tuple[int, os.stat_result] | None:
        """The same for what may well be missing: None then, which costs less than an error."""
        fd = self._straight.open(name, _READ)
        if fd == -errno.ENOENT:
            return None
        if fd >= 0:
            return fd, files.opened(fd)
        with suppress(FileNotFoundError):
            return self.open(name)
        return None

    def write(self, temporary: str, name: str, *parts: bytes | memoryview) -> None:
        """Write a whole file into place by way of a temporary one."""
        fd = self._make(temporary)
        try:
            files.write_at_once(fd, parts)
            self.replace((temporary, name))
        except OSError:
            self._workshop.remove(temporary[len(WORKSHOP) + 1 :])
            raise
        finally:
            os.close(fd)

    def write_new(self, name: str, data: bytes, *, durable: bool = False) -> None:
        """Write a whole file that must not exist; nothing is left of it when that fails."""
        fd = self.create(name)
        try:
            files.write_all(fd, data)
            if durable:
                os.fsync(fd)
        except OSError:
            self.unlink(name)
            raise
        finally:
            os.close(fd)

    def written(self, name: str, when: float) -> None:
        """Say when a file was written (epoch seconds)."""
        with suppress(OSError), self._in(name) as (fd, last):
            os.utime(last, (when, when), dir_fd=fd, follow_symlinks=False)

    def changed(self, name: str) -> float | None:
        """When a file got its name or content last, by the system's clock; None: it is missing."""
        with suppress(OSError):
            return self._status(name).st_ctime
        return None

    def filled(self, name: str) -> float | None:
        """When a file got its content, at the latest; None: it is missing. A copy of a store is
        younger than what is in it."""
        with suppress(OSError):
            status = self._status(name)
            return min(status.st_ctime, status.st_mtime)
        return None

    def size(self, name: str) -> int | None:
        """The size of a plain file in bytes; None: there is none."""
        with suppress(OSError):
            status = self._status(name)
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        return None

    def create(self, name: str) -> int:
        """Create a file that must not exist and open it for reading and writing."""
        return self._open(name, _NEW)

    def _make(self, name: str) -> int:
        """The same in the workshop, at less cost."""
        new = name[len(WORKSHOP) + 1 :]
        try:
            return self._workshop.create(new)
        except FileNotFoundError:
            self.make()
        return self._workshop.create(new)

    def open_or_create(self, name: str) -> int:
        """Open a plain file for reading and writing; create it when it is missing."""
        fd = self._open(name, _SHARED)
        files.opened(fd)
        return fd

    def open_shared(self, name: str) -> tuple[int, bool]:
        """The same in the workshop, and whether it was made now. The caller MUST look what it is
        (`plain`)."""
        try:
            return self._make(name), True
        except FileExistsError:
            return self._open(name, _SHARED), False

    def _open(self, name: str, flags: int) -> int:
        try:
            return self._open_there(name, flags)
        except FileNotFoundError:
            self.make()
        return self._open_there(name, flags)

    def is_still(self, name: str, fd: int) -> bool:
        """Tell whether a name still means the open file."""
        with suppress(OSError):
            return os.path.samestat(self._status(name), os.fstat(fd))
        return False

    def _status(self, name: str) -> os.stat_result:
        fd = self._open_there(name, _LOOK)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def append_to(self, name: str) -> tuple[int, int]:
        """Open an existing file for reading and writing at its end: descriptor and size."""
        fd = self._open_there(name, _APPEND)
        files.opened(fd)
        return fd, os.lseek(fd, 0, os.SEEK_END)

    def replace(self, *moves: tuple[str, str]) -> None:
        """Rename out of the workshop, one by one, making (two-letter) folders that lack."""
        for temporary, name in moves:
            old = temporary[len(WORKSHOP) + 1 :]
            try:
                self._rename(old, name)
            except Linked:
                raise
            except (FileNotFoundError, NotADirectoryError):
                self._make_way(name.rpartition("/")[0])
                self._rename(old, name)

    def _rename(self, old: str, name: str) -> None:
        target, new = self._parent(name)
        try:
            self._workshop.rename(old, target, new)
        finally:
            os.close(target)

    def let_go(self) -> None:
        """Keep no folder open; whoever goes on opens it again."""
        self._workshop.forget()

    def _make_way(self, folder: str) -> None:
        """Make a folder below a part, in place of a file perhaps."""
        missing = suppress(FileNotFoundError, NotADirectoryError, FileExistsError)
        with missing, self._in(folder) as (fd, last):
            return os.mkdir(last, 0o700, dir_fd=fd)
        self.make()
        with self._in(folder) as (fd, last):
            if not stat.S_ISDIR(files.mode_of(fd, last)):
                with suppress(FileNotFoundError, IsADirectoryError):  # another process was faster
                    os.unlink(last, dir_fd=fd)
            files.make_folder(fd, last)
        return None

    def free(self) -> int:
        """Bytes that may still be written to the disk; 0 also when no file can be made."""
        return files.room(self.root)

    def sync(self) -> None:
        """Make everything durable that was written to this file system (syncfs(2))."""
        with self._listing("") as fd:
            files.sync_all(fd)

    def sync_parent(self, name: str) -> None:
        """Make a rename durable."""
        with self._listing(name.rpartition("/")[0]) as fd:
            os.fsync(fd)

    @contextmanager
    def _listing(self, folder: str) -> Iterator[int]:
        """A descriptor of a folder that can be read and synced, not only gone through."""
        with self._in(f"{folder}/" if folder else "") as (through, _):
            fd = os.open(".", _LIST, dir_fd=through)
        try:
            yield fd
        finally:
            os.close(fd)

    def unlink(self, name: str) -> None:
        """Remove a file; one that is missing or cannot be removed is left to the next prune."""
        with suppress(OSError), self._in(name) as (fd, last):
            try:
                os.unlink(last, dir_fd=fd)
            except IsADirectoryError:
                # Nobody of us makes a folder there, and while it stands no file can take its place.
                shutil.rmtree(last, ignore_errors=True, dir_fd=fd)

    def names(self, part: str) -> Iterator[str]:
        """The names directly below one part, as `part/name`; none when it is missing."""
        found: list[str] = []
        with suppress(OSError), self._listing(part) as fd:
            found = os.listdir(fd)
        for name in found:
            yield f"{part}/{name}"

    def walk(self, part: str) -> Iterator[str]:
        """The names two below one part, as `part/aa/name`, a folder at a time."""
        for inner in sorted(self.names(part)):
            yield from list(self.names(inner))
