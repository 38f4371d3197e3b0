"""Samples of the Python ecosystem."""

from __future__ import annotations

from tests.matrix.samples import Samples
from tests.origin import Artifact, Origin
from tests.running import Answer


def _wheel(origin: Origin) -> Artifact:
    return origin.content.find("alpha-1.0-py3-none-any.whl")


def _read_error(answer: Answer) -> tuple[str, str]:
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (answer.status, answer.reason)
    return problem["request_id"], problem["detail"]


SAMPLES = Samples(
    document="/python/simple/alpha/",
    artifact=lambda origin: _wheel(origin).link,
    sha256=lambda origin: _wheel(origin).blob.sha256,
    listing="/python/simple/",
    missing="/python/simple/nobody-has-made-this/",
    unknown="/python/not-simple/alpha/",
    accept="application/vnd.pypi.simple.v1+json",
    error_type="application/problem+json",
    read_error=_read_error,
)
