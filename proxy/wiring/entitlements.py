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
    given, upstream = settings.entitlements, settings.upstream
    may_ask = [name for name in LIBRARIES if name in settings.credentials]
    if given.source == "static":
        return StaticEntitlements(given.ecosystems)
    if given.source == "auto" and not (may_ask and upstream.has_platform):
        return AssumedEntitlements()  # nobody could ask, or nobody should be asked
    options = PlatformOptions(
        issuer=upstream.issuer,
        api=upstream.api,
        ecosystems=may_ask,
        organisation=given.organization,
        directory=settings.cache.directory,
        assume=given.source == "auto",
        refresh=given.refresh,
        grace=given.grace,
        taking_turns=settings.server.workers > 1,
    )
    return ask_platform(options, credentials, asking, clocks, credentials.subject)
