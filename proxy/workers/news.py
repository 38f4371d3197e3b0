"""What one worker learns of the upstream and the others have to know.

Purpose: an upstream that does not answer, refuses a pull token, does not have a package or has
taken one back says so to one worker; it must not have to say it to each. What is told is small and
is taken at its word: it comes from a process like this one, by way of the supervisor.

Reading: each room's `on_news` and `hear`. Non-goals: what is on the disk (entries say it
themselves), rights of clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

from proxy.app import App
from proxy.cache.decisions import Refusals
from proxy.cache.verdicts import from_text, to_text
from proxy.errors import ProxyError
from proxy.upstream.breaker import News as BreakerNews
from proxy.workers.channel import Message


@final
class News:
    """Connects the rooms of one process with the others'. `tell` sends a message to them all."""

    def __init__(self, app: App, tell: Callable[[Message], None]) -> None:
        self._app = app
        self._tell = tell
        self._refusals: dict[str, Refusals] = {
            "documents": app.documents.refusals,
            "artifacts": app.artifacts.refusals,
            "bulk": app.bulk.refusals,
        }
        self._topics: dict[str, Callable[[Any], None]] = {
            "upstream": self._hear_of_upstream,
            "token": self._hear_of_token,
            "package": self._hear_of_package,
            "refusal": self._hear_of_refusal,
        }
        app.upstream.on_news(self._upstream)
        app.credentials.on_news(self._token)
        app.documents.packages.on_news(self._package)
        for room, refusals in self._refusals.items():
            refusals.on_news(self._refusal_of(room))

    def hear(self, topic: str, said: Any) -> None:  # noqa: ANN401  # JSON
        """Take what another process has told."""
        if (take := self._topics.get(topic)) is not None:
            take(said)

    # --- what is told ------------------------------------------------------------------------

    def _upstream(self, origin: str, news: BreakerNews, seconds: float) -> None:
        self._send("upstream", [origin, news.value, seconds])

    def _token(self, ecosystem: str, mark: str, refused: bool) -> None:  # noqa: FBT001  # as told
        self._send("token", [ecosystem, mark, refused])

    def _package(self, key: str) -> None:
        self._send("package", [key])

    def _refusal_of(self, room: str) -> Callable[[str, ProxyError | None, float], None]:
        def tell(key: str, error: ProxyError | None, seconds: float) -> None:
            self._send("refusal", [room, key, to_text(error) if error else None, seconds])

        return tell

    def _send(self, topic: str, said: list[object]) -> None:
        self._tell({"news": topic, "said": said})

    # --- what is heard -----------------------------------------------------------------------

    def _hear_of_upstream(self, said: tuple[str, str, float]) -> None:
        origin, news, seconds = said
        self._app.upstream.hear(origin, BreakerNews(news), seconds)

    def _hear_of_token(self, said: tuple[str, str, bool]) -> None:
        ecosystem, mark, refused = said
        self._app.credentials.hear(ecosystem, mark, refused, time.monotonic())

    def _hear_of_package(self, said: tuple[str]) -> None:
        self._app.documents.packages.hear(*said)

    def _hear_of_refusal(self, said: tuple[str, str, str | None, float]) -> None:
        room, key, text, seconds = said
        error = from_text(text) if text is not None else None
        self._refusals[room].hear(key, error, time.time(), seconds)
