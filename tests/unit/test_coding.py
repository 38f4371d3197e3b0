"""Content codings: which a client gets, and what is in them."""

from __future__ import annotations

import gzip
import sys

import pytest

from proxy.cache.coding import CODINGS, compress
from proxy.server.coding import choose_coding

BOTH = ("zstd", "gzip")


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ([], ""),
        ([""], ""),
        (["identity"], ""),
        (["gzip"], "gzip"),
        (["GZIP"], "gzip"),
        (["x-gzip"], "gzip"),
        (["gzip, deflate, br, zstd"], "zstd"),
        (["gzip, zstd;q=0.5"], "gzip"),
        (["gzip;q=0.5", "zstd"], "zstd"),
        (["*"], "zstd"),
        (["*;q=0"], ""),
        (["gzip;q=0"], ""),
        (["gzip;q=0, *"], "zstd"),
        (["identity;q=0"], ""),
        (["identity;q=0, gzip;q=0.1"], "gzip"),
        (["identity, gzip;q=0.5"], ""),
        (["identity;q=0.5, gzip"], "gzip"),
        (["br, deflate"], ""),
        (["gzip;q=nonsense"], ""),
        (["x" * 10_000], ""),
    ],
)
def test_the_coding_is_one_that_the_client_accepts(accepted: list[str], chosen: str) -> None:
    assert choose_coding(accepted, BOTH) == chosen


def test_gzip_is_always_there_and_zstd_where_python_has_it() -> None:
    offered = ("zstd", "gzip") if sys.version_info >= (3, 14) else ("gzip",)
    assert offered == CODINGS


@pytest.mark.parametrize("coding", CODINGS)
def test_the_same_body_is_always_packed_in_the_same_way(coding: str) -> None:
    body = b"<a href='x'>y</a>\n" * 1000
    packed = compress(body, coding)
    assert packed == compress(body, coding)
    assert len(packed) < len(body) // 10
    if coding == "gzip":
        assert gzip.decompress(packed) == body
