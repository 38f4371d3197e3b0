"""The settings of this machine's pip, as they are when the look-alike starts.

Purpose: whoever tries the proxy puts its address into his pip.conf. A look-alike that took its
packages through that very file would then ask the proxy, which asks the look-alike. So the user's
own files are copied at the start, and pip is run with these.

Reading: pip's documentation, "Configuration": where its files are. Non-goals: the machine-wide
files (/etc, the environment's own), which nobody changes to try something.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def settled(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give an environment in which pip has the user's settings of this moment, until the end."""
    home = Path(environment.get("HOME") or Path.home())
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder)
        _copy(Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip"), settings / "pip")
        _copy(home / ".pip", settings / ".pip")
        if (home / ".netrc").exists():
            (settings / ".netrc").symlink_to(home / ".netrc")
        yield {
            **environment,
            "HOME": folder,
            "XDG_CONFIG_HOME": folder,
            "XDG_CACHE_HOME": environment.get("XDG_CACHE_HOME") or str(home / ".cache"),
        }


def _copy(there: Path, here: Path) -> None:
    file = there / "pip.conf"
    if file.is_file():
        here.mkdir()
        shutil.copy(file, here / "pip.conf")
