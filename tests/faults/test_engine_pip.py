"""pip resumes a broken download: it must never end with a wrong file.

Measured with pip 26: it asks for the rest with Range and If-Range; given the artifact's own ETag
during the broken transfer, or none, it completes a file spliced from wrong bytes, exit code 0.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.engine import MIB, pattern
from tests.origin import Artifact, Content, OriginThread, status
from tests.origin.thread import ThreadFault
from tests.running import Process, process

SIZE = 3 * MIB


@pytest.fixture
def artifact(tmp_path: Path) -> tuple[Content, Artifact]:
    """A real wheel, large enough to be streamed."""
    content = Content()
    folder = tmp_path / "wheels"
    folder.mkdir()
    return content, content.big_wheel(folder, size=SIZE)


def download(
    tools: Path, environment: dict[str, str], proxy: Process, out: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(tools / "pip" / "bin" / "pip"), "-v", "download", "--no-deps", "--no-cache-dir",
            "--index-url", f"{proxy.url}/python/simple/", "--dest", str(out), *more, "bigblob",
        ],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def wrong_and_cut(origin: OriginThread, artifact: Artifact, *, hashes: bool) -> ThreadFault:
    """The first byte is wrong, the transfer ends at 80 %, and the proxy cannot go on with it.

    Without hashes it does not try.
    """
    cut = int(artifact.blob.size * 0.8)
    if hashes:
        origin.fault("origin", artifact.link, after=1, times=2, **status(418))
    return origin.fault("store", pattern(artifact), flip_at=0, cut_at=cut)


@pytest.mark.parametrize("hashes", [True, False])
@pytest.mark.parametrize("retries", ["0", "5"])
def test_pip_never_completes_a_file_from_wrong_bytes(
    tmp_path: Path,
    client_tools: Path,
    client_environment: dict[str, str],
    artifact: tuple[Content, Artifact],
    retries: str,
    *,
    hashes: bool,
) -> None:
    content, wheel = artifact
    with OriginThread(content=content) as origin:
        origin.origin.settings.hashes = origin.origin.settings.sizes = hashes
        with process(tmp_path, origin) as proxy:
            body = wrong_and_cut(origin, wheel, hashes=hashes)
            out = tmp_path / "out"
            done = download(
                client_tools, client_environment, proxy, out, "--resume-retries", retries
            )
            assert body.hits == 1
            files = list(out.glob("*.whl")) if out.exists() else []
            for file in files:
                assert hashlib.sha256(file.read_bytes()).hexdigest() == wheel.blob.sha256
            assert (done.returncode == 0) == (len(files) == 1), done.stdout + done.stderr
            # Asked again it is there, and right.
            out = tmp_path / "again"
            done = download(client_tools, client_environment, proxy, out)
            assert done.returncode == 0, done.stdout + done.stderr
            (file,) = out.glob("*.whl")
            assert hashlib.sha256(file.read_bytes()).hexdigest() == wheel.blob.sha256


def test_pip_resumes_what_was_cut_and_ends_with_the_right_file(
    tmp_path: Path,
    client_tools: Path,
    client_environment: dict[str, str],
    artifact: tuple[Content, Artifact],
) -> None:
    content, wheel = artifact
    with OriginThread(content=content) as origin:
        origin.origin.settings.hashes = origin.origin.settings.sizes = False
        with process(tmp_path, origin) as proxy:
            origin.fault("store", pattern(wheel), cut_at=int(wheel.blob.size * 0.8))
            done = download(
                client_tools, client_environment, proxy, tmp_path / "out", "--resume-retries", "5"
            )
            assert done.returncode == 0, done.stdout + done.stderr
            (file,) = (tmp_path / "out").glob("*.whl")
            assert hashlib.sha256(file.read_bytes()).hexdigest() == wheel.blob.sha256
