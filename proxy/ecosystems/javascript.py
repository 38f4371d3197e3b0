"""npm packages, for npm, pnpm, yarn, bun and everybody else who speaks the registry's API.

Purpose: implements `Ecosystem` for two prefixes of the upstream, which are one here: what it has
from elsewhere lies under `/javascript-upstream`, but is listed by the same packuments. npm makes
both of them in one path when it replaces a lock file's host by its registry
(`replace-registry-host=always`): that is understood too.

    /javascript/<package>                    packument, whole or abbreviated (`packument`)
    /javascript/<package>/<version or tag>   one version of it
    /javascript/<package>/-/<file>.tgz       tarball
    /javascript/-/...                        calls (`javascript_calls`)

The right to a tarball, its digest and its true address come from its packument only.

Reading: npm's registry API. Non-goals: publishing, logging in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.ecosystems import javascript_calls as calls
from proxy.ecosystems import javascript_names as names
from proxy.ecosystems import javascript_setup, packument
from proxy.ecosystems.base import package_url
from proxy.ecosystems.javascript_names import FALLBACK, MOUNT
from proxy.ecosystems.json_objects import json_object, standard
from proxy.ecosystems.negotiation import choose
from proxy.ecosystems.setups import Setup
from proxy.errors import InvalidName, Malformed, NotListed, ProxyError, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ErrorBody,
    ForwardTarget,
    Links,
    Mount,
    RequestLine,
    Source,
    StaticTarget,
    Target,
)

_FORMS = (packument.FULL, packument.ABBREVIATED)


@dataclass(frozen=True, slots=True)
class JavaScript:
    """The JavaScript ecosystem. No state: every instance is the same."""

    name: str = "javascript"
    upstream: str = "libraries"

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The upstream's two prefixes."""
        return (Mount((MOUNT,), MOUNT), Mount((FALLBACK,), MOUNT))

    @property
    def setups(self) -> tuple[Setup, ...]:
        """See `Introducing`."""
        return javascript_setup.SETUPS

    def purl(self, package: str, version: str = "") -> str:
        """Spell a package (`name` or `@scope/name`) as package URL."""
        return package_url("npm", package, version)

    def classify(self, line: RequestLine) -> Target:
        """Say what a request line asks for. Raises UnknownPath, InvalidName, MethodNotAllowed."""
        mount, *below = line.segments
        segments = _single(tuple(below)) if mount == MOUNT else tuple(below)
        if not segments and mount == MOUNT:
            return StaticTarget(MOUNT, body=b"{}", media_type=packument.FULL)
        if line.slash or not segments:
            raise UnknownPath("This is no path of an npm registry.")
        if mount == MOUNT and segments[0] == "-":
            return _call(line, segments)
        package, rest = names.split_package(segments)
        if (target := _tarball(package, rest)) is not None:
            return target
        if mount == MOUNT and len(rest) <= 1 and all(map(names.is_version_or_tag, rest)):
            return _document(line, package, *rest)
        raise UnknownPath("This is no path of an npm registry.")

    def locate(self, target: ArtifactTarget, listing: Document) -> Source:
        """Find a tarball in its packument. The host of what is found is not checked here: who
        connects asks the same rules. Raises NotListed, Malformed."""
        if not target.version:
            raise NotListed(target.filename)
        return self.tabulate(target.package, listing).find(target)

    def tabulate(self, package: str, listing: Document) -> packument.Tarballs:
        """See `Tabulating`: the tarballs of a packument. Raises Malformed."""
        return packument.tabulate(package, listing)

    def rewrite(self, target: DocumentTarget, document: Document, links: Links) -> Document:
        """Make the document that a client gets. Raises Malformed, NotFound."""
        return self.rewrite_tabulated(target, document, links)[0]

    def rewrite_tabulated(
        self, target: DocumentTarget, document: Document, links: Links
    ) -> tuple[Document, packument.Tarballs | None]:
        """See `Tabulating`. Raises Malformed, NotFound."""
        form = target.representation
        if not target.based:
            # A statement: passed on byte for byte, or not at all.
            json_object(document.body, standard)
            return Document(document.body, form, document.url), None
        body, table = packument.rewrite(target.package, target.part, form, document, links)
        return Document(body, form, document.url), table

    def sift(self, target: ForwardTarget, body: bytes, may: Callable[[str, str], bool]) -> bytes:
        """See `Sifting`: the packages of an audit."""
        return calls.sift(target, body, may)

    def probe(self) -> Generator[str, Document, str]:
        """See `Probing`: the last version of a package that is one small file."""
        document = yield "/javascript/ms"
        target = _packument("ms", packument.FULL)
        top = json_object(self.rewrite(target, document, Links("https://here")).body)
        versions = list(top["versions"].values())  # the rewriter has seen to what they are
        if not versions:
            raise Malformed("The upstream's packument of ms has no version that is served.")
        return urlsplit(str(versions[-1]["dist"]["tarball"])).path

    def render_error(self, error: ProxyError, request_id: str) -> ErrorBody:
        """Word a failure: npm prints the member `error` and nothing else."""
        fields = {"error": f"{error.reason}: {error.detail}", "request_id": request_id}
        return ErrorBody(packument.FULL, json.dumps(fields).encode("ascii"))


# --- classify --------------------------------------------------------------------------------


def _single(segments: tuple[str, ...]) -> tuple[str, ...]:
    """Take a doubled mount away: in front of a tarball or a call. (There is a package of the name
    `javascript`, whose own paths are shorter.)"""
    if not segments or segments[0] not in (MOUNT, FALLBACK):
        return segments
    inner = segments[1:]
    if inner[:2] == ("-", "npm"):
        return inner
    try:
        package, rest = names.split_package(inner)
    except InvalidName:
        return segments
    return inner if _tarball(package, rest) is not None else segments


def _call(line: RequestLine, segments: tuple[str, ...]) -> Target:
    if segments[1:2] == ("package",) and segments[-1:] == (packument.TAGS,):
        package, rest = names.split_package(segments[2:-1])
        if not rest:
            return _document(line, package, f"/{packument.TAGS}")
    return calls.call(line, segments)


def _tarball(package: str, rest: tuple[str, ...]) -> ArtifactTarget | None:
    """Understand what follows a package; some registries repeat its scope there."""
    match rest:
        case ("-", filename):
            pass
        case ("-", scope, filename) if package.startswith(f"{scope}/"):
            pass
        case _:
            return None
    version = names.version_of(package, filename)
    if not version:
        return None
    return ArtifactTarget(
        path=names.tarball_path(package, version),
        scope=MOUNT,
        package=package,
        filename=filename,
        version=version,
        listed_in=(_packument(package, packument.ABBREVIATED),),
    )


def _document(line: RequestLine, package: str, part: str = "") -> DocumentTarget:
    if part:
        return _packument(package, packument.FULL, part)
    # Whoever accepts neither form gets the whole: so registries do, and browsers expect it.
    form = choose(line.accept, _FORMS, default=packument.FULL) or packument.FULL
    return _packument(package, form)


def _packument(package: str, form: str, part: str = "") -> DocumentTarget:
    return DocumentTarget(
        path=names.packument_path(package),
        scope=MOUNT,
        package=package,
        accept=packument.FULL,
        representation=form,
        vary=() if part else ("Accept",),
        based=True,
        part=part,
    )
