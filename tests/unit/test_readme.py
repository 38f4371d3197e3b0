"""The README's reference says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.config.schema import reference

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ROW = re.compile(r"^\| `([a-z_.<>]+)` \| `([^|]*)` \| (.*) \|$", re.MULTILINE)


def test_the_readme_lists_every_key_with_its_default_and_meaning() -> None:
    listed = [row for row in ROW.findall(README) if "." in row[0]]

    assert listed == [(key.key, key.default, key.meaning) for key in reference()]


def test_the_readme_never_recommends_a_second_index() -> None:
    commands = re.findall(r"^(?:pip|uv) .*$", README, re.MULTILINE)

    assert commands
    assert not [command for command in commands if "extra-index" in command]
