"""Large layers: many clients at a time, little memory, the first byte at once.

CGR_PROXY_TEST_LONG=1: 64 clients of a layer of 1 GiB in place of 16 of 160 MiB, and one of a layer
of 2 GiB. Everything is a process of its own: the proxy, whose memory is measured, and the clients.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.faults.chance import LONG
from tests.origin import OriginThread
from tests.origin.blobs import SyntheticBlob
from tests.origin.images import PUBLIC
from tests.running import TOP, Process, process

pytestmark = pytest.mark.slow

MIB = 1 << 20
CLIENTS, LAYER = (64, 1 << 30) if LONG else (16, 160 * MIB)
ALONE = (2 << 30) + 1 if LONG else 160 * MIB
GROWTH = 100_000_000  # bytes of resident memory


def large(origin: OriginThread, size: int) -> str:
    """Add an image with a layer of that size; the layer's digest. The bytes are counted here, not
    in the origin's loop."""
    blob = SyntheticBlob(size)
    repository = origin.call(lambda running: running.images.repository(PUBLIC))
    origin.call(lambda _: repository.image("big", "big", layers=[blob], architectures=("amd64",)))
    return f"sha256:{blob.sha256}"


def crowd(proxy: Process, digest: str, clients: int, leave: int) -> dict[str, Any]:
    """Have many clients ask for a layer: see `tests.faults.crowd`."""
    where = urlsplit(proxy.url)
    path = f"/v2/{PUBLIC}/blobs/{digest}"
    words = [str(where.hostname), str(where.port), path, str(clients), str(leave)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.crowd", *words],
        cwd=TOP,
        check=True,
        stdout=subprocess.PIPE,
        timeout=1300,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def warm(proxy: Process) -> int:
    """Have the proxy do everything once; its resident memory then."""
    manifest = proxy.get(f"/v2/{PUBLIC}/manifests/latest", accept="*/*")
    assert manifest.status == 200
    return proxy.peak_rss


def test_many_clients_of_a_cold_layer_get_it_from_one_body_though_the_first_one_leaves(
    tmp_path: Path,
) -> None:
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        digest = large(origin, LAYER)
        before = warm(proxy)
        origin.reset()

        found = crowd(proxy, digest, CLIENTS, LAYER // 10)

        assert found["got"] == [{"status": 200, "digest": digest, "whole": True}] * (CLIENTS - 1)
        (asked,) = [entry for entry in origin.log if entry.server == "store"]
        sent = origin.call(lambda running: running.journal.body_bytes["store"])
        assert sent == LAYER
        grown = proxy.peak_rss - before
        print(f"memory: {grown / 1e6:.0f} MB more; first byte: {found['first'] - asked.at:.3f} s")
        assert grown < GROWTH
        # From the upstream's beginning to answer to a client's first byte.
        assert found["first"] - asked.at < 0.1


def test_a_layer_larger_than_any_buffer_takes_little_memory(tmp_path: Path) -> None:
    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        digest = large(origin, ALONE)
        before = warm(proxy)

        cold = crowd(proxy, digest, 1, 0)
        warm_ = crowd(proxy, digest, 1, 0)

        right = [{"status": 200, "digest": digest, "whole": True}]
        assert (cold["got"], warm_["got"]) == (right, right)
        assert proxy.peak_rss - before < GROWTH
        assert origin.violations == []
