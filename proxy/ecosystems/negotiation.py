"""Server-driven content negotiation: which of a few representations a client gets.

Purpose: RFC 9110 section 12.5.1 (Accept, quality values, specificity of ranges), bounded: a
header that is longer than anybody needs is treated as absent. Pure.

Non-goals: media type parameters other than `q` (ignored: nothing here has several variants of
one type), other Accept-* headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MAX_ACCEPT = 4096
MAX_RANGES = 64

_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def choose(
    accept: Sequence[str],
    offered: Sequence[str],
    *,
    default: str,
    aliases: Mapping[str, str] | None = None,
) -> str | None:
    """Choose one of `offered`, or None when the client accepts none of them.

    `accept`: every Accept line. `offered`: media types, the server's favourite first. `default`:
    the one for clients that did not say (no Accept, or only `*/*`). `aliases`: further names under
    which a client may ask for an offered type.

    The highest quality wins; then the type that was named most precisely; then the order.
    """
    wanted = qualities(accept, aliases or {})
    if wanted is None:
        return default
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen = None
    for rank, media_type in enumerate(offered):
        quality, precision = _quality(media_type, wanted)
        if precision == 1 and media_type == default:
            rank = -1  # noqa: PLW2901  # nobody named a type: the default before the favourite
        score = (quality, precision, -rank)
        if quality > 0 and (chosen is None or score > best):
            best, chosen = score, media_type
    return chosen


def qualities(lines: Sequence[str], aliases: Mapping[str, str]) -> dict[str, float] | None:
    """Map each media range or coding to its quality, the highest where one is named twice.

    None: nothing is said, or more than anybody has to say.
    """
    line = ",".join(lines)
    if not line.strip() or len(line) > MAX_ACCEPT:
        return None
    ranges: dict[str, float] = {}
    for item in line.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                quality = float(value) if _QUALITY.fullmatch(value.strip()) else 0.0
        name = aliases.get(name.lower(), name.lower())
        ranges[name] = max(quality, ranges.get(name, 0.0))
    return ranges


def _quality(media_type: str, ranges: Mapping[str, float]) -> tuple[float, int]:
    """Tell the quality of a type and how precisely it was named: 3 itself, 2 `type/*`, 1 `*/*`."""
    major = media_type.partition("/")[0]
    for precision, name in ((3, media_type), (2, f"{major}/*"), (1, "*/*")):
        if name in ranges:
            return ranges[name], precision
    return 0.0, 0
