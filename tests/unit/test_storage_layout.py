"""Metadata is written as the JSON encoder of the standard library would write it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.storage.base import Field, Record
from proxy.storage.layout import entry_bytes, parse_entry

FIELD = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(
    st.text(),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(0),
    st.dictionaries(st.text(), FIELD),
)
def test_metadata_is_the_json_of_its_record(
    key: str, sha256: str, size: int, fields: dict[str, Field]
) -> None:
    data = {"key": key, "sha256": sha256, "size": size, "fields": fields}
    plain = json.dumps(data, separators=(",", ":")).encode("ascii")
    assert entry_bytes(Record(key, sha256, size, fields)) == plain


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_metadata_is_read_back(fields: dict[str, Field]) -> None:
    record = Record("k\0é", "0" * 64, 1, fields)
    assert parse_entry(entry_bytes(record)) == record
