"""The README's table of clients: each test of the reports in one row, no failure left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients.matrix import REPORTS, cases, rows


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """Reports of every stage, with one test that passes; that of Python has more."""
    for report in REPORTS:
        (tmp_path / f"{report}.xml").write_text(_report(""), encoding="utf-8")
    python = _report(
        '<testcase classname="t.test_python" name="test_it[pip-23]"/>'
        '<testcase classname="t.test_python" name="test_it[pip]"><failure/></testcase>'
        '<testcase classname="t.test_python" name="test_it[uv]"><skipped/></testcase>'
        '<testcase classname="t.test_python" name="test_nobody"><error/></testcase>'
    )
    (tmp_path / "python.xml").write_text(python, encoding="utf-8")
    return tmp_path


def _report(more: str) -> str:
    one = '<testcase classname="t.test_some" name="test_one"/>'
    return f"<testsuites><testsuite>{one}{more}</testsuite></testsuites>"


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def test_every_test_of_every_report_is_in_exactly_one_row(reports: Path) -> None:
    found = list(cases(reports))
    table = [_cells(row) for row in rows(found, reports)]
    counts = [int(row[-2]) + int(row[-1]) for row in table]
    assert sum(counts) == len(found) == len(REPORTS) + 4


def test_failures_errors_and_skips_are_failures_of_their_client(reports: Path) -> None:
    table = {row[0]: row for row in map(_cells, rows(list(cases(reports)), reports))}
    assert table["pip (Debian's)"][-2:] == ["1", "0"]
    assert table["pip"][-2:] == ["0", "1"]
    assert table["uv"][-2:] == ["0", "1"]
    assert table["(none in particular)"][-1] == "1"


def test_a_stage_that_was_not_run_is_no_table(reports: Path) -> None:
    (reports / "go.xml").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape("go.xml")):
        list(cases(reports))
