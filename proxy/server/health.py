"""Liveness, readiness, and what is under way.

Purpose: `/healthz` says that the loop runs; `/readyz` says whether to send requests here, and never
asks the upstream: a dead upstream is no reason to take the cache away. Both cost a constant.

Reading: Kubernetes probes. Non-goals: diagnosis (the log and the metrics).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import final

from aiohttp import web
from multidict import CIMultiDict

from proxy.server.answer import Answer

Probe = Callable[[CIMultiDict[str]], web.Response]


@final
class Health:
    """`troubles`: asked at each readiness probe; why less than everything works, in words.
    `serves`: the same; whether, once started, there is anybody who serves."""

    def __init__(
        self, troubles: Callable[[], list[str]], serves: Callable[[], bool] = lambda: True
    ) -> None:
        self.troubles = troubles
        self._serves = serves
        self.started = False
        self.draining = False
        self.running = 0
        """Requests that are being answered; who answers counts."""

    def probe(self, target: str, method: str) -> Probe | None:
        """The probe at a request target, if it is one."""
        if method not in ("GET", "HEAD"):
            return None
        match target.partition("?")[0]:
            case "/healthz":
                return self._healthz
            case "/readyz":
                return self._readyz
            case _:
                return None

    def _healthz(self, headers: CIMultiDict[str]) -> web.Response:
        return _json(200, {"status": "ok"}, headers)

    def _readyz(self, headers: CIMultiDict[str]) -> web.Response:
        if not self.started or self.draining or not self._serves():
            return _json(503, {"status": "draining" if self.draining else "starting"}, headers)
        if reasons := self.troubles():
            return _json(200, {"status": "degraded", "reasons": reasons}, headers)
        return _json(200, {"status": "ok"}, headers)


def _json(status: int, data: object, headers: CIMultiDict[str]) -> web.Response:
    headers["Content-Type"] = "application/json"
    headers["Cache-Control"] = "no-store"
    return Answer(status=status, body=json.dumps(data).encode(), headers=headers)
