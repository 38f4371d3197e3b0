"""The core metadata of a wheel, read out of it in as few pieces as possible. Pure.

Purpose: `extract` asks for the end of the archive, where its directory is and (as the wheel format
recommends) its metadata; mostly that is all it needs. Who drives it reads a file or asks for
ranges.

A wheel is somebody else's archive: it may be cut, name two things by one name or promise
gigabytes. Only `<project>-<version>.dist-info/METADATA` of a single such folder counts, only as
RECORD lists it, and every size is bounded before anything is inflated.

Reading: the binary distribution format (PEP 427), RECORD (PEP 376), core metadata files in indexes
(PEP 658); uv's and pip's remote zip readers. Non-goals: fetching; judging what the metadata says.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Generator
from typing import Final

from proxy.ecosystems.archive import BROKEN, Parts, TooMuch
from proxy.ecosystems.base import Span
from proxy.ecosystems.distribution import normalise
from proxy.errors import Malformed

TAIL: Final = 16 << 10
"""Bytes of the end that are asked for first: the whole directory of most wheels."""
MAX_METADATA: Final = 4 << 20
MAX_RECORD: Final = 16 << 20
_APART: Final = 32 << 10  # two members nearer than that are asked for at once
_LOCAL_HEADER: Final = 30
_EXTRA: Final = 256  # bytes that a local header may have more than the directory says
_PLAIN: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_BROKEN = (*BROKEN, csv.Error)


def extract(project: str, size: int, budget: int) -> Generator[Span, bytes, bytes]:
    """Give the METADATA of a wheel of `project` (normalised) that has `size` bytes.

    Yields spans, is sent their bytes. Raises Malformed, also when `budget` bytes are not enough.
    A RECORD that alone is over what is left of the budget is not asked for: whoever read only
    parts of a wheel has not verified it anyway, and does it again once it is whole.
    """
    file = Parts(size, budget)
    try:
        yield from file.fetch(max(0, size - TAIL), size)
        archive = yield from file.complete(lambda: zipfile.ZipFile(file))
        folder = _info_folder(archive, project)
        wanted = _member(archive, f"{folder}/METADATA", MAX_METADATA)
        record = _member(archive, f"{folder}/RECORD", MAX_RECORD)
        first, second = _span_of(archive, wanted), _span_of(archive, record)
        whole = (min(first[0], second[0]), max(first[1], second[1]))
        if whole[1] - whole[0] <= first[1] - first[0] + second[1] - second[0] + _APART:
            first = whole if file.affords(whole) else first
        yield from file.fetch(*first)
        metadata = yield from file.complete(lambda: _read(archive, wanted, MAX_METADATA))
        if file.affords(second):
            yield from file.fetch(*second)
            listing = yield from file.complete(lambda: _read(archive, record, MAX_RECORD))
            _check(listing, wanted.filename, metadata)
    except TooMuch:
        raise Malformed("The wheel's directory is larger than it may be.") from None
    except _BROKEN as error:
        raise Malformed("The wheel is no readable archive with core metadata.") from error
    return metadata


def _info_folder(archive: zipfile.ZipFile, project: str) -> str:
    tops = {name.partition("/")[0] for name in archive.namelist() if "/" in name}
    folders = [top for top in tops if top.endswith(".dist-info")]
    if len(folders) != 1 or normalise(folders[0].rpartition("-")[0].rpartition("-")[0]) != project:
        raise Malformed("The wheel has no metadata folder of its project, or several.")
    return folders[0]


def _member(archive: zipfile.ZipFile, name: str, most: int) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise Malformed("The wheel does not hold its metadata exactly once.")
    info = found[0]
    plain = info.compress_type in _PLAIN and not info.flag_bits & _ENCRYPTED
    if not plain or max(info.file_size, info.compress_size) > most:
        raise Malformed("The wheel's metadata is packed in a way that is not read.")
    return info


def _span_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Span:
    """Where a member is. Its local header may differ from the directory: what is missing then is
    asked for when it is read. Raises Malformed."""
    start = info.header_offset
    if start < 0:  # zipfile moves members by what the directory's own address is off
        raise Malformed("The wheel's directory places a member before its beginning.")
    head = _LOCAL_HEADER + len(info.filename.encode()) + len(info.extra) + _EXTRA
    return start, max(start, min(start + head + info.compress_size, archive.start_dir))


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(info) as member:
        data = member.read(most + 1)
    if len(data) != info.file_size:
        raise Malformed("The wheel's metadata has another size than its directory says.")
    return data


def _check(record: bytes, name: str, metadata: bytes) -> None:
    """RECORD must list the metadata; where it names a hash, the right one."""
    rows = csv.reader(io.StringIO(record.decode("utf-8-sig"), newline=""))
    listed = next((row for row in rows if row and row[0] == name), None)
    if listed is None:
        raise Malformed("The wheel's RECORD does not list its metadata.")
    algorithm, equals, value = (listed[1] if len(listed) > 1 else "").partition("=")
    if not equals or algorithm not in ("sha256", "sha384", "sha512"):
        return
    found = base64.urlsafe_b64encode(hashlib.new(algorithm, metadata).digest()).rstrip(b"=")
    if found.decode("ascii") != value.rstrip("="):
        raise Malformed("The wheel's metadata is not what its RECORD says.")
