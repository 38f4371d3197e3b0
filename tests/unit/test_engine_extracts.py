"""Core metadata that the upstream does not have: made of the wheel, here or by ranges."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path

import pytest

from proxy.cache.extracts import RANGES_BUDGET, _extract
from proxy.ecosystems.base import Span
from proxy.ecosystems.simple_index import JSON
from proxy.ecosystems.wheel import TAIL
from proxy.model import Source
from proxy.storage.disk import DiskStorage
from tests.failing import failing
from tests.origin import Artifact, Content, Origin, Settings, html_page, status, wrong_content_range
from tests.origin.blobs import BytesBlob
from tests.origin.wheels import make_wheel, read_metadata, wheel_name
from tests.running import Running, basic, client, running, token
from tests.unit.stored import put_whole

SOURCE = Source("/x", "p", "1")
NAME = wheel_name("large", "1.0")
TTL = 301


def noise(size: int) -> bytes:
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4))


@cache
def large_wheel() -> bytes:
    wheel = make_wheel("large", "1.0", files={"large/data.bin": noise(2 << 20)})
    assert len(wheel) > 10 * TAIL
    return wheel


def put(origin: Origin, files: Mapping[str, bytes] | None = None, **more: object) -> Artifact:
    """A wheel without core metadata beside it; its metadata stands at the end."""
    data = make_wheel("large", "1.0", files=files) if files else large_wheel()
    artifact = Artifact(NAME, "large", "1.0", BytesBlob(data), **more)  # type: ignore[arg-type]
    return origin.content.add(artifact)


def metadata_of(artifact: Artifact) -> bytes:
    assert isinstance(artifact.blob, BytesBlob)
    found = read_metadata(artifact.filename, io.BytesIO(artifact.blob.data))
    assert found is not None
    return found


def sent(origin: Origin) -> int:
    """Bytes of body that the object store sent."""
    return origin.journal.body_bytes["store"]


def asked(origin: Origin) -> list[str]:
    """The ranges that the object store was asked for; "" where it was the whole."""
    requests = [request for request in origin.log if request.server == "store"]
    return [dict(request.headers).get("Range", "") for request in requests]


async def ask(proxy: Running, artifact: Artifact, **fields: str) -> bytes:
    """The metadata, which must be right."""
    answer = await proxy.get(f"{artifact.link}.metadata", **fields)
    assert answer.status == 200, answer.body
    assert answer.body == metadata_of(artifact)
    return answer.body


async def test_the_metadata_of_an_uncached_wheel_comes_by_one_range_of_it(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        page = (await proxy.get("/python/simple/large/", accept=JSON)).json()
        assert page["files"][0]["core-metadata"] is True
        await ask(proxy, wheel)
        size = wheel.blob.size
        assert asked(origin) == [f"bytes={size - TAIL}-{size - 1}"]
        assert sent(origin) == TAIL < size // 10
        assert origin.violations == []


async def test_it_is_made_once_and_kept_with_an_etag_of_its_own(tmp_path: Path) -> None:
    async with Origin() as origin:
        wheel = put(origin)
        async with running(tmp_path, origin) as proxy:
            await asyncio.gather(*(ask(proxy, wheel) for _ in range(10)))
            answer = await proxy.get(f"{wheel.link}.metadata")
            assert answer.cache == "cgr-proxy; hit"
            etag = f'"sha256:{answer.sha256}"'
            assert answer.header("ETag") == etag
            again = await proxy.get(f"{wheel.link}.metadata", if_none_match=etag)
            assert again.status == 304
            part = await proxy.get(f"{wheel.link}.metadata", range="bytes=0-3")
            assert (part.status, part.body) == (206, metadata_of(wheel)[:4])
            head = await proxy.head(f"{wheel.link}.metadata")
            assert head.header("Content-Length") == str(len(metadata_of(wheel)))
        async with running(tmp_path, origin) as proxy:
            await ask(proxy, wheel)
        assert len(asked(origin)) == 1


async def test_the_head_of_what_is_not_made_yet_is_true(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        head = await proxy.head(f"{wheel.link}.metadata")
        assert (head.status, head.body) == (200, b"")
        assert head.header("Content-Length") == str(len(metadata_of(wheel)))


async def test_the_metadata_of_a_cached_wheel_costs_nothing(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        assert (await proxy.get(wheel.link)).sha256 == wheel.blob.sha256
        origin.reset()
        await ask(proxy, wheel)
        assert origin.count() == 0


async def test_what_was_made_of_ranges_is_made_again_when_the_wheel_has_come(
    tmp_path: Path,
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        path = f"{wheel.link}.metadata"
        # The upstream lies about the end of the wheel while nobody can verify it.
        false = put_false(wheel)
        fault = origin.fault("store", NAME, times=1, **false)
        first = await proxy.get(path)
        assert fault.hits == 1
        assert first.body != metadata_of(wheel)
        assert (await proxy.get(path)).body == first.body
        assert (await proxy.get(wheel.link)).sha256 == wheel.blob.sha256
        origin.reset()
        await ask(proxy, wheel)
        assert (await proxy.get(path)).cache == "cgr-proxy; hit"
        assert origin.count() == 0


def put_false(wheel: Artifact) -> dict[str, object]:
    """A fault: the end of another wheel, of the same size, in place of the end of this one."""
    assert isinstance(wheel.blob, BytesBlob)
    metadata = metadata_of(wheel)
    lie = metadata.replace(b"Requires-Python: >=3.8", b"Requires-Python: >=9.9")
    with zipfile.ZipFile(io.BytesIO(wheel.blob.data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members["large-1.0.dist-info/METADATA"] = lie
    members["large-1.0.dist-info/RECORD"] = b"large-1.0.dist-info/METADATA,,\n"
    out = io.BytesIO()
    size = wheel.blob.size
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        data = members.pop("large/data.bin")
        archive.writestr(zipfile.ZipInfo("large/data.bin"), data, zipfile.ZIP_DEFLATED)
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    made = out.getvalue()
    missing = size - len(made)
    assert 0 <= missing < 65536
    made = made[:-2] + missing.to_bytes(2, "little") + b"\0" * missing
    headers = (
        ("Content-Range", f"bytes {size - TAIL}-{size - 1}/{size}"),
        ("ETag", wheel.blob.etag),
    )
    return {"status": 206, "body": made[-TAIL:], "headers": headers}


@pytest.mark.parametrize("sizes", [True, False])
async def test_an_upstream_without_ranges_costs_the_whole_wheel_once(
    tmp_path: Path, sizes: bool
) -> None:
    async with Origin(Settings(ranges=False, sizes=sizes)) as origin:
        wheel = put(origin)
        async with running(tmp_path, origin) as proxy:
            await ask(proxy, wheel)
            origin.reset()
            answer = await proxy.get(wheel.link)
            assert (answer.cache, answer.sha256) == ("cgr-proxy; hit", wheel.blob.sha256)
            await ask(proxy, wheel)
            assert origin.count() == 0


@pytest.mark.parametrize(
    "what",
    [status(416), status(400), status(501), html_page(), wrong_content_range()],
    ids=["416", "400", "501", "page", "wrong range"],
)
async def test_it_comes_as_long_as_the_wheel_can_be_had(
    tmp_path: Path, what: dict[str, object]
) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        # As often as a question is asked again; then the store is well.
        origin.fault("store", NAME, times=2 if what.get("status") in (400, 416) else 1, **what)
        if what.get("status") == 501:
            origin.fault("store", NAME, times=2, **what)
        await ask(proxy, wheel)
        assert (await proxy.get(wheel.link)).cache == "cgr-proxy; hit"


async def test_a_wheel_of_unknown_size_is_read_from_its_end(tmp_path: Path) -> None:
    async with Origin(Settings(sizes=False)) as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        await ask(proxy, wheel)
        assert asked(origin) == [f"bytes=-{TAIL}"]
        small = origin.content.find(wheel_name("fallback-only", "3.1"))
        await ask(proxy, small)


async def test_a_large_directory_takes_a_second_range(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        files = {f"large/module_{n:04}.py": noise(1000) for n in range(1000)}
        wheel = put(origin, files)
        await ask(proxy, wheel)
        assert 2 <= len(asked(origin)) <= 3
        assert sent(origin) < wheel.blob.size // 2


async def test_a_directory_over_the_budget_costs_the_whole_wheel(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        files = {f"large/{'x' * 200}_{n:05}.py": b"" for n in range(9_000)}
        wheel = put(origin, files)
        await ask(proxy, wheel)
        assert asked(origin)[-1] == ""
        assert sent(origin) <= wheel.blob.size + RANGES_BUDGET


async def test_a_wheel_that_holds_none_is_404_and_is_still_served(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        artifact = origin.content.synthetic("odd", 100_000)
        answer = await proxy.get(f"{artifact.link}.metadata")
        assert answer.status == 404
        assert (await proxy.get(artifact.link)).sha256 == artifact.blob.sha256
        asked_before = origin.count()
        assert (await proxy.get(f"{artifact.link}.metadata")).status == 404
        assert origin.count() == asked_before


async def test_another_wheel_under_the_same_path_has_other_metadata(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        await ask(proxy, wheel)
        files = {"large/data.bin": noise(1 << 20)}
        data = make_wheel("large", "1.0", files=files, requires=["alpha"])
        other = origin.content.replace_bytes(NAME, data)
        proxy.clock.advance(TTL)
        assert metadata_of(other) != metadata_of(wheel)
        await ask(proxy, other)


@pytest.mark.parametrize("cached", [True, False])
async def test_a_blocked_version_has_no_metadata_either(tmp_path: Path, cached: bool) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        if cached:
            await ask(proxy, wheel)
            proxy.clock.advance(TTL)
        origin.block("large", "1.0")
        answer = await proxy.get(f"{wheel.link}.metadata")
        assert (answer.status, b"MALWARE" in answer.body) == (403, True)


async def test_a_file_that_is_not_listed_any_more_has_none(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        put_other = make_wheel("large", "2.0")
        other = Artifact(wheel_name("large", "2.0"), "large", "2.0", BytesBlob(put_other))
        origin.content.add(other)
        await ask(proxy, wheel)
        origin.content.drop(NAME)
        proxy.clock.advance(TTL)
        assert (await proxy.get(f"{wheel.link}.metadata")).status == 404


async def test_a_silent_upstream_withholds_nothing_that_was_made(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        await ask(proxy, wheel)
        proxy.clock.advance(TTL)
        await origin.close_listener()
        await ask(proxy, wheel)
        unseen = f"{origin.content.find(wheel_name('alpha', '0.9')).link}.metadata"
        assert (await proxy.get(unseen)).status == 503


async def test_rights_are_those_of_the_wheel(tmp_path: Path) -> None:
    tables = {"clients": [client("farm", "python"), client("other", "java")]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        wheel = put(origin)
        await ask(proxy, wheel, authorization=basic(token("farm")))
        path = f"{wheel.link}.metadata"
        assert (await proxy.get(path)).status == 401
        assert (await proxy.get(path, authorization=basic(token("other")))).status == 403


async def test_wheels_on_every_index_and_by_name_have_it(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for artifact in Content.tiny():
            await ask(proxy, origin.content.find(artifact.filename, artifact.index))
        path = f"/files/by-name/python/alpha/{wheel_name('alpha', '1.0')}.metadata"
        wheel = origin.content.find(wheel_name("alpha", "1.0"), "python")
        assert (await proxy.get(path)).body == metadata_of(wheel)


@pytest.mark.parametrize("broken", ["create", "write", "commit", "open", "lookup claim"])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_failing_disk_costs_time_only(tmp_path: Path, broken: str, ranges: bool) -> None:
    async with Origin(Settings(ranges=ranges)) as origin, running(tmp_path, origin) as proxy:
        wheel = put(origin)
        disk = failing(proxy)
        disk.fail(*broken.split())
        if ranges or broken in ("commit", "open"):
            answer = await proxy.get(f"{wheel.link}.metadata")
            assert answer.status in (200, 503)
            assert answer.status == 503 or answer.body == metadata_of(wheel)
        disk.mend()
        proxy.clock.advance(10)
        await ask(proxy, wheel)
        assert (await proxy.get(f"{wheel.link}.metadata")).cache == "cgr-proxy; hit"


async def test_it_is_not_offered_where_the_operator_does_not_want_it(tmp_path: Path) -> None:
    tables = {"cache": {"core_metadata": False, "directory": str(tmp_path / "cache")}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        put(origin)
        page = (await proxy.get("/python/simple/large/", accept=JSON)).json()
        assert "core-metadata" not in page["files"][0]


class Greedy:
    """An ecosystem that asks for more than there is."""

    def extract(self, source: Source, size: int, budget: int) -> Generator[Span, bytes, bytes]:
        assert (source, budget > size) == (SOURCE, True)
        first = yield 2, size + 100
        second = yield size + 10, size + 20
        return first + second


def test_nothing_is_read_behind_a_stored_whole(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    body = storage.open(put_whole(storage, "key", b"whole"))  # its metadata stands behind it
    assert body is not None
    assert _extract(Greedy(), SOURCE, body) == b"ole"
    body.close()
    storage.close()
