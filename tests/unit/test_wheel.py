"""Core metadata out of wheels, read in parts."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ecosystems.wheel import MAX_METADATA, TAIL, extract
from proxy.errors import Malformed
from tests.origin.wheels import make_wheel

INFO = "alpha-1.0.dist-info"
PLENTY = 48 << 20


def read(
    wheel: bytes, project: str = "alpha", budget: int = PLENTY, asked: list[int] | None = None
) -> tuple[bytes, list[int]]:
    """The metadata, and the length of every part that was asked for."""
    steps = extract(project, len(wheel), budget)
    asked = [] if asked is None else asked
    try:
        start, end = next(steps)
        while True:
            assert 0 <= start < end <= len(wheel)
            asked.append(end - start)
            start, end = steps.send(wheel[start:end])
    except StopIteration as done:
        return done.value, asked


def metadata_of(wheel: bytes, info: str = INFO) -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read(f"{info}/METADATA")


def pack(
    members: Mapping[str, bytes], *, stored: tuple[str, ...] = (), comment: bytes = b""
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            method = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, method)
        archive.comment = comment
    return out.getvalue()


def small(**more: bytes) -> dict[str, bytes]:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    return {
        "alpha/__init__.py": b"",
        f"{INFO}/METADATA": metadata,
        f"{INFO}/RECORD": f"{INFO}/METADATA,,\n".encode(),
        **{name.replace("__", "/"): data for name, data in more.items()},
    }


def noise(size: int) -> bytes:
    return b"".join(struct.pack("<Q", n * 0x9E3779B97F4A7C15 % 2**64) for n in range(size // 8))


def test_the_metadata_of_a_small_wheel_takes_one_part() -> None:
    wheel = make_wheel("alpha", "1.0", requires=["beta>=2"])
    assert read(wheel) == (metadata_of(wheel), [len(wheel)])


def test_the_metadata_of_a_large_wheel_takes_its_end() -> None:
    wheel = make_wheel("alpha", "1.0", files={"alpha/data.bin": noise(3 << 20)})
    assert read(wheel) == (metadata_of(wheel), [TAIL])


def test_a_directory_that_does_not_fit_takes_one_part_more() -> None:
    files = {f"alpha/module_{n:04}.py": b"x = 1\n" for n in range(2000)}
    wheel = make_wheel("alpha", "1.0", files=files)
    found, asked = read(wheel)
    assert found == metadata_of(wheel)
    assert len(asked) <= 3
    assert sum(asked) < len(wheel) * 2 // 3


def test_metadata_at_the_beginning_is_found_all_the_same() -> None:
    members = small()
    first = {name: members.pop(name) for name in (f"{INFO}/METADATA", f"{INFO}/RECORD")}
    wheel = pack({**first, "alpha/data.bin": noise(1 << 20), **members}, stored=("alpha/data.bin",))
    found, asked = read(wheel)
    assert found == first[f"{INFO}/METADATA"]
    assert sum(asked) < 64 << 10


def test_stored_members_comments_and_zip64_are_read() -> None:
    wheel = pack(small(), stored=(f"{INFO}/METADATA",), comment=b"x" * 30_000)
    assert read(wheel)[0] == small()[f"{INFO}/METADATA"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in small().items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(data)
    assert read(out.getvalue())[0] == small()[f"{INFO}/METADATA"]


def test_the_folder_is_the_projects_whatever_its_spelling() -> None:
    wheel = make_wheel("Zope.Interface", "1.0")
    assert read(wheel, "zope-interface")[0].startswith(b"Metadata-Version")
    with pytest.raises(Malformed):
        read(wheel, "zope-event")


def _twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning, match="Dup"):  # noqa: PT031
        for name, data in [*small().items(), (f"{INFO}/METADATA", b"Name: other")]:
            archive.writestr(name, data)
    return out.getvalue()


def _flagged() -> bytes:
    wheel = bytearray(pack(small()))
    at = wheel.find(b"PK\x01\x02")
    while at >= 0:
        wheel[at + 8] |= 1
        at = wheel.find(b"PK\x01\x02", at + 1)
    return bytes(wheel)


def _before_its_beginning() -> bytes:
    wheel = bytearray(pack(small()))
    at = wheel.rfind(b"PK\x05\x06") + 16  # where the directory says that it stands
    (address,) = struct.unpack_from("<I", wheel, at)
    struct.pack_into("<I", wheel, at, address + (64 << 10))
    return bytes(wheel)


BROKEN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "page": lambda: b"<html><body>Found</body></html>" * 100,
    "no metadata": lambda: pack({"alpha/__init__.py": b""}),
    "no RECORD": lambda: pack({f"{INFO}/METADATA": b"Name: alpha"}),
    "not in RECORD": lambda: pack({**small(), f"{INFO}/RECORD": b"alpha/__init__.py,,\n"}),
    "wrong in RECORD": lambda: pack(
        {**small(), f"{INFO}/RECORD": f"{INFO}/METADATA,sha256=AAAA,3\n".encode()}
    ),
    "RECORD is no text": lambda: pack({**small(), f"{INFO}/RECORD": b"\xff\xfe\x00"}),
    "two folders": lambda: pack({**small(), "beta-1.0.dist-info/METADATA": b"Name: beta"}),
    "deeper": lambda: pack({f"vendor/{name}": data for name, data in small().items()}),
    "other project": lambda: make_wheel("beta", "1.0"),
    "bomb": lambda: pack({**small(), f"{INFO}/METADATA": b"x" * (MAX_METADATA + 1)}),
    "bomb in RECORD": lambda: pack({**small(), f"{INFO}/RECORD": b"\n" * (17 << 20)}),
    "twice": _twice,
    "cut": lambda: make_wheel("alpha", "1.0")[:-5],
    "encrypted": _flagged,
    "before its beginning": _before_its_beginning,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_does_not_hold_its_metadata_exactly_is_malformed(kind: str) -> None:
    wheel = BROKEN[kind]()
    with pytest.raises(Malformed):
        read(wheel)


def test_no_more_is_asked_for_than_the_budget() -> None:
    files = {f"alpha/module_{n:05}.py": b"" for n in range(20_000)}
    wheel = make_wheel("alpha", "1.0", files=files)
    asked: list[int] = []
    with pytest.raises(Malformed):
        read(wheel, budget=64 << 10, asked=asked)
    assert 0 < sum(asked) <= 64 << 10


def test_a_record_over_the_budget_is_not_asked_for() -> None:
    members = small()
    rows = "".join(f"alpha/{n}.py,sha256={f'ab{n}' * 8},{n}\n" for n in range(40_000))
    members[f"{INFO}/RECORD"] = (f"{INFO}/METADATA,sha256=wrong,1\n" + rows).encode()
    wheel = pack(members, stored=(f"{INFO}/RECORD",))
    found, asked = read(wheel, budget=64 << 10)
    assert found == members[f"{INFO}/METADATA"]
    assert sum(asked) <= 64 << 10
    with pytest.raises(Malformed):
        read(wheel)


@given(st.data())
def test_damage_is_malformed_or_does_not_matter(data: st.DataObject) -> None:
    wheel = bytearray(make_wheel("alpha", "1.0"))
    for _ in range(data.draw(st.integers(1, 4))):
        wheel[data.draw(st.integers(0, len(wheel) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(wheel)))
    for damaged in (bytes(wheel), bytes(wheel[:cut])):
        with suppress(Malformed):
            assert isinstance(read(damaged)[0], bytes)
