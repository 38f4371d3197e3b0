"""The deployment's files, and the programs that check them.

Purpose: one place that knows where both are. `sh tests/run.sh deploy` gets the programs; one that
is missing fails the test. Non-goals: what is checked.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.machine import Done, clean_environment, run_program

TOP = Path(__file__).resolve().parents[2]
DEPLOY = TOP / "deploy"
CHART = DEPLOY / "chart"
_YAML = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"


@dataclass(frozen=True, slots=True)
class Tools:
    """`folder`: where the client programs are; `home`: an empty home for them."""

    folder: Path
    home: Path

    def program(self, name: str) -> str:
        """The path of a program: from the lock file, unpacked, or the machine's own."""
        for below in ("deploy/bin", "containers/usr/bin", "promtool/usr/bin"):
            found = self.folder / below / name
            if found.exists():
                return str(found)
        own = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert own is not None, f"{name} is missing: sh tests/run.sh deploy gets it"
        return own

    def run(self, name: str, *arguments: str | Path, limit: float = 120, **more: str) -> Done:
        """Run a program at the top of the checkout; `more`: environment variables."""
        self.home.mkdir(exist_ok=True)
        environment = clean_environment(self.home) | more
        command = (self.program(name), *map(str, arguments))
        return run_program(command, TOP, environment, limit=limit)

    def yaml(self, file: Path) -> list[Any]:
        """Every document of a YAML file (the tests' own Python knows no YAML)."""
        done = self.run("python", "-c", _YAML, file)
        assert done.code == 0, done.output
        documents: list[Any] = json.loads(done.output)
        return documents

    def rendered(self, file: Path, *options: str) -> list[Mapping[str, Any]]:
        """The chart's manifests, written to `file` too."""
        done = self.run("helm", "template", "builds", CHART, "--namespace", "tools", *options)
        assert done.code == 0, done.output
        file.write_text(done.output, encoding="utf-8")
        return [document for document in self.yaml(file) if document]
