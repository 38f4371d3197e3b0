"""The test origin in a thread of its own, for tests that drive programs from outside a loop.

Purpose: the same origin, every call made in its loop, so that a blocking test may use it.
Non-goals: anything that `Origin` does not do.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.origin.content import Content
from tests.origin.faults import FaultHandle
from tests.origin.journal import Received
from tests.origin.origin import Origin
from tests.origin.settings import Settings

Result = TypeVar("Result")
_LIMIT = 30.0


class OriginThread:
    """A running origin. Use it as a context manager; calls come back within 30 s or raise.

    What it has no method for: `thread.call(lambda origin: origin.block("flask"))`.
    """

    def __init__(self, settings: Settings | None = None, content: Content | None = None) -> None:
        self._settings = settings
        self._content = content
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-origin")

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.origin = self.run(self._start())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.run(self.origin.__aexit__(kind, error, trace))
        finally:
            self._end_loop()

    async def _start(self) -> Origin:
        return await Origin(self._settings, self._content).__aenter__()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the origin's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_LIMIT)

    def call(self, function: Callable[[Origin], Result]) -> Result:
        """Call a function with the origin, in its loop."""

        async def called() -> Result:
            return function(self.origin)

        return self.run(called())

    @property
    def url(self) -> str:
        """The libraries host."""
        return self.origin.url

    @property
    def store_url(self) -> str:
        """The object store."""
        return self.origin.store_url

    @property
    def registry_url(self) -> str:
        """The registry of images."""
        return self.origin.registry_url

    @property
    def apk_url(self) -> str:
        """The host of apk packages."""
        return self.origin.apk_url

    @property
    def username(self) -> str:
        """User name of the pull token."""
        return self.origin.username

    @property
    def password(self) -> str:
        """Password of the pull token."""
        return self.origin.password

    @property
    def log(self) -> list[Received]:
        """A copy of every request so far."""
        return self.call(lambda origin: list(origin.log))

    @property
    def violations(self) -> list[str]:
        """A copy of every broken rule so far."""
        return self.call(lambda origin: list(origin.violations))

    @property
    def body_bytes_sent(self) -> int:
        """Bytes of body sent by both servers."""
        return self.call(lambda origin: origin.body_bytes_sent)

    def count(
        self, method: str | None = None, pattern: str | None = None, server: str | None = None
    ) -> int:
        """Count requests."""
        return self.call(lambda origin: origin.count(method, pattern, server))

    def reset(self) -> None:
        """Forget what was seen."""
        self.call(lambda origin: origin.reset())

    def fault(self, server: str | None = None, path: str = "", **what: Any) -> ThreadFault:
        """Put a fault to work."""
        return ThreadFault(self, self.call(lambda origin: origin.fault(server, path, **what)))

    def close_listener(self, server: str | None = None) -> None:
        """Stop one server, or both."""
        self.run(self.origin.close_listener(server))

    def reopen(self, server: str | None = None) -> None:
        """Start again on the same ports."""
        self.run(self.origin.reopen(server))


class ThreadFault:
    """A fault's handle for another thread."""

    def __init__(self, owner: OriginThread, handle: FaultHandle) -> None:
        self._owner = owner
        self._handle = handle

    @property
    def hits(self) -> int:
        """Requests struck so far."""
        return self._handle.hits

    def reached(self, requests: int = 1) -> None:
        """Wait until that many requests wait at (or have been broken by) this fault."""
        self._owner.run(self._handle.reached(requests))

    def release(self) -> None:
        """Let go everything that waits."""
        self._owner.call(lambda _: self._handle.release())

    def clear(self) -> None:
        """End the fault."""
        self._owner.call(lambda _: self._handle.clear())
