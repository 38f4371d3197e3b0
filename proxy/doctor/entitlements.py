"""What the organisation may use, by whoever the configuration has say so.

Purpose: the list, asked once; which ecosystems that have a pull token it leaves out. Non-goals:
what becomes of a request (`proxy.access`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from proxy.access.asking import Asking
from proxy.access.known import NAMES, Answer
from proxy.access.memory import Clocks
from proxy.access.wiring import make_platform
from proxy.config import Settings
from proxy.doctor.findings import ALL, Finding, bad, good
from proxy.errors import PlatformRefused, PlatformSilent
from proxy.upstream.credentials import Credentials
from proxy.wiring.entitlements import asks_platform, may_ask, platform_options

CHECK = "entitlement"
_ENTITLE = "Have the vendor entitle the organisation, or take the pull token out of [credentials]."


async def examine(
    settings: Settings,
    served: Collection[str],
    credentials: Credentials,
    asking: Asking,
    clocks: Clocks,
) -> list[Finding]:
    """Ask whom the configuration names; a finding of each ecosystem in `served` that has a pull
    token, or one for all."""
    given, upstream = settings.entitlements, settings.upstream
    told = [name for name in may_ask(settings) if name in served]
    if given.source == "static":
        names = frozenset(NAMES[name] for name in given.ecosystems if name in NAMES)
        return list(_judge(Answer("", ()), told, names, "by [entitlements] ecosystems"))
    if not asks_platform(settings):
        return [good(ALL, CHECK, "nobody is asked: the upstream's own refusals decide")]
    options = platform_options(settings)
    platform = make_platform(options, credentials, asking, clocks, credentials.subject)
    try:
        answer = await platform.ask()
    except PlatformRefused as error:
        fix = 'Renew the pull token; [entitlements] source = "static" does without the platform.'
        return [bad(ALL, CHECK, f"the platform refuses the pull tokens: {error}", fix)]
    except PlatformSilent as error:
        fix = f"Let this machine reach {upstream.issuer} and {upstream.api}."
        return [bad(ALL, CHECK, f"the platform gives no answer: {error}", fix)]
    if answer.may_ask:
        return list(_judge(answer, told, answer.names, "by the platform"))
    return [_may_not_ask(decides=given.source == "platform")]


def _may_not_ask(*, decides: bool) -> Finding:
    """`decides`: there is nobody else who could say what is entitled."""
    if decides:
        fix = 'Use another pull token, or [entitlements] source = "auto" or "static".'
        return bad(ALL, CHECK, "the pull tokens may not ask what is entitled", fix)
    return good(ALL, CHECK, "nobody may ask: the upstream's own refusals decide")


def _judge(
    answer: Answer, asking: Collection[str], names: Collection[str], who: str
) -> Iterator[Finding]:
    of = f"the organisation {answer.organisation}".strip()
    for ecosystem in asking:
        if NAMES[ecosystem] in names:
            yield good(ecosystem, CHECK, f"{of} is entitled to it, {who}")
        else:
            yield bad(ecosystem, CHECK, f"{of} is not entitled to it, {who}", _ENTITLE)
