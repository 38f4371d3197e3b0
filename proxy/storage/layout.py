"""Names and forms of the files of a store, version 2. Pure but for hashing.

Purpose: the one place that knows how a key becomes a name and a record becomes bytes.

An entry's file has one of two forms, which may stand side by side:

    JSON                    the body has a file of its own, and may be shared
    body JSON footer        the body is here, at the beginning, and this entry's alone

The footer states the length of the JSON. Its mark is no ASCII, which all of our JSON is, so that
the first form never ends in one. Version 1 had that form only; its stores become ours (`takeover`).

Non-goals: touching the disk (`folder`, `entries`).
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from functools import lru_cache

from proxy.storage.base import Record

VERSION, BEFORE = "v2", "v1"
MAX_ENTRY = 1 << 20  # bytes of an entry's metadata
MAX_INSIDE = 1 << 18  # bytes of a body that is written into its entry's file
FOOTER = struct.Struct("<II8s")  # bytes of the metadata, version, mark
PARTS = ("bodies", "entries", "flights")
# Also a guard: a planted entry must not name a body outside of its folder.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MARK = b"\xffentry\x00\xff"
_FOOTER_VERSION = 1
# Metadata is flat: nothing in it can hold itself, and to look for that takes a fifth of the time.
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def hashed(text: str) -> str:
    """A file name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def claim_name(name: str) -> str:
    """Where the claim on a body in the making stands."""
    return f"flights/{hashed(name)}"


def flight_name(claim: str) -> str:
    """Where the body stands that a claim is on."""
    return claim.replace("/", "/body-", 1)


@lru_cache(maxsize=1024)  # one request looks its entry up several times
def entry_name(key: str) -> str:
    """Where the metadata of a key stands."""
    name = hashed(key)
    return f"entries/{name[:2]}/{name}"


def body_name(sha256: str) -> str:
    """Where a body stands."""
    return f"bodies/{sha256[:2]}/{sha256}"


def body_file(record: Record) -> str:
    """Where the bytes of an entry stand, from the beginning of the file."""
    return entry_name(record.key) if record.inside else body_name(record.sha256)


def body_id(record: Record) -> str:
    """What the index counts the bytes of an entry as.

    The SHA-256 of a body with a file of its own: whoever has the same one shares it. One inside
    its entry is nobody else's: half of the entry's name says so, and half of the digest tells it
    from what that entry had before, with a point between them.
    """
    if not record.inside:
        return record.sha256
    return f"{entry_name(record.key)[-64:-32]}.{record.sha256[:32]}"


def is_shared(body_id: str) -> bool:
    """Tell whether that is the name of a body with a file of its own, which others may share."""
    return "." not in body_id


def entry_bytes(record: Record) -> bytes:
    """The metadata of a record: all of its entry, or what stands behind the body in it."""
    data = {
        "key": record.key,
        "sha256": record.sha256,
        "size": record.size,
        "fields": dict(record.fields),
    }
    return _ENCODER.encode(data).encode("ascii")


def entry_tail(record: Record) -> bytes:
    """What follows the body in the entry's file; all of it, where the body is not inside."""
    metadata = entry_bytes(record)
    if not record.inside:
        return metadata
    return metadata + FOOTER.pack(len(metadata), _FOOTER_VERSION, _MARK)


def has_footer(end: bytes) -> bool:
    """Tell whether a file that ends so is an entry with its body inside."""
    return end.endswith(_MARK)


def metadata_length(end: bytes) -> int:
    """Bytes of the metadata in a file that ends so and has a footer. Raises ValueError."""
    if len(end) < FOOTER.size:
        raise ValueError("the footer is cut")
    length, version, _ = FOOTER.unpack_from(end, len(end) - FOOTER.size)
    if version != _FOOTER_VERSION or length > MAX_ENTRY:
        raise ValueError("a footer that is not understood")
    return int(length)


def parse_entry(raw: bytes, *, suspect: bool = False, inside: bool = False) -> Record:
    """Read metadata. Raises ValueError, KeyError, TypeError or RecursionError."""
    data = json.loads(raw)
    key, sha256, size, fields = data["key"], data["sha256"], data["size"], data["fields"]
    if not isinstance(key, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("wrong shape")
    if type(size) is not int or size < 0 or not isinstance(fields, dict):
        raise TypeError("wrong shape")
    key.encode("utf-8")  # or it could stand in no index
    return Record(key, sha256, size, fields, suspect, inside)


def sha256_of_body(name: str) -> str | None:
    """The digest that a body's file name states; None when the name is not one of ours."""
    stem = name.rpartition("/")[2]
    return stem if _SHA256.fullmatch(stem) and name == body_name(stem) else None
