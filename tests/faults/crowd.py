"""`python -m tests.faults.crowd HOST PORT PATH CLIENTS LEAVE`: many clients of one body at a time.

Purpose: a process of its own, so that hashing what comes slows down neither the origin nor the
proxy's counting. The first client asks before the others and leaves after LEAVE bytes (0: stays);
the others ask as soon as it has its first one. Prints JSON: `first`, seconds since the epoch of the
earliest byte of body; `got`, for each client that stayed its status, its digest and whether the
body had the length that was announced. Non-goals: keep-alive, chunked bodies.
"""

from __future__ import annotations

import hashlib
import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

_PIECE = 1 << 18
_LIMIT = 1200.0


@dataclass(slots=True)
class Client:
    """One connection. `length`: of the body, from the head; -1 until it is known."""

    sock: socket.socket
    leaves: int = 0
    head: bytes = b""
    length: int = -1
    got: int = 0
    first: float = 0.0
    digest: Any = field(default_factory=hashlib.sha256)

    def take(self) -> bool:
        """Read a piece; whether there is more to come."""
        data = self.sock.recv(_PIECE)
        if not data:
            return False
        if self.length < 0:
            self.head += data
            head, end, data = self.head.partition(b"\r\n\r\n")
            if not end:
                return True
            self.head = head
            (length,) = [
                line.partition(b":")[2]
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ]
            self.length = int(length)
        if data and not self.first:
            self.first = time.time()
        self.got += len(data)
        self.digest.update(data)
        return self.got < self.length and not (self.leaves and self.got >= self.leaves)

    def report(self) -> dict[str, object]:
        """What became of it."""
        return {
            "status": int(self.head[9:12] or b"0"),
            "digest": f"sha256:{self.digest.hexdigest()}",
            "whole": self.got == self.length,
        }


def run(host: str, port: int, path: str, clients: int, leave: int) -> dict[str, object]:
    """All of it."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    crowd: list[Client] = []
    with selectors.DefaultSelector() as selector:

        def join(leaves: int) -> None:
            client = Client(socket.create_connection((host, port), 60), leaves)
            client.sock.sendall(request)
            client.sock.setblocking(False)
            crowd.append(client)
            selector.register(client.sock, selectors.EVENT_READ, client)

        join(leave)
        end = time.monotonic() + _LIMIT
        while selector.get_map() and time.monotonic() < end:
            for key, _ in selector.select(1.0):
                client: Client = key.data
                try:
                    more = client.take()
                except ConnectionError:
                    more = False
                if not more:
                    selector.unregister(client.sock)
                    client.sock.close()
            if len(crowd) == 1 and crowd[0].first:
                for _ in range(clients - 1):
                    join(0)
    return {
        "first": min(client.first for client in crowd),
        "got": [client.report() for client in crowd if not client.leaves],
    }


if __name__ == "__main__":
    host_, port_, path_, clients_, leave_ = sys.argv[1:]
    print(json.dumps(run(host_, int(port_), path_, int(clients_), int(leave_))))
