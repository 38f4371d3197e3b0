"""What the platform's last answer means for one question. Pure: the answer's age is given.

Purpose: the decision table of entitlements in one function. An answer replaces the one before,
whole; a list that names nothing is a list of no rights.

The table, by the last known answer and its age:

====================  ===================  ==================  =========
last known answer     the platform speaks  silent, in grace    beyond it
====================  ===================  ==================  =========
names it              allowed              allowed             unknown
does not name it      denied               denied              denied
"you may not ask"     as configured        as configured       unknown
none, ever            unknown              unknown             unknown
====================  ===================  ==================  =========

A remediated scope asks for its tier as soon as the platform has named any tier of this
organisation, now or earlier: the list from which the last tier was taken out looks like one of
a platform that knows no tiers, and must withdraw all the same.

Reading: proto3's JSON mapping (enums are names, 64-bit numbers are texts, and a message whose only
field is an empty list may be written `{}`). Non-goals: asking, remembering.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.access.entitlements import ALLOWED, Verdict
from proxy.errors import PlatformSilent

# What the platform can speak of. Of anything else (oci, apk, public documents) it says nothing:
# there the upstream's own refusal decides, request by request.
NAMES: Mapping[str, str] = {
    "python": "PYTHON",
    "java": "JAVA",
    "javascript": "JAVASCRIPT",
    "go": "GO",
    "dotnet": "DOTNET",
}
TIER = "_ATHENA"  # the platform's word for the remediated tier of an ecosystem
MAX_ITEMS = 1000
_PLAIN = re.compile(r"[\x20-\x7e]{0,200}")


@dataclass(frozen=True, slots=True)
class Entitlement:
    """One item of the list, by the platform's words. `cooldown_days` None: not said."""

    ecosystem: str
    policy: str = ""
    cooldown_days: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the platform said. `may_ask` False: that we may not ask; then there are no `items`."""

    organisation: str
    items: tuple[Entitlement, ...] = ()
    may_ask: bool = True
    names: frozenset[str] = field(init=False, repr=False, compare=False)
    """The ecosystems and tiers that are named."""
    names_tiers: bool = field(init=False, repr=False, compare=False)
    """Whether any remediated tier is named."""

    def __post_init__(self) -> None:
        # Read off once: every request asks.
        names = frozenset(item.ecosystem for item in self.items)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "names_tiers", any(name.endswith(TIER) for name in names))


def judge(  # noqa: PLR0913  # the table's columns
    answer: Answer | None,
    ecosystem: str,
    scope: str,
    *,
    holds: bool,
    unasked: Verdict,
    tiered: bool = False,
) -> Verdict:
    """Decide. `holds`: the answer is young enough. `unasked`: what "you may not ask" means.
    `tiered`: an earlier answer for this organisation has named a tier."""
    if ecosystem not in NAMES:
        return ALLOWED
    if answer is None:
        return Verdict.UNKNOWN
    if not answer.may_ask:
        return unasked if holds else Verdict.UNKNOWN
    if _wanted(ecosystem, scope, tiered=tiered or answer.names_tiers) not in answer.names:
        return Verdict.DENIED
    return ALLOWED if holds else Verdict.UNKNOWN


def _wanted(ecosystem: str, scope: str, *, tiered: bool) -> str:
    """The name that a scope needs: the tier's only where the platform speaks of tiers at all."""
    name = NAMES[ecosystem]
    return name + TIER if tiered and scope == f"{ecosystem}-remediated" else name


def read_items(data: object) -> tuple[Entitlement, ...]:
    """Read the list out of an answer's JSON. Raises PlatformSilent for what is none.

    `{}` is the list of nothing, as a gateway may write it; any other object without `items` is not
    understood, and what is not understood is no answer.
    """
    items = data.get("items") if isinstance(data, dict) else None
    if data == {}:
        return ()
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise PlatformSilent("the platform answered no list of entitlements")
    return tuple(read_item(item) for item in items)


def read_item(item: object) -> Entitlement:
    """Read one item, in either spelling of its keys. Raises PlatformSilent."""
    if not isinstance(item, dict):
        raise PlatformSilent("the platform's list holds what is no entitlement")
    return Entitlement(
        ecosystem=_word(item.get("ecosystem", "")),
        policy=_word(item.get("policy", "")),
        cooldown_days=_number(item.get("cooldown_days", item.get("cooldownDays"))),
        source=_word(item.get("source", "")),
    )


def _word(value: object) -> str:
    # A number stands for an enum member that the gateway does not know yet; nor do we.
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _PLAIN.fullmatch(value):
        raise PlatformSilent("the platform's list holds what is no name")
    return value


def _number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**6:
        return value
    return None
