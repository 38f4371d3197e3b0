"""Which credential belongs to which ecosystem: one source each, or none; two live ones in the file.

Purpose: judge the credential keys, then seek in this order: the ecosystem's own keys, files named
`<ecosystem>-username` and `<ecosystem>-password` in `$CREDENTIALS_DIRECTORY` (systemd), the
variables `CHAINGUARD_<ECOSYSTEM>_IDENTITY_ID` and `CHAINGUARD_<ECOSYSTEM>_TOKEN`, and at last
[credentials.default]. The first that is there is the one, complete or not: half a pair is a
mistake and never a reason to go on with another token.

Reading: systemd.exec(5), LoadCredential. Non-goals: reading the files (the upstream room does,
each time they change), judging a token.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.config import values
from proxy.config.mistakes import Mistakes
from proxy.config.schema import CREDENTIAL, DEFAULT_CREDENTIAL, credential_section
from proxy.config.settings import ECOSYSTEMS, MAX_LIVE, CredentialSettings
from proxy.secret import Secret

_KEYLESS = frozenset({"identity", "identity_token_file"})


def resolve(
    read: Mapping[str, Any],
    places: Mapping[str, str],
    environ: Mapping[str, str],
    mistakes: Mistakes,
) -> Mapping[str, tuple[CredentialSettings, ...]]:
    """Choose the source of each ecosystem; ecosystems without one are left out.

    `read`: parsed values by dotted name; `places`: where each was given. Mistakes are noted, not
    raised.
    """
    default = _all_configured(DEFAULT_CREDENTIAL, read, places, mistakes)
    chosen: dict[str, tuple[CredentialSettings, ...]] = {}
    for ecosystem in ECOSYSTEMS:
        if configured := _all_configured(ecosystem, read, places, mistakes):
            chosen[ecosystem] = configured
        elif found := (
            _from_directory(ecosystem, environ, mistakes)
            or _from_variables(ecosystem, environ, mistakes)
        ):
            chosen[ecosystem] = (found,)
        elif default:
            chosen[ecosystem] = default
    return MappingProxyType(chosen)


def _all_configured(
    owner: str, read: Mapping[str, Any], places: Mapping[str, str], mistakes: Mistakes
) -> tuple[CredentialSettings, ...]:
    sections = (credential_section(owner, number) for number in range(MAX_LIVE))
    found = (_configured(section, read, places, mistakes) for section in sections)
    return tuple(one for one in found if one is not None)


def _configured(
    section: str, read: Mapping[str, Any], places: Mapping[str, str], mistakes: Mistakes
) -> CredentialSettings | None:
    """Take the keys of one section; None where none of them is set."""
    names = {key.name: f"{section}.{key.name}" for key in CREDENTIAL}
    found = {key: read[name] for key, name in names.items() if read[name]}
    broken = mistakes.broken.intersection(names.values())
    if not found and not broken:
        return None
    first = next(names[key] for key in names if key in found or names[key] in broken)
    place = places.get(first, section)
    if not broken and (wrong := mismatch(frozenset(found))):
        mistakes.add(place, wrong)
    # In the file the section is the source; the mistake above names the key.
    return CredentialSettings(source=place.removesuffix(f".{first.rpartition('.')[2]}"), **found)


def mismatch(keys: frozenset[str]) -> str:
    """Say what is wrong with a choice of keys; empty when they make one pair."""
    for whole in ("pair_file", "docker_config", "netrc"):
        if whole in keys:
            both = f"{whole} holds both halves: remove the other keys of this section"
            return both if len(keys) > 1 else ""
    if keys & _KEYLESS:
        return _keyless_mismatch(keys)
    if {"username", "username_file"} <= keys:
        return "username and username_file are both given: remove one"
    if "password_file" not in keys:
        return "the other half is missing: add password_file"
    if keys == {"password_file"}:
        return "the other half is missing: add username or username_file"
    return ""


def _keyless_mismatch(keys: frozenset[str]) -> str:
    if keys - _KEYLESS:
        return "an assumed identity needs no pull token: remove the other keys of this section"
    missing = next(iter(_KEYLESS - keys), "")
    return f"the other half is missing: add {missing}" if missing else ""


def _from_directory(
    ecosystem: str, environ: Mapping[str, str], mistakes: Mistakes
) -> CredentialSettings | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    user = Path(directory, f"{ecosystem}-username").absolute()
    password = Path(directory, f"{ecosystem}-password").absolute()
    there = [path for path in (user, password) if os.path.exists(path)]  # noqa: PTH110  # see below
    # Path.exists raises PermissionError before Python 3.14; what we may not see is not there.
    if not there:
        return None
    place = "environment:CREDENTIALS_DIRECTORY"
    if len(there) == 1:
        missing = password if there == [user] else user
        mistakes.add(place, f"{missing.name} is missing beside {there[0].name}")
    return CredentialSettings(
        source=f"{place}/{ecosystem}", username_file=user, password_file=password
    )


def _from_variables(
    ecosystem: str, environ: Mapping[str, str], mistakes: Mistakes
) -> CredentialSettings | None:
    names = [f"CHAINGUARD_{ecosystem.upper()}_{half}" for half in ("IDENTITY_ID", "TOKEN")]
    # Files that are turned into variables often keep the newline at their end.
    user, token = (environ.get(name, "").strip() for name in names)
    if not user and not token:
        return None
    place = f"environment:{names[0]}"
    if not user or not token:
        given, missing = names if user else names[::-1]
        mistakes.add(f"environment:{given}", f"{missing} is missing beside it")
    if not values.is_visible(token):
        mistakes.add(f"environment:{names[1]}", "a token is one word of visible ASCII")
    try:
        values.username(user)
    except ValueError as error:
        mistakes.add(place, str(error))
    return CredentialSettings(source=place, username=user, password=Secret(token))
