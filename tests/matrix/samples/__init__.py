"""What the matrix needs to know of an ecosystem: a few paths and the shape of its errors.

Each ecosystem has one module here, named like it, with a `SAMPLES`; a test fails while one is
missing. Non-goals: anything that a protocol's own tests look at.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.origin import Origin
from tests.running import Answer


@dataclass(frozen=True, slots=True)
class Samples:
    """Paths of one ecosystem, as the test origin serves them.

    `document` lists `artifact`; `listing` names everything there is; `missing` could be one but is
    not there upstream; `unknown` is below one of its mounts and means nothing. `accept`: what its
    clients send. `error_type`: media type of its errors, `absent_type` of those that say that there
    is nothing (404, 410), where it is another; `read_error` gives request id and text.
    """

    document: str
    artifact: Callable[[Origin], str]
    sha256: Callable[[Origin], str]
    listing: str
    missing: str
    unknown: str
    accept: str
    error_type: str
    read_error: Callable[[Answer], tuple[str, str]]
    absent_type: str = ""

    def type_of(self, status: int) -> str:
        """The media type of an error."""
        return self.absent_type if self.absent_type and status in (404, 410) else self.error_type


def samples_of(ecosystem: str) -> Samples:
    """Find the samples of an ecosystem. Raises ModuleNotFoundError when nobody has written any."""
    module = importlib.import_module(f"tests.matrix.samples.{ecosystem}")
    found: Samples = module.SAMPLES
    return found
