"""What paths of an npm registry mean, and how its calls are passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access.packages import may_have
from proxy.ecosystems.javascript import JavaScript
from proxy.errors import (
    BadRequest,
    InvalidName,
    MethodNotAllowed,
    NotListed,
    RequestError,
    UnknownPath,
)
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    ForwardTarget,
    RequestLine,
    StaticTarget,
    Target,
)
from proxy.server.canonical import canonicalise

FULL, SHORT = "application/json", "application/vnd.npm.install-v1+json"
NPM_ACCEPT = f"{SHORT}; q=1.0, {FULL}; q=0.8, */*"
JS = JavaScript()


def line_of(target: str, *accept: str, method: str = "GET") -> RequestLine:
    return canonicalise(method, target, host="proxy.example", accept=accept)


def classify(target: str, *accept: str, method: str = "GET") -> Target:
    return JS.classify(line_of(target, *accept, method=method))


def document(target: str, *accept: str) -> DocumentTarget:
    found = classify(target, *accept)
    assert isinstance(found, DocumentTarget)
    return found


def artifact(target: str) -> ArtifactTarget:
    found = classify(target)
    assert isinstance(found, ArtifactTarget)
    return found


# --- packages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    ["@babel/core", "@babel%2fcore", "@babel%2Fcore", "%40babel%2fcore", "%40babel/core"],
)
def test_every_spelling_of_a_scoped_package_is_one_entry(spelling: str) -> None:
    found = document(f"/javascript/{spelling}")
    assert (found.package, found.path) == ("@babel/core", "/javascript/@babel%2fcore")
    assert JS.purl(found.package, "7.0.0") == "pkg:npm/%40babel/core@7.0.0"


@pytest.mark.parametrize(
    "name", ["express", "JSONStream", "lodash.merge", "a", "-a", "ab~c", "x_y"]
)
def test_names_old_and_new_are_packages(name: str) -> None:
    assert document(f"/javascript/{name}").package == name


@pytest.mark.parametrize(
    "target",
    [
        *(
            "/@babel%252fcore",
            "/@/x",
            "/@a",
            "/@a%2f",
            "/%2fx",
            "/.hidden",
            "/_all",
            "/node_modules",
        ),
        *(
            "/a%20b",
            "/" + "a" * 215,
            "/@" + "a" * 110 + "/" + "b" * 110,
            "/@a/.b",
            "/@_a/b",
            "/a;x",
        ),
    ],
)
def test_what_can_be_no_package_is_refused(target: str) -> None:
    with pytest.raises(RequestError):
        classify(f"/javascript{target}")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ((), FULL),
        (("*/*",), FULL),
        ((NPM_ACCEPT,), SHORT),
        ((SHORT,), SHORT),
        ((f"{FULL}; q=1.0, {SHORT}; q=0.8",), FULL),
        (("application/*",), FULL),
        (("text/html",), FULL),
        (("application/vnd.npm.install-v1+json;q=0",), FULL),
    ],
)
def test_the_form_of_a_packument_is_what_the_client_accepts(
    accept: tuple[str, ...], form: str
) -> None:
    found = document("/javascript/express", *accept)
    assert (found.representation, found.vary) == (form, ("Accept",))
    # The upstream is asked for the whole one by everybody: both are made of it.
    assert (found.path, found.accept) == ("/javascript/express", FULL)


@pytest.mark.parametrize("part", ["1.2.3", "latest", "next-11", "2.0.0-rc.1%2bbuild"])
def test_a_version_and_a_tag_are_parts_of_the_packument(part: str) -> None:
    for package in ("express", "@babel/core"):
        found = document(f"/javascript/{package}/{part}", NPM_ACCEPT)
        whole = document(f"/javascript/{package}")
        assert (found.path, found.package, found.version) == (whole.path, package, "")
        assert found.part == part.replace("%2b", "+")


def test_the_tags_of_a_package_are_a_part_that_no_tag_can_be_named_like() -> None:
    for spelling in ("@babel%2fcore", "@babel/core"):
        found = document(f"/javascript/-/package/{spelling}/dist-tags")
        assert (found.package, found.part) == ("@babel/core", "/dist-tags")
    assert document("/javascript/express/dist-tags").part == "dist-tags"


# --- tarballs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "package", "version"),
    [
        ("/javascript/ms/-/ms-2.1.3.tgz", "ms", "2.1.3"),
        ("/javascript-upstream/ms/-/ms-2.1.3.tgz", "ms", "2.1.3"),
        ("/javascript/javascript-upstream/ms/-/ms-2.1.3.tgz", "ms", "2.1.3"),
        ("/javascript/javascript/ms/-/ms-2.1.3.tgz", "ms", "2.1.3"),
        ("/javascript/@s%2fp/-/p-1.0.0-rc.1.tgz", "@s/p", "1.0.0-rc.1"),
        ("/javascript/@s/p/-/@s/p-1.0.0.tgz", "@s/p", "1.0.0"),
        ("/javascript/javascript/@s/p/-/p-1.0.0.tgz", "@s/p", "1.0.0"),
        ("/javascript/javascript/-/javascript-1.0.0.tgz", "javascript", "1.0.0"),
        ("/javascript/a-b/-/a-b-1.0.0+x.tgz", "a-b", "1.0.0+x"),
    ],
)
def test_a_tarball_has_one_path_whatever_leads_to_it(
    target: str, package: str, version: str
) -> None:
    found = artifact(target)
    bare = package.rpartition("/")[2]
    assert (found.package, found.version) == (package, version)
    assert found.path == f"/javascript/{package}/-/{bare}-{version}.tgz"
    assert [listing.package for listing in found.listed_in] == [package]


@pytest.mark.parametrize(
    "target",
    [
        *("/javascript/a/-/b-1.0.0.tgz", "/javascript/@s/a/-/b-1.0.0.tgz"),
        *("/javascript/@s/a/-/@t/a-1.0.0.tgz", "/javascript/a/-/a-.tgz", "/javascript/a/-/a.tgz"),
        *("/javascript/a/-/a-1.0.0.zip", "/javascript/a/-/x/a-1.0.0.tgz"),
        *("/javascript/a/b/c", "/javascript/a/1.0.0/", "/javascript/@a/b/c/d", "/javascript/a/"),
        *("/javascript-upstream/a", "/javascript-upstream/", "/javascript-upstream/-/ping"),
        *("/javascript/javascript-upstream/a/b", "/javascript/-/unknown", "/javascript/-/all"),
        *("/javascript/-/npm/v1/attestations/a", "/javascript/-/npm/v1/sbom/cyclonedx/a@1.0.0"),
        *("/javascript/-/npm/v1/user", "/javascript/-/user/org.couchdb.user:x"),
        "/javascript/-/package/a/b/dist-tags",
    ],
)
def test_what_means_nothing_is_unknown(target: str) -> None:
    with pytest.raises((UnknownPath, InvalidName)):
        classify(target)


SEGMENTS = (
    *("javascript", "javascript-upstream", "-", "@s", "p", "a-1.0.0.tgz", "p-1.tgz", "npm"),
    *("v1", "keys", "@", "package", "dist-tags", "search", "bulk", "1.0.0", "security", "audits"),
)


@given(
    st.lists(
        st.sampled_from(SEGMENTS),
        min_size=1,
        max_size=7,
    ),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.booleans(),
)
def test_any_path_is_understood_or_refused_and_never_a_defect(
    segments: list[str], method: Any, slash: bool
) -> None:
    line = RequestLine(method, ("javascript", *segments), slash=slash)
    try:
        found = JS.classify(line)
    except RequestError:
        return
    assert found.scope == "javascript"
    if isinstance(found, ArtifactTarget):
        # What a path shows and whose right is asked are one package.
        assert found.package in "/".join(segments)
        assert found.filename.startswith(found.package.rpartition("/")[2] + "-")
        again = JS.classify(line_of(found.path))
        assert isinstance(again, ArtifactTarget)
        assert (again.path, again.package) == (found.path, found.package)


def test_an_artifact_without_a_version_is_in_no_packument() -> None:
    target = ArtifactTarget("/x", "javascript", "a", "a.tgz")
    with pytest.raises(NotListed):
        JS.locate(target, Document(b"{}", FULL, "https://libraries.example/"))


# --- calls -------------------------------------------------------------------------------------


def test_ping_and_root_are_answered_here() -> None:
    for target in ("/javascript/-/ping?write=true", "/javascript/", "/javascript"):
        found = classify(target)
        assert isinstance(found, StaticTarget)
        assert (found.status, found.body) == (200, b"{}")


def test_who_one_is_here_is_the_client_of_the_proxy() -> None:
    found = classify("/javascript/-/whoami")
    assert isinstance(found, StaticTarget)
    assert found.names_client == "username"


def test_keys_say_nothing_of_any_package() -> None:
    found = document("/javascript/-/npm/v1/keys")
    assert (found.path, found.package, found.neutral) == ("/javascript/-/npm/v1/keys", "", True)


@pytest.mark.parametrize("kind", ["attestations", "sbom/spdx"])
@pytest.mark.parametrize("mount", ["/javascript", "/javascript/javascript"])
def test_a_statement_is_of_one_version(kind: str, mount: str) -> None:
    for spec in ("@s%2fp@1.0.0", "@s/p@1.0.0", "%40s%2fp%401.0.0"):
        found = document(f"{mount}/-/npm/v1/{kind}/{spec}")
        assert (found.package, found.version) == ("@s/p", "1.0.0")
        assert found.path == f"/javascript/-/npm/v1/{kind}/@s%2fp@1.0.0"
        assert not found.neutral
    assert document(f"{mount}/-/npm/v1/{kind}/ms@2.1.3").package == "ms"


def test_of_a_search_only_its_known_parameters_are_passed_on() -> None:
    found = classify("/javascript/-/v1/search?text=a%20b%26c&size=20&from=0&token=x&size2=1")
    assert isinstance(found, ForwardTarget)
    assert found.path == "/javascript/-/v1/search?text=a+b%26c&size=20&from=0"
    assert (found.method, found.max_body, found.sifted) == ("GET", 0, False)


BULK = "/javascript/-/npm/v1/security/advisories/bulk"
QUICK = "/javascript/-/npm/v1/security/audits/quick"


@pytest.mark.parametrize("target", [BULK, QUICK, "/javascript/-/npm/v1/security/audits"])
def test_an_audit_is_a_post_with_a_bounded_body(target: str) -> None:
    found = classify(target, method="POST")
    assert isinstance(found, ForwardTarget)
    assert (found.path, found.method, found.sifted) == (target, "POST", True)
    assert 0 < found.max_body <= 8 << 20
    with pytest.raises(MethodNotAllowed) as caught:
        classify(target)
    assert caught.value.allow == "POST"


@pytest.mark.parametrize("target", ["/javascript/-/v1/login", "/javascript/-/npm/v1/tokens"])
def test_logging_in_is_refused_with_what_to_do_instead(target: str) -> None:
    with pytest.raises(MethodNotAllowed, match=r"client token of this proxy.*\.npmrc"):
        classify(target, method="POST")


# --- the body of an audit ----------------------------------------------------------------------


def sift(target: str, body: Any, *patterns: str) -> Any:
    found = classify(target, method="POST")
    assert isinstance(found, ForwardTarget)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.loads(JS.sift(found, raw, may_have(patterns, JS.purl)))


def test_a_bulk_audit_is_passed_on_as_it_is() -> None:
    body = {"ms": ["2.1.3"], "@s/p": ["1.0.0", "1.0.1"]}
    assert sift(BULK, body) == body
    assert sift(BULK, {}) == {}


def test_of_a_bulk_audit_only_what_the_client_may_have_is_passed_on() -> None:
    body = {"ms": ["2.1.3", "2.0.0"], "@s/p": ["1.0.0"], "@s/q": ["1.0.0"], "secret": ["1.0.0"]}
    assert sift(BULK, body, "pkg:npm/ms@2.1.3", "pkg:npm/%40s/p") == {
        "ms": ["2.1.3"],
        "@s/p": ["1.0.0"],
    }


TREE = {
    "name": "app",
    "version": "1.0.0",
    "requires": {"ms": "^2", "secret": "^1"},
    "install": ["ms@^2", "secret@^1", "@s/secret"],
    "remove": [],
    "metadata": {"node_version": "v20", "nested": {"a": 1}},
    "dependencies": {
        "ms": {
            "version": "2.1.3",
            "integrity": "sha512-x",
            "resolved": "https://elsewhere.example/ms.tgz",
            "requires": {"secret": "^1"},
            "dependencies": {"secret": {"version": "1.0.0"}, "ms": {"version": "2.1.3"}},
        },
        "secret": {"version": "1.0.0"},
    },
}


def test_of_a_quick_audit_only_what_the_client_may_have_is_passed_on() -> None:
    assert sift(QUICK, TREE, "pkg:npm/ms") == {
        "name": "app",
        "version": "1.0.0",
        "metadata": {"node_version": "v20"},
        "install": ["ms@^2"],
        "remove": [],
        "requires": {"ms": "^2"},
        "dependencies": {
            "ms": {
                "version": "2.1.3",
                "integrity": "sha512-x",
                "requires": {},
                "dependencies": {"ms": {"version": "2.1.3"}},
            }
        },
    }


def test_a_quick_audit_of_a_free_client_keeps_its_tree_but_no_addresses() -> None:
    made = sift(QUICK, TREE)
    assert set(made["dependencies"]) == {"ms", "secret"}
    assert "resolved" not in made["dependencies"]["ms"]
    assert set(made["dependencies"]["ms"]["dependencies"]) == {"ms", "secret"}


@pytest.mark.parametrize("target", [BULK, QUICK])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 100_000], ids=lambda body: str(body)[:9]
)
def test_a_body_that_is_no_audit_is_refused(target: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        sift(target, body)


@pytest.mark.parametrize("body", [{"ms": "2.1.3"}, {"ms": [1]}, {"ms": {"2.1.3": 1}}])
def test_an_audit_with_other_versions_than_texts_is_refused(body: Any) -> None:
    with pytest.raises(BadRequest):
        sift(BULK, body)


def test_an_error_is_worded_in_the_member_that_npm_prints() -> None:
    found = JS.render_error(UnknownPath("No such thing."), "id-7")
    assert found.media_type == "application/json"
    assert json.loads(found.body) == {"error": "Unknown path: No such thing.", "request_id": "id-7"}
