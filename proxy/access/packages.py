"""Which packages a client is limited to: package URLs by prefix. Pure.

Purpose: one rule for every ecosystem, on package URLs (`pkg:pypi/flask@3.0.3`). A pattern covers
whole segments: `pkg:pypi/flask` covers flask in every version and not flask-login;
`pkg:npm/%40scope`, with or without a slash behind it, covers everything in that scope;
`pkg:pypi/flask@3.0.3` covers that version only; a star at the end (`pkg:pypi/types-*`,
`pkg:pypi/flask@3.*`) covers whatever begins so.

A package URL without a version stands for the documents that list a package: whoever may have one
version may see the list.

Reading: the purl specification. Non-goals: spelling package URLs (`Ecosystem.purl`), qualifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def covers(pattern: str, purl: str) -> bool:
    """Tell whether a pattern covers a package URL. Both are spelt the normal way."""
    if "@" not in purl:
        pattern = pattern.partition("@")[0]
    if pattern.endswith("*"):
        return purl.startswith(pattern[:-1])
    if pattern.endswith("/"):
        return purl.startswith(pattern)
    return purl == pattern or purl.startswith((f"{pattern}/", f"{pattern}@"))


def covered(patterns: Iterable[str], purl: str) -> bool:
    """Tell whether any of the patterns covers a package URL; an empty one is never covered."""
    return bool(purl) and any(covers(pattern, purl) for pattern in patterns)


def may_have(
    patterns: Sequence[str], purl: Callable[[str, str], str]
) -> Callable[[str, str], bool]:
    """Tell of packages and versions whether a client may have them; no patterns: all of them.

    `purl`: spells both as package URL.
    """
    if not patterns:
        return lambda _package, _version: True
    return lambda package, version: covered(patterns, purl(package, version))
