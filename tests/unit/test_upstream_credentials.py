"""Pull tokens: where they come from, when a new one is taken, and that none of them shows."""

from __future__ import annotations

import base64
import logging
import os
import random
import string
from pathlib import Path
from urllib.parse import quote

import pytest

from proxy.observe.redaction import Redactor
from proxy.secret import Secret
from proxy.upstream.credentials import REFUSED_PAUSE, Credentials
from proxy.upstream.pairs import PairSource, Unusable, read_pair

IDENTITY = "9f" * 20 + "/" + "1c" * 8
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
OTHER = TOKEN.replace("canary", "kanari") + "x"


def basic(username: str = IDENTITY, password: str = TOKEN) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class Files:
    """Two files of one pair, as an operator writes them."""

    def __init__(self, folder: Path) -> None:
        self.username = folder / "username"
        self.password = folder / "password"
        self.write(IDENTITY, TOKEN)

    def write(self, username: str | bytes, password: str | bytes) -> None:
        for path, half in ((self.username, username), (self.password, password)):
            path.write_bytes(half if isinstance(half, bytes) else half.encode())

    @property
    def source(self) -> PairSource:
        return PairSource(username_file=self.username, password_file=self.password)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def loaded(source: PairSource) -> Credentials:
    credentials = Credentials({"python": [source]})
    await credentials.load()
    return credentials


# --- sources -----------------------------------------------------------------------------------


async def test_every_form_of_a_source_gives_the_same_header(files: Files, tmp_path: Path) -> None:
    pair = tmp_path / "pair"
    pair.write_text(f"{IDENTITY}\n{TOKEN}\n")
    for source in (
        PairSource(username=IDENTITY, password=Secret(TOKEN)),
        PairSource(username=IDENTITY, password_file=files.password),
        PairSource(username_file=files.username, password=Secret(TOKEN)),
        files.source,
        PairSource(pair_file=pair),
    ):
        assert (await loaded(source)).authorization("python") == basic()


async def test_each_ecosystem_has_its_own_pair(files: Files) -> None:
    java = PairSource(username="java-user", password=Secret("java-password"))
    credentials = Credentials({"python": [files.source], "java": [java]})
    await credentials.load()
    assert credentials.authorization("java") == basic("java-user", "java-password")
    assert credentials.authorization("python") == basic()
    assert credentials.authorization("npm") is None
    assert not credentials.configured("npm")
    assert credentials.use("npm", 0.0) is None
    assert credentials.pause("npm", 0.0) == 0
    assert not await credentials.renew("npm", None, 0.0)


@pytest.mark.parametrize(
    "written", [f"{TOKEN}\n", f"{TOKEN}\r\n", f"\ufeff{TOKEN}", f"\ufeff{TOKEN}\r\n", TOKEN]
)
async def test_one_line_end_and_a_byte_order_mark_are_no_part_of_a_half(
    files: Files, written: str
) -> None:
    files.write(IDENTITY, written)
    assert (await loaded(files.source)).authorization("python") == basic()


@pytest.mark.parametrize(
    "written",
    [f"\ufeff{IDENTITY}\r\n{TOKEN}\r\n", f"{IDENTITY}\n{TOKEN}", f"{IDENTITY}\n{TOKEN}\n"],
)
async def test_a_pair_file_has_two_lines_however_they_end(tmp_path: Path, written: str) -> None:
    file = tmp_path / "pair"
    file.write_bytes(written.encode())
    assert (await loaded(PairSource(pair_file=file))).authorization("python") == basic()


# --- what is no pair ---------------------------------------------------------------------------

ODD: dict[str, bytes] = {
    "empty": b"",
    "only a line end": b"\n",
    "two lines": f"{OTHER}\n{OTHER}\n".encode(),
    "spaces": b"abc def",
    "trailing space": f"{OTHER} \n".encode(),
    "a control character": b"abc\x07def",
    "a NUL": b"abc\x00def",
    "an escape": b"abc\x1b[31m",
    "not ASCII": "töken".encode(),
    "not UTF-8": b"abc\xff\xfe",
    "UTF-16": OTHER.encode("utf-16"),
    "a mark and nothing": b"\xef\xbb\xbf",
    "oversized": b"x" * (64 * 1024 + 1),
    "10 MB": b"x" * 10_000_000,
}


@pytest.mark.parametrize("half", ["username", "password"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_an_odd_half_keeps_the_last_good_pair_and_warns_once(
    files: Files, caplog: pytest.LogCaptureFixture, odd: bytes, half: str
) -> None:
    credentials = await loaded(files.source)
    getattr(files, half).write_bytes(odd)
    for _ in range(4):
        await credentials.poll()
    assert credentials.authorization("python") == basic()
    warnings = [line for line in caplog.records if line.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "the last good one stays" in warnings[0].getMessage()
    shown = caplog.text
    assert not any(part in shown for part in (TOKEN, OTHER, IDENTITY, "abc", "tök", "xxxx"))


async def test_a_deleted_half_keeps_the_last_good_pair_and_warns_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = await loaded(files.source)
    files.password.unlink()
    for _ in range(3):
        await credentials.poll()
    assert credentials.authorization("python") == basic()
    assert [line.getMessage() for line in caplog.records] == [
        (
            f"the pull token for python cannot be used ({files.password.name}: No such file or"
            " directory); the last good one stays"
        )
    ]


@pytest.mark.parametrize("what", ["folder", "pipe", "loop", "missing folder"])
def test_what_cannot_be_read_as_a_file_is_no_pair_and_holds_nobody_up(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "half"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path)
    else:
        path = tmp_path / "none" / "half"
    with pytest.raises(Unusable) as caught:
        read_pair(PairSource(username="someone", password_file=path))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("lines", [b"", b"one\n", b"a\nb\nc\n", b"a\n\n", b"\na\n", b"a b\nc\n"])
def test_a_pair_file_that_is_half_written_is_no_pair(tmp_path: Path, lines: bytes) -> None:
    file = tmp_path / "pair"
    file.write_bytes(lines)
    with pytest.raises(Unusable):
        read_pair(PairSource(pair_file=file))


@pytest.mark.parametrize(
    "source",
    [
        PairSource(username="someone"),
        PairSource(password=Secret("secret")),
        PairSource(username="some:one", password=Secret("secret")),
        PairSource(username="someone", password=Secret("")),
        PairSource(username="someone", password=Secret("two\nlines")),
        PairSource(),
    ],
)
def test_half_a_pair_and_what_basic_cannot_carry_are_refused(source: PairSource) -> None:
    with pytest.raises(Unusable):
        read_pair(source)


async def test_a_pair_that_was_never_readable_is_configured_and_gives_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = await loaded(PairSource(username="someone", password_file=tmp_path / "none"))
    await credentials.poll()
    assert credentials.configured("python")
    assert credentials.authorization("python") is None
    assert credentials.unusable == ("python",)
    assert [line.levelname for line in caplog.records] == ["WARNING"]
    assert "there is none yet" in caplog.text


async def test_a_second_trouble_after_a_recovery_is_warned_of_again(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = await loaded(files.source)
    for written in ("", TOKEN, ""):
        files.write(IDENTITY, written)
        await credentials.poll()
    assert [line.levelname for line in caplog.records] == ["WARNING", "WARNING"]


# --- rotation ----------------------------------------------------------------------------------


async def test_a_changed_pair_is_taken_at_the_second_poll_that_finds_it(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write(IDENTITY, OTHER)
    await credentials.poll()
    assert credentials.authorization("python") == basic()
    await credentials.poll()
    assert credentials.authorization("python") == basic(password=OTHER)


async def test_halves_that_change_one_after_the_other_are_never_mixed(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write("ab" * 20 + "/" + "cd" * 8, TOKEN)
    await credentials.poll()
    files.write("ab" * 20 + "/" + "cd" * 8, OTHER)
    assert credentials.authorization("python") == basic()
    await credentials.poll()
    assert credentials.authorization("python") == basic("ab" * 20 + "/" + "cd" * 8, OTHER)


async def test_a_change_that_is_taken_back_is_forgotten(files: Files) -> None:
    credentials = await loaded(files.source)
    for password in (OTHER, TOKEN, OTHER):
        files.write(IDENTITY, password)
        await credentials.poll()
    assert credentials.authorization("python") == basic()


async def test_a_volume_whose_link_is_swapped_gives_the_new_pair(tmp_path: Path) -> None:
    for name, password in (("old", TOKEN), ("new", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pair").write_text(f"{IDENTITY}\n{password}\n")
    link, fresh = tmp_path / "..data", tmp_path / "..data_tmp"
    link.symlink_to("old")
    credentials = await loaded(PairSource(pair_file=link / "pair"))
    fresh.symlink_to("new")
    fresh.rename(link)
    await credentials.poll()
    await credentials.poll()
    assert credentials.authorization("python") == basic(password=OTHER)


async def test_a_file_that_gets_good_again_is_taken(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write(IDENTITY, "")
    await credentials.poll()
    files.write(IDENTITY, OTHER)
    await credentials.poll()
    await credentials.poll()
    assert credentials.authorization("python") == basic(password=OTHER)


# --- refusals ----------------------------------------------------------------------------------


async def test_a_refused_pair_is_tried_by_one_request_in_ten_seconds(files: Files) -> None:
    credentials = await loaded(files.source)
    credentials.refused("python", basic(), 100.0)
    assert credentials.pause("python", 100.0) == REFUSED_PAUSE
    assert credentials.unusable == ("python",)
    assert credentials.pause("python", 110.0) == 0
    assert credentials.use("python", 110.0) == basic()
    assert credentials.pause("python", 110.0) == REFUSED_PAUSE
    assert credentials.pause("python", 120.0) == 0


async def test_a_pair_that_is_accepted_again_is_free_again(files: Files) -> None:
    credentials = await loaded(files.source)
    credentials.refused("python", basic(), 100.0)
    credentials.accepted("python", basic())
    assert credentials.pause("python", 100.0) == 0
    assert credentials.unusable == ()


async def test_one_that_is_in_no_doubt_is_what_is_used_and_any_doubt_takes_a_closer_look(
    files: Files,
) -> None:
    credentials = await loaded(files.source)
    assert credentials.untroubled("python") == credentials.use("python", 0.0) == basic()
    credentials.refused("python", basic(), 1.0)
    assert credentials.untroubled("python") is None
    credentials.accepted("python", basic())
    assert credentials.untroubled("python") == basic()
    credentials.refused("python", basic(), 1.0)
    files.write(IDENTITY, OTHER)
    await credentials.reload()
    # Another one; but what was refused is remembered until this one is seen to be good.
    assert credentials.untroubled("python") is None
    credentials.accepted("python", basic(password=OTHER))
    assert credentials.untroubled("python") == basic(password=OTHER)
    assert credentials.untroubled("java") is None


async def test_where_there_is_a_choice_nothing_is_beyond_doubt(files: Files) -> None:
    other = PairSource(username="other", password=Secret("other-password"))
    credentials = Credentials({"python": [files.source, other]})
    assert credentials.untroubled("python") is None
    await credentials.load()
    assert credentials.untroubled("python") is None
    assert credentials.use("python", 0.0) == basic()


async def test_a_refusal_of_an_older_pair_says_nothing_about_the_newer(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write(IDENTITY, OTHER)
    await credentials.poll()
    await credentials.poll()
    credentials.refused("python", basic(), 100.0)
    assert credentials.pause("python", 100.0) == 0
    credentials.refused("python", basic(password=OTHER), 100.0)
    credentials.accepted("python", basic())
    assert credentials.pause("python", 100.0) > 0


async def test_a_refusal_is_logged_once_until_it_is_over(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = await loaded(files.source)
    for now in (100.0, 110.0, 120.0):
        credentials.refused("python", basic(), now)
    assert len(caplog.records) == 1
    credentials.accepted("python", basic())
    credentials.refused("python", basic(), 200.0)
    assert len(caplog.records) == 2


async def test_a_changed_file_lifts_a_refusal(files: Files) -> None:
    credentials = await loaded(files.source)
    credentials.refused("python", basic(), 100.0)
    files.write(IDENTITY, OTHER)
    await credentials.poll()
    await credentials.poll()
    assert credentials.pause("python", 100.0) == 0


async def test_renewing_takes_a_pair_that_stays_for_a_moment(files: Files) -> None:
    credentials = await loaded(files.source)
    credentials.refused("python", basic(), 100.0)
    files.write(IDENTITY, OTHER)
    assert await credentials.renew("python", basic(), 100.0)
    assert credentials.authorization("python") == basic(password=OTHER)
    assert credentials.pause("python", 100.0) == 0


async def test_renewing_without_a_change_reads_once_in_a_pause(files: Files) -> None:
    credentials = await loaded(files.source)
    assert not await credentials.renew("python", basic(), 100.0)
    files.write(IDENTITY, OTHER)
    assert not await credentials.renew("python", basic(), 105.0)
    assert await credentials.renew("python", basic(), 111.0)


async def test_who_comes_after_the_renewal_finds_it_done(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write(IDENTITY, OTHER)
    assert await credentials.renew("python", basic(), 100.0)
    assert await credentials.renew("python", basic(), 100.0)


# --- secrecy -----------------------------------------------------------------------------------


async def test_every_spelling_is_told_to_the_redactor_before_the_pair_is_used(
    files: Files,
) -> None:
    told: list[str] = []
    credentials = Credentials({"python": [files.source]}, lambda _, *all_: told.extend(all_))
    await credentials.load()
    assert set(told) == {
        TOKEN,
        IDENTITY,
        IDENTITY.replace("/", "_"),
        f"{IDENTITY}:{TOKEN}",
        basic().removeprefix("Basic "),
    }
    files.write(IDENTITY, OTHER)
    await credentials.poll()
    assert OTHER in told
    assert credentials.authorization("python") == basic()


async def test_a_pair_that_does_not_change_is_told_once(files: Files) -> None:
    told: list[str] = []
    credentials = Credentials({"python": [files.source]}, lambda _, *all_: told.extend(all_))
    await credentials.load()
    count = len(told)
    for _ in range(5):
        await credentials.poll()
    assert len(told) == count


async def test_no_line_and_no_representation_shows_a_secret(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    canary = "".join(dice.choices(string.ascii_letters + string.digits, k=40))
    files.write(IDENTITY, canary)
    redactor = Redactor()
    credentials = Credentials({"python": [files.source]}, redactor.register)
    await credentials.load()
    files.write(IDENTITY, canary + "2")
    await credentials.poll()
    await credentials.poll()
    credentials.refused("python", credentials.authorization("python") or "", 1.0)
    files.write(IDENTITY, "")
    await credentials.poll()
    pair = read_pair(PairSource(username=IDENTITY, password=Secret(canary)))
    shown = caplog.text + repr(credentials) + repr(vars(credentials)) + repr(pair) + str(pair)
    assert canary not in shown
    assert basic(password=canary)[6:] not in shown
    spoken = f"{basic(password=canary)} {quote(canary)} {IDENTITY.replace('/', '_')} {IDENTITY}"
    masked = redactor.redact(spoken)
    assert canary not in masked
    assert "1c1c1c" not in masked


async def test_a_reload_takes_a_complete_pair_at_once(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write(IDENTITY, OTHER)
    await credentials.reload()
    assert credentials.authorization("python") == basic(password=OTHER)


async def test_a_reload_takes_no_half_of_a_pair(files: Files) -> None:
    credentials = await loaded(files.source)
    files.write(IDENTITY, "")
    await credentials.reload()
    assert credentials.authorization("python") == basic()


async def test_a_reload_takes_a_pair_where_there_was_none(files: Files) -> None:
    files.write("", "")
    credentials = await loaded(files.source)
    assert credentials.authorization("python") is None
    files.write(IDENTITY, TOKEN)
    await credentials.reload()
    assert credentials.authorization("python") == basic()
