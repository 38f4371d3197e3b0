"""What is done again and again beside the requests: files looked at, tokens renewed.

Purpose: one round that runs into something unforeseen (a container whose limit of threads is
reached, a defect) must not be the last one. A poller that has ended silently is the worst of
failures: a token lapses weeks later, a client that was removed stays.

Non-goals: rounds with a clock of their own (entitlements, signing keys).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

LOG = logging.getLogger(__name__)


async def repeat(seconds: float, do: Callable[[], Awaitable[None]], what: str) -> None:
    """Wait for `seconds`, then `do`, until cancelled. `what`: for the log, as in "`what` failed".

    Of a row of failures the first one is told, with its traceback.
    """
    failing = False
    while True:
        await asyncio.sleep(seconds)
        try:
            await do()
        except Exception:
            # Whatever it is, the next round must come: see above. A cancellation is none of these.
            if not failing:
                LOG.exception("%s failed inside the proxy; it is tried again and again", what)
            failing = True
        else:
            if failing:
                LOG.info("%s works again", what)
            failing = False
