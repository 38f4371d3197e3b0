"""The Python ecosystem: what paths mean, and links that lead back to where they stand."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.version import Version

from proxy.ecosystems import distribution, simple_index
from proxy.ecosystems.base import Ecosystem
from proxy.ecosystems.python import Python
from proxy.ecosystems.simple_index import HTML, JSON, TEXT_HTML
from proxy.ecosystems.simple_page import File, ProjectPage
from proxy.errors import (
    BadRequest,
    InvalidName,
    Malformed,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    NotListed,
    UnknownPath,
)
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    HostRules,
    Links,
    RequestLine,
    Source,
    StaticTarget,
    Target,
    Whole,
    encode_path,
)
from proxy.server.canonical import canonicalise
from tests.unit.simple_pages import INDEXES, ORIGIN, pages

PYTHON = Python()
SHA = "0123456789abcdef" * 4
META_SHA = "fedcba9876543210" * 4
WHEEL = "flask-3.0.3-py3-none-any.whl"
LINKS = Links(hosts=HostRules(("store.example", "store.example:8443")))


def classify(path: str, *accept: str) -> Target:
    return PYTHON.classify(canonicalise("GET", path, host=None, accept=accept))


def document_target(path: str, *accept: str) -> DocumentTarget:
    target = classify(path, *accept)
    assert isinstance(target, DocumentTarget)
    return target


def artifact_target(path: str) -> ArtifactTarget:
    target = classify(path)
    assert isinstance(target, ArtifactTarget)
    return target


def location(path: str) -> str:
    target = classify(path)
    assert isinstance(target, StaticTarget)
    assert target.status == 301
    return dict(target.headers)["Location"]


def listing(*files: File, project: str = "flask", index: str = "python") -> Document:
    page = ProjectPage(project, files)
    return Document(simple_index.render(page, JSON), JSON, f"{ORIGIN}/{index}/simple/{project}/")


def flask(url: str = f"/files/a1/b2/flask/{WHEEL}", **more: object) -> File:
    file = File(WHEEL, urljoin(ORIGIN, url), {"sha256": SHA}, size=7)
    return replace(file, **more)  # type: ignore[arg-type]  # any field


# --- the contract ----------------------------------------------------------------------------


def test_it_is_an_ecosystem_with_seven_mounts_and_two_scopes() -> None:
    ecosystem: Ecosystem = PYTHON
    assert {mount.prefix[0]: mount.scope for mount in ecosystem.mounts} == {
        "python": "python",
        "python-remediated": "python-remediated",
        "cu126": "python",
        "cu128": "python",
        "cu129": "python",
        "files": "python",
        "python-upstream": "python",
    }


def test_an_error_is_worded_as_problem_details() -> None:
    body = PYTHON.render_error(NotFound("It is not there."), "r1")
    assert body.media_type == "application/problem+json"
    assert json.loads(body.body)["detail"] == "It is not there."


# --- index pages -----------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["python", "python-remediated", "cu126", "cu128", "cu129"])
def test_a_project_page_is_the_upstreams_path_in_the_clients_representation(index: str) -> None:
    target = document_target(f"/{index}/simple/zope-interface/", f"{JSON}, {HTML};q=0.1")
    assert target == DocumentTarget(
        path=f"/{index}/simple/zope-interface/",
        scope="python-remediated" if index == "python-remediated" else "python",
        package="zope-interface",
        accept=f"{JSON}, {HTML};q=0.2, text/html;q=0.1",
        representation=JSON,
        vary=("Accept",),
        based=True,
    )
    assert document_target(f"/{index}/simple/").package == ""
    assert document_target(f"/{index}/simple/").representation == TEXT_HTML


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/python/simple/Django", "django/"),
        ("/python/simple/Django/", "../django/"),
        ("/python/simple/django", "django/"),
        ("/python/simple/zope.interface/", "../zope-interface/"),
        ("/cu126/simple/a__b--c", "a-b-c/"),
        ("/python-remediated/simple/A..b/", "../a-b/"),
        ("/python/simple/%44jango/", "/python/simple/django/"),
        ("/python/simple%2fDjango", "/python/simple/django/"),
        ("/python", "python/simple/"),
        ("/python/", "simple/"),
        ("/python/simple", "simple/"),
        ("/cu129", "cu129/simple/"),
        ("/python-remediated/", "simple/"),
    ],
)
def test_other_spellings_are_redirected_without_naming_a_host(path: str, expected: str) -> None:
    assert location(path) == expected
    arrived = urlsplit(urljoin(f"https://proxy.example{path}", expected))
    assert arrived.netloc == "proxy.example"
    assert document_target(arrived.path).path == arrived.path


def test_a_redirect_tells_the_package_and_the_scope_for_the_door() -> None:
    target = classify("/python-remediated/simple/Zope.Interface")
    assert isinstance(target, StaticTarget)
    assert (target.package, target.scope) == ("zope-interface", "python-remediated")


@pytest.mark.parametrize("name", ["-bad-", "a%20b", "%C3%A9", "_", "a%3f", "a" * 300, "a%2Bb"])
def test_what_can_be_no_project_is_an_invalid_name(name: str) -> None:
    with pytest.raises(InvalidName):
        classify(f"/python/simple/{name}/")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/pypi/simple/", "/python/simple/flask/index.html", "/python/flask/", "/Python/"),
        *("/python/integrity/flask/3.0.3/x/provenance", "/cu127/simple/", "/python/simple/a/b/"),
        *("/files", "/files/", f"/files/{WHEEL}", f"/files/a/{WHEEL}/", "/files/a/flask.txt"),
        *(f"/files/a/{WHEEL}.asc.asc", f"/files/a/{WHEEL}.metadata.metadata", "/files/a/.metadata"),
        *("/files/a/x.zip", f"/python/{WHEEL}", f"/elsewhere/a/{WHEEL}", "/files/a/flask%3f.zip"),
        *(f"/files/by-name/python/{WHEEL}", f"/files/by-name/other/flask/{WHEEL}"),
        *(f"/files/by-name/python/django/{WHEEL}", f"/files/by-name/python/Flask/{WHEEL}"),
        *(f"/files/by-name/python/x/flask/{WHEEL}", "/files/a/flask/..whl", "/javascript/ms"),
        "/files/a/b/foo/foo--py3-none-any.whl",
    ],
)
def test_an_unknown_path_is_unknown(path: str) -> None:
    with pytest.raises(UnknownPath):
        classify(path)


def test_nothing_can_be_uploaded() -> None:
    line = canonicalise("POST", "/python/", host=None)
    with pytest.raises(MethodNotAllowed):
        PYTHON.classify(line)


def test_a_client_that_understands_no_index_page_gets_406_but_its_files() -> None:
    with pytest.raises(NotAcceptable):
        classify("/python/simple/flask/", "image/png")
    assert isinstance(classify(f"/files/a/b/flask/{WHEEL}", "image/png"), ArtifactTarget)


# --- artifacts -------------------------------------------------------------------------------

PLAIN = ["python", "python-remediated", "cu126", "cu128", "cu129"]


@pytest.mark.parametrize(
    ("path", "package", "version", "asked"),
    [
        (f"/files/a1/b2/flask/{WHEEL}", "flask", "3.0.3", PLAIN),
        (f"/python-upstream/aa/{WHEEL}", "flask", "3.0.3", PLAIN),
        ("/files/a/zope.interface/zope.interface-4.0.tar.gz", "zope-interface", "4.0", PLAIN),
        ("/files/a/foo-1/foo-1-2.tar.gz", "foo-1", "2", PLAIN),
        ("/files/a/b/foo-1-2.tar.gz", "foo", "1.post2", PLAIN),
        ("/files/a/django/flask-1.0.zip", "flask", "1.0", PLAIN),
        (
            "/files/a/b/flask/flask-3.0.3%2Bcgr.1-py3-none-any.whl",
            "flask",
            "3.0.3+cgr.1",
            ["python-remediated", "python", "cu126", "cu128", "cu129"],
        ),
        (
            "/files/a/b/torch/torch-2.6.0+cu128-cp311-cp311-linux_x86_64.whl",
            "torch",
            "2.6.0+cu128",
            ["cu128", "python", "python-remediated", "cu126", "cu129"],
        ),
        (
            "/files/a/b/torch/torch-2.6.0+cu128.cgr.1-cp311-cp311-linux_x86_64.whl",
            "torch",
            "2.6.0+cu128.cgr.1",
            ["python-remediated", "cu128", "python", "cu126", "cu129"],
        ),
        (f"/files/by-name/cu129/flask/{WHEEL}", "flask", "3.0.3", ["cu129"]),
    ],
)
def test_a_file_names_its_package_and_the_pages_that_may_list_it(
    path: str, package: str, version: str, asked: list[str]
) -> None:
    target = artifact_target(path)
    assert (target.package, target.version) == (package, version)
    assert [page.path for page in target.listed_in] == [
        f"/{index}/simple/{package}/" for index in asked
    ]
    assert {page.representation for page in target.listed_in} == {JSON}
    assert target.scope == target.listed_in[0].scope
    assert target.digest is None


@given(
    st.from_regex(
        re.compile(
            r"(?:[0-9]{1,3}!)?[0-9]{1,3}(?:\.[0-9]{1,3}){0,3}(?:[-_.]?(?:a|b|rc|alpha|c|pre)[0-9]{0,3})?"
            r"(?:[-_.]?(?:post|r)[0-9]{0,3}|-[0-9]{1,2})?(?:[-_.]?dev[0-9]{0,3})?"
            r"(?:\+[a-zA-Z0-9]{1,4}(?:[-_.][a-zA-Z0-9]{1,4}){0,2})?",
            re.ASCII,
        ),
        fullmatch=True,
    )
)
@example("1.0rc1.post2.dev3+cu128.cgr.1")
@example("1.0+01.a01")
@example("01.0")
@example("1.0a")
def test_a_version_is_spelled_the_normal_way(text: str) -> None:
    expected = str(Version(text if "+" in text else text.replace("_", "-")))
    assert distribution.version_within(f"p-{text}.tar.gz", "p") == expected


def test_what_a_page_offers_is_a_version_of_the_project_that_the_page_is_of() -> None:
    flask_wheel = artifact_target(f"/files/a1/b2/flask/{WHEEL}")
    target = flask_wheel._replace(package="other", version="9")
    table = PYTHON.tabulate("flask", listing(flask()))
    assert table.find(target).version == "3.0.3"


def test_two_spellings_of_a_files_path_are_one_target() -> None:
    plain = artifact_target("/files/a/b/flask/flask-3.0+cgr.1-py3-none-any.whl")
    encoded = artifact_target("/%66iles/a%2fb/flask/flask-3.0%2Bcgr.1-py3-none-any.whl")
    assert plain == encoded
    assert plain.path == "/files/a/b/flask/flask-3.0+cgr.1-py3-none-any.whl"


# --- locate ----------------------------------------------------------------------------------


def test_a_listed_file_is_found_with_its_true_url_digest_and_size() -> None:
    target = artifact_target(f"/files/a1/b2/flask/{WHEEL}")
    source = PYTHON.locate(target, listing(flask()))
    assert source == Source(
        location=f"{ORIGIN}/files/a1/b2/flask/{WHEEL}",
        package="flask",
        version="3.0.3",
        digest=flask().digest,
        size=7,
    )


def test_the_same_name_on_another_path_is_not_the_file() -> None:
    target = artifact_target(f"/files/a1/zz/flask/{WHEEL}")
    with pytest.raises(NotListed):
        PYTHON.locate(target, listing(flask()))


def test_a_link_on_another_host_is_found_by_name_only() -> None:
    elsewhere = listing(flask(f"https://store.example/files/a1/b2/flask/{WHEEL}?sig=1"))
    with pytest.raises(NotListed):
        PYTHON.locate(artifact_target(f"/files/a1/b2/flask/{WHEEL}"), elsewhere)
    source = PYTHON.locate(artifact_target(f"/files/by-name/python/flask/{WHEEL}"), elsewhere)
    assert source.location == f"https://store.example/files/a1/b2/flask/{WHEEL}?sig=1"


def test_a_path_by_name_finds_a_file_that_has_moved_to_the_documented_place() -> None:
    target = artifact_target(f"/files/by-name/python/flask/{WHEEL}")
    assert PYTHON.locate(target, listing(flask())).size == 7


@pytest.mark.parametrize("query", ["", "?sig=a%2Fb"])
def test_the_companion_is_found_where_the_page_announces_it(query: str) -> None:
    path = f"/files/by-name/python/flask/{WHEEL}.metadata"
    url = f"https://store.example/x/{WHEEL}"
    announced = listing(flask(url + query, core_metadata={"sha256": META_SHA}))
    source = PYTHON.locate(artifact_target(path), announced)
    assert source.location == f"{url}.metadata{query}"
    assert str(source.digest) == f"sha256:{META_SHA}"
    assert source.size is None
    without_hash = PYTHON.locate(artifact_target(path), listing(flask(url, core_metadata=True)))
    assert without_hash.digest is None


@pytest.mark.parametrize("announced", [None, False])
def test_the_companion_of_a_wheel_without_one_is_extracted_from_the_wheel(
    announced: bool | None,
) -> None:
    path = f"/files/a1/b2/flask/{WHEEL}"
    target = artifact_target(f"{path}.metadata")
    assert PYTHON.locate(target, listing(flask(core_metadata=announced))) == Source(
        location=ORIGIN + path,
        package="flask",
        version="3.0.3",
        whole=Whole(path, flask().digest, 7),
        extracted=True,
    )


def test_no_companion_is_extracted_from_what_is_no_wheel() -> None:
    target = artifact_target("/files/a1/b2/flask/flask-1.0.tar.gz.metadata")
    sdist = flask("/files/a1/b2/flask/flask-1.0.tar.gz", filename="flask-1.0.tar.gz")
    with pytest.raises(NotListed):
        PYTHON.locate(target, listing(sdist))


def test_a_signature_is_found_where_the_page_announces_it() -> None:
    target = artifact_target(f"/files/a1/b2/flask/{WHEEL}.asc")
    assert target.media_type == "application/pgp-signature"
    source = PYTHON.locate(target, listing(flask(gpg_sig=True)))
    assert source.location == f"{ORIGIN}/files/a1/b2/flask/{WHEEL}.asc"
    assert (source.digest, source.promise, source.extracted) == (None, flask().digest, False)
    for announced in (False, None):
        with pytest.raises(NotListed):
            PYTHON.locate(target, listing(flask(gpg_sig=announced)))


def test_a_page_of_another_project_is_malformed() -> None:
    other = listing(File("django-1.0.zip", f"{ORIGIN}/x/django-1.0.zip"), project="django")
    with pytest.raises(Malformed):
        PYTHON.locate(artifact_target(f"/files/a1/b2/flask/{WHEEL}"), other)


# --- rewrite ---------------------------------------------------------------------------------


def test_links_are_relative_and_carry_their_hash_in_html_and_none_in_json() -> None:
    document = listing(flask(core_metadata={"sha256": META_SHA}, yanked="old"))
    as_html = PYTHON.rewrite(document_target("/python/simple/flask/"), document, LINKS)
    assert as_html.media_type == TEXT_HTML
    assert (
        f'<a href="../../../files/a1/b2/flask/{WHEEL}#sha256={SHA}" data-yanked="old" '
        f'data-core-metadata="sha256={META_SHA}" data-dist-info-metadata="sha256={META_SHA}">'
        f"{WHEEL}</a>"
    ) in as_html.body.decode("ascii")
    as_json = PYTHON.rewrite(document_target("/python/simple/flask/", JSON), document, LINKS)
    assert as_json.media_type == JSON
    (file,) = json.loads(as_json.body)["files"]
    assert file["url"] == f"../../../files/a1/b2/flask/{WHEEL}"
    assert file["hashes"] == {"sha256": SHA}


def test_links_to_hosts_that_no_rule_allows_are_left_out_and_never_all_silently() -> None:
    target = document_target("/python/simple/flask/", JSON)
    evil = flask("https://evil.example/flask-1.0.zip", filename="flask-1.0.zip")
    rewritten = PYTHON.rewrite(target, listing(flask(), evil), LINKS)
    assert [file["filename"] for file in json.loads(rewritten.body)["files"]] == [WHEEL]
    with pytest.raises(Malformed):
        PYTHON.rewrite(target, listing(evil), LINKS)


@pytest.mark.parametrize(
    ("project", "url"),
    [
        ("foo-1", "/files/a/b/foo-1-2.tar.gz"),
        ("foo", "/files/a/b/foo/foo-1-2.tar.gz?sig=1"),
        ("foo", "/files/by-name/cu126/foo/foo-1-2.tar.gz"),
        ("foo", "/elsewhere/foo/foo-1-2.tar.gz"),
    ],
)
def test_a_path_that_would_not_lead_back_to_the_page_is_linked_by_name(
    project: str, url: str
) -> None:
    document = listing(File("foo-1-2.tar.gz", ORIGIN + url), project=project)
    body = PYTHON.rewrite(document_target(f"/python/simple/{project}/", JSON), document, LINKS).body
    (file,) = json.loads(body)["files"]
    assert file["url"] == f"../../../files/by-name/python/{project}/foo-1-2.tar.gz"


def test_core_metadata_of_wheels_is_offered_where_the_upstream_has_none_and_only_then() -> None:
    sdist = flask("/files/a1/b2/flask/flask-1.0.tar.gz", filename="flask-1.0.tar.gz")
    named = "flask-2.0-py3-none-any.whl"
    has = flask(f"/files/a/b/flask/{named}", filename=named, core_metadata={"sha256": META_SHA})
    document = listing(flask(), has, sdist)
    target = document_target("/python/simple/flask/", JSON)
    files = json.loads(PYTHON.rewrite(target, document, replace(LINKS, extracts=True)).body)[
        "files"
    ]
    announced = [file.get("core-metadata") for file in files]
    assert announced == [True, {"sha256": META_SHA}, None]
    files = json.loads(PYTHON.rewrite(target, document, LINKS).body)["files"]
    assert [file.get("core-metadata") for file in files] == [None, {"sha256": META_SHA}, None]


@pytest.mark.parametrize(
    "link",
    [
        f"/python/integrity/flask/3.0.3/{WHEEL}/provenance",
        f"{ORIGIN}/python/integrity/Flask/3.0.3/{WHEEL}/provenance",
        f"../../integrity/flask/3.0.3/{WHEEL}/bundle.json",
    ],
)
def test_provenance_is_linked_absolutely_and_its_link_is_understood(link: str) -> None:
    links = replace(LINKS, base="https://proxy.example:8443/p")
    document = listing(flask(provenance=link))
    path = urlsplit(urljoin(document.url, link)).path
    for representation in simple_index.REPRESENTATIONS:
        target = document_target("/python/simple/flask/", representation)
        assert target.based
        body = PYTHON.rewrite(target, document, links).body
        assert f'"https://proxy.example:8443/p{path}"' in body.decode("ascii")
    target = document_target(path)
    assert (target.path, target.package, target.version) == (path, "flask", "3.0.3")


@pytest.mark.parametrize(
    "link",
    [
        f"{ORIGIN}/python/integrity/x",
        f"https://store.example/python/integrity/flask/3.0.3/{WHEEL}/provenance",
        f"{ORIGIN}/python/integrity/flask/3.0.3/{WHEEL}/provenance?x=1",
        f"{ORIGIN}/python/integrity/django/3.0.3/{WHEEL}/provenance",
        f"{ORIGIN}/cu126/integrity/flask/3.0.3/{WHEEL}/provenance",
        "javascript:alert(1)",
    ],
)
def test_provenance_that_is_not_served_is_not_announced(link: str) -> None:
    body = PYTHON.rewrite(
        document_target("/python/simple/flask/", JSON), listing(flask(provenance=link)), LINKS
    ).body
    assert b"provenance" not in body


@pytest.mark.parametrize(
    "path",
    [
        f"/python/integrity/flask/3.0/{WHEEL}/provenance",
        f"/python/integrity/django/3.0.3/{WHEEL}/provenance",
        f"/python/integrity/flask/3.0.3/{WHEEL}/provenance/",
        f"/python/integrity/flask/3.0.3/{WHEEL}/",
        f"/python/integrity/flask/3.0.3/{WHEEL}",
        f"/python/integrity/flask/3.0.3/{WHEEL}/attestation",
        "/python/integrity/flask/3.0.3/flask.txt/provenance",
        f"/python-remediated/integrity/flask/3.0.3/{WHEEL}/provenance",
    ],
)
def test_provenance_of_what_it_does_not_name_is_unknown(path: str) -> None:
    with pytest.raises(UnknownPath):
        classify(path)


def test_provenance_comes_as_what_the_client_accepts_byte_for_byte() -> None:
    path = f"/python/integrity/flask/3.0.3/{WHEEL}/provenance"
    assert document_target(path).representation == "application/vnd.pypi.integrity.v1+json"
    assert document_target(path, "application/json").representation == "application/json"
    bundle = document_target(path.replace("provenance", "bundle.json"))
    assert bundle.representation == "application/json"
    with pytest.raises(NotAcceptable):
        classify(path, "text/html")
    body = b'{ "version": 1,\n "attestation_bundles": [] }'
    rewritten = PYTHON.rewrite(document_target(path), Document(body, "", ORIGIN + path), LINKS)
    assert rewritten.body == body
    for broken in (body[:-1], b"[]", b"<html></html>", b'{"a":1,"a":2}'):
        with pytest.raises(Malformed):
            PYTHON.rewrite(document_target(path), Document(broken, "", ORIGIN + path), LINKS)


def test_no_answer_names_the_upstream() -> None:
    document = listing(flask(), flask("/x/y/flask-1.0.zip?sig=1", filename="flask-1.0.zip"))
    for representation in simple_index.REPRESENTATIONS:
        target = document_target("/python/simple/flask/", representation)
        body = PYTHON.rewrite(target, document, LINKS).body
        assert b"cgr.dev" not in body
        assert b"sig" not in body


def test_the_root_index_is_rewritten_to_relative_links() -> None:
    body = f"<html><body><a href='{ORIGIN}/python/simple/flask/'>Flask</a></body></html>"
    document = Document(body.encode(), TEXT_HTML, f"{ORIGIN}/python/simple/")
    rewritten = PYTHON.rewrite(document_target("/python/simple/"), document, LINKS)
    assert b'<a href="flask/">Flask</a>' in rewritten.body


def _hrefs(document: Document) -> list[tuple[str, bool]]:
    """Give the links of a rewritten page without fragment, and whether a companion is announced."""
    if document.media_type == JSON:
        files = json.loads(document.body)["files"]
        return [(file["url"], bool(file.get("core-metadata"))) for file in files]
    anchors = re.findall(r'<a href="([^"#]*)[^"]*"([^>]*)>', document.body.decode("ascii"))
    return [(unescape(href), ' data-core-metadata="' in rest) for href, rest in anchors]


@given(pages(), INDEXES, st.sampled_from(simple_index.REPRESENTATIONS))
def test_every_link_is_classified_and_located_in_the_page_it_stands_on(
    page: ProjectPage, index: str, representation: str
) -> None:
    path = f"/{index}/simple/{page.name}/"
    upstream = Document(simple_index.render(page, JSON), JSON, ORIGIN + path)
    target = document_target(path, representation)
    rewritten, table = PYTHON.rewrite_tabulated(target, upstream, LINKS)
    assert table == PYTHON.tabulate(page.name, upstream)
    listed = {
        (file.filename, file.url, str(file.digest)): file
        for file in simple_index.parse(upstream, page.name).files
    }
    for href, companion in _hrefs(rewritten):
        request = urlsplit(urljoin(f"http://proxy.example{path}", href))
        artifact = artifact_target(request.path)
        assert not request.query
        assert artifact.path == request.path
        assert artifact.package == page.name
        assert path in {document.path for document in artifact.listed_in}
        source = PYTHON.locate(artifact, upstream)
        file = listed[artifact.filename, source.location, str(source.digest)]
        assert source.package == page.name
        if companion:
            meta = PYTHON.locate(artifact_target(request.path + ".metadata"), upstream)
            assert meta.location.partition("?")[0] == file.url.partition("?")[0] + ".metadata"
    names = {file.filename for file in page.files}
    offered = {urlsplit(href).path.rpartition("/")[2] for href, _ in _hrefs(rewritten)}
    assert offered == {encode_path((name,))[1:] for name in names}


@given(
    st.lists(
        st.sampled_from(
            [
                *("python", "simple", "files", "by-name", "python-upstream", "cu126", "flask"),
                *("Flask", WHEEL, "flask-1.0.zip", f"{WHEEL}.metadata", "", ".metadata", "x"),
            ]
        )
        | st.text(max_size=5),
        max_size=6,
    ),
    st.booleans(),
)
def test_any_canonical_line_is_a_target_or_a_clean_refusal(parts: list[str], slash: bool) -> None:
    with suppress(BadRequest, UnknownPath, InvalidName):
        path = encode_path(tuple(parts), slash=slash)
        line = canonicalise("GET", path, host=None)
        assert isinstance(line, RequestLine)
        target = PYTHON.classify(line)
        assert target.scope in {"python", "python-remediated"}


@pytest.mark.parametrize("end", ["provenance", "bundle.json"])
@pytest.mark.parametrize(
    ("version", "filename", "scope"),
    [
        ("3.0.3", WHEEL, "python"),
        ("3.0.3%2Bcgr.1", "flask-3.0.3%2Bcgr.1-py3-none-any.whl", "python-remediated"),
        ("3.0.3+CGR.1", "Flask-3.0.3+CGR.1-py3-none-any.whl", "python-remediated"),
        ("3.0.3+cgr.1", "flask-3.0.3+cgr.1.tar.gz", "python-remediated"),
        ("2.3+cu126", "flask-2.3+cu126-py3-none-any.whl", "python"),
    ],
)
def test_provenance_needs_the_right_to_the_build_that_it_is_of(
    version: str, filename: str, scope: str, end: str
) -> None:
    target = document_target(f"/python/integrity/flask/{version}/{filename}/{end}")
    assert target.scope == scope
