"""Content of the test origin is honest, and the origin runs in a thread and as a program.

Purpose: made-up and rebuilt wheels must install like real ones. Non-goals: the machine's own
package client; the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import signal
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from tests.origin import (
    Content,
    DownloadFailed,
    Origin,
    OriginThread,
    status,
)
from tests.origin.blobs import SyntheticBlob
from tests.origin.download import Filler, kept
from tests.origin.raw import IDENTITY, ask, basic, located
from tests.origin.store import serve_blob
from tests.origin.wheels import make_wheel, rebuild
from tests.origin.wire import Request

WHEEL = "alpha-1.0-py3-none-any.whl"


# --- content -----------------------------------------------------------------------------------


def test_a_rebuilt_wheel_is_a_whole_wheel_of_the_new_version() -> None:
    name, data = rebuild(make_wheel("alpha", "1.0"), WHEEL, "cgr.1")
    assert name == "alpha-1.0+cgr.1-py3-none-any.whl"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        metadata = archive.read("alpha-1.0+cgr.1.dist-info/METADATA")
        record = archive.read("alpha-1.0+cgr.1.dist-info/RECORD").decode()
        assert b"\nVersion: 1.0+cgr.1\n" in metadata
        for row in record.splitlines():
            member, digest, size = row.rsplit(",", 2)
            content = archive.read(member)
            if digest:
                raw = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
                assert (digest, size) == (f"sha256={raw.decode().rstrip('=')}", str(len(content)))
        assert len(record.splitlines()) == len(archive.namelist())


async def test_synthetic_bytes_are_the_same_from_any_offset() -> None:
    blob = SyntheticBlob(200_000, seed=7)
    full = b"".join(blob.pieces())
    assert (len(full), hashlib.sha256(full).hexdigest()) == (200_000, blob.sha256)
    assert b"".join([piece async for piece in blob.chunks(65_000, 140_001)]) == full[65_000:140_001]
    assert SyntheticBlob(200_000, seed=8).sha256 != blob.sha256


def test_a_big_wheel_on_disk_is_an_honest_wheel(tmp_path: Path) -> None:
    content = Content()
    artifact = content.big_wheel(tmp_path, size=300_000)
    assert content.page("python", "bigblob") == [artifact]
    with zipfile.ZipFile(tmp_path / artifact.filename) as archive:
        assert archive.testzip() is None
        noise = archive.read("bigblob/noise.bin")
        record = archive.read("bigblob-1.0.dist-info/RECORD").decode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(noise).digest()).decode().rstrip("=")
    assert f"bigblob/noise.bin,sha256={digest},300000" in record


async def test_a_file_on_disk_is_served_whole(tmp_path: Path) -> None:
    content = Content()
    artifact = content.big_wheel(tmp_path, size=600_000)
    async with Origin(content=content) as origin:
        got = await ask(origin.store_url, await located(origin, artifact.filename), IDENTITY)
    assert hashlib.sha256(got.body).hexdigest() == artifact.blob.sha256


def test_names_that_are_no_package_names_never_reach_the_package_client(tmp_path: Path) -> None:
    async def fill_all() -> None:
        filler = Filler(tmp_path, os.environ)
        for name in ("--index-url=x", "-r", "a b", "../x", "", "a;b", "a\n"):
            await filler.fill(name)

    asyncio.run(fill_all())
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_made_once_and_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(temporary: Path) -> Path:
        assert not target.exists()
        made.append(temporary)
        fresh = temporary / "fresh"
        fresh.mkdir()
        (fresh / "file").write_text("content")
        return fresh

    target = tmp_path / "cache" / "kept"
    for _ in range(2):
        assert (kept(target, make) / "file").read_text() == "content"
    assert len(made) == 1
    assert list(target.parent.iterdir()) == [target]


def test_what_fails_half_way_is_not_kept(tmp_path: Path) -> None:
    def fail(temporary: Path) -> Path:
        (temporary / "half").mkdir()
        raise DownloadFailed("no network")

    with pytest.raises(DownloadFailed):
        kept(tmp_path / "kept", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_kept_meanwhile_is_as_good(tmp_path: Path) -> None:
    target = tmp_path / "kept"

    def slow(temporary: Path) -> Path:
        target.mkdir()
        (target / "file").write_text("the other's")
        fresh = temporary / "fresh"
        fresh.mkdir()
        return fresh

    assert (kept(target, slow) / "file").read_text() == "the other's"
    assert list(tmp_path.iterdir()) == [target]


def test_a_range_beyond_the_end_is_clipped() -> None:
    blob = SyntheticBlob(10)
    request = Request("GET", "/", "HTTP/1.1", (("Range", "bytes=5-99"),))
    assert serve_blob(request, blob, "x/y").body.size == 5


# --- other ways to run it ----------------------------------------------------------------------


def test_the_origin_runs_in_a_thread_of_its_own() -> None:
    with OriginThread() as origin:
        fault = origin.fault("origin", "openvex", times=None, **status(503))
        assert asyncio.run(ask(origin.url, "/openvex/v1/all.json")).status == 503
        fault.reached()
        fault.clear()
        origin.close_listener()
        origin.reopen()
        assert asyncio.run(ask(origin.url, "/python/simple/alpha/", basic(origin))).status == 200
        assert origin.count("GET", server="origin") == 2
        assert origin.violations == []


async def test_the_program_prints_one_line_is_steered_and_ends_on_sigterm(tmp_path: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.origin", "--tiny", "--credentials-out", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert program.stdout is not None
    words = (await asyncio.wait_for(program.stdout.readline(), 20)).decode().split()
    assert words[:2] + words[3:4] + words[5:6] == ["origin", "ready", "store", "control"]
    url, control = words[2], words[6]
    username, password = ((tmp_path / name).read_text() for name in ("username", "password"))
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
    token = {
        "Authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
    }
    body = b'{"project": "alpha"}'
    assert (await ask(control, "/block", method="POST", body=body)).status == 200
    assert (await ask(url, "/python/simple/alpha/", token)).status == 409
    assert (await ask(control, "/fault", method="POST", body=b'{"status": 503}')).status == 200
    assert (await ask(url, "/python/simple/", token)).status == 503
    counters = json.loads((await ask(control, "/counters")).body)
    assert counters["requests"]["origin"] == {"GET": 2, "HEAD": 0, "POST": 0}
    probed = await ask(url, "/java/commons-io/commons-io/maven-metadata.xml", token)
    assert probed.status == 200  # the doctor finds what it asks for
    assert (await ask(control, "/nonsense")).status == 400
    await ask(control, "/stop-listening", method="POST")
    with pytest.raises(ConnectionRefusedError):
        await ask(url, "/")
    program.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(program.stdout.read(), 10)
    assert (rest, await program.wait()) == (b"", 0)
