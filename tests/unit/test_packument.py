"""Packuments: links that point here, forms that lose nothing, tarballs that are found."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ecosystems.javascript import JavaScript
from proxy.ecosystems.javascript_names import tarball_path
from proxy.errors import Malformed, NotFound, NotListed
from proxy.model import ArtifactTarget, Digest, Document, DocumentTarget, HostRules, Links
from tests.unit.test_javascript import FULL, SHORT, artifact, classify, document

ORIGIN = "https://libraries.example"
BASE = "https://proxy.example:8443/prefix"
LINKS = Links(BASE, HostRules(("*.store.example",)))
JS = JavaScript()
SHA512 = "sha512-" + base64.b64encode(hashlib.sha512(b"x").digest()).decode()


def version(number: str, package: str = "ms", **fields: Any) -> dict[str, Any]:
    """A version as a whole packument has it."""
    bare = package.rpartition("/")[2]
    dist = {
        "tarball": f"{ORIGIN}/javascript/{package}/-/{bare}-{number}.tgz",
        "integrity": SHA512,
        "shasum": hashlib.sha1(b"x").hexdigest(),
    } | fields.pop("dist", {})
    return {"name": package, "version": number, "dist": dist, **fields}


def packument(package: str = "ms", *versions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    found = versions or (version("1.0.0", package), version("2.0.0", package))
    return {
        "_id": package,
        "_rev": "7-abc",
        "name": package,
        "dist-tags": {"latest": found[-1]["version"]},
        "versions": {one["version"]: one for one in found},
        "time": {"modified": "2026-01-02T03:04:05.678Z", **{v["version"]: "2026" for v in found}},
        "readme": "# cut in a character \ud83d",
        **fields,
    }


def rewritten(top: Any, target: str = "/javascript/ms", *accept: str, links: Links = LINKS) -> Any:
    wanted = document(target, *accept)
    raw = top if isinstance(top, bytes) else json.dumps(top).encode()
    made = JS.rewrite(wanted, Document(raw, FULL, ORIGIN + wanted.path), links)
    assert made.media_type == wanted.representation
    return json.loads(made.body)


def located(top: Any, target: str) -> Any:
    found = artifact(target)
    listing = Document(json.dumps(top).encode(), FULL, ORIGIN + found.listed_in[0].path)
    return JS.locate(found, listing)


# --- links -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        f"{ORIGIN}/javascript/ms/-/ms-1.0.0.tgz",
        f"{ORIGIN}/javascript-upstream/ms/-/ms-1.0.0.tgz",
        f"{ORIGIN}/elsewhere/odd%2Bname?x=1#y",
        "/javascript/ms/-/ms-1.0.0.tgz",
        "https://a.store.example/ms-1.0.0.tgz",
    ],
)
def test_a_tarballs_link_points_here_wherever_the_upstream_has_it(link: str) -> None:
    made = rewritten(packument("ms", version("1.0.0", dist={"tarball": link})))
    assert made["versions"]["1.0.0"]["dist"]["tarball"] == f"{BASE}/javascript/ms/-/ms-1.0.0.tgz"


@pytest.mark.parametrize(
    "link",
    [
        *("http://169.254.169.254/latest/x.tgz", "file:///etc/passwd", "//evil.example/x.tgz"),
        *("https://user:pass@libraries.example/x.tgz", "https://libraries.example:8443/x.tgz"),
        *("http://libraries.example/x.tgz", "ftp://libraries.example/x.tgz", "", "https://[x"),
        *("https://libraries.example.evil.example/x.tgz", "javascript:alert(1)", 7, None),
    ],
)
def test_a_version_whose_tarball_lies_elsewhere_is_left_out_with_its_tags(link: Any) -> None:
    top = packument("ms", version("1.0.0"), version("2.0.0", dist={"tarball": link}))
    top["dist-tags"] = {"latest": "2.0.0", "stable": "1.0.0"}
    for accept in (FULL, SHORT):
        made = rewritten(top, "/javascript/ms", accept)
        assert list(made["versions"]) == ["1.0.0"]
        assert made["dist-tags"] == {"stable": "1.0.0"}


def test_a_packument_of_which_nothing_is_left_is_not_passed_on() -> None:
    with pytest.raises(Malformed, match="tarball that may be used"):
        rewritten(packument("ms", version("1.0.0", dist={"tarball": "https://evil.example/x"})))


def test_what_promises_a_digest_that_nobody_could_check_is_left_out() -> None:
    odd = [
        version("1.0.1", dist={"integrity": "sha3-xyz"}),
        version("1.0.2", dist={"integrity": "sha512-!!!"}),
        version("1.0.3", dist={"integrity": "sha512-AAAA"}),
        version("1.0.4", dist={"integrity": None, "shasum": "xyz"}),
        version("1.0.5", dist={"integrity": 7}),
    ]
    assert list(rewritten(packument("ms", version("1.0.0"), *odd))["versions"]) == ["1.0.0"]


def test_what_is_signed_and_hashed_is_not_touched() -> None:
    dist = {
        "integrity": SHA512,
        "signatures": [{"keyid": "k", "sig": "s"}],
        "sboms": [{"url": "x"}],
        "unpackedSize": 7,
        "fileCount": 1,
        "npm-signature": "old",
    }
    for accept in (FULL, SHORT):
        made = rewritten(packument("ms", version("1.0.0", dist=dist)), "/javascript/ms", accept)
        found = made["versions"]["1.0.0"]["dist"]
        assert {key: found[key] for key in dist} == dist
        assert found["shasum"] == hashlib.sha1(b"x").hexdigest()


@pytest.mark.parametrize(
    ("package", "spelt"), [("ms", "ms@1.0.0"), ("@s/p", "@s/p@1.0.0"), ("@s/p", "@s%2fp@1.0.0")]
)
def test_attestations_are_asked_of_this_proxy(package: str, spelt: str) -> None:
    url = f"https://registry.example/-/npm/v1/attestations/{spelt}"
    given_ = {"url": url, "provenance": {"predicateType": "x"}}
    top = packument(package, version("1.0.0", package, dist={"attestations": given_}))
    made = rewritten(top, f"/javascript/{package}")
    found = made["versions"]["1.0.0"]["dist"]["attestations"]
    assert found["provenance"] == {"predicateType": "x"}
    assert found["url"].startswith(f"{BASE}/javascript/-/npm/v1/attestations/")
    target = classify(urlsplit(found["url"]).path.removeprefix("/prefix"))
    assert isinstance(target, DocumentTarget)
    assert (target.package, target.version) == (package, "1.0.0")


@pytest.mark.parametrize(
    "given_",
    [
        None,
        "x",
        {},
        {"url": 7},
        {"url": f"{ORIGIN}/-/npm/v1/attestations/other@1.0.0"},
        {"url": ""},
    ],
)
def test_attestations_that_are_not_served_are_not_announced(given_: Any) -> None:
    made = rewritten(packument("ms", version("1.0.0", dist={"attestations": given_})))
    assert "attestations" not in made["versions"]["1.0.0"]["dist"]


# --- forms -------------------------------------------------------------------------------------

INSTALLED: dict[str, Any] = {
    "deprecated": "use another",
    "bin": {"ms": "cli.js"},
    "directories": {"bin": "bin"},
    "engines": {"node": ">=4"},
    "os": ["linux"],
    "cpu": ["x64"],
    "libc": ["glibc"],
    "dependencies": {"a": "1"},
    "devDependencies": {"b": "1"},
    "optionalDependencies": {"c": "1"},
    "peerDependencies": {"d": "1"},
    "peerDependenciesMeta": {"d": {"optional": True}},
    "acceptDependencies": {"a": "2"},
    "bundleDependencies": ["a"],
    "bundledDependencies": ["a"],
    "hasInstallScript": True,
    "_hasShrinkwrap": False,
    "funding": {"url": "https://x.example"},
}


def test_the_abbreviated_form_loses_nothing_that_an_installation_looks_at() -> None:
    top = packument("ms", version("1.0.0", **INSTALLED, readme="long", _npmUser={"name": "x"}))
    full, short = (rewritten(top, "/javascript/ms", accept) for accept in (FULL, SHORT))
    manifest = short["versions"]["1.0.0"]
    assert manifest == {
        **{key: full["versions"]["1.0.0"][key] for key in ("name", "version", "dist")},
        **INSTALLED,
    }
    assert set(short) == {"name", "modified", "dist-tags", "versions", "time"}
    assert (short["modified"], short["time"]) == (top["time"]["modified"], top["time"])


def test_the_whole_form_is_the_upstreams_but_for_its_links() -> None:
    top = packument("ms", version("1.0.0", **INSTALLED, x={"y": [1.5, None, True]}))
    made = rewritten(top)
    for document_ in (made, top):
        document_["versions"]["1.0.0"]["dist"].pop("tarball")
    assert made == top


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({"scripts": {"postinstall": "node x"}}, True),
        ({"scripts": {"install": "node-gyp rebuild"}}, True),
        ({"scripts": {"preinstall": "x"}}, True),
        ({"gypfile": True}, True),
        ({"scripts": {"test": "x", "prepare": "x", "postinstall": ""}}, None),
        ({"scripts": "odd"}, None),
        ({"hasInstallScript": False, "scripts": {"install": "x"}}, False),
    ],
)
def test_whether_a_version_runs_scripts_is_told_by_its_scripts(
    fields: dict[str, Any], runs: bool | None
) -> None:
    made = rewritten(packument("ms", version("1.0.0", **fields)), "/javascript/ms", SHORT)
    assert made["versions"]["1.0.0"].get("hasInstallScript") is runs


def test_a_part_is_a_version_of_the_whole_form() -> None:
    top = packument("ms", version("1.0.0", readme="x"), version("2.0.0"))
    whole = rewritten(top)
    for part, number in (("1.0.0", "1.0.0"), ("latest", "2.0.0")):
        made = rewritten(top, f"/javascript/ms/{part}", SHORT)
        assert made == whole["versions"][number]
    assert rewritten(top, "/javascript/-/package/ms/dist-tags") == {"latest": "2.0.0"}


def test_a_part_that_is_not_there_is_not_found() -> None:
    for part in ("3.0.0", "beta"):
        with pytest.raises(NotFound, match=part):
            rewritten(packument(), f"/javascript/ms/{part}")


def test_an_unpublished_package_has_no_versions() -> None:
    top = {"name": "ms", "time": {"unpublished": {"name": "x"}}}
    made = rewritten(top)
    assert (made["versions"], made["dist-tags"], made["time"]) == ({}, {}, top["time"])


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"<html>", b'{"name":"ms","x":NaN}', b"\xff"),
        b'{"name":"ms","x":' * 100_000,
        packument("other"),
        {"versions": {}},
        packument(versions=[]),
        packument(versions={"1.0.0": 7}),
        packument() | {"dist-tags": {"latest": 7}},
        packument() | {"dist-tags": []},
    ],
    ids=lambda body: str(body)[:30],
)
def test_what_is_no_packument_is_not_passed_on(body: Any) -> None:
    with pytest.raises(Malformed):
        rewritten(body)


@pytest.mark.parametrize("path", ["keys", "attestations/ms@1.0.0", "sbom/spdx/ms@1.0.0"])
def test_a_statement_is_passed_on_byte_for_byte_or_not_at_all(path: str) -> None:
    target = classify(f"/javascript/-/npm/v1/{path}")
    assert isinstance(target, DocumentTarget)
    body = b'{ "keys" : [ "\\u0061" ] }\n'
    made = JS.rewrite(target, Document(body, "text/html", ORIGIN), LINKS)
    assert (made.body, made.media_type) == (body, FULL)
    with pytest.raises(Malformed):
        JS.rewrite(target, Document(b"<html>", FULL, ORIGIN), LINKS)


# --- tarballs ----------------------------------------------------------------------------------


def test_a_number_beyond_measure_is_the_upstreams_mistake() -> None:
    raw = json.dumps(packument(config=0.5)).replace("0.5", "1e999").encode()
    with pytest.raises(Malformed):
        rewritten(raw)


def test_a_tarball_is_found_with_its_strongest_digest() -> None:
    link = f"{ORIGIN}/javascript-upstream/ms/-/ms-1.0.0.tgz?sig=a%2Fb"
    found = located(
        packument("ms", version("1.0.0", dist={"tarball": link})), "/javascript/ms/-/ms-1.0.0.tgz"
    )
    assert (found.location, found.package, found.version) == (link, "ms", "1.0.0")
    assert found.digest == Digest("sha512", hashlib.sha512(b"x").hexdigest())


@pytest.mark.parametrize(
    ("dist", "algorithm"),
    [
        ({"integrity": f"sha1-KIsPWQ/vWJcpdhGtC/W54Q== {SHA512}?opt"}, "sha512"),
        ({"integrity": None}, "sha1"),
        ({"integrity": ""}, "sha1"),
        ({"integrity": None, "shasum": None}, ""),
    ],
)
def test_a_tarball_without_integrity_is_verified_with_its_shasum(
    dist: dict[str, Any], algorithm: str
) -> None:
    found = located(packument("ms", version("1.0.0", dist=dist)), "/javascript/ms/-/ms-1.0.0.tgz")
    assert (found.digest.algorithm if found.digest else "") == algorithm


@pytest.mark.parametrize("target", ["/javascript/ms/-/ms-3.0.0.tgz", "/javascript/ms/-/ms-1.tgz"])
def test_a_version_that_is_not_listed_is_not_found(target: str) -> None:
    with pytest.raises(NotListed):
        located(packument(), target)


def test_a_tarball_of_a_damaged_version_is_not_found() -> None:
    for dist in ({"integrity": "odd"}, {"tarball": None}):
        with pytest.raises(NotListed):
            located(packument("ms", version("1.0.0", dist=dist)), "/javascript/ms/-/ms-1.0.0.tgz")


names = st.from_regex(
    r"(@[a-z0-9][a-z0-9._-]{0,5}/)?[A-Za-z0-9][A-Za-z0-9._~-]{0,9}", fullmatch=True
)
numbers = st.from_regex(
    r"[0-9]{1,2}\.[0-9]\.[0-9](-[a-z0-9.-]{1,6})?(\+[a-z0-9]{1,4})?", fullmatch=True
)


@given(names, st.lists(numbers, min_size=1, max_size=4, unique=True))
def test_what_comes_with_a_rewritten_packument_finds_its_tarballs(
    package: str, versions: list[str]
) -> None:
    odd = version("0.0.0-odd", package, dist={"integrity": "odd"})
    top = packument(package, odd, *(version(number, package) for number in versions))
    wanted = document(f"/javascript/{package}", SHORT)
    listing = Document(json.dumps(top).encode(), FULL, ORIGIN + wanted.path)
    made, table = JS.rewrite_tabulated(wanted, listing, LINKS)
    assert made == JS.rewrite(wanted, listing, LINKS)
    assert table is not None
    for number in versions:
        target = artifact(tarball_path(package, number))
        assert table.find(target) == JS.locate(target, listing)
    with pytest.raises(NotListed):
        table.find(artifact(tarball_path(package, "0.0.0-odd")))


@given(names, st.lists(numbers, min_size=1, max_size=4, unique=True))
def test_every_link_that_is_made_is_understood_and_found(package: str, versions: list[str]) -> None:
    top = packument(package, *(version(number, package) for number in versions))
    for accept in (FULL, SHORT):
        made = rewritten(top, f"/javascript/{package}", accept)
        assert set(made["versions"]) == set(versions)
        for number, manifest in made["versions"].items():
            link = manifest["dist"]["tarball"]
            assert link.startswith(f"{BASE}/javascript/")
            target = classify(link.removeprefix(BASE))
            assert isinstance(target, ArtifactTarget)
            assert (target.package, target.version) == (package, number)
            assert located(top, link.removeprefix(BASE)).version == number
