"""A process that has no file descriptor left, for as long as a block lasts.

    with exhausted():
        ...                       # what is open works; whatever is opened fails with EMFILE

Purpose: what an operator's machine does under a flood of connections, without the flood.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def exhausted() -> Iterator[None]:
    """Let nothing be opened in this process until the end of the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
