"""Samples of the JavaScript ecosystem."""

from __future__ import annotations

from tests.matrix.samples import Samples
from tests.origin import Artifact, Origin
from tests.running import Answer


def _tarball(origin: Origin) -> Artifact:
    return origin.content.find("alpha-js-1.0.0.tgz")


def _read_error(answer: Answer) -> tuple[str, str]:
    error = answer.json()
    assert error["error"].startswith(f"{answer.reason}: ")
    return error["request_id"], error["error"]


SAMPLES = Samples(
    document="/javascript/alpha-js",
    artifact=lambda origin: _tarball(origin).link,
    sha256=lambda origin: _tarball(origin).blob.sha256,
    listing="/javascript/-/npm/v1/keys",
    missing="/javascript/nobody-has-made-this",
    unknown="/javascript/alpha-js/1.0.0/and/more",
    accept="application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*",
    error_type="application/json",
    read_error=_read_error,
)
