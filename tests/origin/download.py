"""Real packages for the test origin, taken through this machine's own package client.

Purpose: a pinned set of real wheels and one sdist, fetched once with `pip download` exactly as the
machine is configured (its environment and configuration untouched), then kept in a folder. A
second run starts no process: a folder appears only when it is whole, named by a hash of its pins.
The same way (`kept`, `run_client`) the neighbours take what other package clients bring.

Non-goals: resolving (everything is pinned, `--no-deps`); knowing any registry's address.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.origin.content import Content, artifact_of

PINS = (
    "blinker==1.9.0",
    "certifi==2026.10.18",
    "charset-normalizer==3.5.2",
    "click==8.5.1",
    "flask==3.0.3",
    "flit-core==4.2.0",  # the sdist's build backend
    "idna==3.20",
    "itsdangerous==2.2.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "numpy==2.3.5",
    "requests==2.32.3",
    "urllib3==2.8.0",
    "werkzeug==3.1.9",
)
SDISTS = ("idna==3.20",)
# What `TREE` needs, whole: for tests that resolve something of a size that people have.
TREE = (
    *("flask", "requests", "matplotlib", "httpx[http2]", "aiohttp", "sqlalchemy", "pydantic"),
    *("rich", "cryptography", "jsonschema"),
)
TREE_PINS = (
    "aiohappyeyeballs==2.7.1",
    "aiohttp==3.14.5",
    "aiosignal==1.4.0",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "attrs==26.1.0",
    "blinker==1.9.0",
    "certifi==2026.10.18",
    "cffi==2.1.1",
    "charset-normalizer==3.5.2",
    "click==8.5.1",
    "contourpy==1.3.3",
    "cryptography==50.0.2",
    "cycler==0.12.1",
    "flask==3.0.3",
    "fonttools==4.68.0",
    "frozenlist==1.8.0",
    "h11==0.16.0",
    "h2==4.4.1",
    "hpack==4.2.0",
    "httpcore==1.0.9",
    "httpx==0.28.1",
    "hyperframe==6.1.0",
    "idna==3.20",
    "itsdangerous==2.2.0",
    "jinja2==3.1.6",
    "jsonschema==4.26.0",
    "jsonschema-specifications==2025.9.1",
    "kiwisolver==1.5.1",
    "markdown-it-py==4.3.0",
    "markupsafe==3.0.4",
    "matplotlib==3.11.2",
    "mdurl==0.1.2",
    "multidict==7.2.1",
    "numpy==2.4.6",
    "packaging==26.3",
    "pillow==13.0.0",
    "propcache==0.5.4",
    "pycparser==3.12",
    "pydantic==2.14.3",
    "pydantic-core==2.50.4",
    "pygments==2.21.0",
    "pyparsing==3.3.3",
    "python-dateutil==4.0.0",
    "referencing==0.37.0",
    "requests==2.32.3",
    "rich==15.0.0",
    "rpds-py==2026.9.1",
    "sqlalchemy==2.1.9",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
    "tzdata==2026.6",
    "urllib3==2.8.0",
    "werkzeug==3.1.9",
    "yarl==1.25.1",
)
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
_NAME = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE)  # PEP 508
_LIMIT = 600.0
_REMEMBER_FAILURE = 60.0


class DownloadFailed(Exception):
    """The package client could not get a package; the text is its last lines."""


def cache_folder() -> Path:
    """The folder for content: `CGR_PROXY_TEST_CACHE`, else below the user's cache folder."""
    if configured := os.environ.get("CGR_PROXY_TEST_CACHE"):
        return Path(configured) / "content"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cgr-proxy-tests" / "content"


def kept(target: Path, make: Callable[[Path], Path]) -> Path:
    """Give a file or folder, made first when it is not there; it appears only when it is whole.

    `make` works in a temporary folder beside it, and returns what is to become the target.
    Blocking. Raises what `make` raises; then nothing is kept.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            fresh = make(Path(temporary))
            try:
                fresh.replace(target)
            except OSError:
                # Another process did the same meanwhile: its folder is as good as ours.
                if not target.exists():
                    raise
    return target


def build_folder(kind: str, project: Path, built_by: str) -> Path:
    """Where what building a project brings is kept: named by its files and what builds it."""
    made = hashlib.sha256(built_by.encode())
    for path in sorted(project.rglob("*")):
        if path.is_file():
            made.update(path.read_bytes())
    return cache_folder() / f"{kind}-{made.hexdigest()[:16]}"


def run_client(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run a package client of this machine, as it is configured unless an environment is given.

    Blocking. Raises DownloadFailed: it is not there, fails, or has not ended after ten minutes.
    """
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadFailed(f"{command[0]}: {error}") from error
    if done.returncode:
        said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}".strip()
        raise DownloadFailed(f"{command[0]}: {said}")


def real(folder: Path | None = None, versions: tuple[str, ...] = (RUNNING,)) -> Content:
    """Give the pinned real content for some Python versions, fetching what is missing.

    Blocking: minutes at worst the first time, about 0.3 s later. Raises DownloadFailed.
    """
    folder = folder or cache_folder()
    folders = [_complete(folder, version, PINS, SDISTS) for version in versions]
    return Content.from_folder(*folders, folder / "filled")


def tree(folder: Path | None = None) -> Content:
    """Give a real tree of more than 40 packages (`TREE` with all that it needs): 60 MB of wheels.

    Blocking, as `real`. Raises DownloadFailed.
    """
    return Content.from_folder(_complete(folder or cache_folder(), RUNNING, TREE_PINS, ()))


def _complete(folder: Path, version: str, pins: tuple[str, ...], sdists: tuple[str, ...]) -> Path:
    wanted = "\n".join([version, *pins, *sdists])
    target = folder / f"python-{version}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    wheels = ["--only-binary=:all:"]
    if version != RUNNING:
        wheels += ["--python-version", version]
    names = ",".join(pin.partition("==")[0] for pin in sdists)

    def make(temporary: Path) -> Path:
        fresh = temporary / "set"
        run_client(_command(fresh, [*wheels, "--", *pins]))
        if sdists:
            run_client(_command(fresh, [f"--no-binary={names}", "--", *sdists]))
        return fresh

    return kept(target, make)


def _command(target: Path, arguments: list[str]) -> list[str]:
    pip = [sys.executable, "-m", "pip", "--no-input", "download", "--quiet", "--no-deps"]
    return [*pip, "--dest", str(target), *arguments]


class Filler:
    """Takes projects that the origin does not hold on their first request, one at a time.

    Only the newest version that suits the running interpreter. A failure is remembered for a
    minute. The fetch outlives the request that began it, so a client that gave up finds it done.
    `environment`: what pip runs in, as `tests.origin.settled` makes it.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder / "filled"
        self._environment = dict(environment)
        self._lock = asyncio.Lock()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, float] = {}
        self.content: Content | None = None

    async def fill(self, project: str) -> None:
        """Fetch a project into `content`; afterwards it is there, or it could not be had."""
        now = asyncio.get_running_loop().time()
        if not _NAME.fullmatch(project) or self._failed.get(project, 0.0) > now:
            return
        if project not in self._running:
            task = asyncio.create_task(self._fetch(project))
            self._running[project] = task
            task.add_done_callback(lambda _: self._running.pop(project, None))
        await asyncio.shield(self._running[project])

    async def stop(self) -> None:
        """End what is running."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, project: str) -> None:
        async with self._lock:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder) as fresh:
                if not await self._download(Path(fresh), project):
                    failed_until = asyncio.get_running_loop().time() + _REMEMBER_FAILURE
                    self._failed[project] = failed_until
                    return
                await asyncio.to_thread(self._take, Path(fresh), project)

    async def _download(self, target: Path, project: str) -> bool:
        process = await asyncio.create_subprocess_exec(
            *_command(target, ["--", project]),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            return await asyncio.wait_for(process.wait(), _LIMIT) == 0
        except TimeoutError:
            return False
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _take(self, fresh: Path, project: str) -> None:
        for path in fresh.iterdir():
            artifact = artifact_of(path.replace(self._folder / path.name))
            if self.content is not None and artifact.project == canonicalize_name(project):
                self.content.add(artifact)
