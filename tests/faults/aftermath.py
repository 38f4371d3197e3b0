"""What must hold after every fault, whatever it was, looked at in one place.

Purpose: a proxy that ends by itself at the end of a block; then no traceback is in its log, no
secret of the upstream in its log, its answers or its files, nothing half-made is left in the cache,
everything that is stored has the digest under which it is stored, and the upstream's hosts have
seen nothing that was not theirs (a token, a cookie, a HEAD). Non-goals: what a fault is.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kept import kept
from tests.origin import Origin
from tests.running import Running, Tables, running


@asynccontextmanager
async def aftermath(
    folder: Path, origin: Origin, tables: Tables | None = None
) -> AsyncIterator[Running]:
    """Run a proxy through a fault. The log and the secrets are looked at by `running`."""
    async with running(folder, origin, tables) as proxy:
        yield proxy
        await origin.journal.idle.wait()
        answers = await proxy.metrics()
        assert any(name.startswith("cgr_proxy_requests_total") for name in answers)
    assert half_made(folder) == []
    assert unsound(folder) == []
    assert origin.violations == []


def half_made(folder: Path) -> list[str]:
    """Bodies in the making, and claims on them."""
    flights = folder / "cache" / "v2" / "flights"
    return sorted(path.name for path in flights.iterdir()) if flights.exists() else []


def unsound(folder: Path) -> list[str]:
    """Keys of entries whose body is missing, or is not what they say."""
    entries = list(kept(folder / "cache"))
    files = (folder / "cache" / "v2" / "entries").glob("*/*")
    assert len(entries) == len(list(files)), "an entry cannot be read"
    return [
        one.record.key
        for one in entries
        if hashlib.sha256(one.body() or b"").hexdigest() != one.record.sha256
    ]
