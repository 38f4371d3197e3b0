"""One question to the vendor's platform: a GET over HTTPS, a JSON answer, nothing carried over.

Purpose: every trap of the client library is closed at this one place: no environment, no redirect,
no cookie and no connection that outlives a question, a deadline over the whole of it, a bounded
body. Its exceptions carry requests with their tokens: only what kind of failure it was leaves here,
raised outside the `except` block so that no `__context__` drags the rest along.

Reading: httpx "Timeouts" and "Async Support". Non-goals: what is asked (`exchange`, `platform`),
asking again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from proxy.egress import Egress
from proxy.errors import PlatformSilent
from proxy.secret import Secret

if TYPE_CHECKING:
    import httpx

DEADLINE = 2.0
MAX_BODY = 1 << 20
USER_AGENT = "cgr-proxy"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `data`: its JSON; None where the body is none (a page of something in between)."""

    status: int
    data: object


class Asking(Protocol):
    """Asks one question."""

    async def get(self, url: str, parameters: Mapping[str, str], bearer: Secret) -> Reply:
        """Answer with whatever status came. Raises PlatformSilent when none did in time."""
        ...


@final
class PlatformHttp:
    """Implements `Asking`. `deadline`: seconds for a whole question."""

    def __init__(
        self, tls: ssl.SSLContext, egress: Egress | None = None, deadline: float = DEADLINE
    ) -> None:
        self._tls = tls
        self._egress = egress
        self._deadline = deadline

    async def get(self, url: str, parameters: Mapping[str, str], bearer: Secret | None) -> Reply:
        """See `Asking.get`. `bearer` None: what everybody may ask."""
        # Late: a proxy that asks no platform does not pay for it (0.1 s, 8 MB).
        import httpx  # noqa: PLC0415

        for name in ("httpx", "httpcore"):
            # They log URLs, which hold identities, and every header of an answer.
            logging.getLogger(name).setLevel(logging.WARNING)
        failures = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError)
        kind = ""
        try:
            async with asyncio.timeout(self._deadline):
                return await self._get(url, parameters, bearer)
        except TimeoutError:
            kind = f"no answer within {self._deadline:g} s"
        except failures as error:
            kind = type(error).__name__
        raise PlatformSilent(kind)

    async def _get(self, url: str, parameters: Mapping[str, str], bearer: Secret | None) -> Reply:
        import httpx  # noqa: PLC0415

        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer.reveal()}"
        way = self._egress
        proxy = httpx.Proxy(way.url, headers=way.headers) if way is not None else None
        # A client for each question: its cookie jar and its connections go with it.
        async with (
            httpx.AsyncClient(
                verify=self._tls, trust_env=False, timeout=self._deadline, proxy=proxy
            ) as client,
            client.stream("GET", url, params=parameters, headers=headers) as response,
        ):
            return Reply(response.status_code, _json(await _body(response)))


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_BODY:
            raise ValueError("the answer is larger than 1 MiB")
    return bytes(body)


def _json(body: bytes) -> object:
    try:
        data: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data
