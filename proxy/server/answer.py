"""An answer whose body is in memory, and the short way that it takes to the wire.

Purpose: nearly every answer is a status, a few fields and some bytes that are all there. aiohttp's
way out for it, made for everything that an answer can be, is a dozen coroutines and, up to Python
3.11, a copy of the body. Here head and body go out in one call. Whatever is not that plain (a HEAD,
HTTP/1.0, the last answer of a connection, no body) still takes aiohttp's.

Reading: aiohttp `web_response.py` (`_prepare_headers`), RFC 9112 section 4. Non-goals: bodies that
are read from files or pass by (`sending`), what is ready before it is asked for (`hot`).
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Final, final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11

from proxy.server.seam import RepeatingHandler

_BARE: Final = (204, 304)  # without a body, whatever there is of one
_OCTETS: Final = "application/octet-stream"


@final
class Answer(web.Response):
    """Status, fields, and a body that is in memory, if any."""

    _is_out = False

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection goes on; None: that is not decided."""
        return True if self._is_out else super().keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, as aiohttp does, if it is not out."""
        return None if self._is_out else await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body, as aiohttp does, if it is not out."""
        if not self._is_out:
            await super().write_eof(data)

    def send(self, request: web.BaseRequest) -> bool:
        """Send all of it at once; False: it is not plain enough, nothing was sent.

        Raises ConnectionResetError where nobody is there any more, ValueError for a field that
        would be more than one.
        """
        body, connection = self.body, request.protocol
        if not (isinstance(connection, RepeatingHandler) and isinstance(body, bytes) and body):
            return False
        lasts = request.keep_alive and self.keep_alive is None  # one that is prepared has decided
        if not lasts or request.version != HttpVersion11 or request.method == "HEAD":
            return False
        if self.status in _BARE:
            return False
        headers = self.headers
        headers["Content-Length"] = str(len(body))
        headers.setdefault("Content-Type", _OCTETS)
        headers.setdefault("Date", http_date(int(time())))
        head = b"%b\r\n" % head_of(self)
        if not connection.put(head, body):
            raise ConnectionResetError("nobody is there any more")
        request.writer.output_size += len(head) + len(body)
        self._is_out = True
        return True


def head_of(response: web.StreamResponse, but: frozenset[str] = frozenset()) -> bytes:
    """Status line and fields, without the empty line behind them; `but` those (lower case).

    Raises ValueError for a field that would be more than one.
    """
    fields: Iterable[tuple[str, str]] = response.headers.items()
    if but:
        fields = [field for field in fields if field[0].lower() not in but]
    return worded(response.status, response.reason, fields)


def worded(status: int, reason: str | None, fields: Iterable[tuple[str, str]]) -> bytes:
    """Status line and fields, in their order. Raises as `head_of`."""
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    text = f"HTTP/1.1 {status} {reason}\r\n{''.join(lines)}"
    if not text.count("\r") == text.count("\n") == len(lines) + 1 or "\0" in text:
        raise ValueError("a header field holds a line break")
    return text.encode("utf-8")


@lru_cache(maxsize=2)  # the same one for a second
def http_date(second: int) -> str:
    """The Date of an answer (RFC 9110 section 5.6.7). `second`: since the epoch."""
    return formatdate(second, usegmt=True)
