"""What tests of the secondary index have in common: digests, what happens to entries, the order."""

from __future__ import annotations

from hypothesis import strategies as st

from proxy.storage.changes import Event, Notes, Removed, Stored
from proxy.storage.index import Index, Victim
from tests.unit.stored import sha256

X, Y, Z = sha256(b"x"), sha256(b"y"), sha256(b"z")
KEYS = st.sampled_from(["a", "b", "c", "d", "e\0f"])
BODIES = st.sampled_from([X, Y, Z])
SIZES = {X: 1, Y: 20, Z: 300}
EVENTS = st.one_of(
    st.builds(lambda key, body: Stored(key, body, SIZES[body]), KEYS, BODIES),
    st.builds(Removed, KEYS),
    st.builds(lambda key: key, KEYS),  # a use
    st.integers(0, 320),  # shrink to
)


def apply(index: Index, *events: Event, used: tuple[str, ...] = ()) -> list[str]:
    return index.apply(Notes(list(events), list(used)))


def order(index: Index) -> list[str]:
    return list(index.keys_in_order_of_use())


def take_all(_: Victim) -> bool:
    return True
