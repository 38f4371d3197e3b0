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
import re
from collections.abc import Iterator
from html import escape
from typing import Final, Protocol, final
from urllib.parse import unquote

from proxy.ecosystems import simple_json
from proxy.ecosystems.distribution import is_project_name, normalise
from proxy.ecosystems.simple_html import CLOSING, Attributes, Reader, opening, version_meta
from proxy.ecosystems.simple_index import JSON, is_json
from proxy.ecosystems.simple_page import NEWEST_MINOR
from proxy.errors import Malformed

WINDOW: Final = 1 << 20
_SNIFF: Final = 1024
_MOST_KEYS: Final = 1000
_BLANK = re.compile(r"[ \t\r\n]*")
# One project as most upstreams write it, with the comma behind it: read without more ado.
_SIMPLE = re.compile(
    r'[ \t\r\n]*\{[ \t\r\n]*"name"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9._-]{1,255})"'
    r"[ \t\r\n]*\}[ \t\r\n]*,"
)
_OWN_KEYS: Final = frozenset({"meta", "projects"})

Item = dict[str, object]


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
        return _JsonSource() if is_json(self._media_type, self._start) else _HtmlSource()

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


@final
class _JsonSource:
    """A machine over the few places where a list of projects can be at. Values are read whole by
    the library, so each must fit into the window."""

    def __init__(self) -> None:
        self.top: Item = {}
        self._keys: set[str] = set()
        self._text = ""
        self._state = self._at_start
        self._key = ""
        self._items: list[Item] = []

    def feed(self, text: str) -> Iterator[Item]:
        self._text += text
        position = 0
        while True:
            position = _blank_end(self._text, position)
            if position == len(self._text):
                break
            following = self._state(position)
            if following is None:
                break
            position = following
        self._text = self._text[position:]
        if len(self._text) > WINDOW:
            raise _no_json()
        yield from self._items
        self._items.clear()

    def finish(self) -> None:
        if self._state != self._at_end:
            raise Malformed("The upstream's list of projects was cut off.")
        if not self._keys >= _OWN_KEYS:
            raise Malformed("The upstream's answer is JSON, but no list of projects.")

    # Each state reads at a position that is no blank: the new position, or None: more is needed.

    def _at_start(self, position: int) -> int | None:
        self._state = self._at_first_key
        return self._expect(position, "{")

    def _at_first_key(self, position: int) -> int | None:
        return self._at_key(position) if self._text[position] != "}" else self._close(position)

    def _at_key(self, position: int) -> int | None:
        if self._text[position] != '"':
            raise _no_json()
        read = self._value(position)
        if read is None:
            return None
        self._key = str(read[0])
        if self._key in self._keys or len(self._keys) >= _MOST_KEYS:
            raise _no_json()
        self._keys.add(self._key)
        self._state = self._at_colon
        return read[1]

    def _at_colon(self, position: int) -> int | None:
        self._state = self._at_projects if self._key == "projects" else self._at_value
        return self._expect(position, ":")

    def _at_value(self, position: int) -> int | None:
        read = self._value(position)
        if read is None:
            return None
        self.top[self._key] = read[0]
        if self._key == "meta":
            simple_json.read_meta(self.top)
        self._state = self._behind_value
        return read[1]

    def _behind_value(self, position: int) -> int | None:
        if self._text[position] == "}":
            return self._close(position)
        self._state = self._at_key
        return self._expect(position, ",")

    def _at_projects(self, position: int) -> int | None:
        self._state = self._at_first_item
        return self._expect(position, "[")

    def _at_first_item(self, position: int) -> int | None:
        return self._at_item(position) if self._text[position] != "]" else self._leave(position)

    def _at_item(self, position: int) -> int | None:
        if match := _SIMPLE.match(self._text, position):
            take, scan = self._items.append, _SIMPLE.match
            while match:
                take({"name": match[1]})
                position = match.end()
                match = scan(self._text, position)
            self._state = self._at_item
            return position
        read = self._value(position)
        if read is None:
            return None
        item = read[0]
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Malformed("The upstream's list of projects names one that has no name.")
        self._items.append(item)
        self._state = self._behind_item
        return read[1]

    def _behind_item(self, position: int) -> int | None:
        if self._text[position] == "]":
            return self._leave(position)
        self._state = self._at_item
        return self._expect(position, ",")

    def _at_end(self, position: int) -> int | None:  # noqa: ARG002  # every state is called alike
        raise _no_json()

    def _leave(self, position: int) -> int:
        self._state = self._behind_value
        return position + 1

    def _close(self, position: int) -> int:
        self._state = self._at_end
        return position + 1

    def _expect(self, position: int, character: str) -> int:
        if self._text[position] != character:
            raise _no_json()
        return position + 1

    def _value(self, position: int) -> tuple[object, int] | None:
        """Read a value; None while its end is not here."""
        text = self._text
        try:
            value, end = simple_json.DECODER.raw_decode(text, position)
            # A number may go on in the next piece; everything else shows its end.
            if end == len(text) and text[end - 1] not in '}]"':
                return None
            simple_json.check_text(text[position:end], value)
        except json.JSONDecodeError:
            return None  # more may mend it; the window is bounded
        except (ValueError, RecursionError) as error:
            raise _no_json() from error
        return value, end


def _blank_end(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match is not None else position


def _no_json() -> Malformed:
    return Malformed("The upstream's list of projects is no valid JSON of one.")


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
