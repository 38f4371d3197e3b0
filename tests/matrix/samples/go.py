"""Samples of the Go ecosystem."""

from __future__ import annotations

import re

from tests.matrix.samples import Samples
from tests.origin import Artifact, Origin
from tests.running import Answer


def _zip(origin: Origin) -> Artifact:
    return origin.content.find("v1.0.0.zip")


def _read_error(answer: Answer) -> tuple[str, str]:
    found = re.fullmatch(r"([^\n]+) \(request ([a-z2-7]+)\)\n", answer.body.decode("ascii"))
    assert found is not None
    assert found[1].startswith(f"{answer.reason}: ")
    return found[2], found[1]


SAMPLES = Samples(
    document="/go/example.org/demo/@v/list",
    artifact=lambda origin: _zip(origin).link,
    sha256=lambda origin: _zip(origin).blob.sha256,
    listing="/go/example.org/demo/@latest",
    missing="/go/example.org/nobody/@v/list",
    unknown="/go/example.org/demo/@v/v1.0.0.tar",
    accept="*/*",
    error_type="text/plain; charset=utf-8",
    read_error=_read_error,
)
