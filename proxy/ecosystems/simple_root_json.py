"""Reading the list of all projects in JSON, piece by piece. Pure.

Purpose: a machine over the few places where such a list can be at. Values are read whole by the
library, so each must fit into the window; what is between them is read here.

Reading: PEP 691, RFC 8259. Non-goals: the HTML form, what clients get (`simple_root`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, TypeAlias, final

from proxy.ecosystems import simple_json
from proxy.ecosystems.json_objects import DECODER, check_text
from proxy.errors import Malformed

WINDOW: Final = 1 << 20
"""Characters that are held at most."""
_MOST_KEYS: Final = 1000
_BLANK = re.compile(r"[ \t\r\n]*")
# One project as most upstreams write it, with the comma behind it: read without more ado.
_SIMPLE = re.compile(
    r'[ \t\r\n]*\{[ \t\r\n]*"name"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9._-]{1,255})"'
    r"[ \t\r\n]*\}[ \t\r\n]*,"
)
_OWN_KEYS: Final = frozenset({"meta", "projects"})

Item: TypeAlias = dict[str, object]
"""What is said about one project, or, under the names of its members, about the whole."""


@final
class JsonSource:
    """One list. `top`: what was said about the whole so far."""

    def __init__(self) -> None:
        self.top: Item = {}
        self._keys: set[str] = set()
        self._text = ""
        self._state = self._at_start
        self._key = ""
        self._items: list[Item] = []

    def feed(self, text: str) -> Iterator[Item]:
        """The projects that are whole by now. Raises Malformed."""
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
        """Raise Malformed unless the list was read to its end."""
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
        match, take = _SIMPLE.match(self._text, position), self._items.append
        if match is not None:
            while match is not None:
                take({"name": match[1]})
                position = match.end()
                match = _SIMPLE.match(self._text, position)
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
            value, end = DECODER.raw_decode(text, position)
            # A number may go on in the next piece; everything else shows its end.
            if end == len(text) and text[end - 1] not in '}]"':
                return None
            check_text(text[position:end], value)
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
