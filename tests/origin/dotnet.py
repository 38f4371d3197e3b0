"""The .NET part of the libraries host: a NuGet source, version 3 of the protocol.

Purpose: `/dotnet/...`: a service index that names more than a proxy can serve (feeds of events,
publishing, pages for people, kinds that nobody knows yet); versions; registrations in three hives,
of which two come packed whatever is accepted; entries of the catalogue, which have the digests;
searches; lists of vulnerabilities. Packages go by redirect to the object store; those of the
vendor's fallback lie under a prefix of their own. Identifiers are asked for in small letters only.

Reading: NuGet's documentation, "Server API". Non-goals: authentication and entitlement (see
`libraries`).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from tests.origin.answers import blocked, not_found, package_blocked, redirected, with_validator
from tests.origin.blobs import Blob, BytesBlob, FileBlob, SyntheticBlob
from tests.origin.content import Content
from tests.origin.nupkgs import DOTNET, FLAT, Nupkg
from tests.origin.settings import Settings
from tests.origin.store import Store, serve_blob
from tests.origin.wire import Request, Response

JSON_TYPE = "application/json"
PREFIXES = ("/dotnet/", "/dotnet-upstream/")
PLAIN_HIVE, GZIP_HIVE, SEMVER_HIVE = (
    f"/dotnet/v3/registration5{kind}" for kind in ("", "-gz", "-gz-semver2")
)
HIVES = (PLAIN_HIVE, GZIP_HIVE, SEMVER_HIVE)
CATALOGUE = "/dotnet/v3/catalog0/data/2026.01.02.03.04.05"
VULNERABILITIES = "/dotnet/v3/vulnerabilities"
ADVISORY = "https://advisories.example/CVE-2026-0001"
_WHEN = "2026-01-02T03:04:05.678+00:00"


@dataclass(slots=True)
class DotnetPart:
    """Answers for the paths of the NuGet source."""

    settings: Settings
    content: Content
    store: Store
    base: Callable[[], str]
    store_base: Callable[[], str]

    def scope_of(self, path: str) -> str | None:
        """The entitlement that a decoded path needs; None: not this part's path."""
        return DOTNET if path.startswith(PREFIXES) else None

    async def answer(self, request: Request, path: str) -> Response:
        """Answer a request whose decoded path belongs to this part."""
        held = self.content.at(path)
        if isinstance(held, Nupkg):
            return self._send(request, held)
        folder, _, name = path.rpartition("/")
        match folder, name:
            case "/dotnet/v3", "index.json":
                return self._json(request, self._service_index())
            case "/dotnet", "query" | "autocomplete":
                return self._search(request, name)
            case "/dotnet/v3/vulnerabilities", "index.json":
                page = f"{self.base()}{VULNERABILITIES}/2026.01.02/vulnerability.base.json"
                listed = {"@name": "base", "@id": page, "@updated": _WHEN, "comment": "all"}
                return self._json(request, [listed])
            case "/dotnet/v3/vulnerabilities/2026.01.02", "vulnerability.base.json":
                known = {"url": ADVISORY, "severity": 2, "versions": "(, 1.1.0)"}
                return self._json(request, {"alpha.net": [known]})
            case _:
                return self._of_package(request, folder, name)

    def _of_package(self, request: Request, folder: str, name: str) -> Response:
        if folder == CATALOGUE:
            return self._entry(request, name.removesuffix(".json"))
        hive, _, package = folder.rpartition("/")
        if "/page/" in folder:
            hive, _, package = folder.rpartition("/page/")[0].rpartition("/")
        found = self._versions(package)
        if not found:
            return not_found()
        if found[0].project in self.content.blocked_packages:
            return package_blocked(found[0].project)
        if hive == FLAT and name == "index.json":
            return self._json(request, {"versions": [one.lower[1] for one in found]})
        if hive not in HIVES or not self.settings.dotnet_registrations:
            return not_found()
        return self._registration(request, hive, found, folder, name)

    # --- the service index -----------------------------------------------------------------------

    def _service_index(self) -> dict[str, Any]:
        base = self.base()
        registrations = {
            "RegistrationsBaseUrl": PLAIN_HIVE,
            "RegistrationsBaseUrl/3.4.0": GZIP_HIVE,
            "RegistrationsBaseUrl/3.6.0": SEMVER_HIVE,
        }
        named = {
            "SearchQueryService/3.0.0-beta": "/dotnet/query",
            "SearchQueryService/3.5.0": "/dotnet/query",
            "SearchAutocompleteService/3.5.0": "/dotnet/autocomplete",
            **{
                kind: f"{hive}/"
                for kind, hive in registrations.items()
                if self.settings.dotnet_registrations
            },
            "PackageBaseAddress/3.0.0": f"{FLAT}/",
            "VulnerabilityInfo/6.7.0": f"{VULNERABILITIES}/index.json",
            "Catalog/3.0.0": "/dotnet/v3/catalog0/index.json",
            "PackagePublish/2.0.0": "/dotnet/v2/package",
            "SymbolPackagePublish/4.9.0": "/dotnet/v2/symbolpackage",
            "RepositorySignatures/5.0.0": "/dotnet/v3-index/repository-signatures/5.0.0/index.json",
            "PackageDetailsUriTemplate/5.1.0": "/dotnet/packages/{id}/{version}",
            "TimeMachine/9.0.0": "/dotnet/v9/",
        }
        resources: list[dict[str, Any]] = [
            {"@id": base + path, "@type": kind} for kind, path in named.items()
        ]
        if self.settings.dotnet_registrations:
            versioned = {"@id": f"{base}{SEMVER_HIVE}/", "@type": "RegistrationsBaseUrl/Versioned"}
            resources.append({**versioned, "clientVersion": "4.3.0-alpha"})
        elsewhere = {"@id": "https://search.example/query", "@type": "SearchQueryService"}
        return {
            "version": "3.0.0",
            "resources": [*resources, {**elsewhere, "comment": "on another host"}],
            "@context": {"@vocab": "https://vocabulary.example/services#"},
        }

    # --- registrations ---------------------------------------------------------------------------

    def _registration(
        self, request: Request, hive: str, found: list[Nupkg], folder: str, name: str
    ) -> Response:
        package = found[0].lower[0]
        index = f"{self.base()}{hive}/{package}/index.json"
        page = self._page(hive, found)
        if "/page/" in folder:
            return self._json(request, {**page, "parent": index}, packed=hive != PLAIN_HIVE)
        if name == "index.json":
            short = {key: value for key, value in page.items() if key != "items"}
            shown = short if self.settings.dotnet_pages else page
            top = {"@id": index, "@type": ["catalog:CatalogRoot"], "count": 1, "items": [shown]}
            return self._json(request, top, packed=hive != PLAIN_HIVE)
        for one in found:
            if name == f"{one.lower[1]}.json":
                leaf = self._leaf(hive, one)
                leaf |= {"catalogEntry": leaf["catalogEntry"]["@id"], "listed": True}
                return self._json(request, leaf, packed=hive != PLAIN_HIVE)
        return not_found()

    def _page(self, hive: str, found: list[Nupkg]) -> dict[str, Any]:
        package, lowest = found[0].lower
        highest = found[-1].lower[1]
        where = f"{self.base()}{hive}/{package}"
        apart = self.settings.dotnet_pages
        path = f"page/{lowest}/{highest}"
        return {
            "@id": f"{where}/{path}.json" if apart else f"{where}/index.json#{path}",
            "@type": "catalog:CatalogPage",
            "count": len(found),
            "lower": lowest,
            "upper": highest,
            "items": [self._leaf(hive, one) for one in found],
        }

    def _leaf(self, hive: str, one: Nupkg) -> dict[str, Any]:
        package, version = one.lower
        where = f"{self.base()}{hive}"
        needed = [
            {
                "@id": f"{self._entry_url(one)}#dependencygroup/{need.lower()}",
                "id": need,
                "range": wanted,
                "registration": f"{where}/{need.lower()}/index.json",
            }
            for need, wanted in one.needs.items()
        ]
        entry: dict[str, Any] = {
            "@id": self._entry_url(one),
            "@type": "PackageDetails",
            "id": one.project,
            "version": one.version,
            "listed": True,
            "description": "made up \ud83d",
            "projectUrl": "https://project.example/",
            "iconUrl": f"{self.base()}{FLAT}/{package}/{version}/icon",
            "packageContent": self.base() + one.path,
            "published": _WHEN,
            "dependencyGroups": [{"targetFramework": ".NETStandard2.0", "dependencies": needed}],
        }
        if self.settings.dotnet_hashes == "registration":
            entry |= _hashed(one)
        return {
            "@id": f"{where}/{package}/{version}.json",
            "@type": "Package",
            "catalogEntry": entry,
            "packageContent": self.base() + one.path,
            "registration": f"{where}/{package}/index.json",
        }

    # --- the rest --------------------------------------------------------------------------------

    def _entry_url(self, one: Nupkg) -> str:
        return f"{self.base()}{CATALOGUE}/{'.'.join(one.lower)}.json"

    def _entry(self, request: Request, stem: str) -> Response:
        for one in self._packages():
            if ".".join(one.lower) == stem and self.settings.dotnet_hashes == "catalog":
                said = {"@id": self._entry_url(one), "id": one.project, "version": one.version}
                return self._json(request, {**said, **_hashed(one), "listed": True})
        return not_found()

    def _search(self, request: Request, kind: str) -> Response:
        asked = parse_qs(request.target.partition("?")[2])
        text = asked.get("q", [""])[0].lower()
        if kind == "autocomplete" and "id" in asked:
            versions = [one.lower[1] for one in self._versions(asked["id"][0])]
            return self._json(request, {"totalHits": len(versions), "data": versions})
        names = sorted({one.lower[0] for one in self._packages() if text in one.lower[0]})
        if kind == "autocomplete":
            return self._json(request, {"totalHits": len(names), "data": names})
        data = [self._result(self._versions(name)) for name in names]
        return self._json(request, {"totalHits": len(data), "data": data})

    def _result(self, found: list[Nupkg]) -> dict[str, Any]:
        where = f"{self.base()}{SEMVER_HIVE}/{found[0].lower[0]}"
        versions = [
            {"version": one.version, "downloads": 1, "@id": f"{where}/{one.lower[1]}.json"}
            for one in found
        ]
        return {
            "@id": f"{where}/index.json",
            "@type": "Package",
            "registration": f"{where}/index.json",
            "id": found[-1].project,
            "version": found[-1].version,
            "description": "made up",
            "iconUrl": f"{self.base()}{FLAT}/icon",
            "versions": versions,
        }

    def _packages(self) -> list[Nupkg]:
        return [one for one in self.content if isinstance(one, Nupkg) and one.index == DOTNET]

    def _versions(self, package: str) -> list[Nupkg]:
        """From the lowest up, as far as that matters here."""
        found = [one for one in self._packages() if one.lower[0] == package]
        return sorted(found, key=lambda one: _order(one.lower[1]))

    def _send(self, request: Request, artifact: Nupkg) -> Response:
        if (refused := blocked(self.content, artifact)) is not None:
            return refused
        if self.settings.direct:
            return serve_blob(request, artifact.blob, self.settings.store_media_type)
        return redirected(self.store_base() + self.store.presign(artifact.blob, artifact.filename))

    def _json(self, request: Request, value: object, *, packed: bool = False) -> Response:
        body = json.dumps(value).encode()
        response = with_validator(request, self.settings, JSON_TYPE, body)
        if not packed or response.status != 200:
            return response
        sent = Response.of(200, JSON_TYPE, gzip.compress(body, mtime=0))
        kept = [item for item in response.headers if item[0] in ("ETag", "Cache-Control")]
        return replace(sent, headers=(*sent.headers, *kept, ("Content-Encoding", "gzip")))


def _order(version: str) -> tuple[list[int], bool, list[str]]:
    numbers, _, label = version.partition("-")
    words = [word.zfill(9) if word.isdigit() else word for word in label.split(".")]
    return [int(number) for number in numbers.split(".")], not label, words


def _hashed(one: Nupkg) -> dict[str, Any]:
    """What is said of a package's bytes, as they are at this moment."""
    data = _bytes_of(one.blob)
    return {
        "packageHash": base64.b64encode(hashlib.sha512(data).digest()).decode(),
        "packageHashAlgorithm": "SHA512",
        "packageSize": len(data),
    }


def _bytes_of(blob: Blob) -> bytes:
    if isinstance(blob, FileBlob):
        return blob.path.read_bytes()
    if isinstance(blob, SyntheticBlob):
        return b"".join(blob.pieces())
    assert isinstance(blob, BytesBlob)
    return blob.data
