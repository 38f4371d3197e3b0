"""Any sequence of calls: the storage answers as a dictionary would, and its index agrees."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from proxy.errors import StorageFailed
from proxy.storage import known
from proxy.storage.base import Body, Record, Writer
from proxy.storage.changes import Changes
from proxy.storage.disk import DiskStorage
from proxy.storage.index import Index
from proxy.storage.layout import body_id
from proxy.storage.reconcile import Reconciled, Standing, reconcile
from tests.engine import quick
from tests.kept import kept
from tests.unit.stored import get, put_whole, read, read_stored, sha256

KEYS = st.sampled_from(["a", "b", "python\0c\0"])
PIECES = st.sampled_from([b"", b"x", b"y" * 100, b"z" * 5000])


class StorageMachine(RuleBasedStateMachine):
    """Two storages on one folder, as two processes would have; their notes go to one index."""

    writers = Bundle("writers")
    bodies = Bundle("bodies")
    records = Bundle("records")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        # Another process's changes may go unseen for a millisecond; here they may not.
        self.exact = quick(known, LOOK=0.0)
        self.exact.__enter__()
        self.changes = Changes()
        self.storages = [self.make(), self.make()]
        self.index = Index(self.folder / "v2/index")
        self.model: dict[str, tuple[bytes, int]] = {}
        self.open_things: list[Body | Writer] = []

    def make(self) -> DiskStorage:
        return DiskStorage(self.folder, watcher=self.changes)

    @rule(target=writers, key=KEYS, which=st.integers(0, 1))
    def begin(self, key: str, which: int) -> tuple[str, Writer, list[bytes]]:
        writer = self.storages[which].create(key)
        self.open_things.append(writer)
        return key, writer, []

    @rule(writer=writers, piece=PIECES)
    def write(self, writer: tuple[str, Writer, list[bytes]], piece: bytes) -> None:
        writer[1].write(piece)
        writer[2].append(piece)
        assert read(writer[1].open()) == b"".join(writer[2])

    @rule(writer=writers)
    def rewind(self, writer: tuple[str, Writer, list[bytes]]) -> None:
        writer[1].rewind()
        writer[2].clear()

    @rule(target=records, writer=consumes(writers), number=st.integers(0, 9))
    def commit(self, writer: tuple[str, Writer, list[bytes]], number: int) -> Record:
        data = b"".join(writer[2])
        record = writer[1].commit(sha256(data), {"number": number})
        writer[1].close()
        self.model[writer[0]] = (data, number)
        return record

    @rule(target=records, key=KEYS, which=st.integers(0, 1), piece=PIECES, number=st.integers(0, 9))
    def commit_whole(self, key: str, which: int, piece: bytes, number: int) -> Record:
        record = put_whole(self.storages[which], key, piece, number=number)
        self.model[key] = (piece, number)
        return record

    @rule(writer=consumes(writers))
    def give_up(self, writer: tuple[str, Writer, list[bytes]]) -> None:
        writer[1].close()

    @rule(key=KEYS, which=st.integers(0, 1))
    def remove(self, key: str, which: int) -> None:
        self.storages[which].remove(key)
        self.model.pop(key, None)

    @rule(record=records, number=st.integers(0, 9), which=st.integers(0, 1))
    def update(self, record: Record, number: int, which: int) -> None:
        held = self.model.get(record.key)
        if held is not None and sha256(held[0]) == record.sha256:
            self.storages[which].update(record, {"number": number})
            self.model[record.key] = (held[0], number)
        else:
            with pytest.raises(StorageFailed):
                self.storages[which].update(record, {"number": number})

    @rule(target=bodies, key=KEYS)
    def hold(self, key: str) -> tuple[Body | None, bytes]:
        record = self.storages[0].lookup(key)
        body = self.storages[0].open(record) if record is not None else None
        if body is not None:
            self.open_things.append(body)
        return body, self.model.get(key, (b"", 0))[0]

    @rule(body=consumes(bodies))
    def read_what_was_held(self, body: tuple[Body | None, bytes]) -> None:
        if body[0] is not None:
            assert read_stored(body[0]) == body[1]

    @rule()
    def flush_and_clean(self) -> None:
        self.index.apply(self.changes.collect(), Standing(self.storages[0].folder))
        for _ in reconcile(
            self.storages[0].folder, self.index, lambda: time.time() + 100, Reconciled()
        ):
            pass
        entries = list(kept(self.folder))
        apart = {one.record.sha256 for one in entries if not one.record.inside}
        sizes = {body_id(one.record): one.record.size for one in entries}
        assert {one.record.key: one.body() for one in entries} == {
            key: data for key, (data, _) in self.model.items()
        }
        assert self.index.books().total == sum(sizes.values())
        assert self.index.books().entries == len(self.model)
        assert {path.name for path in self.folder.glob("v2/bodies/*/*")} == apart

    @rule()
    def leave_and_come_back(self) -> None:
        self.storages[1].close()
        self.storages[1] = self.make()

    @invariant()
    def every_key_reads_as_in_the_model(self) -> None:
        for key in ("a", "b", "python\0c\0"):
            held = self.model.get(key)
            for storage in self.storages:
                assert get(storage, key) == (held[0] if held else None)
                record = storage.lookup(key)
                assert (record and record.fields) == (held and {"number": held[1]})

    def teardown(self) -> None:
        for thing in self.open_things:
            thing.close()
        assert not list(self.folder.glob("v2/flights/*"))
        assert not any(len(storage.bodies._counts) for storage in self.storages)
        self.index.close()
        for storage in self.storages:
            storage.close()
        shutil.rmtree(self.folder)
        self.exact.__exit__(None, None, None)


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
