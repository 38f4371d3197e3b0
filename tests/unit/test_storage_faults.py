"""A disk that is full or read-only: a small one of our own, in a mount namespace of its own.

It takes root, or user namespaces. The limit on the size of a file needs neither.
"""

from __future__ import annotations

from pathlib import Path

from tests.unit.stored import Elsewhere

MOUNT = 'size=$1; shift; mount -t tmpfs -o size=$size none "$0" && exec "$@"'


def on_small_disk(
    namespace: tuple[str, ...], lines: str, folder: Path, size: str = "1m"
) -> list[str]:
    """Run lines of Python with a small file system mounted at `folder`; what they say."""
    prefix = (*namespace, "sh", "-c", MOUNT, str(folder), size)
    said = []
    with Elsewhere(lines, folder, prefix=prefix) as process:
        while line := process.hear():
            said.append(line)
        assert process.wait() == 0
    return said


FULL = """
    from proxy.errors import StorageFailed
    from proxy.storage.changes import Changes
    changes = Changes()
    storage = DiskStorage(folder, watcher=changes)
    put(storage, "small", b"s" * 1000)
    writer = storage.create("large")
    try:
        for _ in range(40):
            writer.write(b"x" * 32768)
        say("no error")
    except StorageFailed as error:
        say(f"{error} after {writer.size > 500000}")
    say(str(changes.take_full()))
    partial = writer.open()
    say(str(read(partial)[:writer.size] == b"x" * writer.size))
    try:
        filler = storage.create("filler")
        while True:
            filler.write(b"f")
    except StorageFailed:
        pass
    say(str(get(storage, "small") == b"s" * 1000))
    try:
        storage.update(storage.lookup("small"), {"checked": 1, "long": "f" * 9000})
    except StorageFailed as error:
        say(f"update {error}")
    say(str(dict(storage.lookup("small").fields)))
    filler.close()
    writer.close()
    say(str(len(list(folder.glob("v2/flights/*")))))
    put(storage, "after", b"a")
    say(str(get(storage, "after")))
    storage.close()
"""


def test_on_a_full_disk_writing_fails_and_everything_else_goes_on(
    tmp_path: Path, namespace: tuple[str, ...]
) -> None:
    assert on_small_disk(namespace, FULL, tmp_path) == [
        "ENOSPC after True",
        "True",
        "True",
        "True",
        "update ENOSPC",
        "{}",
        "0",
        "b'a'",
    ]


READ_ONLY = """
    import subprocess
    from proxy.errors import StorageFailed
    storage = DiskStorage(folder)
    put(storage, "a", b"x")
    storage.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    storage = DiskStorage(folder)
    def attempt(call):
        try:
            call()
            say("no error")
        except StorageFailed as error:
            say(str(error))
    record = storage.lookup("a")
    say(str(record.suspect))
    say(str(get(storage, "a")))
    attempt(lambda: storage.create("b").write(b"y"))
    attempt(lambda: storage.claim("b", "b"))
    attempt(lambda: storage.update(record, {}))
    storage.remove("a")
    say(str(get(storage, "a")))
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    put(storage, "b", b"y")
    say(str(get(storage, "b")))
    storage.close()
"""


def test_a_read_only_disk_is_read_and_written_again_when_it_can_be(
    tmp_path: Path, namespace: tuple[str, ...]
) -> None:
    assert on_small_disk(namespace, READ_ONLY, tmp_path) == [
        "False",
        "b'x'",
        "EROFS",
        "EROFS",
        "EROFS",
        "b'x'",
        "b'y'",
    ]


ROOM = """
    import sys
    from proxy.cache.upkeep import Upkeep
    from proxy.errors import StorageFailed
    from proxy.storage.changes import Changes
    changes = Changes()
    storage = DiskStorage(folder, watcher=changes)
    upkeep = Upkeep(storage, changes, 1 << 40)
    upkeep.start()
    until(lambda: upkeep.books.complete)
    stored, number = 0, 0
    def attempt():
        global number
        number += 1
        try:
            put(storage, f"key {number}", number.to_bytes(4, "big") * 5000)
            return True
        except StorageFailed:
            return False
    while attempt():
        stored += 1
        if stored == 100:  # 2 of 4 MiB
            until(lambda: upkeep.books.entries == 100)
    say(str(stored > 100))
    until(attempt)
    say(str(get(storage, f"key {number}") == number.to_bytes(4, "big") * 5000))
    say(str(get(storage, "key 1")))
    upkeep.close()
    storage.close()
"""


def test_on_a_full_disk_the_least_recently_used_make_room(
    tmp_path: Path, namespace: tuple[str, ...]
) -> None:
    assert on_small_disk(namespace, ROOM, tmp_path, "4m") == ["True", "True", "None"]


def test_a_file_that_may_grow_no_further_fails_like_a_full_disk(tmp_path: Path) -> None:
    lines = """
        import resource
        from proxy.errors import StorageFailed
        storage = DiskStorage(folder)
        writer = storage.create("a")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        try:
            writer.write(b"x" * 200000)
        except StorageFailed as error:
            say(str(error))
        writer.close()
        put(storage, "b", b"y")
        say(str(get(storage, "b")))
        storage.close()
    """
    with Elsewhere(lines, tmp_path) as process:
        assert [process.hear(), process.hear()] == ["EFBIG", "b'y'"]
        assert process.wait() == 0
