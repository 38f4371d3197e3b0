"""The closed tree of everything that can go wrong with one request.

Purpose: a failure is translated once, where it enters (the upstream's status table, the disk, a
parser), into one of the leaves below, and worded once, where it leaves (`Ecosystem.render_error`).
In between it is only raised and re-raised. Nobody adds a leaf elsewhere, nobody matches on text.

Each leaf says four things: `status` (the HTTP status a client gets), `reason` (a constant ASCII
reason phrase: old Maven and pip print nothing else), `outcome` (what the cache may do about it) and
`detail` (one sentence for a person: what happened, whose fault, what to do). A `detail` never holds
a credential, a pre-signed URL, a file path or a traceback.

Reading: RFC 9110 section 15 (statuses), RFC 5861 (stale-if-error), RFC 9457 (problem details).
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, final


class Outcome(Enum):
    """What a failure means for a copy that the cache may already hold."""

    REFUSAL = "refusal"  # ours: the request or the client; says nothing about the upstream
    NEWS = "news"  # the upstream's definite answer: it ends staleness
    SILENCE = "silence"  # the upstream could not answer: a stale copy is better than none
    RUBBISH = "rubbish"  # the upstream answered, but not with what it must: as SILENCE, but marked


class ProxyError(Exception):
    """The root. Abstract: raise a leaf.

    `detail`: one sentence for a person. `retry_after`: seconds, for statuses 429 and 503. `kind`:
    what was asked for, in the words of its ecosystem (`kind` of the target).
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "Internal error"
    outcome: ClassVar[Outcome] = Outcome.REFUSAL

    def __init__(self, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.kind = ""


@final
class InternalError(ProxyError):
    """A defect of ours, worded for a client. The log has the traceback."""


# --- the request is at fault -----------------------------------------------------------------


class RequestError(ProxyError):
    """The request itself is wrong; nothing was looked up and nobody was asked."""

    status = 400
    reason = "Bad request"


@final
class BadRequest(RequestError):
    """Malformed path, header, Range unit, credential syntax."""


@final
class InvalidDigest(RequestError):
    """A digest that is not of the form its ecosystem prescribes (OCI: DIGEST_INVALID)."""

    reason = "Invalid digest"


@final
class InvalidName(RequestError):
    """A name that can be no package of its ecosystem (OCI: NAME_INVALID)."""

    reason = "Invalid name"


@final
class UnknownPath(RequestError):
    """No ecosystem knows this path. Never passed through."""

    status = 404
    reason = "Unknown path"


@final
class MethodNotAllowed(RequestError):
    """Known path, other method. `allow` is the value of the Allow header."""

    status = 405
    reason = "Method not allowed"

    def __init__(self, detail: str, *, allow: str = "GET, HEAD") -> None:
        super().__init__(detail)
        self.allow = allow


@final
class NotAcceptable(RequestError):
    """None of the representations that exist is acceptable to the client."""

    status = 406
    reason = "Not acceptable"


@final
class PreconditionFailed(RequestError):
    """If-Match or If-Unmodified-Since does not hold (RFC 9110 section 13)."""

    status = 412
    reason = "Precondition failed"


@final
class BodyRefused(RequestError):
    """A body where none belongs, or one over its limit. The connection is closed unread."""

    status = 413
    reason = "Request body refused"


@final
class EncodingRefused(RequestError):
    """A request body with a Content-Encoding. Never decoded."""

    status = 415
    reason = "Request encoding refused"


@final
class ExpectationFailed(RequestError):
    """An Expect header other than 100-continue."""

    status = 417
    reason = "Expectation failed"


@final
class VersionRefused(RequestError):
    """An HTTP version other than 1.0 and 1.1 in the request line."""

    status = 505
    reason = "HTTP version not supported"


# --- the client may not ----------------------------------------------------------------------


class AccessError(ProxyError):
    """The door is shut: that of `proxy.access`, or one of the server (`own_names`, `admin`)."""

    status = 403
    reason = "Forbidden"


@final
class Unauthenticated(AccessError):
    """No credential, or one that matches nobody."""

    status = 401
    reason = "Client token required"


@final
class ClientForbidden(AccessError):
    """The client is known, but its stanza does not name this ecosystem or package."""

    reason = "Client not allowed"


@final
class NotEntitled(AccessError):
    """The organisation has no entitlement to this ecosystem."""

    reason = "Organisation not entitled"


@final
class EntitlementUnknown(AccessError):
    """The platform could not be asked, and no answer within its grace is known: fails closed."""

    status = 503
    reason = "Entitlement unknown"


@final
class IssuerUnavailable(AccessError):
    """The issuer of a client's ID token could not be asked for its keys, and none are known."""

    status = 503
    reason = "Identity issuer unavailable"


# --- the upstream has spoken -----------------------------------------------------------------


class UpstreamVerdict(ProxyError):
    """A definite answer of the upstream: it replaces what was cached."""

    outcome = Outcome.NEWS


@final
class NotFound(UpstreamVerdict):
    """404 or 410 of the upstream, or a listing that no longer names the artifact.

    `status` is set per instance, so that a 410 stays one.
    """

    reason = "Not found"

    def __init__(self, detail: str, *, gone: bool = False) -> None:
        super().__init__(detail)
        self.gone = gone

    @property
    def status(self) -> int:  # type: ignore[override]  # per instance: 404 or 410
        """404, or 410 where the upstream said so."""
        return 410 if self.gone else 404


@final
class Blocked(UpstreamVerdict):
    """403 or 409 of the upstream with its reason (malware, policy): passed on, copy withheld."""

    reason = "Blocked by upstream"

    def __init__(self, detail: str, *, conflict: bool = False) -> None:
        super().__init__(detail)
        self.conflict = conflict

    @property
    def status(self) -> int:  # type: ignore[override]  # per instance: 403 or 409
        """403, or 409 where the upstream said so."""
        return 409 if self.conflict else 403


# --- the upstream could not answer -----------------------------------------------------------


class UpstreamSilent(ProxyError):
    """The upstream could not answer: a stale copy is served if there is any."""

    status = 503
    reason = "Upstream unavailable"
    outcome = Outcome.SILENCE

    def __init__(
        self,
        detail: str,
        *,
        retry_after: int | None = None,
        upstream_status: int | None = None,
        asked: bool = True,
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.upstream_status = upstream_status
        self.asked = asked  # False: nobody was asked (breaker open, frozen)


@final
class Unavailable(UpstreamSilent):
    """Unreachable, too slow, 5xx, broken off, an HTML page of something in between."""


@final
class CredentialRefused(UpstreamSilent):
    """401 of the upstream: it refuses OUR pull token. Never a 401 to the client."""

    reason = "Upstream credential refused"


@final
class RateLimited(UpstreamSilent):
    """429 of the upstream, or its Retry-After still running."""

    status = 429
    reason = "Upstream rate limit"


@final
class FrozenMiss(UpstreamSilent):
    """The ecosystem is frozen (served from the cache only) and this is not cached."""

    status = 504
    reason = "Not cached and frozen"


# --- the upstream answered with rubbish ------------------------------------------------------


class UpstreamRubbish(ProxyError):
    """The upstream's answer must not be used: an older valid copy, else 502."""

    status = 502
    reason = "Upstream answer unusable"
    outcome = Outcome.RUBBISH


@final
class Malformed(UpstreamRubbish):
    """A document that could not be understood, was cut, or is over its limit."""


@final
class DigestMismatch(UpstreamRubbish):
    """Right address, wrong bytes: size or digest differ from what the listing promises."""

    reason = "Upstream sent wrong bytes"


@final
class ForbiddenAddress(UpstreamRubbish):
    """A redirect, realm or link to a host, scheme or network that is not allowed."""

    reason = "Upstream redirect refused"


@final
class InsecureUpstream(UpstreamRubbish):
    """TLS could not be established with a certificate we trust."""

    reason = "Upstream TLS failed"


# --- between rooms, never seen by a client ---------------------------------------------------


@final
class NotListed(Exception):
    """`locate` found that this listing does not name the artifact."""


@final
class PlatformSilent(Exception):
    """The vendor's platform gave no answer that can be used; the text says why, for a log."""


@final
class PlatformRefused(Exception):
    """The vendor's platform refuses the credential it is asked with; the text says how."""


@final
class StorageFailed(Exception):
    """The disk refused (full, read-only, I/O error): go on without storing."""
