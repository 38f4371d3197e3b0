"""Samples of the Java ecosystem."""

from __future__ import annotations

from tests.matrix.samples import Samples
from tests.origin import Artifact, Origin
from tests.running import Answer


def _jar(origin: Origin) -> Artifact:
    return origin.content.find("demo-1.0.jar")


def _read_error(answer: Answer) -> tuple[str, str]:
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (answer.status, answer.reason)
    return problem["request_id"], problem["detail"]


SAMPLES = Samples(
    document="/java/org/example/demo/maven-metadata.xml",
    artifact=lambda origin: _jar(origin).link,
    sha256=lambda origin: _jar(origin).blob.sha256,
    listing="/java/",
    missing="/java/org/example/nobody/maven-metadata.xml",
    unknown="/java/org/example/demo/1.0/other-1.0.jar",
    accept="*/*",
    error_type="application/problem+json",
    read_error=_read_error,
    absent_type="application/json",
)
