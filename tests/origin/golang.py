"""The Go part of the libraries host: a module proxy.

Purpose: `/go/...`: lists, `@latest` and the `.info` of a branch as documents with a validator, the
files of a version by redirect to the object store (whose own body is an HTML page). It mirrors no
checksum database.

Reading: the Go modules reference ("GOPROXY protocol"). Non-goals: authentication and entitlement
(see `libraries`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.origin.answers import blocked, not_found, redirected, with_validator
from tests.origin.content import Artifact, Content
from tests.origin.modules import GO, GoFile, escape, info
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.wire import Request, Response

_LIST = "text/plain; charset=utf-8"
_PSEUDO = re.compile(r"-(?:0\.|[^-]*\.0\.)?[0-9]{14}-[0-9a-f]{12}")
BRANCH = "main"


@dataclass(slots=True)
class GoPart:
    """Answers for the paths of the module proxy."""

    settings: Settings
    content: Content
    store: Store
    store_base: Callable[[], str]

    def scope_of(self, path: str) -> str | None:
        """The entitlement that a decoded path needs; None: not this part's path."""
        return GO if path.startswith(f"/{GO}/") else None

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request whose decoded path belongs to this part."""
        held = self.content.at(path)
        if held is not None:
            return self._send(request, held)
        found = re.fullmatch(rf"/{GO}/(.+)/(@latest|@v/list|@v/{BRANCH}\.info)", path)
        versions = self._versions(found[1]) if found else []
        if found is None or not versions:
            return not_found()
        if found[2] == "@v/list":
            body = "".join(f"{version}\n" for version in versions if not _PSEUDO.search(version))
            return with_validator(request, self.settings, _LIST, body.encode())
        return with_validator(request, self.settings, "application/json", info(versions[-1]))

    def _versions(self, escaped: str) -> list[str]:
        files = [item for item in self.content if isinstance(item, GoFile)]
        found = [item.version for item in files if escape(item.project) == escaped]
        return list(dict.fromkeys(found))

    def _send(self, request: Request, artifact: Artifact) -> Response:
        if (refused := blocked(self.content, artifact)) is not None:
            return refused
        if self.settings.direct:
            return serve_blob(request, artifact.blob, self.settings.store_media_type)
        name = artifact.path.rsplit("/", 1)[1]
        return redirected(self.store_base() + self.store.presign(artifact.blob, name))
