"""One ecosystem tried out: a document, an artifact by way of the object store, its digest.

Purpose: asks the upstream through the proxy's own room, with an empty memory and no cache, for
something small that it surely has (`Probing`), and says what every failure means: the pull token,
the entitlement, the object store, somebody in between. What came is kept as evidence, so that the
running proxy's answer can be compared with it (`visit`).

Reading: the vendor's redirect to pre-signed addresses. Non-goals: hosts (`hosts`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import TypeVar, final

from yarl import URL

from proxy.cache.listings import MOST_STEPS
from proxy.cache.whole import receive
from proxy.doctor.findings import Finding, bad, good
from proxy.doctor.tokens import RENEW
from proxy.ecosystems.base import Ecosystem, Probing, Sealing
from proxy.errors import (
    Blocked,
    CredentialRefused,
    ForbiddenAddress,
    Malformed,
    NotFound,
    NotListed,
    ProxyError,
    Unavailable,
)
from proxy.model import ArtifactTarget, Document, DocumentTarget, Further, Source
from proxy.server.canonical import canonicalise
from proxy.upstream.addresses import AddressRules
from proxy.upstream.base import Upstream, UpstreamRequest

MAX_ARTIFACT = 16 << 20  # bytes
PATIENCE = 90.0  # seconds for the documents, and again for the artifact
T = TypeVar("T")
_PAGES = (b"<!doctype", b"<html")


class NotingRules(AddressRules):
    """The operator's rules, which also note where the upstream redirects to: the origins only."""

    def __init__(self, rules: AddressRules) -> None:
        super().__init__(rules.hosts, rules.networks, rules.allow_insecure)
        object.__setattr__(self, "noted", [])

    noted: list[str]

    def check(self, url: URL) -> None:
        """See `AddressRules.check`."""
        self.noted.append(str(url.origin()))
        super().check(url)


@dataclass(slots=True)
class Evidence:
    """What the upstream gave: `documents` and `artifact` are paths here, `purl` is the artifact's
    package, `error` is what ended the trial."""

    documents: list[str] = field(default_factory=list)
    artifact: str = ""
    purl: str = ""
    sha256: str = ""
    size: int = 0
    error: ProxyError | None = None


@final
class Trial:
    """`ecosystem`: one that is `Probing`. `rules`: those that `upstream` judges redirects by.
    `patience`: seconds for the documents, and again for the artifact."""

    def __init__(  # one caller
        self,
        ecosystem: Ecosystem,
        upstream: Upstream,
        rules: NotingRules,
        max_document: int,
        patience: float = PATIENCE,
    ) -> None:
        if not isinstance(ecosystem, Probing):
            raise TypeError(ecosystem.name)
        self._ecosystem, self._probing = ecosystem, ecosystem
        self._name = ecosystem.name
        self._upstream = upstream
        self._rules = rules
        self._max_document = max_document
        self._patience = patience
        self.evidence = Evidence()

    async def run(self) -> list[Finding]:
        """Try it. What it found; what stands behind it is in `evidence`."""
        try:
            path = await self._within(self._find(self._probing.probe()))
        except ProxyError as error:
            self.evidence.error = error
            return [self._refused(error)]
        found = [good(self._name, "document", f"{self.evidence.documents[0]} is given")]
        self.evidence.artifact = path
        try:
            return found + await self._within(self._fetch(path))
        except ProxyError as error:
            self.evidence.error = error
            return [*found, self._unfetched(error)]

    @property
    def stores(self) -> list[str]:
        """Where the upstream has redirected to, so far."""
        return list(dict.fromkeys(self._rules.noted))

    async def opens(self) -> bool:
        """Whether the upstream takes the credential: by the first document."""
        try:
            await self._within(self._document(next(self._probing.probe())))
        except NotFound:
            return True
        except ProxyError:
            return False
        return True

    # --- asking -------------------------------------------------------------------------------

    async def _within(self, work: Coroutine[object, object, T]) -> T:
        """Wait for it as long as anybody does who looks on. Raises Unavailable after that."""
        try:
            async with asyncio.timeout(self._patience):
                return await work
        except TimeoutError:
            told = f"The upstream has not given all of it within {self._patience:g} s."
            raise Unavailable(told) from None

    async def _find(self, probe: Generator[str, Document, str]) -> str:
        path = next(probe)
        while True:
            self.evidence.documents.append(path)
            document = await self._document(path)
            try:
                path = probe.send(document)
            except StopIteration as end:
                found: str = end.value
                return found

    async def _document(self, path: str) -> Document:
        target = self._ecosystem.classify(canonicalise("GET", path, host=None))
        if not isinstance(target, DocumentTarget):
            raise NotListed(path)
        return await self._read(target)

    async def _read(self, target: DocumentTarget) -> Document:
        request = UpstreamRequest(
            ecosystem=self._name,
            location=target.path,
            accept=target.accept,
            no_cache=True,
            upstream=target.upstream,
            package=target.package,
            document=True,
        )
        response = await self._upstream.open(request)
        try:
            body = await receive(response, self._max_document, "The document is too large.")
            head = response.head
            return Document(body, head.media_type, head.url, head.fields)
        finally:
            await response.close()

    async def _fetch(self, path: str) -> list[Finding]:
        target = self._ecosystem.classify(canonicalise("GET", path, host=None))
        if not isinstance(target, ArtifactTarget):
            return [self._malformed("it leads to no artifact")]
        self.evidence.purl = self._ecosystem.purl(target.package)
        source = await self._source(target)
        request = UpstreamRequest(
            ecosystem=self._name,
            location=source.location,
            no_cache=True,
            upstream=source.upstream or target.upstream,
            package=target.package,
        )
        response = await self._upstream.open(request)
        try:
            body = await receive(response, MAX_ARTIFACT, "The artifact is too large.")
        finally:
            await response.close()
        self.evidence.sha256, self.evidence.size = hashlib.sha256(body).hexdigest(), len(body)
        return self._judged(source, body)

    async def _source(self, target: ArtifactTarget) -> Source:
        """Where it is and what it must be, by what lists it or stands beside it."""
        for document in target.listed_in or target.checksum_of:
            try:
                return await self._located(target, document)
            except (NotFound, NotListed):
                continue
        return Source(target.path, target.package, target.version, target.digest)

    async def _located(self, target: ArtifactTarget, listing: DocumentTarget) -> Source:
        """What a document says of it, and those that it refers to. Raises NotListed, NotFound;
        Malformed for more of them than there can be."""
        found: Source | Further = Further(listing, target)
        steps = 0
        while isinstance(found, Further):
            if (steps := steps + 1) > MOST_STEPS:
                raise Malformed("The upstream's listings refer to one another without an end.")
            further = found
            try:
                found = self._ecosystem.locate(further.target, await self._read(further.listing))
            except NotFound:
                if further.otherwise is None:
                    raise
                return further.otherwise
        return found

    # --- saying what it means -----------------------------------------------------------------

    def _judged(self, source: Source, body: bytes) -> list[Finding]:
        stores = self.stores
        if body[:512].lstrip().lower().startswith(_PAGES):
            self.evidence.sha256 = ""
            where = stores[-1] if stores else "the upstream"
            return [self._blocked(f"{where} is answered for by a web page in place of the file")]
        way = f"{stores[-1]} gives it without a credential" if stores else "no redirect"
        found = [good(self._name, "object-store", way)]
        if not self._holds(source, body):
            self.evidence.sha256 = ""
            detail = f"{self.evidence.artifact}: other bytes came than the upstream lists"
            fix = "Something in between changes what passes, or caches it: exempt these hosts."
            return [*found, bad(self._name, "checksum", detail, fix)]
        what = source.promise or f"sha256:{self.evidence.sha256}"
        known = "as listed" if source.verifiable else "no digest is listed of it"
        detail = f"{self.evidence.artifact}: {len(body)} bytes, {str(what)[:23]}..., {known}"
        return [*found, good(self._name, "checksum", detail)]

    def _holds(self, source: Source, body: bytes) -> bool:
        if source.digest is not None:
            algorithm = source.digest.algorithm
            made = hashlib.new(algorithm, body, usedforsecurity=False)
            return made.hexdigest() == source.digest.hex
        if source.seal and isinstance(self._ecosystem, Sealing):
            verifier = self._ecosystem.verifier(source.seal, source.size)
            verifier.feed(body)
            return verifier.holds()
        return source.size is None or source.size == len(body)

    def _refused(self, error: ProxyError) -> Finding:
        """What the end of asking for a document means."""
        path = self.evidence.documents[-1]
        if isinstance(error, CredentialRefused):
            detail = "the upstream refuses the pull token (401)"
            return bad(self._name, "token", detail, f"It has ended, or was revoked. {RENEW}")
        if isinstance(error, Blocked):
            detail = f"the upstream refuses {path}: {error.detail}"
            fix = "Have the organisation entitled to this ecosystem, or use a pull token of it."
            return bad(self._name, "entitlement", detail, fix)
        if isinstance(error, NotFound):
            fix = (
                "Look whether [upstream] names the right address, with the right path, and what the"
                " organisation's policy leaves out."
            )
            return bad(self._name, "document", f"the upstream does not have {path}", fix)
        if isinstance(error, Malformed):
            return self._malformed(error.detail)
        if self.stores:
            return self._unfetched(error)
        fix = "See the finding about its host; try again later, the upstream may be in trouble."
        return bad(self._name, "document", f"{path} cannot be had: {error.detail}", fix)

    def _unfetched(self, error: ProxyError) -> Finding:
        """What the end of asking for an artifact means."""
        if isinstance(error, ForbiddenAddress):
            fix = (
                "If it is the vendor's object store, name it in [upstream] redirect_hosts (and its"
                " network, where that is a private one, in allow_networks)."
            )
            return bad(self._name, "object-store", error.detail, fix)
        if self.stores:
            return self._blocked(f"{self.stores[-1]}: {error.detail}")
        fix = "Try again later; the upstream may be in trouble."
        detail = f"{self.evidence.artifact} cannot be had: {error.detail}"
        return bad(self._name, "checksum", detail, fix)

    def _blocked(self, detail: str) -> Finding:
        fix = (
            "Let this machine reach the object store by https, with nothing in between that filters"
            " or answers in its place (firewall, web filter)."
        )
        return bad(self._name, "object-store", detail, fix)

    def _malformed(self, what: str) -> Finding:
        detail = f"{self.evidence.documents[-1]} is not understood: {what}"
        fix = "Something in between may answer in the upstream's place (web filter, login page)."
        return bad(self._name, "document", detail, fix)
