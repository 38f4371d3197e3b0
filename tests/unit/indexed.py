"""What tests of the secondary index have in common: digests, what happens to entries, the order."""

from __future__ import annotations

from hypothesis import strategies as st

from proxy.storage.changes import Event, Notes, Removed, Stored
from proxy.storage.index import Index, Victim
from tests.unit.stored import sha256

X, Y, Z = sha256(b"x"), sha256(b"y"), sha256(b"z")
KEYS = st.sampled_from(["a", "b", "c", "d", "e\0f"])
INSIDE = "inside of its entry"
BODIES = st.sampled_from([X, Y, Z, INSIDE])
SIZES = {X: 1, Y: 20, Z: 300, INSIDE: 7}


def stored(key: str, body: str) -> Stored:
    """One of `BODIES` comes under a key."""
    return Stored(key, own(key) if body == INSIDE else body, SIZES[body])


def own(key: str, content: str = X) -> str:
    """The `layout.body_id` of a body inside of its entry."""
    return f"{sha256(key.encode())[:32]}.{content[:32]}"


EVENTS = st.one_of(
    st.builds(stored, KEYS, BODIES),
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
