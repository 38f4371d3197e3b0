"""Names and forms of the files of a store, version 1. Pure but for hashing.

Purpose: the one place that knows how a key becomes a name and a record becomes bytes.
Non-goals: touching the disk (`folder`).
"""

from __future__ import annotations

import hashlib
import json

from proxy.storage.base import Record

VERSION = "v1"
_SHA256_LENGTH = 64


def hashed(text: str) -> str:
    """A file name for any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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
    return json.dumps(data, separators=(",", ":")).encode("ascii")


def parse_entry(raw: bytes, *, suspect: bool = False) -> Record:
    """Read a metadata file. Raises ValueError, KeyError, TypeError or RecursionError."""
    data = json.loads(raw)
    key, sha256, size, fields = data["key"], data["sha256"], data["size"], data["fields"]
    if not isinstance(key, str) or not isinstance(sha256, str) or len(sha256) != _SHA256_LENGTH:
        raise ValueError("wrong shape")
    if not isinstance(size, int) or not isinstance(fields, dict):
        raise TypeError("wrong shape")
    return Record(key, sha256, size, fields, suspect)
