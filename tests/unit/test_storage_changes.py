"""The notes about what happened to entries: in order, once, bounded, and in good time."""

from __future__ import annotations

from proxy.storage.changes import MAX_EVENTS, Changes, Notes, Removed, Stored, Stray
from tests.unit.indexed import X


def test_notes_come_out_once_and_in_order() -> None:
    changes = Changes()
    changes.stored("a", X, 1)
    changes.removed("a")
    changes.stray(X)
    for key in ("a", "b", "a"):
        changes.used(key)
    assert changes.collect() == Notes([Stored("a", X, 1), Removed("a"), Stray(X)], ["b", "a"])
    assert changes.collect() == Notes([], [])


def test_uses_are_kept_until_they_are_asked_for() -> None:
    changes = Changes()
    changes.used("a")
    assert changes.collect(used=False).used == []
    assert changes.collect().used == ["a"]


def test_notes_that_were_given_back_come_first() -> None:
    changes = Changes()
    changes.removed("a")
    changes.used("a")
    notes = changes.collect()
    changes.removed("b")
    changes.used("b")
    changes.give_back(notes)
    assert changes.collect() == Notes([Removed("a"), Removed("b")], ["a", "b"])


def test_the_first_notes_are_taken_from_the_rest_events_before_uses() -> None:
    notes = Notes([Removed("a"), Removed("b"), Removed("c")], ["d", "e", "f"], lost=True)
    first, rest = notes.first(2)
    assert first == Notes([Removed("a"), Removed("b")], [], lost=True)
    second, rest = rest.first(2)
    assert second == Notes([Removed("c")], ["d"])
    assert rest == Notes([], ["e", "f"])


def test_too_many_notes_are_lost_but_not_silently() -> None:
    changes = Changes()
    for number in range(MAX_EVENTS + 1):
        changes.removed(str(number))
        changes.used(str(number))
    notes = changes.collect()
    assert (len(notes.events), len(notes.used), notes.lost) == (MAX_EVENTS, MAX_EVENTS, True)
    assert not changes.collect().lost


def test_the_collector_is_woken_as_soon_as_there_is_no_room_left() -> None:
    changes, woken = Changes(), []
    changes.watch(lambda: woken.append(1))
    changes.stored("a", X, 1000)
    changes.collect()
    changes.expect(100)
    changes.stored("b", X, 60)
    assert not woken
    changes.stored("c", X, 60)
    assert woken
