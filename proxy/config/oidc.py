"""The stanzas of [[oidc]]: whose ID tokens are believed, and what they must say.

Purpose: read each stanza and refuse one that would let in more than somebody meant. An audience is
no secret, and with many public issuers the job itself chooses it: without a claim every project of
the world could pull here. So at least one claim has to be named, and not by a bare star.

Reading: OpenID Connect Core section 2; GitHub's and GitLab's guides to ID tokens.
Non-goals: verifying tokens (that is `proxy.access`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.mistakes import Mistakes
from proxy.config.schema import OIDC
from proxy.config.settings import IssuerSettings
from proxy.config.stanzas import Stanza, read_stanzas


def read_issuers(
    stanzas: Sequence[object], file: Path, mistakes: Mistakes
) -> tuple[IssuerSettings, ...]:
    """Read all stanzas; wrong ones are noted and mark `oidc` as broken."""
    before = len(mistakes)
    read = read_stanzas("oidc", OIDC, stanzas, file, mistakes)
    issuers = tuple(_checked(stanza, mistakes) for stanza in read)
    if len(mistakes) > before:
        mistakes.broken.add("oidc")
    return issuers


def _checked(stanza: Stanza, mistakes: Mistakes) -> IssuerSettings:
    issuer = IssuerSettings(**stanza.found)
    for key, value in (("issuer", issuer.issuer), ("audience", issuer.audience)):
        if not value and key not in stanza.broken:
            mistakes.add(f"{stanza.place}.{key}", "is missing")
    if not issuer.ecosystems and "ecosystems" not in stanza.broken:
        mistakes.add(f"{stanza.place}.ecosystems", "is empty: these jobs could use nothing")
    if "claims" not in stanza.broken and all(wanted == "*" for _, wanted in issuer.claims):
        mistakes.add(
            f"{stanza.place}.claims",
            "name no job in particular: everybody who gets a token of this issuer could come in;"
            ' add a claim such as { repository = "my-org/*" }',
        )
    if issuer.name:
        return issuer
    return replace(issuer, name=urlsplit(issuer.issuer).hostname or "oidc")
