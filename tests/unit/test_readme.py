"""The README's reference says what the program does."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import generate_latest

from proxy.cli import _parser
from proxy.config.schema import reference
from proxy.workers.crew import Crew
from proxy.workers.supervisor import numbers_of
from proxy.workers.terms import Terms
from tests.origin import Content, Origin
from tests.running import running

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ROW = re.compile(r"^\| `([a-z_.<>]+)` \| `([^|]*)` \| (.*) \|$", re.MULTILINE)
METRIC = re.compile(r"^\| `(cgr_proxy_\w+)` \| (\w+) \| (.*) \|$", re.MULTILINE)
COMMAND = re.compile(r"^\| `(cgr-proxy [a-z ,-]+)` \| (.*) \|$", re.MULTILINE)
SHOWN = re.compile(r"^# HELP (cgr_proxy_\w+) (.*)\n# TYPE \S+ (\w+)$", re.MULTILINE)


def test_the_readme_lists_every_key_with_its_default_and_meaning() -> None:
    listed = [row for row in ROW.findall(README) if "." in row[0]]

    assert listed == [(key.key, key.default, key.meaning) for key in reference()]


async def test_the_readme_lists_every_metric_with_its_type_and_meaning(tmp_path: Path) -> None:
    assert METRIC.findall(README) == await metrics_of(tmp_path)


def test_the_readme_lists_every_command_with_what_it_does() -> None:
    assert COMMAND.findall(README) == list(commands_of())


def test_the_readme_never_recommends_a_second_index() -> None:
    commands = re.findall(r"^(?:pip|uv) .*$", README, re.MULTILINE)

    assert commands
    assert not [command for command in commands if "extra-index" in command]


async def metrics_of(folder: Path) -> list[tuple[str, str, str]]:
    """Every metric of ours, of a process alone and of a supervisor: name, type, meaning."""

    def nobody(number: int, *_: object) -> Terms:
        raise AssertionError(f"worker {number} was asked for its terms")

    async with Origin(content=Content.tiny()) as origin, running(folder, origin) as proxy:
        alone = (await proxy.get("/metrics", url=proxy.admin_url)).body.decode()
    workers = generate_latest(numbers_of(Crew(2, nobody), 2)).decode()
    found = [(name, kind, meaning) for name, meaning, kind in SHOWN.findall(alone + workers)]
    return sorted(row for row in found if not row[0].endswith("_created"))


def commands_of() -> Iterator[tuple[str, str]]:
    """Every command, and every part of those that have some, with what its help says."""
    for name, parser, meaning in _below(_parser()):
        parts = list(_below(parser))
        if not parts:
            yield f"cgr-proxy {name}", meaning
        for part, _, does in parts:
            yield f"cgr-proxy {name} {part}", does


def _below(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                yield name, inner, told[name]
