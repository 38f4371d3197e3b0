"""Samples of the VEX documents; no artifact is listed there."""

from __future__ import annotations

from typing import NoReturn

from tests.matrix.samples import Samples
from tests.origin import Origin
from tests.running import Answer


def _none(origin: Origin) -> NoReturn:
    raise LookupError("no artifact is listed there")


def _read_error(answer: Answer) -> tuple[str, str]:
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (answer.status, answer.reason)
    return problem["request_id"], problem["detail"]


SAMPLES = Samples(
    document="/openvex/v1/pypi/alpha.openvex.json",
    artifact=_none,
    sha256=_none,
    listing="/openvex/v1/all.json",
    missing="/openvex/v1/pypi/nobody-has-made-this.openvex.json",
    unknown="/openvex/v1/npm/",
    accept="application/json",
    error_type="application/problem+json",
    read_error=_read_error,
)
