"""What stands behind all servers under test: nginx with plain files, so that it is never the limit.

Purpose: simple index pages (JSON and HTML) and files under the vendor's paths, made of noise. The
same bytes for every peer. Misses need addresses that were never asked for: `many` makes so many
files, `names` gives one big file many names. Every request is written down and can be counted.

Non-goals: redirects, credentials, faults (`tests.origin` has them; it is far too slow for this).
"""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bench.nginx import Server

JSON = "application/vnd.pypi.simple.v1+json"
SLOW = 25 << 20  # bytes a second, where a path says `slow`
_CONFIG = """
  log_format paths '$request_uri';
  access_log {folder}/paths.log paths;
  sendfile on; tcp_nopush on; keepalive_requests 100000000;
  map $http_accept $form {{ default html; ~vnd.pypi.simple.v1.json json; }}
  types {{ text/html html; application/vnd.pypi.simple.v1+json json; }}
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder}/www;
    location /python/simple/ {{ try_files $uri/index.$form $uri/index.$form =404; }}
    location /files/ {{ }}
    location /files/slow/ {{ limit_rate {slow}; }}
  }}
"""


@dataclass(frozen=True)
class File:
    """One file of the index. `path` as it stands in the URL; `size` in bytes."""

    project: str
    name: str
    path: str
    size: int
    sha256: str


class Upstream:
    """An index on disk and its server. Use as a context manager."""

    username = "0" * 40 + "/" + "0" * 16
    password = "bench.pull.token"  # nobody asks for it

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, list[File]] = {}
        self._server: Server | None = None
        (folder / "www").mkdir(parents=True)

    def __enter__(self) -> Self:
        self._server = Server(self.folder / "server", _CONFIG.replace("{slow}", str(SLOW)))
        (self._server.folder / "www").symlink_to(self.folder / "www")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return self._server.url

    @property
    def store_url(self) -> str:
        """There is no object store: files are answered at once."""
        return self.url

    @property
    def registry_url(self) -> str:
        """It has no images, and nobody asks for any."""
        return self.url

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._server is not None
        return self._server.pid

    def asked(self, paths: Sequence[str]) -> int:
        """How often these paths were asked for."""
        assert self._server is not None
        wanted = set(paths)
        log = (self._server.folder / "paths.log").read_text("ascii").splitlines()
        return sum(1 for path in log if path in wanted)

    # --- content -----------------------------------------------------------------------------

    def page(self, project: str, versions: int) -> str:
        """A project of so many versions that nobody fetches; its page's path."""
        made = [_file(project, number, "files", 100_000 + number) for number in range(versions)]
        return self._publish(project, made)

    def names(self, project: str, size: int, count: int, *, slow: bool = False) -> list[File]:
        """One body of noise under `count` names."""
        body = self.folder / f"{project}.body"
        sha256 = _noise(body, size)
        root = "files/slow" if slow else "files"
        made = [_file(project, number, root, size, sha256) for number in range(count)]
        for file in made:
            place = self._place(file)
            os.link(body, place)
        self._publish(project, made)
        return made

    def many(self, project: str, size: int, count: int) -> list[File]:
        """`count` files, each of its own noise."""
        made = []
        for number in range(count):
            draft = _file(project, number, "files", size)
            sha256 = _noise(self._place(draft), size)
            made.append(_file(project, number, "files", size, sha256))
        self._publish(project, made)
        return made

    def _place(self, file: File) -> Path:
        place = self.folder / "www" / file.path.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _publish(self, project: str, made: list[File]) -> str:
        self.files[project] = made
        path = f"/python/simple/{project}/"
        folder = self.folder / "www" / path.strip("/")
        folder.mkdir(parents=True)
        versions = [f"1.{number}" for number in range(len(made))]
        entries = [
            {
                "filename": file.name,
                "url": f"../../..{file.path}",
                "hashes": {"sha256": file.sha256},
                "requires-python": ">=3.8",
                "size": file.size,
                "upload-time": "2026-03-01T07:08:09.123456Z",
            }
            for file in made
        ]
        page = {"meta": {"api-version": "1.1"}, "name": project, "files": entries}
        (folder / "index.json").write_text(json.dumps({**page, "versions": versions}))
        anchors = [
            f'<a href="../../..{file.path}#sha256={file.sha256}" data-requires-python="&gt;=3.8">'
            f"{html.escape(file.name)}</a><br/>"
            for file in made
        ]
        (folder / "index.html").write_text(_html(anchors))
        self._publish_root(folder.parent)
        return path

    def _publish_root(self, folder: Path) -> None:
        """List all projects: mirrors ask for that first."""
        projects = [{"name": name} for name in self.files]
        page = {"meta": {"api-version": "1.1"}, "projects": projects}
        (folder / "index.json").write_text(json.dumps(page))
        anchors = [f'<a href="{name}/">{name}</a><br/>' for name in self.files]
        (folder / "index.html").write_text(_html(anchors))


def _file(project: str, number: int, root: str, size: int, sha256: str = "") -> File:
    name = f"{project.replace('-', '_')}-1.{number}-py3-none-any.whl"
    spread = hashlib.sha256(name.encode()).hexdigest()
    path = f"/{root}/{spread[:8]}/{spread[8:24]}/{project}/{name}"
    return File(project, name, path, size, sha256 or spread)


def _html(anchors: Sequence[str]) -> str:
    return "\n".join(["<!DOCTYPE html>\n<html><body>", *anchors, "</body></html>\n"])


def _noise(place: Path, size: int) -> str:
    """Write bytes that nothing compresses; their SHA-256."""
    digest = hashlib.sha256()
    with place.open("wb") as file:
        for at in range(0, size, 1 << 20):
            piece = os.urandom(min(1 << 20, size - at))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()
