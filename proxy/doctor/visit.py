"""The running proxy, asked like a client does: is it there, and does it give what the upstream has?

Purpose: the document and the artifact that a trial got directly, once more through the proxy. What
differs is a stale cache, or a proxy that cannot ask what this command can.

Asked at the address where the proxy listens; over TLS its own certificate is the one that is
believed. Where clients are configured, with the token in `$CGR_PROXY_TOKEN`. Non-goals: speed.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from proxy.config import Settings
from proxy.doctor.findings import ALL, Finding, bad, good
from proxy.doctor.trial import MAX_ARTIFACT, Evidence
from proxy.ecosystems.setups import VARIABLE
from proxy.secret import Secret

if TYPE_CHECKING:
    import httpx

LIMIT = 30.0  # seconds for each answer, to its end


@dataclass(frozen=True, slots=True)
class Answer:
    """`stale`: the proxy says that its copy is older than it may be."""

    status: int
    reason: str
    sha256: str
    cache: str

    @property
    def stale(self) -> bool:
        """Whether a copy was served that had outlived its time."""
        return "stale-if-error" in self.cache or "upstream-malformed" in self.cache


@final
class Visit:
    """Asks the proxy of these settings. `token`: a client's, None where there is none; `patience`:
    seconds for each answer, to its end."""

    def __init__(self, settings: Settings, token: Secret | None, patience: float = LIMIT) -> None:
        self._listen = settings.server.listen
        self._certificate = settings.server.tls_certificate
        self._clients = bool(settings.clients or settings.oidc)
        self._token = token
        self._patience = patience

    @property
    def url(self) -> str:
        """Where it is."""
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://{self._listen.from_here}"

    async def knock(self) -> Finding:
        """Whether it runs."""
        if (answer := await self._get("/readyz")) is None:
            detail = f"nothing answers at {self.url}"
            fix = (
                "Start it (`cgr-proxy serve`), or mend [server] listen. Before the first start this"
            )
            return bad(ALL, "proxy", detail, f"{fix} is as it should be.")
        if answer.status != 200:
            detail = f"{self.url}/readyz answers {answer.status} {answer.reason}"
            return bad(ALL, "proxy", detail, "It starts or stops; ask again, then read its log.")
        return good(ALL, "proxy", f"{self.url} answers")

    async def compare(self, ecosystem: str, evidence: Evidence) -> list[Finding]:
        """What the proxy gives, beside what the upstream gave."""
        document = await self._get(evidence.documents[0])
        artifact = await self._get(evidence.artifact) if evidence.sha256 else None
        if document is None:
            return []  # told by `knock`
        if document.stale:
            detail = "the proxy serves a stale copy: by its own words it cannot ask the upstream"
            fix = "This command can. Read `/readyz` and the proxy's log; compare user and network."
            return [bad(ecosystem, "stale-cache", f"{detail} ({document.cache})", fix)]
        for answer in (document, artifact):
            if answer is not None and answer.status != 200:
                return [_differs(ecosystem, evidence, answer, shown=self._token is not None)]
        if artifact is None:
            return []
        if artifact.sha256 != evidence.sha256:
            detail = f"the proxy gives other bytes of {evidence.artifact} than the upstream"
            return [bad(ecosystem, "stale-cache", detail, _renew(evidence))]
        return [good(ecosystem, "proxy", f"the same bytes through the proxy ({artifact.cache})")]

    async def _get(self, path: str) -> Answer | None:
        """Ask; None where nobody answers."""
        import httpx  # noqa: PLC0415  # late, as in `access.asking`

        headers = {"Accept-Encoding": "identity", "User-Agent": "cgr-proxy doctor"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        try:
            async with (
                asyncio.timeout(self._patience),
                httpx.AsyncClient(
                    verify=self._context(), trust_env=False, timeout=self._patience
                ) as client,
                client.stream("GET", f"{self.url}{path}", headers=headers) as response,
            ):
                return await _read(response)
        except (httpx.HTTPError, OSError):  # a TimeoutError is one of the latter
            return None

    def _context(self) -> ssl.SSLContext:
        """Believes the very certificate that the proxy has, whatever name stands in it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._certificate is not None:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cafile=self._certificate)
        return context


async def _read(response: httpx.Response) -> Answer:
    digest, size = hashlib.sha256(), 0
    async for piece in response.aiter_raw():
        digest.update(piece)
        size += len(piece)
        if size > MAX_ARTIFACT and response.status_code == 200:
            break
    cache = response.headers.get("Cache-Status", "")
    return Answer(response.status_code, response.reason_phrase, digest.hexdigest(), cache)


def _differs(ecosystem: str, evidence: Evidence, answer: Answer, *, shown: bool) -> Finding:
    """The upstream gives it to this command, the proxy does not. `shown`: it was shown a token."""
    told = f"the upstream gives it, the proxy answers {answer.status} {answer.reason}"
    if answer.status in (404, 410):
        return bad(ecosystem, "stale-cache", told, _renew(evidence))
    fix = "Read `/readyz` and the proxy's log: it may run with other settings than these."
    if answer.status in (401, 403):
        fix = f"Put a token of a client that may use {ecosystem} into ${VARIABLE}."
    if answer.status == 401 and shown:
        fix = f"What is in ${VARIABLE} is no token of a client of this proxy. {fix}"
    return bad(ecosystem, "proxy", told, fix)


def _renew(evidence: Evidence) -> str:
    return (
        "It asks again after [cache] document_ttl (30 s after a refusal); at once with"
        f" `cgr-proxy cache purge {evidence.purl}`."
    )
