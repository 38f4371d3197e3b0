"""Short-lived tokens in place of a pull token: when they are renewed, and what a failure costs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.errors import PlatformRefused, PlatformSilent
from proxy.model import IssuedToken, Subject
from proxy.secret import Secret
from proxy.upstream.credentials import Clocks, Credentials, KeylessSource
from proxy.upstream.keyless import EARLIEST, LATEST
from proxy.upstream.pairs import PairSource

IDENTITY = "9f" * 20 + "/" + "1c" * 8
LIBRARIES, REGISTRY = "libraries.cgr.dev", "cgr.dev"
PROOF = "workload-token-of-no-known-shape"


class Issuer:
    """Gives tokens that can be told apart, or fails as `trouble` says. Time stands still here."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Subject]] = []
        self.trouble: Exception | None = None
        self.lifetime = 60.0
        self.now = 1_800_000_000.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def exchange(self, audience: str, subject: Subject) -> IssuedToken:
        self.asked.append((audience, subject))
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        return IssuedToken(Secret(f"short-{audience}-{len(self.asked)}"), self.lifetime)

    def clock(self) -> float:
        return self.now


class Keyless:
    """Two ecosystems of one audience, one of another."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "token"
        self.file.write_text(PROOF + "\n")
        self.issuer = Issuer()
        self.told: list[str] = []
        libraries = KeylessSource(IDENTITY, self.file, LIBRARIES)
        self.credentials = Credentials(
            {
                "python": [libraries],
                "java": [KeylessSource(IDENTITY, self.file, LIBRARIES)],
                "oci": [KeylessSource(IDENTITY, self.file, REGISTRY)],
            },
            lambda _, *values: self.told.extend(values),
            self.issuer,
            Clocks(self.issuer.clock, self.issuer.clock),
        )

    async def run(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass as the composition root does."""
        for _ in range(round(seconds / step)):
            self.issuer.now += step
            await self.credentials.exchange()


@pytest.fixture
async def keyless(tmp_path: Path) -> Keyless:
    made = Keyless(tmp_path)
    await made.credentials.load()
    return made


async def test_one_exchange_serves_all_ecosystems_of_an_audience(keyless: Keyless) -> None:
    subject = Subject(IDENTITY, Secret(PROOF))
    assert sorted(audience for audience, _ in keyless.issuer.asked) == [REGISTRY, LIBRARIES]
    assert {who for _, who in keyless.issuer.asked} == {subject}
    credentials = keyless.credentials
    assert credentials.authorization("python") == credentials.authorization("java")
    assert (credentials.authorization("python") or "").startswith(f"Bearer short-{LIBRARIES}")
    assert (credentials.authorization("oci") or "").startswith(f"Bearer short-{REGISTRY}")
    assert credentials.subject("python") == subject


async def test_it_is_renewed_ahead_of_its_end_and_not_before(keyless: Keyless) -> None:
    asked = len(keyless.issuer.asked)
    await keyless.run(60 * EARLIEST - 1)
    assert len(keyless.issuer.asked) == asked
    await keyless.run(60 * (LATEST - EARLIEST) + 2)
    assert len(keyless.issuer.asked) == asked + 2
    assert keyless.credentials.ends()["python"] > keyless.issuer.now + 45


async def test_two_proxies_do_not_renew_at_the_same_moment(tmp_path: Path) -> None:
    moments = set()
    for _ in range(8):
        made = Keyless(tmp_path)
        await made.credentials.load()
        start = made.issuer.now
        while len(made.issuer.asked) < 3:
            await made.run(0.1, 0.1)
        moments.add(round(made.issuer.now - start, 1))
    assert len(moments) > 3


async def test_who_comes_while_one_is_exchanged_waits_for_it(keyless: Keyless) -> None:
    keyless.issuer.now += 60
    keyless.issuer.gate.clear()
    renewals = [asyncio.ensure_future(keyless.credentials.exchange()) for _ in range(5)]
    await asyncio.sleep(0.05)
    keyless.issuer.gate.set()
    await asyncio.gather(*renewals)
    assert len(keyless.issuer.asked) == 4


async def test_while_the_issuer_is_silent_the_last_one_is_used_and_it_is_asked_ever_less(
    keyless: Keyless, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = keyless.credentials.authorization("python")
    keyless.issuer.trouble = PlatformSilent("the issuer answered 503")
    keyless.issuer.now += 60
    await keyless.run(300)
    assert keyless.credentials.authorization("python") == before
    assert 2 * 300 / 3 - 2 <= len(keyless.issuer.asked) <= 2 * 300 / 2 + 6
    assert [line.getMessage() for line in caplog.records if LIBRARIES in line.getMessage()] == [
        (
            "no token for libraries.cgr.dev could be had (the issuer answered 503);"
            " the last one is used until its end"
        )
    ]
    assert keyless.credentials.troubles(["python", "java"])[0] == "the token has ended: python"
    keyless.issuer.trouble = None
    await keyless.run(31)
    assert keyless.credentials.authorization("python") != before
    assert keyless.credentials.troubles(["python", "java"]) == []


async def test_a_token_that_the_upstream_refuses_is_exchanged_at_once(keyless: Keyless) -> None:
    before = keyless.credentials.authorization("python")
    assert before is not None
    keyless.credentials.refused("python", before, 100.0)
    found = await asyncio.gather(
        *(keyless.credentials.renew("python", before, 100.0) for _ in range(20))
    )
    assert all(found)
    assert len(keyless.issuer.asked) == 3
    assert keyless.credentials.pause("python", 100.0) == 0
    assert keyless.credentials.authorization("java") != before


async def test_the_workloads_own_token_is_read_again_each_time(keyless: Keyless) -> None:
    keyless.file.write_text("another-token-of-the-workload")
    await keyless.run(60)
    assert keyless.issuer.asked[-1][1].proof == Secret("another-token-of-the-workload")
    keyless.file.write_text("")  # half-written: the last good one is used
    await keyless.run(60)
    assert keyless.issuer.asked[-1][1].proof == Secret("another-token-of-the-workload")


async def test_a_new_workload_token_ends_the_waiting_after_a_refusal(keyless: Keyless) -> None:
    keyless.issuer.trouble = PlatformRefused("the issuer answered 401")
    await keyless.run(300)
    asked = len(keyless.issuer.asked)
    keyless.issuer.trouble = None
    keyless.file.write_text("another-token-of-the-workload")
    await keyless.credentials.poll()
    await keyless.credentials.exchange()
    assert len(keyless.issuer.asked) == asked + 2
    assert keyless.credentials.troubles(["python", "java"]) == []


async def test_without_a_workload_token_nobody_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Keyless(tmp_path)
    made.file.unlink()
    await made.credentials.load()
    assert made.issuer.asked == []
    assert set(made.credentials.unusable) == {"python", "java", "oci"}
    assert made.credentials.subject("python") is None
    assert "there is no OIDC token" in caplog.text
    made.file.write_text(PROOF)
    await made.credentials.poll()
    await made.credentials.exchange()
    assert not made.credentials.unusable


async def test_a_pull_token_may_stand_beside_an_identity(tmp_path: Path) -> None:
    issuer = Issuer()
    issuer.trouble = PlatformRefused("the issuer answered 403")
    file = tmp_path / "token"
    file.write_text(PROOF)
    pair = PairSource(username=IDENTITY, password=Secret("password"))
    credentials = Credentials(
        {"python": [KeylessSource(IDENTITY, file, LIBRARIES), pair]}, None, issuer
    )
    await credentials.load()
    assert (credentials.authorization("python") or "").startswith("Basic ")
    issuer.trouble = None
    await credentials.exchange()
    assert (credentials.authorization("python") or "").startswith("Basic ")


async def test_no_token_has_a_text_form(keyless: Keyless, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await keyless.run(120)
    keyless.issuer.trouble = PlatformSilent("no answer")
    await keyless.run(120)
    assert PROOF in keyless.told
    assert f"short-{LIBRARIES}-" in " ".join(keyless.told)
    shown = caplog.text + repr(vars(keyless.credentials)) + repr(keyless.credentials.subject("oci"))
    assert "short-" not in shown
    assert PROOF not in shown
