"""Samples of the .NET ecosystem."""

from __future__ import annotations

from tests.matrix.samples import Samples
from tests.origin import Artifact, Origin
from tests.origin.dotnet import SEMVER_HIVE
from tests.running import Answer


def _package(origin: Origin) -> Artifact:
    return origin.content.find("alpha.net.1.0.0.nupkg")


def _read_error(answer: Answer) -> tuple[str, str]:
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (answer.status, answer.reason)
    warning = answer.header("X-NuGet-Warning")
    assert (warning is None) is (answer.status in (401, 404, 410))
    assert warning in (None, f"{answer.reason}: {problem['detail']}")
    return problem["request_id"], problem["detail"]


SAMPLES = Samples(
    document=f"{SEMVER_HIVE}/alpha.net/index.json",
    artifact=lambda origin: _package(origin).link,
    sha256=lambda origin: _package(origin).blob.sha256,
    listing="/dotnet/v3/index.json",
    missing=f"{SEMVER_HIVE}/nobody.net/index.json",
    unknown="/dotnet/v2/package",
    accept="application/json",
    error_type="application/problem+json",
    read_error=_read_error,
)
