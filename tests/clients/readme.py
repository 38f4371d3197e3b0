"""The README's blocks about container tools, to be run and written as they stand.

Purpose: finds one command. Non-goals: other sections.
"""

from __future__ import annotations

import re

from tests.running import TOP

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Language and text of each block of the section."""
    text = (TOP / "README.md").read_text("utf-8")
    section = text.partition("\n## Container tools\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


def command(program: str) -> str:
    """The one line that runs a program."""
    lines = "\n".join(text for language, text in blocks() if language == "sh").splitlines()
    (found,) = [line for line in lines if line.startswith(f"{program} ")]
    return found
