"""The list of all projects, piece by piece: 40 MB and more that are never held whole.

Purpose: `RootStream` takes what the upstream sends, HTML or JSON, and gives what the client gets,
HTML or JSON, with a window of at most `WINDOW` characters in between. It is as strict as the
readers of project pages: a list that was cut, or is none, ends in Malformed; who runs it then
throws away what came out so far.

Names that can be no project are left out. Further keys of the JSON form are kept where the client's
form can say them. In JSON what is said about the whole may stand behind the projects; then it is
written behind them, too, and an HTML page declares version 1.0, which is always true of a list.

Reading: PEP 503, 629, 691; `Streaming` in `base`. Non-goals: project pages (`simple_index`).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from html import escape
from typing import Final, Protocol, final
from urllib.parse import unquote

from proxy.ecosystems import simple_json
from proxy.ecosystems.distribution import is_project_name, normalise
from proxy.ecosystems.simple_html import CLOSING, Attributes, Reader, opening, version_meta
from proxy.ecosystems.simple_index import JSON, is_json
from proxy.ecosystems.simple_page import NEWEST_MINOR
from proxy.ecosystems.simple_root_json import WINDOW, Item, JsonSource
from proxy.errors import Malformed

_SNIFF: Final = 1024


class _Source(Protocol):
    """What the two readers have in common. `top`: what was said about the whole so far."""

    top: Item

    def feed(self, text: str) -> Iterator[Item]:
        """The projects that are whole by now. Raises Malformed."""
        ...

    def finish(self) -> None:
        """Raise Malformed unless the list was read to its end."""
        ...


class _Sink(Protocol):
    """What the two writers have in common."""

    def open(self, top: Item) -> str:
        """What stands before the projects."""
        ...

    def item(self, item: Item) -> str:
        """One project."""
        ...

    def close(self, top: Item) -> str:
        """What stands behind them; `top` is complete now."""
        ...


@final
class RootStream:
    """Implements `Transformation`. `representation`: one of `simple_index.REPRESENTATIONS`."""

    def __init__(self, representation: str, media_type: str) -> None:
        self._media_type = media_type
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._source: _Source | None = None
        self._sink: _Sink = _JsonSink() if representation == JSON else _HtmlSink()
        self._start = b""
        self._opened = False

    def feed(self, piece: bytes) -> bytes:
        """See `Transformation.feed`."""
        if self._source is None:
            self._start += piece
            if len(self._start) < _SNIFF:
                return b""
            self._source, piece = self._begin(), self._start
        return self._pass(self._source, piece, final=False)

    def finish(self) -> bytes:
        """See `Transformation.finish`."""
        source, piece = self._source, b""
        if source is None:
            source, piece = self._begin(), self._start
        out = self._pass(source, piece, final=True)
        source.finish()
        return out + self._open(source) + _bytes(self._sink.close(source.top))

    def _begin(self) -> _Source:
        return JsonSource() if is_json(self._media_type, self._start) else _HtmlSource()

    def _pass(self, source: _Source, piece: bytes, *, final: bool) -> bytes:
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            raise Malformed("The upstream's list of projects is no text.") from error
        written = [
            self._sink.item(item)
            for item in source.feed(text)
            if is_project_name(str(item["name"]))
        ]
        return self._open(source) + _bytes("".join(written)) if written else b""

    def _open(self, source: _Source) -> bytes:
        """The beginning, once: when the first projects are there, or there are none."""
        if self._opened:
            return b""
        self._opened = True
        return _bytes(self._sink.open(source.top))


def _bytes(text: str) -> bytes:
    return text.encode("ascii", "xmlcharrefreplace")


# --- reading ---------------------------------------------------------------------------------


@final
class _HtmlSource:
    def __init__(self) -> None:
        self.top: Item = {}
        self._reader = Reader()
        self._named = False

    def feed(self, text: str) -> Iterator[Item]:
        reader = self._reader
        try:
            reader.feed(text)
        except AssertionError as error:  # the parser asserts on some declarations
            raise Malformed("The upstream's list of projects is no readable HTML.") from error
        if reader.overgrown(WINDOW):
            raise Malformed("The upstream's list of projects is no index page.")
        self.top["meta"] = {"api-version": f"1.{reader.minor}"}
        for attributes, name in reader.take_anchors():
            if _is_project(attributes, name):
                self._named = True
                yield {"name": name}

    def finish(self) -> None:
        if not self._reader.whole:
            raise Malformed("The upstream's list of projects was cut off.")
        if not self._named and not self._reader.marked:
            raise Malformed("The upstream's answer is a web page, but no list of projects.")


def _is_project(attributes: Attributes, text: str) -> bool:
    """Tell whether an anchor is a project's: its text names what its link's last part names."""
    last = attributes["href"].partition("#")[0].partition("?")[0].strip().rstrip("/")
    name = unquote(last.rpartition("/")[2])
    return is_project_name(text) and normalise(name) == normalise(text)


# --- writing ---------------------------------------------------------------------------------


@final
class _HtmlSink:
    def open(self, top: Item) -> str:
        minor = simple_json.read_meta(top)[1] if "meta" in top else 0
        return opening("Simple index", version_meta(minor))

    def item(self, item: Item) -> str:
        name = str(item["name"])
        return f'<a href="{escape(normalise(name))}/">{escape(name)}</a><br>\n'

    def close(self, top: Item) -> str:  # noqa: ARG002  # a list in HTML says nothing behind it
        return CLOSING


@final
class _JsonSink:
    def __init__(self) -> None:
        self._separator = ""
        self._said: frozenset[str] = frozenset()

    def open(self, top: Item) -> str:
        self._said = frozenset(top)
        return "{" + _members(top) + '"projects":['

    def item(self, item: Item) -> str:
        name = str(item["name"])  # plain ASCII: it was checked
        text = f'{{"name":"{name}"}}' if len(item) == 1 else _dump(item)
        text, self._separator = self._separator + text, ","
        return text

    def close(self, top: Item) -> str:
        later = {key: value for key, value in top.items() if key not in self._said}
        return ("]," + _members(later)).rstrip(",") + "}"


def _members(top: Item) -> str:
    """Some members of the top object, each with a comma behind it."""
    shown = dict(top)
    if "meta" in top:
        meta, minor = simple_json.read_meta(top)
        shown["meta"] = {**meta, "api-version": f"1.{min(minor, NEWEST_MINOR)}"}
    return "".join(f"{_dump(key)}:{_dump(value)}," for key, value in shown.items())


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
