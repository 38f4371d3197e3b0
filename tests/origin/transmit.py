"""Sending one answer, well or with a fault.

Purpose: the only place that turns a `Response` into bytes on the wire, so that every fault works
on every answer of every server. Non-goals: deciding what the answer is.
"""

from __future__ import annotations

import asyncio
import http.client
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.origin.blobs import BytesBlob, whole
from tests.origin.faults import Fault, FaultHandle
from tests.origin.wire import Connection, Header, Request, Response

_SOUND = Fault()


@dataclass(slots=True)
class Throttle:
    """A limit over all connections together, in bytes a second; None = none."""

    rate: float | None = None
    _free_at: float = field(default=0.0)

    async def take(self, amount: int) -> None:
        """Wait until that many bytes may go."""
        if self.rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + amount / self.rate
        await asyncio.sleep(self._free_at - now)


@dataclass(frozen=True, slots=True)
class Transmitter:
    """Sends the answers of one server. `common` gives the headers that go on each."""

    server: str
    common: Callable[[], tuple[Header, ...]]
    throttle: Throttle
    body_bytes: Counter[str]

    async def send(
        self,
        connection: Connection,
        request: Request,
        response: Response,
        handle: FaultHandle | None = None,
    ) -> bool:
        """Send an answer; tell whether the connection goes on."""
        fault = handle.fault if handle else _SOUND
        if handle is not None and not await self._wait_before_head(connection, handle):
            return False
        if fault.close or fault.raw is not None:
            await connection.write(fault.raw or b"")
            await _arrive(handle)
            if fault.close and fault.cut == "rst":
                await connection.reset()
            return False
        response = _replaced(response, fault)
        going_on = request.keep_alive and fault.framing != "close"
        await connection.write(fault.preamble + self._head(response, fault, going_on))
        if request.method == "HEAD" or response.status in (204, 304):
            await _arrive(handle)
            return going_on
        whole_body = await self._send_body(connection, response, fault, handle)
        await _arrive(handle)
        if not whole_body:
            if fault.cut == "rst":
                await connection.reset()
            return False
        return going_on

    async def _wait_before_head(self, connection: Connection, handle: FaultHandle) -> bool:
        if handle.fault.delay:
            await asyncio.sleep(handle.fault.delay)
        if handle.fault.hold:
            await handle.arrive()
            return await _released(connection, handle)
        return True

    def _head(self, response: Response, fault: Fault, going_on: bool) -> bytes:
        names = {name.lower() for name, _ in fault.headers} | set(fault.drop_headers)
        headers = [
            pair for pair in (*self.common(), *response.headers) if pair[0].lower() not in names
        ]
        sha256 = response.body.blob.sha256 if "{sha256}" in str(fault.headers) else ""
        headers += [(name, value.replace("{sha256}", sha256)) for name, value in fault.headers]
        if fault.framing == "chunked":
            headers.append(("Transfer-Encoding", "chunked"))
        bodiless = response.status in (204, 304) or "content-length" in names
        if fault.framing == "length" and not bodiless:
            headers.append(("Content-Length", str(response.body.size)))
        if not going_on:
            headers.append(("Connection", "close"))
        reason = http.client.responses.get(response.status, "Odd")
        lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{k}: {v}" for k, v in headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")

    async def _send_body(
        self, connection: Connection, response: Response, fault: Fault, handle: FaultHandle | None
    ) -> bool:
        """Send the body; False when it was cut or the peer went away while it stalled."""
        stops = sorted(at for at in (fault.stall_at, fault.cut_at) if at is not None)
        sent = 0
        if handle is not None and not await self._stop(connection, fault, handle, sent):
            return False
        async for piece in _pieces(response, fault, stops):
            await self.throttle.take(len(piece))
            if fault.rate:
                await asyncio.sleep(len(piece) / fault.rate)
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if fault.framing == "chunked" else piece
            await connection.write(framed)
            self.body_bytes[self.server] += len(piece)
            sent += len(piece)
            if handle is not None and not await self._stop(connection, fault, handle, sent):
                return False
        if fault.framing == "chunked":
            await connection.write(b"0\r\n\r\n")
        if fault.extra:
            await connection.write(fault.extra)
        return True

    async def _stop(
        self, connection: Connection, fault: Fault, handle: FaultHandle, sent: int
    ) -> bool:
        if fault.stall_at == sent and not handle.released.is_set():
            await handle.arrive()
            if not await _released(connection, handle):
                return False
        return fault.cut_at != sent


def _replaced(response: Response, fault: Fault) -> Response:
    if fault.status is None:
        return response
    return Response(fault.status, (), whole(BytesBlob(fault.body)))


async def _pieces(response: Response, fault: Fault, stops: list[int]) -> AsyncIterator[bytes]:
    """Yield the body, cut at every stop and small enough for the rate, one bit flipped."""
    largest = max(1, int(fault.rate / 10)) if fault.rate else 1 << 20
    at = 0
    async for chunk in response.body.chunks():
        data = chunk
        if fault.flip_at is not None and at <= fault.flip_at < at + len(data):
            changed = bytearray(data)
            changed[fault.flip_at - at] ^= 1
            data = bytes(changed)
        while data:
            length = min([largest, len(data), *(stop - at for stop in stops if stop > at)])
            yield data[:length]
            data = data[length:]
            at += length


async def _released(connection: Connection, handle: FaultHandle) -> bool:
    """Wait for the release; False when the peer goes away first."""
    release = asyncio.ensure_future(handle.released.wait())
    gone = asyncio.ensure_future(connection.gone())
    try:
        await asyncio.wait({release, gone}, return_when=asyncio.FIRST_COMPLETED)
        return handle.released.is_set()
    finally:
        for task in (release, gone):
            task.cancel()
        await asyncio.gather(release, gone, return_exceptions=True)


async def _arrive(handle: FaultHandle | None) -> None:
    if handle is not None and handle.fault.stall_at is None and not handle.fault.hold:
        await handle.arrive()
