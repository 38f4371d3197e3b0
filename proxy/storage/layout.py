"""Names and forms of the files of a store, version 1. Pure but for hashing.

Purpose: the one place that knows how a key becomes a name and a record becomes bytes.
Non-goals: touching the disk (`folder`).
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache

from proxy.storage.base import Record

VERSION = "v1"
MAX_ENTRY = 1 << 20  # bytes of an entry file
PARTS = ("bodies", "entries", "flights")
# Also a guard: a planted entry must not name a body outside of its folder.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENCODER = json.JSONEncoder(separators=(",", ":"))


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


def entry_bytes(record: Record) -> bytes:
    """The metadata file of a record."""
    data = {
        "key": record.key,
        "sha256": record.sha256,
        "size": record.size,
        "fields": dict(record.fields),
    }
    return _ENCODER.encode(data).encode("ascii")


def parse_entry(raw: bytes, *, suspect: bool = False) -> Record:
    """Read a metadata file. Raises ValueError, KeyError, TypeError or RecursionError."""
    data = json.loads(raw)
    key, sha256, size, fields = data["key"], data["sha256"], data["size"], data["fields"]
    if not isinstance(key, str) or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("wrong shape")
    if type(size) is not int or size < 0 or not isinstance(fields, dict):
        raise TypeError("wrong shape")
    key.encode("utf-8")  # or it could stand in no index
    return Record(key, sha256, size, fields, suspect)


def sha256_of_body(name: str) -> str | None:
    """The digest that a body's file name states; None when the name is not one of ours."""
    stem = name.rpartition("/")[2]
    return stem if _SHA256.fullmatch(stem) and name == body_name(stem) else None
