"""Whole bodies, held in memory: an answer's as it comes, a stored one's as it lies there.

Purpose: nothing is held that is larger than somebody has said, and nothing stored is believed
before it is hashed. Non-goals: bodies that are streamed (`download`, `bulk`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable

from proxy.errors import Malformed
from proxy.storage.base import Body, Record
from proxy.upstream.base import UpstreamResponse

LOG = logging.getLogger(__name__)


async def receive(
    response: UpstreamResponse,
    limit: int,
    too_large: str,
    reached: Callable[[], None] = lambda: None,
) -> bytes:
    """All of an answer's body, of `limit` bytes at most. The caller closes the answer.

    Raises Malformed with that sentence, after `reached` was called. An end that cannot be seen is
    left to the parser to judge.
    """
    if (response.head.size or 0) > limit:
        reached()
        raise Malformed(too_large)
    pieces: list[bytes] = []
    size = 0
    async for piece in response.pieces():
        size += len(piece)
        if size > limit:
            reached()
            raise Malformed(too_large)
        pieces.append(piece)
    return b"".join(pieces)


def read(record: Record, body: Body) -> bytes | None:
    """All of a stored body, verified; None: the disk does not give what was put there."""
    try:
        content = os.pread(body.fileno(), record.size, 0)
    except OSError as error:
        LOG.warning("a stored body cannot be read (%s)", type(error).__name__)
        return None
    return content if hashlib.sha256(content).hexdigest() == record.sha256 else None
