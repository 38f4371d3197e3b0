"""The control port of a test origin that runs as a program: JSON over loopback HTTP.

Purpose: scripts and people steer it. GET /counters, /log; POST /reset, /fault (fields of
`faults.Fault`, plus `preset`), /block and /unblock (`{"project", "version"?}`), /yank
(`{"filename", "reason"?}`), /drop (`{"filename"}`), /settings (fields of `Settings`),
/stop-listening and /start-listening (`{"server"?}`); DELETE /faults.

Non-goals: being reachable from elsewhere; it has no authentication and listens on 127.0.0.1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from tests.origin.faults import fault_from_json
from tests.origin.origin import HOST, Origin
from tests.origin.settings import Settings
from tests.origin.transmit import Throttle, Transmitter
from tests.origin.wire import Connection, Listener, Request, Response

Document = dict[str, Any] | list[Any]
DONE: dict[str, Any] = {"ok": True}
METHODS = ("GET", "HEAD", "POST")


class Control:
    """The control listener of one origin."""

    def __init__(self, origin: Origin, port: int = 0) -> None:
        self._origin = origin
        self._sender = Transmitter("control", lambda: (), Throttle(), Counter())
        self.listener = Listener(HOST, port, self._serve)

    async def _serve(self, connection: Connection, request: Request) -> bool:
        try:
            document = json.loads(request.body or b"{}")
            answer: Document = await self._act(f"{request.method} {request.target}", document)
            status = 200
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            status, answer = 400, {"error": f"{type(error).__name__}: {error}"}
        response = Response.of(status, "application/json", json.dumps(answer).encode() + b"\n")
        return await self._sender.send(connection, request, response)

    async def _act(self, what: str, document: dict[str, Any]) -> Document:
        origin = self._origin
        if what == "POST /stop-listening":
            await origin.close_listener(document.get("server"))
            return DONE
        if what == "POST /start-listening":
            await origin.reopen(document.get("server"))
            return DONE
        actions: dict[str, Callable[[], object]] = {
            "GET /counters": self._counters,
            "GET /log": lambda: [asdict(entry) for entry in origin.log],
            "POST /reset": origin.reset,
            "POST /fault": lambda: origin.faults.add(fault_from_json(document)),
            "DELETE /faults": origin.faults.clear,
            "POST /block": lambda: origin.block(document["project"], document.get("version")),
            "POST /unblock": lambda: origin.unblock(document["project"], document.get("version")),
            "POST /yank": lambda: origin.content.yank(**document),
            "POST /drop": lambda: origin.content.drop(document["filename"]),
            "POST /settings": lambda: self._change_settings(document),
        }
        if what not in actions:
            raise LookupError(what)
        answer = actions[what]()
        return answer if isinstance(answer, (dict, list)) else DONE

    def _counters(self) -> dict[str, Any]:
        journal = self._origin.journal
        return {
            "requests": {
                server: {method: journal.count(method, server=server) for method in METHODS}
                for server in ("origin", "store", "registry", "apk")
            },
            "artifact_redirects": journal.count(pattern="^/(files|python-upstream)/"),
            "body_bytes": dict(journal.body_bytes),
            "peak": dict(journal.peak),
            "counters": dict(journal.counters),
            "violations": list(journal.violations),
        }

    def _change_settings(self, document: dict[str, Any]) -> None:
        known = {entry.name for entry in fields(Settings)} - {"clock"}
        if unknown := set(document) - known:
            raise ValueError(f"unknown settings {sorted(unknown)}")
        for name, value in document.items():
            setattr(self._origin.settings, name, frozenset(value) if name == "entitled" else value)
