"""The simple repository API as plain values, and the checks that every link has to pass.

Purpose: `ProjectPage` and `File` hold all that PEP 503, 592, 629, 658, 691, 700,
708, 714, 740 and 792 define, whatever representation it came in. A reader makes a `File` as the
page says; only what `checked` returns goes into a page, so that there every one has an absolute,
checked URL and checked hashes.

A file is dropped, never passed on, when its URL cannot be what an index may name (another scheme,
credentials in it, a downgrade from https), when its name is no distribution's or not one of this
project's, and when it promises a hash that nobody could check. Which *hosts* are allowed is not
known here: `allowed` is asked by who has the rules.

Reading: the simple repository API specification. Non-goals: reading bytes (`simple_html`,
`simple_json`), deciding what clients get (`python`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from proxy.ecosystems.distribution import belongs, is_distribution
from proxy.errors import InvalidDigest
from proxy.model import HEX_LENGTHS, Algorithm, Digest, HostRules

NEWEST_MINOR = 4
"""The newest minor version of the API whose fields are understood (PEP 792)."""

_STRENGTH: Final[tuple[Algorithm, ...]] = ("sha256", "sha512", "sha384", "sha1", "md5")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[!-\[\]-~]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_HEX = re.compile(r"[0-9a-fA-F]+")
# An absolute path of segments that begin with a letter or a digit (no "..", no "//"), and perhaps a
# fragment.
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9._~!$'()*+,=:@%-]*)+(?:#[A-Za-z0-9=&._-]+)?")
# Control characters, line separators and noncharacters: HTML cannot hold them, not even escaped.
_NONCHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (65534, 65535))
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufdd0-\ufdef{_NONCHARACTERS}]")
_ALGORITHM = re.compile(r"(?:md5|sha1|sha224|sha256|sha384|sha512|sha3_[0-9]+|blake2[bs])")


@dataclass(frozen=True, slots=True)
class File:
    """One distribution of a project page.

    `url`: absolute, without fragment, as the upstream spells it. `hashes`: algorithm to lower-case
    hex, each checked; not empty means that at least one can be verified. `yanked`: a reason or
    whether. `core_metadata`: hashes of the `.metadata` companion, or whether there is one, or None
    where nothing is said. `size` in bytes. `extra`: keys of the JSON form that no PEP names.
    """

    filename: str
    url: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    requires_python: str | None = None
    yanked: bool | str = False
    core_metadata: bool | Mapping[str, str] | None = None
    size: int | None = None
    upload_time: str | None = None
    gpg_sig: bool | None = None
    provenance: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def digest(self) -> Digest | None:
        """The digest to verify the file with."""
        return strongest(self.hashes)


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """The page of one project. `name` is normalised; `versions` None: not said (before 1.1).

    `minor`: the minor version of the API that the upstream declares. `status`: PEP 792.
    `tracks`, `alternate_locations`: PEP 708. `extra`, `meta`: further keys of the JSON form.
    """

    name: str
    files: tuple[File, ...]
    versions: tuple[str, ...] | None = None
    minor: int = 0
    status: str | None = None
    status_reason: str | None = None
    tracks: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


def checked(raw: File, project: str, base: str) -> File | None:
    """Check a file as the page of `project` (normalised) at the URL `base` names it.

    `raw.url` may be relative and hold a fragment; an empty `raw.filename` means the URL's.
    None: the file must not be passed on.
    """
    link = resolve(base, raw.url)
    if link is None:
        return None
    url, fragment = link
    filename = raw.filename or last_segment(url)
    if not is_distribution(filename) or not belongs(filename, project):
        return None
    hashes = checked_hashes({**_fragment_hashes(fragment), **raw.hashes})
    if hashes is None:
        return None
    return replace(
        raw,
        filename=filename,
        url=url,
        hashes=hashes,
        requires_python=None if raw.requires_python is None else visible(raw.requires_python),
        yanked=_yanked(raw.yanked),
        core_metadata=_core_metadata(raw.core_metadata),
    )


def resolve(base: str, href: str) -> tuple[str, str] | None:
    """Make a link absolute: its URL without fragment, and the fragment; None: not to be used.

    An absolute link stays byte for byte as it is: it may be signed.
    """
    href = href.strip(" \t\r\n\f")
    if not _VISIBLE.fullmatch(href):
        return None
    here = site(base)
    try:
        if here and _PLAIN_PATH.fullmatch(href):
            absolute = here[:-1] + href  # what `urljoin` makes of it, which takes ten times as long
        elif href.lower().startswith(("http://", "https://")):
            absolute = href
        else:
            absolute = urljoin(base, href)
        if not absolute.startswith(here or " "):  # as nearly all do
            there = origin(urlsplit(absolute))
            if there is None or (there[0] == "http" and base.lower().startswith("https:")):
                return None
    except ValueError:
        return None
    url, _, fragment = absolute.partition("#")
    return url, fragment


@lru_cache(maxsize=64)  # asked for each link of a document
def site(base: str) -> str:
    """Scheme and host of a document's URL as they stand there, and the slash behind them: what
    begins so is on its origin. "" where it has none."""
    split = urlsplit(base)
    start = f"{split.scheme}://{split.netloc}/"
    try:
        return start if base.startswith(start) and origin(split) is not None else ""
    except ValueError:
        return ""


def origin(split: SplitResult) -> tuple[str, str, int] | None:
    """Give scheme, host and port of a URL; None for what is no plain http or https URL.

    Raises ValueError for a port that is none.
    """
    host = split.netloc.rpartition(":")[0] if split.port is not None else split.netloc
    if split.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host):
        return None
    return split.scheme, host.lower(), split.port or _DEFAULT_PORTS[split.scheme]


def allowed(url: str, base: str, hosts: HostRules) -> bool:
    """Tell whether a checked URL is on the document's own origin or on a host that rules allow."""
    if (near := site(base)) and url.startswith(near):
        return True
    there, here = origin(urlsplit(url)), origin(urlsplit(base))
    if there is None:
        return False
    return there == here or hosts.allows(there[1], there[2], _DEFAULT_PORTS[there[0]])


def last_segment(url: str) -> str:
    """Give the last segment of a URL's path, decoded; "" where it is no text."""
    try:
        return unquote(urlsplit(url).path.rpartition("/")[2], errors="strict")
    except UnicodeDecodeError:
        return ""


def checked_hashes(raw: Mapping[str, str]) -> dict[str, str] | None:
    """Check hashes and fold their case; None when one is wrong or none of them can be verified."""
    hashes: dict[str, str] = {}
    for name, value in raw.items():
        if name in HEX_LENGTHS:
            try:
                hashes[name] = Digest.of(name, value).hex
            except InvalidDigest:
                return None
        elif _HEX.fullmatch(value):
            hashes[name] = value.lower()
        else:
            return None
    return hashes if not hashes or strongest(hashes) else None


def strongest(hashes: Mapping[str, str]) -> Digest | None:
    """Give the digest to verify with: sha256 first, which every client can compare.

    `hashes`: as `checked_hashes` gives them.
    """
    for name in _STRENGTH:
        if name in hashes:
            return Digest(name, hashes[name])
    return None


def visible(text: str) -> str:
    """Put a space for every character that no page may hold: controls but tab and newline."""
    return _CONTROL.sub(" ", text)


def _fragment_hashes(fragment: str) -> dict[str, str]:
    """Read `sha256=...` of a fragment; other words in it (`egg=...`) are no hashes."""
    pairs = (part.partition("=") for part in fragment.split("&"))
    return {name: value for name, _, value in pairs if _ALGORITHM.fullmatch(name)}


def _core_metadata(value: bool | Mapping[str, str] | None) -> bool | Mapping[str, str] | None:  # noqa: FBT001  # the field's own type
    if not isinstance(value, Mapping):
        return value
    # An announcement whose hash cannot be checked is withdrawn: clients then read the wheel.
    return checked_hashes(value) or None


def _yanked(value: bool | str) -> bool | str:  # noqa: FBT001  # the field's own type
    """An empty reason is a reason: what somebody yanked must never look as if it were not."""
    return (visible(value) or True) if isinstance(value, str) else value
