"""The Java part of the libraries host: two Maven 2 repositories.

Purpose: `/java/...` and `/java-remediated/...`: files by redirect to the object store (whose own
body is an HTML page), their checksum files, `maven-metadata.xml` with a validator, folder pages.
Like the vendor's it holds releases only and has no repository index.

Reading: the Maven 2 repository layout, its metadata. Non-goals: authentication and entitlement (see
`libraries`); signatures that are true.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.origin.answers import HTML_TYPE, blocked, not_found, redirected, with_validator
from tests.origin.blobs import Blob, BytesBlob, FileBlob
from tests.origin.content import Artifact, Content
from tests.origin.jars import ENDINGS, MOUNTS
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.wire import Request, Response

METADATA = "maven-metadata.xml"
CATALOG = "archetype-catalog.xml"
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(slots=True)
class JavaPart:
    """Answers for the paths of Maven repositories."""

    settings: Settings
    content: Content
    store: Store
    store_base: Callable[[], str]
    _digests: dict[tuple[str, int], str] = field(default_factory=dict)

    def scope_of(self, path: str) -> str | None:
        """The entitlement that a decoded path needs; None: not this part's path."""
        mount = path.split("/")[1] if path.count("/") else ""
        return mount if mount in MOUNTS else None

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request whose decoded path belongs to this part."""
        if path.endswith("/"):
            return self._folder(path)
        plain, _, ending = path.rpartition(".")
        if ending in ENDINGS and (known := self._content_of(plain)) is not None:
            if ending not in self.settings.java_checksums:
                return not_found()
            text = self._digest(known, ending)
            return self._send(request, BytesBlob(text.encode()), path, self.content.at(plain))
        if path.endswith((METADATA, CATALOG)):
            body = self._metadata(path)
            if body is None:
                return not_found()
            return with_validator(request, self.settings, "text/xml", body)
        artifact = self.content.at(path)
        if artifact is not None:
            return self._send(request, artifact.blob, path, artifact)
        if self._children(path + "/"):
            return Response.of(301, HTML_TYPE, b"<html>moved</html>", ("Location", path + "/"))
        return not_found()

    # --- files -----------------------------------------------------------------------------------

    def _content_of(self, path: str) -> Blob | None:
        """What a checksum file is about."""
        if path.endswith((METADATA, CATALOG)):
            body = self._metadata(path)
            return BytesBlob(body) if body is not None else None
        artifact = self.content.at(path)
        return artifact.blob if artifact is not None else None

    def _send(self, request: Request, blob: Blob, path: str, artifact: Artifact | None) -> Response:
        if artifact is not None and (refused := blocked(self.content, artifact)) is not None:
            return refused
        if self.settings.direct or artifact is None:
            return serve_blob(request, blob, self.settings.store_media_type)
        return redirected(self.store_base() + self.store.presign(blob, path.rsplit("/", 1)[1]))

    def _digest(self, blob: Blob, algorithm: str) -> str:
        key = (algorithm, id(blob))
        if isinstance(blob, FileBlob):
            if key not in self._digests:
                data = blob.path.read_bytes()
                self._digests[key] = hashlib.new(algorithm, data).hexdigest()
            return self._digests[key]
        if isinstance(blob, BytesBlob):
            return hashlib.new(algorithm, blob.data).hexdigest()
        made = hashlib.new(algorithm)
        for piece in blob.pieces():  # type: ignore[attr-defined]  # noise
            made.update(piece)
        return made.hexdigest()

    # --- documents -------------------------------------------------------------------------------

    def _metadata(self, path: str) -> bytes | None:
        mount, *folders, name = path.strip("/").split("/")
        if name == CATALOG:
            catalog = f"{_XML}<archetype-catalog><archetypes/></archetype-catalog>\n"
            return catalog.encode() if not folders and self.settings.java_catalog else None
        project = f"{'.'.join(folders[:-1])}:{folders[-1]}" if folders else ""
        held = list(self.content.page(mount, project))
        if held:
            return self._versions(project, held)
        return self._plugins(mount, ".".join(folders))

    @staticmethod
    def _versions(project: str, held: list[Artifact]) -> bytes:
        group, _, artifact = project.partition(":")
        versions = list(dict.fromkeys(item.version for item in held))
        listed = "\n".join(f"      <version>{version}</version>" for version in versions)
        return (
            f"{_XML}<metadata>\n  <groupId>{group}</groupId>\n"
            f"  <artifactId>{artifact}</artifactId>\n  <versioning>\n"
            f"    <latest>{versions[-1]}</latest>\n    <release>{versions[-1]}</release>\n"
            f"    <versions>\n{listed}\n    </versions>\n"
            "    <lastUpdated>20260301070809</lastUpdated>\n  </versioning>\n</metadata>\n"
        ).encode()

    def _plugins(self, mount: str, group: str) -> bytes | None:
        projects = {item.project for item in self.content if item.index == mount}
        names = sorted(one.partition(":")[2] for one in projects if one.startswith(f"{group}:"))
        plugins = [
            f"    <plugin><name>{name}</name><prefix>"
            f"{name.removeprefix('maven-').removesuffix('-plugin')}</prefix>"
            f"<artifactId>{name}</artifactId></plugin>\n"
            for name in names
            if name.startswith("maven-") and name.endswith("-plugin")
        ]
        if not plugins:
            return None
        listed = "".join(plugins)
        return f"{_XML}<metadata>\n  <plugins>\n{listed}  </plugins>\n</metadata>\n".encode()

    # --- folders ---------------------------------------------------------------------------------

    def _children(self, folder: str) -> list[str]:
        found = {
            name if not rest else name + "/"
            for item in self.content
            if item.index in MOUNTS and item.path.startswith(folder)
            for name, _, rest in (item.path.removeprefix(folder).partition("/"),)
        }
        return sorted(found)

    def _folder(self, path: str) -> Response:
        children = self._children(path)
        if not children:
            return not_found()
        root = path.strip("/") in MOUNTS
        lines = [] if root else ['<a href="../">../</a>']
        lines += [f'<a href="{quote(name)}" title="x">{html.escape(name)}</a>' for name in children]
        lines += ['<a href="https://elsewhere.example/x.jar">elsewhere</a>', "<script>1</script>"]
        body = "<!DOCTYPE html><html><body><pre>\n" + "\n".join(lines) + "\n</pre></body></html>\n"
        return Response.of(200, HTML_TYPE, body.encode())
