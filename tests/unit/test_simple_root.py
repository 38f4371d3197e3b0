"""The list of all projects, in pieces of any size."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.ecosystems.simple_index import HTML, JSON, REPRESENTATIONS, TEXT_HTML
from proxy.ecosystems.simple_root import RootStream
from proxy.ecosystems.simple_root_json import WINDOW
from proxy.errors import Malformed

META = {"api-version": "1.3", "_last-serial": 1}


def through(
    body: bytes | str, representation: str = JSON, *, size: int = 0, kind: str = ""
) -> bytes:
    """Send a list through in pieces of `size` bytes (0: in one)."""
    body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    stream = RootStream(representation, kind)
    step = size or max(1, len(body))
    out = [stream.feed(body[at : at + step]) for at in range(0, len(body), step)]
    return b"".join([*out, stream.finish()])


def names(body: bytes) -> list[str]:
    """The projects of a list in either form, read by other means."""
    if body[:1] == b"{":
        return [item["name"] for item in json.loads(body)["projects"]]
    return [
        line.rpartition("</a>")[0].rpartition(">")[2]
        for line in body.decode().splitlines()
        if line.startswith("<a ")
    ]


def as_json(*projects: str, meta: object = META, **more: object) -> str:
    items = [{"name": name} for name in projects]
    return json.dumps({"meta": meta, "projects": items, **more})


def as_html(*projects: str) -> str:
    anchors = "".join(f"<a href='/simple/{name}/'>{name}</a>\n" for name in projects)
    return f"<html><head><title>Simple index</title></head><body>{anchors}</body></html>"


def test_a_list_is_read_from_both_forms_and_links_relatively() -> None:
    body = json.dumps(
        {
            "meta": META,
            "projects": [{"name": "Flask"}, {"name": "zope.interface", "_last-serial": 2}],
            "further": {"x": [1]},
        }
    )
    written = through(body, TEXT_HTML)
    assert b'<meta name="pypi:repository-version" content="1.3">' in written
    assert b'<a href="zope-interface/">zope.interface</a><br>\n' in written
    again = json.loads(through(written))
    assert again["projects"] == [{"name": "Flask"}, {"name": "zope.interface"}]
    assert json.loads(through(body)) == json.loads(body)


def test_what_is_said_behind_the_projects_is_written_behind_them() -> None:
    body = json.dumps({"projects": [{"name": f"a{n}"} for n in range(500)], "meta": META})
    written = through(body, size=2000)
    assert json.loads(written) == json.loads(body)
    assert written.index(b'"projects"') < written.index(b'"meta"')
    assert b'content="1.0"' in through(body, HTML, size=2000)


def test_a_version_that_is_not_understood_is_not_declared() -> None:
    newer = as_json("a", meta={"api-version": "1.99"})
    assert json.loads(through(newer))["meta"]["api-version"] == "1.4"
    for other in ("2.0", "1", "x", ""):
        with pytest.raises(Malformed):
            through(as_json("a", meta={"api-version": other}))


def test_only_anchors_that_are_projects_are_projects() -> None:
    body = (
        "<html><head><title>Simple index</title></head><body><a href='/'>Home</a>"
        "<a href='/simple/Frob/'>frob</a><a href='https://evil.example/x'>y</a>"
        "<a href='a b/'>a b</a></body></html>"
    )
    assert names(through(body)) == ["frob"]


def test_what_can_be_no_project_is_left_out() -> None:
    assert names(through(as_json("ok", "../../x", "<script>", "a b", ""))) == ["ok"]


def test_an_empty_list_is_a_list() -> None:
    for body in (as_json(), as_html()):
        for representation in REPRESENTATIONS:
            assert names(through(body, representation)) == []


@pytest.mark.parametrize(
    "body",
    [
        "<html><body><a href='/login'>Sign in</a></body></html>",
        "<html><body><form></form></body></html>",
        "",
        "   ",
        "nothing",
        "[]",
        "{}",
        '{"meta": {"api-version": "1.0"}}',
        '{"projects": []}',
        '{"meta": {"api-version": "1.0"}, "projects": {}}',
        '{"meta": {"api-version": "1.0"}, "projects": [1]}',
        '{"meta": {"api-version": "1.0"}, "projects": [{"nom": "a"}]}',
        '{"meta": {"api-version": "1.0"}, "projects": [{"name": 1}]}',
        '{"meta": {"api-version": "1.0"}, "projects": [{"name": "a", "name": "b"}]}',
        '{"meta": {"api-version": "1.0"}, "projects": [{"name": "a"},]}',
        '{"meta": {"api-version": "1.0"}, "projects": [{"name": "a"} {"name": "b"}]}',
        '{"meta": {"api-version": "1.0"}, "projects": [], "projects": []}',
        '{"meta": {"api-version": "1.0"}, "projects": [], "x": NaN}',
        '{"meta": {"api-version": "1.0"}, "projects": [], "x": 1e999}',
        '{"meta": {"api-version": "1.0"}, "projects": [], "x": "\\ud800"}',
        '{"meta": {"api-version": "1.0"}, "projects": []} x',
        '{"meta": {"api-version": "1.0"}, "projects": []}}',
        '{"meta": [], "projects": []}',
        '{"meta": {"api-version": "1.0"}, "projects": [], "x": ' + "[" * 100_000,
    ],
)
def test_what_is_no_list_is_malformed(body: str) -> None:
    for size in (0, 1000):
        with pytest.raises(Malformed):
            through(body, size=size)


@pytest.mark.parametrize("body", [as_json("flask", "django"), as_html("flask", "django")])
def test_a_list_that_was_cut_anywhere_is_malformed(body: str) -> None:
    last = body.rindex("}" if body[0] == "{" else "<")
    for cut in range(1, last):
        with pytest.raises(Malformed):
            through(body[:cut], TEXT_HTML)


@given(
    st.lists(st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?\Z"), max_size=30),
    st.integers(1, 400),
    st.booleans(),
    st.sampled_from(REPRESENTATIONS),
)
def test_the_size_of_the_pieces_makes_no_difference(
    projects: list[str], size: int, from_json: bool, representation: str
) -> None:
    body = (as_json if from_json else as_html)(*projects)
    out = through(body, representation, size=size)
    assert out == through(body, representation)
    assert names(out) == projects


@given(
    st.text().map("<".__add__)
    | st.text().map("{".__add__)
    | st.binary().map(bytes.hex)
    | st.text(),
    st.integers(1, 50),
    st.sampled_from([JSON, HTML, "application/octet-stream"]),
)
@example("<![oops[", 3, HTML)
@example('{"meta":{"api-version":"1.0"},"projects":[],"x":12}', 1, JSON)
def test_junk_is_malformed_or_a_list_and_nothing_else(body: str, size: int, kind: str) -> None:
    with suppress(Malformed):
        out = through(body, size=size, kind=kind)
        assert isinstance(names(out), list)


def endless(start: bytes, piece: str, kind: str) -> None:
    stream = RootStream(JSON, kind)
    stream.feed(start)
    for _ in range(3 * WINDOW // (64 << 10)):
        stream.feed((piece * (64 << 10))[: 64 << 10].encode())
    stream.finish()


@pytest.mark.parametrize("piece", ["<!--", "<a href='", "<![", "&#x", "<a ", "</", "<?", "x"])
def test_what_never_ends_is_refused_before_it_fills_the_memory(piece: str) -> None:
    with pytest.raises(Malformed):
        endless(b"<html>" + b" " * 2000, piece, HTML)


@pytest.mark.parametrize("start", ['[{"name": "', "[[", "[1", "1", '"'])
def test_a_value_that_never_ends_is_refused_before_it_fills_the_memory(start: str) -> None:
    head = b'{"meta": {"api-version": "1.0"}, "projects": ' + b" " * 2000
    with pytest.raises(Malformed):
        endless(head + start.encode(), "1", JSON)


def _pieces(count: int, *, in_json: bool) -> Iterator[bytes]:
    yield b'{"meta":{"api-version":"1.0"},"projects":[' if in_json else b"<html><body>"
    for at in range(0, count, 1000):
        numbers = range(at, at + 1000)
        if in_json:
            text = ",".join(f'{{"name":"project-{n}"}}' for n in numbers)
            yield (("," if at else "") + text).encode()
        else:
            yield "".join(f'<a href="/s/project-{n}/">project-{n}</a>\n' for n in numbers).encode()
    yield b"]}" if in_json else b"</body></html>"


@pytest.mark.parametrize("in_json", [True, False])
def test_memory_does_not_grow_with_the_list(in_json: bool) -> None:
    stream = RootStream(TEXT_HTML, "")
    tracemalloc.start()
    try:
        written = sum(len(stream.feed(piece)) for piece in _pieces(30_000, in_json=in_json))
        written += len(stream.finish())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert written > 1_300_000
    assert peak < 1_000_000
