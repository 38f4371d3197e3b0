"""Who says what the organisation may use, by the configuration.

Purpose: the static list, the platform, or nobody (the upstream's own 403). Non-goals: asking.
"""

from __future__ import annotations

from proxy.access.asking import Asking
from proxy.access.entitlements import AssumedEntitlements, Entitlements, StaticEntitlements
from proxy.access.memory import Clocks
from proxy.access.wiring import PlatformOptions, ask_platform
from proxy.config import LIBRARIES, Settings
from proxy.upstream.credentials import Credentials


def make_entitlements(
    settings: Settings, credentials: Credentials, asking: Asking, clocks: Clocks
) -> Entitlements:
    """Make the implementation; that of the platform is still to be started."""
    if settings.entitlements.source == "static":
        return StaticEntitlements(settings.entitlements.ecosystems)
    if not asks_platform(settings):
        return AssumedEntitlements()
    options = platform_options(settings)
    return ask_platform(options, credentials, asking, clocks, credentials.subject)


def asks_platform(settings: Settings) -> bool:
    """Whether the platform is asked at all: with "auto" only where somebody could ask it, and
    should."""
    source, known = settings.entitlements.source, settings.upstream.has_platform
    return source == "platform" or (source == "auto" and known and bool(may_ask(settings)))


def may_ask(settings: Settings) -> list[str]:
    """The ecosystems whose pull tokens may ask it."""
    return [name for name in LIBRARIES if name in settings.credentials]


def platform_options(settings: Settings) -> PlatformOptions:
    """How it is asked."""
    given, upstream = settings.entitlements, settings.upstream
    return PlatformOptions(
        issuer=upstream.issuer,
        api=upstream.api,
        ecosystems=may_ask(settings),
        organisation=given.organization,
        directory=settings.cache.directory,
        assume=given.source == "auto",
        refresh=given.refresh,
        grace=given.grace,
        taking_turns=settings.server.workers > 1,
    )
