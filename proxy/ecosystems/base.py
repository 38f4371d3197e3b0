"""The contract of an ecosystem: a name, its mounts and four pure functions.

Purpose: everything that is special about one package protocol stands in one file that
implements `Ecosystem`; nothing outside `proxy/ecosystems/` knows any protocol. Adding one is a
new file and one item in the tuple of `proxy.ecosystems`.

Reading: simple-repository's `model.py` (a protocol as plain values). Non-goals: fetching,
caching, deciding about access: those rooms call these functions, never the other way round.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from typing import Protocol, TypeAlias, runtime_checkable
from urllib.parse import quote

from proxy.ecosystems.setups import Setup
from proxy.errors import MethodNotAllowed, ProxyError
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    ForwardTarget,
    Further,
    Links,
    Mount,
    RequestLine,
    Source,
    StaticTarget,
    Target,
    encode_path,
)

# What needs no percent-encoding in a package URL: as nearly all, and quoting is slow.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.~/:-]*")
_PLAIN_VERSION = re.compile(r"[A-Za-z0-9_.~:-]*")


class Ecosystem(Protocol):
    """One package protocol. Implementations MUST be pure: no clock, no I/O, no state."""

    @property
    def name(self) -> str:
        """Cache namespace, entitlement, configuration section and metric label in one."""
        ...

    @property
    def upstream(self) -> str:
        """The key of `[upstream]` that this ecosystem lives behind: libraries, registry or apk."""
        ...

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Every prefix of the URL space that belongs to it, with the entitlement scope of each."""
        ...

    def purl(self, package: str, version: str = "") -> str:
        """Spell a package of this ecosystem as package URL, with `package_url`."""
        ...

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for.

        MUST raise UnknownPath (or InvalidName, InvalidDigest, NotAcceptable) rather than guess.
        """
        ...

    def locate(self, target: ArtifactTarget, listing: Document) -> Source | Further:
        """Find an artifact in a document that may list it, or the document that says more of it.

        MUST raise NotListed when it does not, Malformed when the document cannot be understood.
        """
        ...

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the document that a client gets, in `target.representation`.

        Every artifact URL in it points at this proxy, and `classify` MUST accept every such link.
        MUST raise Malformed rather than pass on what it did not understand, NotFound where the
        document is well, but has no such `target.part`.
        """
        ...

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure the way this ecosystem's clients show it to people."""
        ...


# --- what an ecosystem may have besides --------------------------------------------------------

Span: TypeAlias = tuple[int, int]
"""From a byte up to, not including, another."""


@runtime_checkable
class Extracting(Protocol):
    """Of an ecosystem whose artifacts hold smaller ones that clients ask for by themselves."""

    def extract(self, source: Source, size: int, budget: int) -> Generator[Span, bytes, bytes]:
        """Make an artifact (`source.extracted`) of its whole, which has `size` bytes.

        Yields the spans of the whole that it needs, is sent exactly those bytes, and returns the
        artifact. `budget`: bytes it may ask for in all. MUST raise Malformed when the whole does
        not hold it, or not within the budget; MUST bound what it inflates.
        """
        ...


class Verifier(Protocol):
    """Judges one artifact that passes by in pieces of any size. MUST NOT raise, MUST need memory
    that does not grow with the artifact, and MUST bound what it inflates."""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. May be called in a thread, never in two at a time."""
        ...

    def holds(self) -> bool:
        """Tell whether what was fed is the whole artifact, and the one that was promised. Every
        single byte of it MUST have been held to the promise."""
        ...


@runtime_checkable
class Sealing(Protocol):
    """Of an ecosystem whose listings promise something else than a digest of all bytes
    (`Source.seal`): of a part of them, say, which vouches for the rest."""

    def verifier(self, seal: str, size: int | None) -> Verifier:
        """Make one for an artifact. `size` in bytes, if the listing tells."""
        ...


@runtime_checkable
class Judging(Protocol):
    """Of an ecosystem with artifacts that nobody lists a digest of, but that say themselves whether
    they are whole and what they are."""

    def judge(self, source: Source, size: int) -> Generator[Span, bytes, Mapping[str, str]]:
        """Look at all of an artifact, `size` bytes, before its last byte goes out.

        Yields the spans that it needs, is sent exactly those bytes, and returns what it says of
        others of its version: the SHA-256 (hex) of some, by path. MUST raise Malformed for what is
        not the whole of what `source` names; MUST bound what it inflates.
        """
        ...


class Table(Protocol):
    """What one listing says of all artifacts of a package: read once, asked often.

    MUST survive pickling: a large one is made in another process.
    """

    def find(self, target: ArtifactTarget) -> Source:
        """What `Ecosystem.locate` says of a target of that package. Raises NotListed."""
        ...


@runtime_checkable
class Tabulating(Protocol):
    """Of an ecosystem whose listings name many artifacts: one parse serves them all."""

    def tabulate(self, package: str, listing: Document) -> Table:
        """Read a listing of a package. Raises Malformed."""
        ...

    def rewrite_tabulated(
        self, target: DocumentTarget, document: Document, links: Links
    ) -> tuple[Document, Table | None]:
        """`Ecosystem.rewrite`, and what `tabulate` makes of the same document: once it is read that
        costs little. None: it is no listing. Raises Malformed."""
        ...


class Catalogue(Table, Protocol):
    """What one listing says of all artifacts of all packages. MUST be handed over by copying bytes:
    it is large, and taking it in must not hold up the event loop."""

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        ...


@runtime_checkable
class Cataloguing(Protocol):
    """Of an ecosystem whose listings are of no package, however large: one parse serves all."""

    def catalogue(self, listing: Document) -> Catalogue:
        """Read a listing. Raises Malformed."""
        ...


class Transformation(Protocol):
    """A document on its way through, in pieces of any size and memory that does not grow."""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the upstream's document; what of the client's is ready by then.

        Raises Malformed.
        """
        ...

    def finish(self) -> bytes:
        """Take note of the end; the rest. MUST raise Malformed when the document was cut."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """Of an ecosystem with a document that is too large to be rewritten whole (`bulk`).

    The one exception to "a document is held as the upstream sent it and rewritten as a whole".
    """

    def stream(self, target: DocumentTarget, media_type: str) -> Transformation:
        """Do what `rewrite` does, piece by piece. `media_type`: what the upstream calls it."""
        ...


@runtime_checkable
class Sifting(Protocol):
    """Of an ecosystem with calls that are passed on with a body (`ForwardTarget`)."""

    def sift(self, target: ForwardTarget, body: bytes, may: Callable[[str, str], bool]) -> bytes:
        """Make the body that the upstream gets of the client's, unpacked one.

        `may`: tells whether the client may have a package in a version ("": in any). MUST leave
        out every package that it may not have; MUST raise BadRequest rather than pass on what it
        did not understand.
        """
        ...


@runtime_checkable
class Introducing(Protocol):
    """Of an ecosystem whose clients have to be told where the proxy is."""

    @property
    def setups(self) -> tuple[Setup, ...]:
        """Every client and what it wants to be told."""
        ...


@runtime_checkable
class Probing(Protocol):
    """Of an ecosystem whose upstream can be tried out, by something small that it surely has."""

    def probe(self) -> Generator[str, Document, str]:
        """Find a small artifact that everybody may have whom the upstream knows.

        Yields paths of documents (as clients ask for them here), is sent each as the upstream gave
        it, and returns the path of the artifact. Raises Malformed.
        """
        ...


@runtime_checkable
class Answering(Protocol):
    """Of an ecosystem with calls that are passed on, whose answers hold links or name packages."""

    def answer(
        self,
        target: ForwardTarget,
        answer: Document,
        links: Links,
        may: Callable[[str, str], bool],
    ) -> Document:
        """Make the answer that the client gets of the upstream's, which is valid JSON.

        Its links point here as those of documents do. `may`: as for `Sifting`. MUST leave out every
        package that the client may not have; MUST raise Malformed for what it did not understand.
        """
        ...


@runtime_checkable
class Federated(Protocol):
    """Of an ecosystem whose paths may mean one of several upstreams."""

    def knowing(self, home: str, further: Mapping[str, str]) -> Ecosystem:
        """The same in front of these: `home`, the host of its own upstream, and further ones, alias
        to host (with its port, where that is not the usual one)."""
        ...


def refuse_post(line: RequestLine, detail: str) -> None:
    """Of an ecosystem that is only read: raise MethodNotAllowed for a POST, whatever its path."""
    if line.method == "POST":
        raise MethodNotAllowed(detail)


def to_folder(
    line: RequestLine, segments: tuple[str, ...], relative: str, *, scope: str, package: str = ""
) -> StaticTarget:
    """Point to the normal spelling of a folder, never by a host name; 301, so it may be kept.

    `relative`, so that a front which adds a prefix does not break it; but an encoded slash does not
    separate for the client, so then the path is given whole, made of `segments`.
    """
    location = encode_path(segments, slash=True) if line.escaped else relative
    return StaticTarget(scope, 301, headers=(("Location", location),), package=package)


def package_url(kind: str, name: str, version: str = "") -> str:
    """A package URL (purl specification): `kind` is its type, `name` the namespace and the name,
    separated by slashes. Everything is percent-encoded that has a meaning in one."""
    if _PLAIN_NAME.fullmatch(name) is None:
        name = quote(name, safe="/:")
    if _PLAIN_VERSION.fullmatch(version) is None:
        version = quote(version, safe=":")
    return f"pkg:{kind}/{name}@{version}" if version else f"pkg:{kind}/{name}"


def problem(error: ProxyError, request_id: str) -> ErrorBody:
    """RFC 9457 problem details: what uv and newer Maven print."""
    fields = {
        "type": "about:blank",
        "title": error.reason,
        "status": error.status,
        "detail": error.detail,
        "request_id": request_id,
    }
    return ErrorBody("application/problem+json", json.dumps(fields).encode("ascii"))


def one_line(error: ProxyError, request_id: str) -> ErrorBody:
    """One line of text: for clients that print the body as it is."""
    text = f"{error.reason}: {error.detail} (request {request_id})\n"
    return ErrorBody("text/plain; charset=utf-8", text.encode("ascii", "backslashreplace"))
