"""The simple repository API: reading and writing both representations."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.ecosystems import simple_index
from proxy.ecosystems.simple_index import HTML, JSON, TEXT_HTML, negotiate, parse
from proxy.ecosystems.simple_page import File, ProjectPage, resolve
from proxy.errors import Malformed, NotAcceptable
from proxy.model import Document
from tests.unit.simple_pages import ORIGIN, pages

BASE = f"{ORIGIN}/python/simple/flask/"
SHA = "0123456789abcdef" * 4
WHEEL = "flask-3.0.3-py3-none-any.whl"


def document(body: str | bytes, media_type: str = "", url: str = BASE) -> Document:
    return Document(body.encode() if isinstance(body, str) else body, media_type, url)


def html(anchors: str, head: str = "") -> str:
    return (
        f"<!DOCTYPE html><html><head>{head}<title>Links for flask</title></head>"
        f"<body><h1>Links for flask</h1>{anchors}</body></html>"
    )


def page_json(*files: object, **more: object) -> str:
    top = {"meta": {"api-version": "1.1"}, "name": "flask", "files": list(files), "versions": []}
    return json.dumps({**top, **more})


def file_json(**more: object) -> dict[str, object]:
    url = f"{ORIGIN}/files/a/b/flask/{WHEEL}"
    return {"filename": WHEEL, "url": url, "hashes": {"sha256": SHA}, "size": 5, **more}


def read(body: str | bytes, media_type: str = "") -> ProjectPage:
    return parse(document(body, media_type), "flask")


def only(page: ProjectPage) -> File:
    (file,) = page.files
    return file


@given(st.from_regex(r"/[A-Za-z0-9/._~!$'()*+,=:@%;?#-]*", fullmatch=True))
@example("/files/a/b/flask/flask-3.0.3.tar.gz#sha256=ab")
@example("/files//a/../b/./c")
@example("//files.example/a")
def test_a_link_without_a_host_is_joined_as_everybody_joins_it(href: str) -> None:
    with suppress(ValueError):
        joined, _, fragment = urljoin(BASE, href).partition("#")
        if urlsplit(joined).netloc == urlsplit(BASE).netloc:
            assert resolve(BASE, href) == (joined, fragment)


# --- reading HTML ----------------------------------------------------------------------------


def test_an_html_page_gives_every_field_that_the_specification_names() -> None:
    anchor = (
        f"<a href='../../../files/a/b/flask/{WHEEL}#sha256={SHA.upper()}' data-yanked "
        f'data-requires-python="&gt;=3.8&#44;&lt;4" data-core-metadata="sha256={SHA}" '
        f'data-dist-info-metadata="true" data-gpg-sig="false" '
        f'data-provenance="{ORIGIN}/p">\n {WHEEL} </a>'
    )
    head = (
        '<meta name="pypi:repository-version" content="1.4">'
        '<meta name="pypi:project-status" content="archived">'
        '<meta name="pypi:project-status-reason" content="tired &amp; old">'
        '<meta name="pypi:tracks" content="https://registry.example/simple/flask/">'
        '<meta name="pypi:alternate-locations" content="https://registry.example/b/">'
        '<base href="https://evil.example/">'
    )
    page = read(html(anchor, head), "text/html; charset=UTF-8")
    assert only(page) == File(
        filename=WHEEL,
        url=f"{ORIGIN}/files/a/b/flask/{WHEEL}",
        hashes={"sha256": SHA},
        requires_python=">=3.8,<4",
        yanked=True,
        core_metadata={"sha256": SHA},
        gpg_sig=False,
        provenance=f"{ORIGIN}/p",
    )
    assert (page.minor, page.status, page.status_reason) == (4, "archived", "tired & old")
    assert page.tracks == ("https://registry.example/simple/flask/",)
    assert page.alternate_locations == ("https://registry.example/b/",)


def test_a_page_without_files_is_a_page_if_it_says_so() -> None:
    assert read(html("")).files == ()
    declared = '<meta name="pypi:repository-version" content="1.0">'
    assert read(f"<html><head>{declared}</head><body></body></html>").files == ()


def test_a_bare_list_of_closed_anchors_is_a_page() -> None:
    assert only(read(f"<a href='/files/a/{WHEEL}'>{WHEEL}</a>")).url == f"{ORIGIN}/files/a/{WHEEL}"


def test_the_old_attribute_name_announces_core_metadata_too() -> None:
    anchor = f"<a href='/f/{WHEEL}' data-dist-info-metadata='true'>{WHEEL}</a>"
    assert only(read(html(anchor))).core_metadata is True


ANCHOR = f"<a href='/files/a/{WHEEL}#sha256={SHA}'>{WHEEL}</a>"

NOT_PAGES = {
    "login page": "<html><body><form action='/login'><input type=password></form></body></html>",
    "login page with links": "<html><body><form></form><a href='/help'>Help</a></body></html>",
    "XHTML error page": "<?xml version='1.0'?><html xmlns='x'><body><p>502</p></body></html>",
    "text": "hello",
    "empty": "",
    "cut in a tag": f"<html><body>{ANCHOR}<a href='/files/a/fla",
    "cut in an anchor": f"<html><body>{ANCHOR}<a href='/files/a/{WHEEL}'>fla",
    "cut between anchors": f"<html><body>{ANCHOR}",
    "cut without html": f"{ANCHOR}<a href='/files/a/{WHEEL}'>fla",
    "cut in a comment": f"<html><body>{ANCHOR}</body><!-- ",
    "unclosed script": f"<html><body><script>{ANCHOR}</body></html>",
    "another major version": html(ANCHOR, '<meta name="pypi:repository-version" content="2.0">'),
    "no version": html(ANCHOR, '<meta name="pypi:repository-version" content="new">'),
    "latin-1": html("é").encode("latin-1"),
    "huge character reference": html("<a href='x' title='&#" + "9" * 5000 + ";'>x</a>"),
    "no file usable": html("<a href='javascript:alert(1)'>flask-1.0.tar.gz</a>"),
}


@pytest.mark.parametrize("body", NOT_PAGES.values(), ids=NOT_PAGES.keys())
def test_what_is_no_whole_html_index_page_is_malformed(body: str | bytes) -> None:
    with pytest.raises(Malformed):
        read(body, "text/html")


# --- reading JSON ----------------------------------------------------------------------------


def test_a_json_page_gives_every_field_and_keeps_the_keys_it_does_not_know() -> None:
    body = page_json(
        file_json(
            **{
                "requires-python": ">=3.8",
                "yanked": "broken",
                "core-metadata": {"sha256": SHA.upper()},
                "upload-time": "2024-01-01T00:00:00Z",
                "gpg-sig": True,
                "provenance": None,
                "_new": {"deep": [1]},
            }
        ),
        versions=["3.0.3"],
        meta={"api-version": "1.4", "_last-serial": 7, "tracks": ["https://registry.example/"]},
        **{
            "project-status": {"status": "archived", "reason": "old"},
            "alternate-locations": ["https://registry.example/b/"],
            "_more": 1,
        },
    )
    page = read(body, "application/vnd.pypi.simple.v1+json")
    assert only(page) == File(
        filename=WHEEL,
        url=f"{ORIGIN}/files/a/b/flask/{WHEEL}",
        hashes={"sha256": SHA},
        requires_python=">=3.8",
        yanked="broken",
        core_metadata={"sha256": SHA},
        size=5,
        upload_time="2024-01-01T00:00:00Z",
        gpg_sig=True,
        extra={"_new": {"deep": [1]}},
    )
    again = json.loads(simple_index.render(page, JSON))
    given_top = json.loads(body)
    given_top["files"][0]["core-metadata"] = {"sha256": SHA}
    del given_top["files"][0]["provenance"]
    assert again == given_top


@pytest.mark.parametrize("key", ["core-metadata", "dist-info-metadata", "data-dist-info-metadata"])
def test_core_metadata_is_read_under_all_its_names_and_written_under_the_last(key: str) -> None:
    page = read(page_json(file_json(**{key: {"sha256": SHA}})))
    (written,) = json.loads(simple_index.render(page, JSON))["files"]
    assert {name for name in written if "metadata" in name} == {"core-metadata"}


NOT_JSON_PAGES = {
    "array": "[]",
    "cut": page_json(file_json())[:-1],
    "trailing": page_json() + "x",
    "byte order mark": "\ufeff" + page_json(),
    "duplicate key": page_json()[:-1] + ',"name":"flask"}',
    "duplicate key within": page_json(file_json()).replace('"size": 5', '"size": 5, "size": 6'),
    "NaN": page_json(_x=0).replace('"_x": 0', '"_x": NaN'),
    "infinity": page_json(_x=0).replace('"_x": 0', '"_x": 1e400'),
    "5000 digits": page_json(_x=0).replace('"_x": 0', '"_x": ' + "1" * 5000),
    "a million brackets": '{"meta":' + "[" * 1_000_000,
    "deep unknown key": page_json(_x=json.loads("[" * 200 + "]" * 200)),
    "lone surrogate": page_json(_x="\udc00"),
    "lone surrogate in a name": page_json(file_json(filename="\ud800.whl")),
    "not UTF-8": page_json().encode()[:-1] + b',"x":"\xff"}',
    "UTF-16": page_json().encode("utf-16"),
    "another project": page_json(file_json(), name="django"),
    "no name": page_json(name=None),
    "no meta": page_json(meta=None),
    "no version": page_json(meta={}),
    "another major version": page_json(meta={"api-version": "2.0"}),
    "version is a number": page_json(meta={"api-version": 1.0}),
    "files is an object": page_json(files={}),
    "file is a string": page_json("x"),
    "url is missing": page_json({"filename": WHEEL, "hashes": {}}),
    "hashes is a list": page_json(file_json(hashes=["x"])),
    "hash is a number": page_json(file_json(hashes={"sha256": 1})),
    "size is negative": page_json(file_json(size=-1)),
    "size is a boolean": page_json(file_json(size=True)),
    "size is a float": page_json(file_json(size=1.5)),
    "yanked is a number": page_json(file_json(yanked=1)),
    "requires-python is a list": page_json(file_json(**{"requires-python": []})),
    "core-metadata is a string": page_json(file_json(**{"core-metadata": "true"})),
    "versions holds numbers": page_json(versions=[1]),
    "project-status is a string": page_json(**{"project-status": "active"}),
    "every hash is bad": page_json(file_json(hashes={"sha256": "abc"})),
}


@pytest.mark.parametrize("body", NOT_JSON_PAGES.values(), ids=NOT_JSON_PAGES.keys())
def test_what_is_no_exact_json_index_page_is_malformed(body: str | bytes) -> None:
    with pytest.raises(Malformed):
        read(body, "application/vnd.pypi.simple.v1+json")


@pytest.mark.parametrize("media_type", ["application/octet-stream", "text/html", "", "text/plain"])
def test_the_bytes_tell_json_from_html_whatever_the_media_type_says(media_type: str) -> None:
    assert only(read(page_json(file_json()), media_type)).size == 5
    assert only(read(html(ANCHOR), media_type)).digest is not None
    assert only(read(" \r\n" + html(ANCHOR), media_type)).size is None


def test_a_media_type_of_another_major_version_is_malformed() -> None:
    with pytest.raises(Malformed):
        read(page_json(), "application/vnd.pypi.simple.v2+json")


# --- which files are passed on ---------------------------------------------------------------


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://libraries.cgr.dev/{}",
        "http://libraries.cgr.dev/{}",
        "https://user:pw@libraries.cgr.dev/{}",
        "https://user@libraries.cgr.dev/{}",
        "https://[::1/{}",
        "https://libraries.cgr.dev:x/{}",
        "https://libraries.cgr.dev:99999/{}",
        "https:///{}",
        "https://a b/{}",
        "/files/a\\b/{}",
        "/files/a\u2028b/{}",
        "/files/{}#sha256=abc",
        "/files/{}#sha256",
        "/files/{}#sha224=00",
        "/files/{}#md5=00112233445566778899aabbccddeezz",
        "/files/a/django-1.0.tar.gz",
        "/files/a/flask_sqlalchemy-1.0-py3-none-any.whl",
        "/files/a/flask.whl",
    ],
)
def test_a_link_that_must_not_be_passed_on_is_left_out(href: str) -> None:
    bad = f'<a href="{href.format(WHEEL)}">{WHEEL}</a>'
    assert only(read(html(bad + ANCHOR))).digest is not None


@pytest.mark.parametrize(
    "name",
    [
        *("a/flask-1.0.tar.gz", "..\\flask-1.0.tar.gz", "flask-1.0.txt", "flask-1.0\n.zip", ""),
        *("flask-1.0.tar.gz\x00", "flask-1.0%2f.zip", "-1.0.zip", "flask-1.0?.zip", "flask.zip"),
        *("flask-" + "1" * 300 + ".zip", "flask-1.0-\u202ezip", "flask-\u0661.zip"),
    ],
)
def test_a_file_name_that_no_distribution_has_is_left_out(name: str) -> None:
    page = read(page_json(file_json(filename=name, url="/x"), file_json()))
    assert only(page).filename == WHEEL


@pytest.mark.parametrize(
    "name",
    [
        *("Flask-1.0.tar.gz", "flask-1.0-1.tar.gz", "flask-1.0.win32-py2.7.exe", "flask-v1.0.zip"),
        *("flask-1.0-py2.7.egg", "FLASK-1.0.ZIP", "flask-1.0+cgr.1.tar.gz", "flask-1.0.dev0.tgz"),
    ],
)
def test_old_and_odd_names_of_the_project_are_kept(name: str) -> None:
    assert only(read(page_json(file_json(filename=name)))).filename == name


def test_a_bad_hash_of_the_core_metadata_withdraws_its_announcement() -> None:
    page = read(page_json(file_json(**{"core-metadata": {"sha256": "abc"}})))
    assert only(page).core_metadata is None


def test_an_empty_reason_is_still_a_yank() -> None:
    page = read(page_json(file_json(yanked="")))
    assert only(page).yanked is True
    assert b'data-yanked=""' in simple_index.render(page, HTML)


def test_the_strongest_hash_that_clients_can_compare_is_the_digest() -> None:
    hashes = {"md5": "0" * 32, "SHA512": "1" * 128, "sha256": SHA, "blake2b": "AB"}
    page = read(page_json(file_json(hashes=hashes)))
    assert str(only(page).digest) == f"sha256:{SHA}"
    assert only(page).hashes["blake2b"] == "ab"


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("representation", [HTML, TEXT_HTML])
def test_html_is_escaped_everywhere_and_ascii(representation: str) -> None:
    evil = "\"'><script>alert(1)</script>&amp;é\x00"
    page = read(page_json(file_json(yanked=evil, **{"requires-python": evil})))
    page = replace(page, status=evil, status_reason=evil, tracks=(evil,))
    body = simple_index.render(page, representation)
    assert body.isascii()
    assert b"<script" not in body
    assert b"\x00" not in body


@pytest.mark.parametrize("odd", ["\x00", "\r", "\x85", "\u2028", "\ufdd0", "\ufffe", "\U0010ffff"])
def test_characters_that_html_cannot_hold_become_spaces_in_both(odd: str) -> None:
    page = read(page_json(file_json(yanked=f"a{odd}b", **{"requires-python": f">{odd}3"})))
    assert (only(page).yanked, only(page).requires_python) == ("a b", "> 3")
    again = only(read(simple_index.render(page, HTML)))
    assert (again.yanked, again.requires_python) == ("a b", "> 3")


def test_json_declares_1_1_only_when_it_has_every_size_and_the_versions() -> None:
    whole = read(page_json(file_json(), versions=["3.0.3"], meta={"api-version": "1.9"}))
    without = replace(only(whole), size=None)
    for page, version in (
        (whole, "1.4"),
        (replace(whole, versions=None), "1.0"),
        (replace(whole, files=(*whole.files, without)), "1.0"),
    ):
        written = json.loads(simple_index.render(page, JSON))
        assert written["meta"]["api-version"] == version
        assert ("versions" in written) == (version != "1.0")


@given(pages())
def test_both_representations_of_a_page_agree_field_by_field(page: ProjectPage) -> None:
    base = f"{ORIGIN}/python/simple/{page.name}/"
    read_back = {
        representation: parse(
            document(simple_index.render(page, representation), representation, base), page.name
        )
        for representation in (JSON, HTML, TEXT_HTML)
    }
    assert read_back[HTML] == read_back[TEXT_HTML] == page
    # Generated pages have no sizes: their JSON may not call itself 1.1 (PEP 700).
    assert read_back[JSON] == replace(page, minor=0)


@given(pages(), st.sampled_from([JSON, HTML]), st.floats(0, 1, exclude_max=True))
def test_a_page_that_was_cut_is_malformed_or_whole(
    page: ProjectPage, representation: str, share: float
) -> None:
    base = f"{ORIGIN}/python/simple/{page.name}/"
    body = simple_index.render(page, representation)
    cut = body[: int(len(body) * share)]
    with suppress(Malformed):
        assert parse(document(cut, representation, base), page.name) == parse(
            document(body, representation, base), page.name
        )


JUNK_HTML = st.lists(
    st.sampled_from(
        [
            *("<html>", "<body>", "</html>", "</body>", "<a href='", "/files/a/", WHEEL, "'>"),
            *("</a>", "<!--", "-->", "<![", "]]>", "<!DOCTYPE", "<?", "<script>", "</script>"),
            *("&#", "&lt", ";", "<title>", "Links for x", "</title>", "<a ", "href", "=", ">", '"'),
            *(
                "<meta name='pypi:repository-version' content=",
                "1.0",
                "#sha256=",
                SHA,
                "//",
                "\x00",
            ),
        ]
    ),
    max_size=30,
).map("".join)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
JUNK_JSON = st.builds(
    lambda top, file: json.dumps({**json.loads(page_json(file_json(**file))), **top}),
    st.dictionaries(
        st.sampled_from(["meta", "name", "files", "versions", "project-status", "x"]), JSON_VALUES
    ),
    st.dictionaries(
        st.sampled_from(["filename", "url", "hashes", "size", "yanked", "core-metadata", "x"]),
        JSON_VALUES,
    ),
)


@given(
    (JUNK_HTML | JUNK_JSON | st.text().map("<".__add__) | st.text().map("{".__add__)).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
    | st.binary(),
    st.sampled_from([JSON, HTML, "application/octet-stream"]),
)
@example(b"<![oops[", HTML)
def test_junk_is_malformed_or_a_page_and_nothing_else(body: bytes, media_type: str) -> None:
    with suppress(Malformed):
        page = read(body, media_type)
        for representation in simple_index.REPRESENTATIONS:
            simple_index.render(page, representation)


def test_a_page_of_100_000_unclosed_constructs_is_refused_quickly() -> None:
    for piece in ("<!--", "<a href='", "<![", "&#x", "<a ", "</", "<?"):
        with pytest.raises(Malformed):
            read("<html>" + piece * 100_000)


# --- negotiation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ([], TEXT_HTML),
        ([""], TEXT_HTML),
        (["*/*"], TEXT_HTML),
        (["text/html"], TEXT_HTML),
        (["text/*"], TEXT_HTML),
        (["application/*"], JSON),
        ([f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"], JSON),
        ([f"{JSON}, {HTML};q=0.2, text/html"], JSON),
        ([f"{HTML}, {JSON}"], JSON),
        ([f"{JSON}, */*;q=0.1"], JSON),
        ([f"{JSON};q=0, */*"], TEXT_HTML),
        ([f"{JSON};q=0.1, text/html;q=0.9"], TEXT_HTML),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], TEXT_HTML),
        (["application/vnd.pypi.simple.latest+json"], JSON),
        (["application/vnd.pypi.simple.latest+html"], HTML),
        (["Application/Vnd.PyPI.Simple.V1+JSON"], JSON),
        (["text/html;q=0.5", HTML], HTML),
        (["image/png, text/html;level=1;q=1.000"], TEXT_HTML),
        (["text/html;q=\u0661, */*;q=0.1"], JSON),
        (["x" * 10_000], TEXT_HTML),
    ],
)
def test_the_representation_is_negotiated_as_rfc_9110_says(accept: list[str], chosen: str) -> None:
    assert negotiate(accept) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        *("application/vnd.pypi.simple.v2+json", "image/png", "application/json", "*/*;q=0"),
        *("text/html;q=0", "text/html;q=2", "text/html;q=-1", "text/html;q=", ",", "text"),
        "image/png," * 64 + "text/html",
    ],
)
def test_a_client_that_accepts_none_of_them_gets_406(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiate([accept])
