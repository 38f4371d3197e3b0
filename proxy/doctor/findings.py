"""What the doctor finds: one sentence about one thing, and what to do about it.

Purpose: the word that everybody in this package speaks. Non-goals: printing.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = "-"
"""In the place of an ecosystem, for what concerns all of them."""

CHECKS = (
    *("host", "tls", "clock", "disk-access", "disk-space"),
    *("token", "token-expired", "token-ecosystem", "entitlement"),
    *("document", "object-store", "checksum", "proxy", "stale-cache"),
)
"""Every `check`, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`ecosystem`: which one it is about, or `ALL`; `check`: what was looked at, a word that
    scripts may rely on; `detail`: what is so; `fix`: what to do, empty where `ok`."""

    ecosystem: str
    check: str
    ok: bool
    detail: str
    fix: str = ""


def good(ecosystem: str, check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(ecosystem, check, ok=True, detail=detail)


def bad(ecosystem: str, check: str, detail: str, fix: str) -> Finding:
    """Something is wrong."""
    return Finding(ecosystem, check, ok=False, detail=detail, fix=fix)


def shown(text: str) -> str:
    """A text as a terminal may have it: what others said may hold what steers one, or looks like
    another line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
