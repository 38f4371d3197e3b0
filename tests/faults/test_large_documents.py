"""Documents that are too large, or become it when they are unpacked: refused, for little memory.

CGR_PROXY_TEST_LONG=1: a document of 300 MB in place of 80.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tests.faults.chance import LONG
from tests.origin import OriginThread
from tests.running import process

MB = 1_000_000
LARGE = (300 if LONG else 80) * MB
GROWTH = 64 * MB  # [limits] max_document is as much
PACKUMENT = "/javascript/alpha-js"


def bomb() -> dict[str, Any]:
    body = gzip.compress(bytes(200 * MB), 9)
    headers = (("Content-Encoding", "gzip"), ("Content-Type", "application/json"))
    return {"status": 200, "body": body, "headers": headers}


def large(framing: str) -> dict[str, Any]:
    headers = (("Content-Type", "application/json"),)
    return {"status": 200, "body": b"[" * LARGE, "framing": framing, "headers": headers}


@pytest.mark.parametrize("what", ["bomb", "length", "chunked"])
def test_a_document_that_is_too_large_costs_no_more_memory_than_the_limit(
    tmp_path: Path, what: str
) -> None:
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        assert proxy.get("/javascript/@scope%2fbeta-js").status == 200
        before = proxy.peak_rss
        origin.fault(
            "origin", "/alpha-js", times=None, **(bomb() if what == "bomb" else large(what))
        )
        got = proxy.get(PACKUMENT)
        grown = proxy.peak_rss - before
        print(f"{what}: {got.status}, {grown / MB:.1f} MB more")
        assert got.status == 502
        assert grown < GROWTH + 16 * MB
