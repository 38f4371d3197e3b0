"""The Go module proxy protocol, purely: what a path means, what a document and an artifact are."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ecosystems.go import Go
from proxy.ecosystems.go_paths import fits, is_version
from proxy.errors import BadRequest, Malformed, MethodNotAllowed, NotFound, NotListed, UnknownPath
from proxy.model import (
    ArtifactTarget,
    Document,
    DocumentTarget,
    Links,
    Method,
    RequestLine,
    Source,
    Target,
)
from proxy.server.canonical import canonicalise
from tests.origin.modules import archive, escape

GO = Go()
URL = "https://registry.example/go/x"
MODULE, VERSION = "example.org/demo", "v1.0.0"
AT = "/go/example.org/demo/@v/"


def classify(path: str, method: Method = "GET") -> Target:
    return GO.classify(canonicalise(method, path, host="localhost"))


def document(path: str) -> DocumentTarget:
    found = classify(path)
    assert isinstance(found, DocumentTarget)
    return found


def rewrite(path: str, body: bytes) -> Document:
    return GO.rewrite(document(path), Document(body, "text/html", URL), Links())


def judge(
    ending: str, body: bytes, module: str = MODULE, version: str = VERSION
) -> Mapping[str, str]:
    """Have a body judged; what it says of its neighbours."""
    steps = GO.judge(Source(f"{AT}{version}.{ending}", module, version), len(body))
    try:
        start, end = next(steps)
        while True:
            assert 0 <= start <= end <= len(body)
            start, end = steps.send(body[start:end])
    except StopIteration as done:
        said: Mapping[str, str] = done.value
        return said


def whole(**members: bytes) -> bytes:
    """The archive of the module, with a `go.mod` unless it is among the members as `go_mod`."""
    names = {name.replace("_", "."): content for name, content in members.items()}
    return archive(f"{MODULE}@{VERSION}/", {"go.mod": b"module example.org/demo\n", **names})


# --- paths ----------------------------------------------------------------------------------------

ARTIFACTS = [
    ("/go/example.org/demo/@v/v1.0.0.zip", MODULE, "v1.0.0", "application/zip"),
    ("/go/example.org/demo/@v/v1.0.0-cgr.1.mod", MODULE, "v1.0.0-cgr.1", "text/plain"),
    (
        "/go/example.org/!deep/!other/v2/@v/v2.3.4-!r!c1.info",
        "example.org/Deep/Other/v2",
        "v2.3.4-RC1",
        "application/json",
    ),
    ("/go/example.org/a/@v/v2.0.0+incompatible.zip", "example.org/a", "v2.0.0+incompatible", ""),
    (
        "/go/example.org/a/@v/v0.0.0-20240103183307-be819d1f06fc.info",
        "example.org/a",
        "v0.0.0-20240103183307-be819d1f06fc",
        "application/json",
    ),
    ("/go/gopkg.in/yaml.v3/@v/v3.0.1.mod", "gopkg.in/yaml.v3", "v3.0.1", "text/plain"),
    ("/go/gopkg.in/a/b.v2-unstable/@v/v2.0.1.mod", "gopkg.in/a/b.v2-unstable", "v2.0.1", ""),
]


@pytest.mark.parametrize(("path", "module", "version", "media_type"), ARTIFACTS)
def test_a_version_has_three_artifacts(
    path: str, module: str, version: str, media_type: str
) -> None:
    found = classify(path)
    assert isinstance(found, ArtifactTarget)
    assert (found.package, found.version, found.scope) == (module, version, "go")
    assert found.path == path
    assert found.filename == path.rpartition("/")[2]
    assert found.media_type.startswith(media_type)
    assert (found.listed_in, found.checksum_of) == ((), ())


@pytest.mark.parametrize(
    ("path", "media_type", "moving"),
    [
        ("/go/example.org/demo/@v/list", "text/plain; charset=utf-8", False),
        ("/go/example.org/demo/@latest", "application/json", False),
        ("/go/example.org/demo/@v/main.info", "application/json", True),
        ("/go/example.org/demo/@v/be819d1f06fc.info", "application/json", True),
        ("/go/example.org/demo/@v/v1.info", "application/json", True),
        ("/go/example.org/demo/@v/v2.0.0.info", "application/json", True),
    ],
)
def test_what_may_change_is_a_document(path: str, media_type: str, *, moving: bool) -> None:
    found = document(path)
    assert (found.package, found.version) == (MODULE, "")
    assert (found.representation, found.moving, found.path) == (media_type, moving, path)


@pytest.mark.parametrize(
    "path",
    [
        "/go",
        "/go/",
        "/go/example.org/demo",
        "/go/example.org/demo/",
        "/go/example.org/demo/@v/",
        "/go/example.org/demo/@v/list/",
        "/go/example.org/demo/@v/main.mod",
        "/go/example.org/demo/@v/main.zip",
        "/go/example.org/demo/@v/v1.0.zip",
        "/go/example.org/demo/@v/v1.0.0",
        "/go/example.org/demo/@v/v1.0.0.ziphash",
        "/go/example.org/demo/@v/v01.0.0.zip",
        "/go/example.org/demo/@v/v1.0.0-01.zip",
        "/go/example.org/demo/@v/v1.0.0+meta.zip",
        "/go/example.org/demo/@v/v1.0.0+incompatible.zip",
        "/go/example.org/demo/@v/v2.0.0.zip",
        "/go/example.org/demo/v2/@v/v1.0.0.zip",
        "/go/example.org/demo/v2/@v/v2.0.0+incompatible.zip",
        "/go/example.org/demo/v1/@v/v1.0.0.zip",
        "/go/example.org/demo/v2.1/@v/list",
        "/go/example.org/demo/v02/@v/list",
        "/go/gopkg.in/yaml/@v/list",
        "/go/example.org/Demo/@v/list",
        "/go/example.org/!Demo/@v/list",
        "/go/example.org/demo!/@v/list",
        "/go/example.org/demo/@v/v1.0.0-RC1.zip",
        "/go/example.org/.demo/@v/list",
        "/go/example.org/demo./@v/list",
        "/go/example.org/de mo/@v/list".replace(" ", "%20"),
        "/go/demo/@v/list",
        "/go/-example.org/demo/@v/list",
        "/go/Example.org/demo/@v/list",
        "/go/@v/list",
        "/go/@latest",
        "/go/example.org/demo/@latest/x",
        "/go/example.org/demo/@v/@v/list",
        "/go/example.org/demo/@v/ma!!in.info",
    ],
)
def test_what_can_be_no_module_or_version_is_no_path(path: str) -> None:
    with pytest.raises(UnknownPath):
        classify(path)


def test_the_checksum_database_is_not_mirrored_and_the_answer_says_what_to_set() -> None:
    for path in ("supported", "lookup/example.org/demo@v1.0.0", "tile/8/0/000"):
        with pytest.raises(UnknownPath) as caught:
            classify(f"/go/sumdb/sum.example/{path}")
        body = GO.render_error(caught.value, "abc").body
        assert b"GONOSUMDB" in body
        assert body.count(b"\n") == 1


def test_modules_are_only_read() -> None:
    with pytest.raises(MethodNotAllowed):
        classify("/go/example.org/demo/@v/list", "POST")


@pytest.mark.parametrize(
    ("module", "version", "fitting"),
    [
        ("example.org/a", "v0.1.0", True),
        ("example.org/a", "v2.0.0", False),
        ("example.org/a/v10", "v10.1.0", True),
        ("gopkg.in/a.v0", "v0.9.0", True),
        ("gopkg.in/check.v1", "v0.0.0-20161208181325-20d25e280405", True),
        ("gopkg.in/check.v1", "v0.1.0", False),
        ("gopkg.in/check.v2", "v0.0.0-20161208181325-20d25e280405", False),
        ("example.org/a", "master", False),
    ],
)
def test_a_modules_path_says_which_major_versions_it_has(
    module: str, version: str, *, fitting: bool
) -> None:
    assert fits(module, version) is fitting


def test_half_a_version_is_none() -> None:
    assert [is_version(text) for text in ("v1.2.3", "v1.2", "v1", "1.2.3", "v1.2.3\n", "")] == [
        *(True, False, False, False, False, False)
    ]


_LETTER = st.sampled_from("aZ09-_~.B")
_ELEMENT = st.text(_LETTER, min_size=1, max_size=8)


@given(
    module=st.lists(_ELEMENT, min_size=1, max_size=3).map("/".join),
    version=st.sampled_from(["v1.0.0", "v1.0.0-RC.1", "v0.0.1-cgr.7"]),
)
def test_two_modules_never_share_a_path_nor_a_module_two_paths(module: str, version: str) -> None:
    path = f"/go/example.org/{escape(module)}/@v/{escape(version)}.zip"
    try:
        found = classify(path)
    except (UnknownPath, BadRequest):
        return
    assert isinstance(found, ArtifactTarget)
    assert (found.path, found.package, found.version) == (
        path,
        f"example.org/{module}",
        version,
    )
    if escape(module) != module:
        with pytest.raises(UnknownPath):
            classify(f"/go/example.org/{module}/@v/{escape(version)}.zip")


@given(st.lists(st.sampled_from(["go", "example.org", "@v", "list", "v1.0.0.zip", "!a", "x"])))
def test_any_path_is_understood_or_refused(segments: list[str]) -> None:
    try:
        found = GO.classify(RequestLine("GET", ("go", *segments)))
    except UnknownPath:
        return
    assert isinstance(found, (DocumentTarget, ArtifactTarget))


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\n", b"v1.0.0\nv1.1.0\n", b"v1.0.0\r\nv1.1.0"),
        b"v1.0.0 2026-01-01T00:00:00Z\n",
        b"v2.0.0+incompatible\nv1.0.0-cgr.1\nv1\n",
    ],
)
def test_a_list_is_passed_on_as_it_is(body: bytes) -> None:
    found = rewrite(f"{AT}list", body)
    assert (found.body, found.media_type) == (body, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "body", [b"<html>v1.0.0</html>", b"v1.0.0\nnot found: x\n", b"\xff\xfe", b'{"Version": "v1"}']
)
def test_what_is_no_list_is_not_passed_on(body: bytes) -> None:
    with pytest.raises(Malformed):
        rewrite(f"{AT}list", body)


@pytest.mark.parametrize("path", ["/go/example.org/demo/@latest", f"{AT}main.info"])
def test_a_version_that_is_named_otherwise_is_passed_on_as_it_is(path: str) -> None:
    body = json.dumps({"Version": "v1.0.0-cgr.1", "Time": "x", "Origin": {"VCS": "git"}}).encode()
    assert rewrite(path, body).body == body


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"Version": 1}', b'{"Version": "main"}', b"[" * 99999]
)
def test_what_names_no_version_is_not_passed_on(body: bytes) -> None:
    with pytest.raises(Malformed):
        rewrite("/go/example.org/demo/@latest", body)


# --- artifacts ------------------------------------------------------------------------------------


def test_an_info_is_of_its_version() -> None:
    assert judge("info", b'{"Version": "v1.0.0"}') == {}
    for wrong in (b'{"Version": "v1.0.1"}', b'{"Version": "v1.0', b"<html>", b"{}", b" " * 2000000):
        with pytest.raises(Malformed):
            judge("info", wrong)


@pytest.mark.parametrize(
    "body",
    [
        b"module example.org/demo\n",
        b'// a comment\n\nmodule "example.org/demo" // another\n\ngo 1.19\n',
        b"module (\n\texample.org/other\n)\n",
        b"go 1.19\r\nmodule example.org/demo\r\n",
    ],
)
def test_a_mod_names_a_module_whichever(body: bytes) -> None:
    assert judge("mod", body) == {}


@pytest.mark.parametrize(
    "body",
    [b"go 1.19\n", b"<html>module x</html>", b"modules x\n", b"// module x\n", b"module x\0"],
)
def test_what_names_no_module_is_no_mod(body: bytes) -> None:
    with pytest.raises(Malformed):
        judge("mod", body)


def test_a_whole_archive_says_what_its_mod_is() -> None:
    inner = b"module example.org/demo\n"
    wanted = {f"{AT}v1.0.0.mod": hashlib.sha256(inner).hexdigest()}
    assert judge("zip", whole(demo_go=b"package demo\n" * 5000)) == wanted


def test_an_archive_with_thousands_of_files_is_read_in_few_pieces() -> None:
    members = {f"f{number}.go": b"package demo\n" for number in range(3000)}
    body = archive(f"{MODULE}@{VERSION}/", {"go.mod": b"module x\n", **members})
    steps, asked = GO.judge(Source(f"{AT}v1.0.0.zip", MODULE, VERSION), len(body)), []
    try:
        asked.append(next(steps))
        while True:
            asked.append(steps.send(body[slice(*asked[-1])]))
    except StopIteration:
        pass
    assert len(asked) <= 4
    assert sum(end - start for start, end in asked) < len(body)


def test_an_archive_without_a_mod_says_nothing() -> None:
    assert judge("zip", archive(f"{MODULE}@{VERSION}/", {"demo.go": b"package demo\n"})) == {}


def test_an_archive_in_the_long_format_is_understood() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(66_000):
            file.writestr(zipfile.ZipInfo(f"{MODULE}@{VERSION}/{number}"), b"")
    assert judge("zip", buffer.getvalue()) == {}


def _commented() -> bytes:
    buffer = io.BytesIO(whole())
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = b"made by hand"
    return buffer.getvalue()


def test_a_comment_at_the_end_belongs_to_the_archive() -> None:
    assert len(judge("zip", _commented())) == 1


LARGE = whole(demo_go=b"package demo\n" * 50)
WRONG = {
    "a page": b"<html>sorry</html>" * 10,
    "nothing in it": archive("", {}),
    "cut": LARGE[:-30],
    "without its beginning": LARGE[40:],
    "with something before it": b"MZ" + whole(),
    "with something behind it": whole() + b"\n",
    "with more than its comment": _commented() + b"x",
    "without its middle": LARGE[:60] + LARGE[70:],
    "of another module": archive(f"example.org/other@{VERSION}/", {"go.mod": b"module x\n"}),
    "of another version": archive(f"{MODULE}@v1.0.1/", {"go.mod": b"module x\n"}),
    "with a file elsewhere": archive("", {f"{MODULE}@{VERSION}/go.mod": b"", "x": b""}),
    "with a wrong check sum": whole().replace(
        zlib.crc32(b"module example.org/demo\n").to_bytes(4, "little"), b"\1\2\3\4"
    ),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_what_is_not_the_whole_archive_of_this_version_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        judge("zip", body)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_archive_breaks_the_reader(noise: bytes, at: int) -> None:
    body = whole(demo_go=b"package demo\n")
    try:
        judge("zip", body[:at] + noise + body[at + len(noise) :])
    except Malformed:
        return


# --- the rest -------------------------------------------------------------------------------------


def test_a_package_url_keeps_the_capitals_that_tell_modules_apart() -> None:
    assert GO.purl("example.org/Deep/v2", "v2.0.0+incompatible") == (
        "pkg:golang/example.org/Deep/v2@v2.0.0%2Bincompatible"
    )
    assert GO.purl("") == ""


def test_an_error_is_one_line_of_plain_text_which_go_prints() -> None:
    body = GO.render_error(NotFound("The upstream does not have it."), "abc")
    assert body.media_type == "text/plain; charset=utf-8"
    assert body.body == b"Not found: The upstream does not have it. (request abc)\n"


def test_no_document_lists_an_artifact() -> None:
    found = classify(f"{AT}v1.0.0.zip")
    assert isinstance(found, ArtifactTarget)
    with pytest.raises(NotListed):
        GO.locate(found, Document(b"v1.0.0\n", "text/plain", URL))
