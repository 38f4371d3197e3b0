"""The values that travel between the rooms. Pure: no clock, no I/O, no state.

Purpose: one word and one checked type for each thing. A value of these types has been checked where
it was made; nobody checks it again.

Three kinds of answer exist and are never mixed: an *artifact* (immutable bytes), a *document*
(mutable metadata that lists artifacts) and a *decision* (a refusal, raised as an error of
`proxy.errors`). The targets besides are no fourth kind: a checksum is what is told of an artifact,
a static answer is known beforehand, a call that is passed on is never kept. The closed unions here
are matched exhaustively (`match` + `assert_never`).

What is made anew with nearly each request (its line, an artifact's target and source) is a named
tuple: a frozen dataclass of as many fields takes three times as long to make (measured).

Well over 350 lines, in the order of the walk: whoever follows a request through the rooms has all
that travels in one place, down to the few ports by which two rooms of one level share something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol
from urllib.parse import quote

from proxy.errors import InvalidDigest
from proxy.secret import Secret

# --- digests ---------------------------------------------------------------------------------

Algorithm = Literal["md5", "sha1", "sha256", "sha384", "sha512"]
HEX_LENGTHS: Mapping[str, int] = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Digest:
    """A checked digest: lower-case hex of the length its algorithm has."""

    algorithm: Algorithm
    hex: str

    @classmethod
    def of(cls, algorithm: str, value: str) -> Digest:
        """Make one from its parts; upper-case hex is folded.

        Raises InvalidDigest for an unknown algorithm, a wrong length or a character outside hex.
        """
        value = value.lower()
        if HEX_LENGTHS.get(algorithm) != len(value) or not _HEX.fullmatch(value):
            raise InvalidDigest("The digest is not of the form algorithm:hex.")
        return cls(algorithm, value)  # type: ignore[arg-type]  # narrowed by the table above

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


# --- the request -----------------------------------------------------------------------------

Method = Literal["GET", "HEAD", "POST"]


class RequestLine(NamedTuple):
    """What a client asks, canonical: made only by `proxy.server.canonical`.

    `segments` are decoded exactly once and hold no empty, `.` or `..` segment, no control
    character, no `%`, no backslash and no slash (an encoded slash separates like a plain one, so
    that `/@s%2fp` and `/@s/p` are the same line). `slash` tells whether the path ended in one.
    `escaped` tells whether the path was sent with any percent-encoding. `query` is decoded, in
    order, for the few routes that know a parameter; everybody else ignores it. `accept` holds
    every Accept line as sent, in order: docker sends six.
    """

    method: Method
    segments: tuple[str, ...]
    slash: bool = False
    escaped: bool = False
    query: tuple[tuple[str, str], ...] = ()
    accept: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The canonical, decoded path: `/a/b` or `/a/b/`; `/` for the root."""
        if not self.segments:
            return "/"
        return "/" + "/".join(self.segments) + ("/" if self.slash else "")


# RFC 3986 section 3.3 allows these in a segment besides the unreserved ones; `;` and `&` are
# encoded all the same: servlet containers cut a segment at the one, shells and HTML trip over
# the other. `+` and `@` stay as every package client writes them.
_SEGMENT_SAFE = "!$'()*+,=:@"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.~!$'()*+,=:@/-]+")


def encode_path(segments: tuple[str, ...], *, slash: bool = False) -> str:
    """Spell decoded segments the one way that goes upstream and into keys: percent-encoded UTF-8.

    The inverse of what `proxy.server.canonical` does: `()` gives `/`.
    """
    text = "/".join(segments)
    if _PLAIN_PATH.fullmatch(text) and text.count("/") < len(segments):
        return f"/{text}/" if slash else f"/{text}"  # as nearly all are
    safe = f"{_SEGMENT_SAFE}/"  # in one call: quoting is slow
    if text.count("/") >= len(segments) > 0:  # a slash in one of them: rare
        text, safe = "/".join(quote(each, safe=_SEGMENT_SAFE) for each in segments), f"{safe}%"
    path = "/" + quote(text, safe=safe)
    return path + "/" if slash and segments else path


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as `proxy.access` found out. `ecosystems` None: all; `packages` empty: all.

    `packages`: patterns of package URLs.
    """

    name: str
    kind: Literal["token", "mtls", "oidc", "network", "loopback"]
    ecosystems: frozenset[str] | None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """The proof that the door was passed: made only by `proxy.access`, demanded by the cache.

    `scopes` are the entitlement scopes of the ecosystem that principal and organisation both have;
    a listing of another scope is not consulted.
    """

    principal: str
    ecosystem: str
    scopes: frozenset[str]


# --- what is asked: the closed union of targets ----------------------------------------------

PUBLIC: Final = "public"
"""The scope of what the upstream shows to everybody: whoever may come in here may have it."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where an ecosystem lives in the URL space: `prefix` as segments, `scope` for entitlements."""

    prefix: tuple[str, ...]
    scope: str


@dataclass(frozen=True, slots=True)
class DocumentTarget:
    """A mutable document that lists or points to artifacts.

    `path`: the upstream's path, percent-encoded, query included if the upstream needs one.
    `accept`: the Accept header we ask the upstream with, the same for every client.
    `representation`: the media type this client gets. `vary`: request headers that chose it.
    `moving`: short-lived like an OCI tag (`tag_ttl` in place of `document_ttl`).
    `based`: its links need the proxy's own base URL (not only relative ones).
    `bulk`: so large that it is never held whole (see `proxy.ecosystems.base.Streaming`).
    `follows`: asked for right after the same document in another representation, and to be of the
    same generation: what is held is not asked for anew in the minute after its end.
    `part`: what of it this client asks for, in words of its ecosystem; "": the whole. All parts
    are of one document: one entry, one question to the upstream. `neutral`: it says nothing of any
    package, so that a client which is limited to some may have it.
    `verbatim`: clients get the very bytes in the upstream's own media type, if they accept it.
    `digest`: the request names it by its digest; it never changes then, but its right to be served
    does. `by_digest`: the path at which the same bytes are found by their digest, put behind it.
    `max_size` in bytes; 0: as large as any document may be. `otherwise`: what is asked for in its
    place when the upstream does not have it. `upstream`: see `upstream_name`. `kind`: what it is,
    in the words of its ecosystem, for errors.
    """

    path: str
    scope: str
    package: str = ""
    version: str = ""
    accept: str = "*/*"
    representation: str = ""
    vary: tuple[str, ...] = ()
    moving: bool = False
    based: bool = False
    bulk: bool = False
    follows: bool = False
    part: str = ""
    neutral: bool = False
    verbatim: bool = False
    digest: Digest | None = None
    by_digest: str = ""
    max_size: int = 0
    otherwise: DocumentTarget | StaticTarget | None = None
    upstream: str = ""
    kind: str = ""

    def found_by(self, digest: Digest) -> DocumentTarget:
        """The same document, asked for by its digest."""
        return replace(
            self,
            path=f"{self.by_digest}{digest}",
            version=str(digest),
            digest=digest,
            moving=False,
            by_digest="",
        )


class ArtifactTarget(NamedTuple):
    """Immutable bytes.

    `path`: the upstream's path, percent-encoded. `digest`: known from the request itself (OCI).
    `listed_in`: the documents that may list it, in the order to ask; the first that does gives
    the true URL, digest and size, and with them the right to be served. Empty: the path itself
    is the address, and the upstream's answer at it the right. `checksum_of`: the upstream's
    sidecars that it is compared with, as far as there are any (Maven); `locate` reads them.
    `digests`: what is computed of it besides, each with the header field that tells it.
    `about`: the path of the artifact that it is a statement about (a signature): of the same
    generation, so never older. `media_type`: what the client is told; the upstream's own type is
    not trusted. `headers`: fields that belong to it. `of_package`: whoever has a copy from the
    upstream's package may keep it while the upstream shows anything of that package. `upstream`,
    `kind`: as for documents.
    """

    path: str
    scope: str
    package: str
    filename: str
    version: str = ""
    media_type: str = "application/octet-stream"
    digest: Digest | None = None
    listed_in: tuple[DocumentTarget, ...] = ()
    checksum_of: tuple[DocumentTarget, ...] = ()
    digests: tuple[tuple[Algorithm, str], ...] = ()
    about: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    of_package: bool = False
    upstream: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ChecksumTarget:
    """A sidecar: the digest of an artifact in hex, of the very generation that clients get.

    `document`: the upstream's own sidecar, for as long as the artifact is not here.
    """

    of: ArtifactTarget
    algorithm: Algorithm
    document: DocumentTarget

    @property
    def scope(self) -> str:
        """That of the artifact."""
        return self.of.scope

    @property
    def package(self) -> str:
        """That of the artifact."""
        return self.of.package

    @property
    def version(self) -> str:
        """That of the artifact."""
        return self.of.version

    @property
    def kind(self) -> str:
        """That of the artifact."""
        return self.of.kind


@dataclass(frozen=True, slots=True)
class StaticTarget:
    """An answer that needs neither cache nor upstream: a redirect to the normal name, a ping.

    `names_client`: in place of `body` a JSON object with this one member, the client's name.
    """

    scope: str
    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    package: str = ""
    names_client: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """One of the few calls that are passed through and never cached (npm audit, search).

    `path`: the upstream's path, percent-encoded, query included. `method`: a HEAD is asked as GET.
    `max_body`: bytes of a POST's body, unpacked. `sifted`: what names packages in the body is
    taken out where the client may not have them, or in the answer (see `Sifting` and `Answering` of
    `proxy.ecosystems.base`), so that a client which is limited to some may ask.
    """

    path: str
    scope: str
    method: Method = "GET"
    max_body: int = 0
    package: str = ""
    kind: str = ""
    accept: str = "application/json"
    sifted: bool = False


def upstream_name(ecosystem: str, alias: str = "") -> str:
    """How an upstream is called in tables of origins and credentials: like its ecosystem, and a
    further one of it with its alias behind a colon."""
    return f"{ecosystem}:{alias}" if alias else ecosystem


Target = DocumentTarget | ArtifactTarget | ChecksumTarget | StaticTarget | ForwardTarget


# --- what is found ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Whole:
    """The artifact that another one belongs to: its path here, and what its listing promises."""

    path: str
    digest: Digest | None = None
    size: int | None = None


class Source(NamedTuple):
    """Where an artifact really is, and what it must be, as its listing says.

    `location`: an absolute URL, or a path on the ecosystem's upstream when it starts with `/`.
    `size` in bytes. `digest` None: the listing names none. `seal`: what the listing promises of it
    that is no digest of all its bytes, in words of its ecosystem ("": nothing; see
    `proxy.ecosystems.base.Sealing`).
    `whole`: of one without a digest of its own, the one that it belongs to. `extracted`: nobody
    has it by itself; it is made of the whole, which is what `location` leads to (`Extracting`).
    `upstream`: whose path it is, see `upstream_name`.
    """

    location: str
    package: str
    version: str = ""
    digest: Digest | None = None
    size: int | None = None
    whole: Whole | None = None
    extracted: bool = False
    upstream: str = ""
    seal: str = ""

    @property
    def verifiable(self) -> bool:
        """Tell whether its listing promises something that all of its bytes are held to."""
        return self.digest is not None or bool(self.seal)

    @property
    def promise(self) -> Digest | None:
        """The digest that tells whether something is this: its own, else that of its whole."""
        return self.digest or (self.whole.digest if self.whole is not None else None)


@dataclass(frozen=True, slots=True)
class Further:
    """Where the search for an artifact goes on: `listing` says more of it.

    `target`: what to look for there, with what has been learnt on the way. `otherwise`: what holds
    where the upstream has no such document; None: the artifact is not listed then.
    """

    listing: DocumentTarget
    target: ArtifactTarget
    otherwise: Source | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document's bytes with what is needed to read them.

    `url`: the absolute URL that relative links in it are relative to. `headers`: the few upstream
    fields that belong to the document itself (lower-case names), e.g. an OCI `link`.
    """

    body: bytes
    media_type: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HostRules:
    """Hosts that a learnt address may name, besides the upstream's own origin.

    A rule is `host` or `host:port`; a leading `*.` matches one or more labels on the left. Without
    a port the rule means the scheme's default port.
    """

    rules: tuple[str, ...] = ()

    def allows(self, host: str, port: int, default_port: int) -> bool:
        """Tell whether `host`:`port` matches a rule. Compared as parsed parts, never as prefix."""
        host = host.lower().rstrip(".")
        return any(self._matches(rule, host, port, default_port) for rule in self.rules)

    @property
    def in_full(self) -> HostRules:
        """Only the rules without a wildcard."""
        return HostRules(tuple(rule for rule in self.rules if not rule.startswith("*.")))

    @staticmethod
    def _matches(rule: str, host: str, port: int, default_port: int) -> bool:
        name, _, wanted = rule.lower().partition(":")
        if port != (int(wanted) if wanted else default_port):
            return False
        if name.startswith("*."):
            return host.endswith(name[1:]) and len(host) > len(name) - 1
        return host == name


@dataclass(frozen=True, slots=True)
class Links:
    """What a rewriter needs to make links: our `base` URL without trailing slash (empty when only
    relative links are made), the hosts that upstream links may name, whether to offer extracts."""

    base: str = ""
    hosts: HostRules = field(default_factory=HostRules)
    extracts: bool = False


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error as one ecosystem's clients show it to people. `headers`: what they look at too."""

    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


# --- ports that two rooms of one level share -------------------------------------------------


class TokenSource(Protocol):
    """Gives the pull token of an ecosystem to who may ask with it, without knowing where from."""

    def authorization(self, ecosystem: str) -> str | None:
        """The value of an Authorization header, or None where no credential is configured."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """Who the proxy is to the vendor's issuer: the UIDP of an identity, and what proves it."""

    identity: str
    proof: Secret


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A short-lived token. `lifetime`: seconds for which it is good, from when it was answered."""

    value: Secret
    lifetime: float


class SubjectSource(Protocol):
    """Gives whoever asks the issuer for an ecosystem, without knowing where from."""

    def subject(self, ecosystem: str) -> Subject | None:
        """The subject, or None where no credential is at hand that the issuer could know."""
        ...

    def stranger(self, ecosystem: str) -> bool:
        """Tell whether a credential is at hand, but none that the issuer could know."""
        ...


class TokenExchange(Protocol):
    """Exchanges what proves an identity for a short-lived token."""

    async def exchange(self, audience: str, subject: Subject) -> IssuedToken:
        """Ask the issuer. Raises PlatformRefused, PlatformSilent."""
        ...
