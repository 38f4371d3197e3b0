"""Entitlements from their settings: which implementation, made of which parts.

Purpose: the parts of this room that ask the platform are put together here, so that the composition
root only hands over values. Non-goals: reading settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.access.asking import Asking
from proxy.access.entitlements import Verdict
from proxy.access.exchange import Issuer, PullTokens, Tokens
from proxy.access.learning import PlatformEntitlements, Terms
from proxy.access.memory import Clocks, Memory
from proxy.access.platform import Platform
from proxy.access.turn import Turn
from proxy.model import Subject, TokenExchange, TokenSource


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """`issuer`, `api`: base URLs. `ecosystems`: whose pull tokens may ask. `directory`: where the
    last answer is kept. `assume`: where we may not ask, the upstream's own refusals decide.
    `refresh`, `grace` in seconds. `taking_turns`: several processes share that directory."""

    issuer: str
    api: str
    ecosystems: Sequence[str]
    organisation: str
    directory: Path
    assume: bool
    refresh: float
    grace: float
    taking_turns: bool = False


def token_exchange(issuer: str, asking: Asking, clocks: Clocks) -> TokenExchange:
    """Make what gets tokens of any audience from the issuer, given its base URL."""
    return Issuer(asking, issuer, wall=clocks.wall)


def make_platform(
    options: PlatformOptions,
    tokens: TokenSource,
    asking: Asking,
    clocks: Clocks,
    assumed: Callable[[str], Subject | None] | None = None,
) -> Platform:
    """Make what asks the platform. `assumed`: see `PullTokens`."""
    issuer = Issuer(asking, options.issuer, wall=clocks.wall)
    return Platform(
        asking,
        Tokens(issuer, options.api, clocks.steady),
        PullTokens(tokens, assumed),
        options.ecosystems,
        url=options.api,
        organisation=options.organisation,
    )


def ask_platform(
    options: PlatformOptions,
    tokens: TokenSource,
    asking: Asking,
    clocks: Clocks,
    assumed: Callable[[str], Subject | None] | None = None,
) -> PlatformEntitlements:
    """Make the entitlements that the platform knows; `start` them. `assumed`: see `PullTokens`."""
    platform = make_platform(options, tokens, asking, clocks, assumed)
    unasked = Verdict.ALLOWED if options.assume else Verdict.UNKNOWN
    terms = Terms(options.refresh, options.grace, unasked)
    memory = Memory(options.directory, options.api, clocks)
    turn = Turn(options.directory) if options.taking_turns else None
    return PlatformEntitlements(platform, memory, terms, clocks, turn)
