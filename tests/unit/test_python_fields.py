"""Every field of the simple API, from an upstream that has it to a client that asks for it.

Both forms upstream, both forms here; what a form cannot say is the only thing that may be missing.
"""

from __future__ import annotations

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from proxy.ecosystems.simple_index import HTML, JSON, TEXT_HTML
from tests.origin import Content, Origin, Settings
from tests.running import Answer, Running, bearer, client, running, token

PAGE = "/python/simple/alpha/"
WHEEL = "alpha-1.0-py3-none-any.whl"
OLD = "alpha-0.9-py3-none-any.whl"
TRACKS = ("https://registry.example/simple/alpha/", "https://other.example/?a=1&b=<2>")
ELSEWHERE = ("https://mirror.example/simple/alpha/",)


def everything(**more: Any) -> Settings:
    return Settings(
        **{
            "core_metadata": True,
            "provenance": True,
            "gpg_sig": True,
            "status": "archived",
            "status_reason": 'No "more" releases & <none>',
            "tracks": TRACKS,
            "alternate_locations": ELSEWHERE,
            "api_version": "1.4",
            "private_keys": True,
            "old_names": True,
            **more,
        }
    )


class _Page(HTMLParser):
    """What an index page in HTML says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: dict[str, dict[str, str]] = {}
        self.metas: list[tuple[str, str]] = []
        self._open: dict[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._open = values
        if tag == "meta":
            self.metas.append((values["name"], values["content"]))

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.anchors[data] = self._open
            self._open = None


def files_of(answer: Answer) -> dict[str, dict[str, Any]]:
    return {file["filename"]: file for file in answer.json()["files"]}


async def page(proxy: Running, accept: str = JSON) -> Answer:
    answer = await proxy.get(PAGE, accept=accept)
    assert answer.status == 200, answer.body
    assert answer.header("Content-Type") == accept
    return answer


@pytest.mark.parametrize("upstream_json", [True, False])
async def test_each_field_in_json(tmp_path: Path, upstream_json: bool) -> None:
    settings = everything(json_index=upstream_json)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        got = (await page(proxy)).json()
        wheel, old = (origin.content.find(name, "python") for name in (WHEEL, OLD))
        assert wheel.metadata is not None
        files = {file["filename"]: file for file in got["files"]}
        integrity = f"{proxy.url}/python/integrity/alpha"
        only_json = {
            "size": wheel.blob.size,
            "upload-time": wheel.uploaded,
            "_private": {"of": WHEEL},
        }
        file = files[WHEEL]
        assert file == {
            "filename": WHEEL,
            "url": f"../../..{wheel.link}",
            "hashes": {"sha256": wheel.blob.sha256},
            "requires-python": ">=3.8",
            "yanked": False,
            "core-metadata": {"sha256": hashlib.sha256(wheel.metadata).hexdigest()},
            "gpg-sig": True,
            "provenance": f"{integrity}/1.0/{WHEEL}/provenance",
            **(only_json if upstream_json else {}),
        }
        assert files[OLD]["yanked"] == 'bad "build" <&>'
        assert files[OLD]["provenance"] == f"{integrity}/0.9/{OLD}/provenance"
        assert old.metadata is None
        assert files[OLD]["core-metadata"] is True  # made of the wheel
        assert got["name"] == "alpha"
        assert got["project-status"] == {
            "status": "archived",
            "reason": 'No "more" releases & <none>',
        }
        assert got["alternate-locations"] == list(ELSEWHERE)
        assert got["meta"]["tracks"] == list(TRACKS)
        if upstream_json:
            assert got["meta"]["api-version"] == "1.4"
            assert got["versions"] == ["0.9", "1.0"]
            assert got["_last-serial"] == got["meta"]["_last-serial"] == 42
        else:
            # PEP 700: without sizes and versions it is 1.0; none are made up.
            assert got["meta"]["api-version"] == "1.0"
            assert "versions" not in got


@pytest.mark.parametrize("upstream_json", [True, False])
@pytest.mark.parametrize("accept", [HTML, TEXT_HTML])
async def test_each_field_in_html(tmp_path: Path, upstream_json: bool, accept: str) -> None:
    settings = everything(json_index=upstream_json)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        got = _Page((await page(proxy, accept)).body.decode("ascii"))
        wheel, old = (origin.content.find(name, "python") for name in (WHEEL, OLD))
        integrity = f"{proxy.url}/python/integrity/alpha"
        assert wheel.metadata is not None
        announced = f"sha256={hashlib.sha256(wheel.metadata).hexdigest()}"
        assert got.anchors[WHEEL] == {
            "href": f"../../..{wheel.link}#sha256={wheel.blob.sha256}",
            "data-requires-python": ">=3.8",
            "data-core-metadata": announced,
            "data-dist-info-metadata": announced,
            "data-gpg-sig": "true",
            "data-provenance": f"{integrity}/1.0/{WHEEL}/provenance",
        }
        assert got.anchors[OLD] == {
            "href": f"../../..{old.link}#sha256={old.blob.sha256}",
            "data-yanked": 'bad "build" <&>',
            "data-core-metadata": "true",
            "data-dist-info-metadata": "true",
            "data-gpg-sig": "true",
            "data-provenance": f"{integrity}/0.9/{OLD}/provenance",
        }
        assert got.metas == [
            ("pypi:repository-version", "1.4"),
            ("pypi:project-status", "archived"),
            ("pypi:project-status-reason", 'No "more" releases & <none>'),
            *(("pypi:tracks", url) for url in TRACKS),
            *(("pypi:alternate-locations", url) for url in ELSEWHERE),
        ]


@pytest.mark.parametrize("sizes", [True, False])
async def test_the_declared_version_tells_the_truth(tmp_path: Path, sizes: bool) -> None:
    async with (
        Origin(Settings(sizes=sizes, api_version="1.1")) as origin,
        running(tmp_path, origin) as proxy,
    ):
        got = (await page(proxy)).json()
        assert got["meta"]["api-version"] == ("1.1" if sizes else "1.0")
        assert ("versions" in got) == sizes
        assert all(("size" in file) == sizes for file in got["files"])


@pytest.mark.parametrize("upstream_json", [True, False])
async def test_an_upstream_without_any_of_it_gets_nothing_invented(
    tmp_path: Path, upstream_json: bool
) -> None:
    settings = Settings(
        json_index=upstream_json,
        sizes=False,
        upload_time=False,
        requires_python=False,
        yanked=False,
    )
    tables = {"cache": {"core_metadata": False, "directory": str(tmp_path / "cache")}}
    async with Origin(settings) as origin, running(tmp_path, origin, tables) as proxy:
        got = (await page(proxy)).json()
        assert set(got) == {"meta", "name", "files"}
        assert got["meta"] == {"api-version": "1.0"}
        for file in got["files"]:
            assert set(file) == {"filename", "url", "hashes", "yanked"}
            assert file["yanked"] is False


@pytest.mark.parametrize("announced", [True, False])
async def test_upstream_metadata_is_passed_on_byte_for_byte_and_verified(
    tmp_path: Path, announced: bool
) -> None:
    settings = everything(metadata_hash=announced)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        file = files_of(await page(proxy))[WHEEL]
        wheel = origin.content.find(WHEEL, "python")
        got = await proxy.get(f"{wheel.link}.metadata")
        assert got.body == wheel.metadata
        expected: Any = {"sha256": got.sha256} if announced else True
        assert file["core-metadata"] == expected
        assert origin.count("GET", r"\.metadata", "origin") == 1
        assert origin.count("GET", r"\.metadata", "store") == 1
        again = await proxy.get(f"{wheel.link}.metadata")
        assert (again.cache, again.header("ETag")) == ("cgr-proxy; hit", f'"sha256:{got.sha256}"')


async def test_a_companion_without_a_hash_goes_with_its_wheel(tmp_path: Path) -> None:
    settings = everything(metadata_hash=False)
    async with Origin(settings) as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find(WHEEL, "python")
        for ending in (".metadata", ".asc"):
            assert (await proxy.get(wheel.link + ending)).status == 200
        origin.reset()
        other = Content.tiny().find("beta_pkg-2.0-py3-none-any.whl", "python")
        origin.content.replace_bytes(WHEEL, other.blob)
        proxy.clock.advance(301)
        for ending in (".metadata", ".asc"):
            answer = await proxy.get(wheel.link + ending)
            assert answer.status == 200
            assert "fwd=miss" in (answer.cache or "")
        assert origin.count("GET", r"\.(metadata|asc)", "store") == 2


async def test_a_signature_is_served_where_it_is_announced(tmp_path: Path) -> None:
    async with Origin(everything()) as origin, running(tmp_path, origin) as proxy:
        wheel = origin.content.find(WHEEL, "python")
        got = await proxy.get(f"{wheel.link}.asc")
        assert (got.status, got.header("Content-Type")) == (200, "application/pgp-signature")
        assert got.body == f"signature of {wheel.path}.asc\n".encode()
    async with Origin() as origin, running(tmp_path / "2", origin) as proxy:
        assert (await proxy.get(f"{wheel.link}.asc")).status == 404


async def test_provenance_is_served_byte_for_byte_at_its_link(tmp_path: Path) -> None:
    async with Origin(everything()) as origin, running(tmp_path, origin) as proxy:
        link = files_of(await page(proxy))[WHEEL]["provenance"]
        path = link.removeprefix(proxy.url)
        direct = json.loads((await proxy.get(path)).body)
        (bundle,) = direct["attestation_bundles"]
        assert bundle["publisher"]["environment"] == "chainguard"
        first = await proxy.get(path)
        assert first.body == json.dumps(direct, indent=1).encode()
        assert first.header("Content-Type") == "application/vnd.pypi.integrity.v1+json"
        assert first.cache == "cgr-proxy; hit"
        etag = first.header("ETag") or ""
        assert (await proxy.get(path, if_none_match=etag)).status == 304
        plain = await proxy.get(path.replace("/provenance", "/bundle.json"))
        assert (plain.status, plain.header("Content-Type")) == (200, "application/json")
        missing = await proxy.get(f"/python/integrity/alpha/2.0/{WHEEL}/provenance")
        assert missing.status == 404
        assert origin.count("GET", "/integrity/") == 2


async def test_a_page_names_the_proxy_as_its_client_does(tmp_path: Path) -> None:
    tables = {
        "server": {
            "trusted_proxies": ["127.0.0.0/8"],
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
        },
        "clients": [client("all", "python")],
    }
    async with Origin(everything()) as origin, running(tmp_path, origin, tables) as proxy:
        credential = bearer(token("all"))
        host = await proxy.get(
            PAGE, accept=JSON, authorization=credential, host="mirror.example:8443"
        )
        front = await proxy.get(
            PAGE,
            accept=JSON,
            authorization=credential,
            x_forwarded_proto="https",
            x_forwarded_host="front.example",
            x_forwarded_prefix="/packages",
        )
        for answer, base in (
            (host, "http://mirror.example:8443"),
            (front, "https://front.example/packages"),
        ):
            path = f"/python/integrity/alpha/1.0/{WHEEL}/provenance"
            assert files_of(answer)[WHEEL]["provenance"] == base + path
        assert host.header("ETag") != front.header("ETag")
        assert origin.count("GET", "/simple/") == 1
