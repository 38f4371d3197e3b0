"""The upstream port: one verb.

Purpose: the engine asks for a location of an ecosystem and gets either an answer it can use (200,
206, 304, or a bare permission for a probe) or one of the errors of `proxy.errors`. Hosts,
credentials, redirects, retries, deadlines and the breaker stay behind this port.

Reading: httpcore `map_exceptions` (translate once, at the border). Non-goals: caching; HEAD, which
pre-signed URLs refuse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, Protocol, final

from proxy.model import upstream_name


class UpstreamRequest(NamedTuple):
    """What to ask. Upstream requests are built from these fields, never forwarded.

    `location`: a path on the ecosystem's upstream (starts with `/`), or an absolute URL that a
    listing named. `accept`: the Accept header. `etag`, `last_modified`: make it conditional.
    `start`, `if_range`: resume from a byte. `end`: only up to, not including, that byte. `suffix`:
    only so many bytes at the end. A host that knows no ranges answers 200. `no_cache`: ask caches
    in between to pass it on. `probe`: stop at the first answer of the upstream itself; a redirect
    then means "yes". `document`: what is asked is read whole at once; it does not wait behind
    artifacts. `body`: a JSON body makes it a POST; a redirect is refused then, so that what a
    client says goes nowhere but to the upstream itself. `upstream`: one of the further upstreams
    that the ecosystem has, by its alias. `package`: what the answer is about; an upstream may want
    a token for each.
    """

    ecosystem: str
    location: str
    accept: str = "*/*"
    etag: str = ""
    last_modified: str = ""
    start: int = 0
    end: int | None = None
    suffix: int = 0
    if_range: str = ""
    no_cache: bool = False
    probe: bool = False
    document: bool = False
    body: bytes = b""
    upstream: str = ""
    package: str = ""

    @property
    def upstream_name(self) -> str:
        """Whose origin and credentials are meant: see `proxy.model.upstream_name`."""
        return upstream_name(self.ecosystem, self.upstream) if self.upstream else self.ecosystem

    @property
    def range(self) -> str:
        """The value of a Range header; empty where the whole is wanted."""
        if self.suffix:
            return f"bytes=-{self.suffix}"
        if self.start or self.end is not None:
            return f"bytes={self.start}-{'' if self.end is None else self.end - 1}"
        return ""


class Texts(NamedTuple):
    """What an answer's fields say, each value checked to be printable ASCII and to hold no secret
    of ours; empty: it did not come, or is not kept. `max_age` in seconds."""

    media_type: str = ""
    etag: str = ""
    last_modified: str = ""
    max_age: int | None = None
    fields: tuple[tuple[str, str], ...] = ()


_UNREAD = Texts()


@final
class Head:
    """What we keep of an answer's head. Not to be changed.

    `status` is 200, 206 or 304. `size` is the whole body's length in bytes, None when the answer
    does not say. `framed`: the end of the body is visible (Content-Length or chunks); a body
    without that is complete only if a digest says so. `url`: where the request went first, on the
    upstream, credentials and pre-signed parts never included. `start`: the offset a 206 begins at.
    `packed`: a document that comes in gzip, asked for or not: `pieces` unpacks it. The others are
    those of `Texts`. `late` gives these in place of the arguments, when the first of them is asked
    for: of an artifact whose digest is known nobody asks for any.
    """

    __slots__ = ("_late", "_texts", "framed", "packed", "size", "start", "status", "url")

    def __init__(  # noqa: PLR0913, PLR0917  # a record
        self,
        status: int,
        url: str,
        media_type: str = "",
        size: int | None = None,
        framed: bool = True,  # noqa: FBT001, FBT002
        etag: str = "",
        last_modified: str = "",
        max_age: int | None = None,
        start: int = 0,
        fields: tuple[tuple[str, str], ...] = (),
        packed: bool = False,  # noqa: FBT001, FBT002
        *,
        late: Callable[[], Texts] | None = None,
    ) -> None:
        self.status = status
        self.url = url
        self.size = size
        self.framed = framed
        self.start = start
        self.packed = packed
        self._late = late
        self._texts = _UNREAD if late else Texts(media_type, etag, last_modified, max_age, fields)

    @property
    def texts(self) -> Texts:
        """What its fields say."""
        if self._late is not None:
            self._texts, self._late = self._late(), None
        return self._texts

    @property
    def media_type(self) -> str:
        """See `Texts`."""
        return self.texts.media_type

    @property
    def etag(self) -> str:
        """See `Texts`."""
        return self.texts.etag

    @property
    def last_modified(self) -> str:
        """See `Texts`."""
        return self.texts.last_modified

    @property
    def max_age(self) -> int | None:
        """See `Texts`."""
        return self.texts.max_age

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """See `Texts`."""
        return self.texts.fields

    def __eq__(self, other: object) -> bool:
        """Whether they say the same."""
        return isinstance(other, Head) and self._all() == other._all()

    def __hash__(self) -> int:
        """See `__eq__`."""
        return hash(self._all())

    def _all(self) -> tuple[object, ...]:
        own = (self.status, self.url, self.size, self.framed, self.start, self.packed)
        return (*own, *self.texts)


class UpstreamResponse(Protocol):
    """An open answer. Read it once, close it always."""

    @property
    def head(self) -> Head:
        """Its head."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, identity-encoded, in non-empty pieces.

        Raises Unavailable when it breaks off before its visible end, Malformed for a packed one
        that cannot be unpacked.
        """
        ...

    def here(self) -> bytes:
        """What is left of the body, where all of it has arrived: nobody need wait for it. Empty:
        it has not, or nothing is left; `pieces` tells."""
        ...

    def pours(self) -> bool:
        """Tell, before anything is read, whether the body is so large that it may be read straight
        into the caller's memory; if so it MUST be: with `read_into`, not `pieces`."""
        ...

    async def read_into(self, view: memoryview) -> int:
        """Fill a buffer with the next bytes, one at least; 0: that was all. Raises as `pieces`."""
        ...

    async def close(self) -> None:
        """Release the connection: back to the pool if the body was read whole. Idempotent."""
        ...


# Is told, once, what a question that was put has come to: the whole body of a 200, or None, which
# says nothing yet. True: the body is taken, and the question is over. Else whoever was told MUST
# see to it that `Asked.go_on` is awaited. Never raises.
Told = Callable[[memoryview | None], bool]


class Asked(Protocol):
    """A question that was put, and that nobody waits for."""

    def leave(self) -> None:
        """Give it up: who put it is told None, if it was told nothing yet."""
        ...

    def distrust(self) -> None:
        """Say that its answer is not what was asked for. It may belong to another question: what
        comes next from there would, too, so nothing more is asked of there."""
        ...

    def drop(self) -> None:
        """Have no more to do with it, in place of `go_on`, after who put it was told."""
        ...

    def go_on(self) -> Awaitable[UpstreamResponse]:
        """Wait for the answer; what `open` gives and raises. CancelledError if it was given up."""
        ...


class Upstream(Protocol):
    """Asks one question of the world."""

    async def open(self, request: UpstreamRequest) -> UpstreamResponse:
        """Answer with a 200, 206 or 304, or raise.

        MUST send the pull token only to the ecosystem's configured origin, MUST follow redirects
        only to allowed hosts, without credentials, byte for byte. Raises NotFound, Blocked (the
        upstream's news), Unavailable, CredentialRefused, RateLimited (it could not answer),
        ForbiddenAddress, InsecureUpstream, Malformed (it must not be used).
        """
        ...


class PromptUpstream(Upstream, Protocol):
    """One that can also be asked without waiting for it."""

    def put(self, request: UpstreamRequest, told: Told) -> Asked | None:
        """Put a question for an artifact where nothing has to be waited for or looked at first.

        `told` is called later, by the event loop. None: that is not possible, nothing has been
        asked, and `open` knows why.
        """
        ...
