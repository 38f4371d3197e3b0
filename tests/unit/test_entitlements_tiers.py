"""Remediated tiers over time: what was named once goes on being asked for."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.access.entitlements import Verdict
from proxy.access.known import Answer
from proxy.access.memory import FILE_NAME, MAX_TIERED
from tests.unit.test_entitlements_learning import (
    OURS,
    SILENT,
    TERMS,
    THEIRS,
    Asked,
    Life,
    answer,
    living,
)

TIER = "python-remediated"
ALLOWED, DENIED = Verdict.ALLOWED, Verdict.DENIED


async def test_the_last_tier_that_is_withdrawn_is_denied(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON", "PYTHON_ATHENA")) as life:
        assert life.says(TIER) is ALLOWED
        await life.then(answer("PYTHON"))
        assert (life.says(), life.says(TIER)) == (ALLOWED, DENIED)
        assert life.entitlements.describe()["remediated_tiers"] is True
        await life.then(answer("PYTHON", "PYTHON_ATHENA"))
        assert life.says(TIER) is ALLOWED


async def test_a_may_not_ask_in_between_does_not_forget_it(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON", "JAVA_ATHENA")) as life:
        await life.then(Answer(OURS, may_ask=False))
        await life.then(answer("PYTHON"))
        assert life.says(TIER) is DENIED


async def test_a_restart_does_not_forget_it(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON", "PYTHON_ATHENA")) as life:
        await life.then(answer("PYTHON"))
    async with living(tmp_path, SILENT) as life:
        assert life.says(TIER) is DENIED
        await life.then(answer("PYTHON"))
        assert (life.says(), life.says(TIER)) == (ALLOWED, DENIED)


async def test_it_is_known_of_one_organisation_and_not_of_another(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON", "PYTHON_ATHENA")) as life:
        life.asker.current = frozenset({THEIRS})
        await life.then(answer("PYTHON", organisation=THEIRS))
        assert life.says(TIER) is ALLOWED
        life.asker.current = frozenset({OURS})
        await life.then(answer("PYTHON"))
        assert life.says(TIER) is DENIED


async def test_an_answer_kept_by_an_earlier_version_is_read(tmp_path: Path) -> None:
    async with living(tmp_path, answer("PYTHON", "PYTHON_ATHENA")):
        pass
    file = tmp_path / FILE_NAME
    record = json.loads(file.read_bytes())
    del record["tiered"]
    file.write_text(json.dumps(record), "ascii")
    async with living(tmp_path, SILENT) as life:
        await life.then(answer("PYTHON"))
        assert life.says(TIER) is DENIED


async def test_what_is_remembered_has_a_limit_and_ours_is_in_it(tmp_path: Path) -> None:
    life = Life(tmp_path, Asked(answer("PYTHON", "GO_ATHENA")), TERMS)
    await life.entitlements.start()
    others = [f"{number:040x}" for number in range(2 * MAX_TIERED)]
    for other in others:
        life.asker.current = frozenset({other})
        await life.then(answer("PYTHON_ATHENA", organisation=other))
    await life.then(answer("PYTHON", organisation=others[-1]))
    assert life.says(TIER) is DENIED
    await life.entitlements.close()
    assert len(json.loads((tmp_path / FILE_NAME).read_bytes())["tiered"]) == MAX_TIERED
