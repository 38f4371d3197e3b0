"""Whether a module's archive is whole and its own. Pure.

Purpose: a truncated archive, a page, another module's archive: nobody lists a digest that would
tell. So its directory is read (at its end, which a truncated one lacks): every member lies behind
`<module>@<version>/`, at a place of its own before the directory, with nothing in front of the
first, and nothing stands behind the end. The `go.mod` in it is given back, to be compared with the
one that clients get beside it.

The members' own check sums are left to the go command, which inflates them all and compares them
with go.sum.

Reading: the Go modules reference ("Module zip files"); PKWARE's APPNOTE. Non-goals: fetching.
"""

from __future__ import annotations

import zipfile
from collections.abc import Generator
from itertools import pairwise
from typing import Final

from proxy.ecosystems.archive import BROKEN, Parts, TooMuch
from proxy.ecosystems.base import Span
from proxy.errors import Malformed

MAX_GO_MOD: Final = 16 << 20  # Go takes no larger one
_TAIL: Final = 16 << 10  # bytes of the end: the whole directory of most modules
_BUDGET: Final = 40 << 20
_END: Final = b"PK\5\6"
_END_SIZE: Final = 22
_HEADER_SIZE: Final = 30
_MARGIN: Final = 256  # bytes that a local header may have more than the directory says


def go_mod_of(module: str, version: str, size: int) -> Generator[Span, bytes, bytes | None]:
    """Check an archive of `size` bytes; its `go.mod`, None: it has none.

    Yields spans, is sent their bytes. Raises Malformed.
    """
    file = Parts(size, _BUDGET)
    prefix = f"{module}@{version}/"
    try:
        yield from file.fetch(max(0, size - _TAIL), size)
        archive = yield from file.complete(lambda: zipfile.ZipFile(file))
        end = yield from file.complete(lambda: _end_of(file, archive, size))
        if end != size:
            raise Malformed("The upstream's module archive goes on behind its end.")
        _check_members(archive, prefix)
        found = [info for info in archive.infolist() if info.filename == f"{prefix}go.mod"]
        if not found:
            return None
        yield from file.fetch(*_span_of(found[0]))
        return (yield from file.complete(lambda: _read(archive, found[0])))
    except TooMuch:
        raise Malformed("The upstream's module archive has a directory beyond measure.") from None
    except BROKEN as error:
        raise Malformed("The upstream's module archive is cut, or is none.") from error


def _end_of(file: Parts, archive: zipfile.ZipFile, size: int) -> int:
    """Where the archive ends, by its own end record; -1: there is none where it should be."""
    start = size - _END_SIZE - len(archive.comment)
    file.seek(max(0, start))
    record = file.read(_END_SIZE)
    if record[:4] != _END:
        return -1
    return start + _END_SIZE + int.from_bytes(record[20:22], "little")


def _check_members(archive: zipfile.ZipFile, prefix: str) -> None:
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    names = {info.filename for info in infos}
    if len(names) != len(infos) or not all(name.startswith(prefix) for name in names):
        raise Malformed("The upstream's module archive is that of another module or version.")
    if not infos or infos[0].header_offset != 0:
        raise Malformed("The upstream's module archive does not begin with its first file.")
    starts = [*(info.header_offset for info in infos), archive.start_dir]
    ends = (_least_end(info) for info in infos)
    if any(end > following for end, (_, following) in zip(ends, pairwise(starts), strict=True)):
        raise Malformed("The files in the upstream's module archive overlap.")


def _least_end(info: zipfile.ZipInfo) -> int:
    name = len(info.orig_filename.encode("utf-8"))
    return info.header_offset + _HEADER_SIZE + name + info.compress_size


def _span_of(info: zipfile.ZipInfo) -> Span:
    return info.header_offset, _least_end(info) + len(info.extra) + _MARGIN


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if max(info.file_size, info.compress_size) > MAX_GO_MOD:
        raise Malformed("The go.mod in the upstream's module archive is larger than Go takes.")
    with archive.open(info) as member:
        data = member.read(MAX_GO_MOD + 1)
    if len(data) != info.file_size:
        raise Malformed("The go.mod in the upstream's module archive has another size than said.")
    return data
