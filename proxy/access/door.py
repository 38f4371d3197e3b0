"""The door before the cache: the only place where a `Grant` is made.

Purpose: join the client's right with the organisation's, for exactly the target that is asked.
The cache demands the grant, so a forgotten check does not pass the type checker; it holds the
entitlement scopes, so a listing of a scope that is not entitled is not consulted either.

Reading: capability objects; design rule "access before cache, always". Non-goals: finding out
who asks (`proxy.access.clients`), remembering decisions (the answers come from memory anyway).
"""

from __future__ import annotations

from typing import assert_never

from proxy.access.entitlements import ALLOWED, Entitlements, Verdict
from proxy.access.packages import covered
from proxy.errors import ClientForbidden, EntitlementUnknown, InternalError, NotEntitled
from proxy.model import (
    PUBLIC,
    ArtifactTarget,
    ChecksumTarget,
    DocumentTarget,
    ForwardTarget,
    Grant,
    Principal,
    StaticTarget,
    Target,
)

_RETRY_AFTER = 60
"""Seconds; the platform is asked again about once a minute."""
_PUBLIC = frozenset((PUBLIC,))


class Door:
    """Lets a request through to the cache, or says why not."""

    def __init__(self, entitlements: Entitlements) -> None:
        self._entitlements = entitlements

    def require(
        self,
        principal: Principal,
        ecosystem: str,
        target: Target,
        all_scopes: frozenset[str],
        purl: str = "",
    ) -> Grant:
        """Give the grant for a target, whatever the method, cached or not.

        `purl`: the package that the target is of or lists; "" where it is of none (a root index).
        `all_scopes`: the scopes of all mounts of the ecosystem; `target.scope` is one of them. An
        artifact that several documents may list needs one of their scopes here, and in the cache
        the scope of the very document that lists it. What the upstream shows to everybody (the
        scope PUBLIC) needs no right but that of coming in: the principal is the proof of it.
        Raises ClientForbidden, NotEntitled, EntitlementUnknown.
        """
        scopes = _scopes_of(target)
        if scopes == _PUBLIC and scopes <= all_scopes:
            return Grant(principal.name, ecosystem, _PUBLIC)
        if principal.ecosystems is not None:
            self._require_client(principal, ecosystem, principal.ecosystems)
        if principal.packages:
            self._require_package(principal, target, purl)
        if not scopes <= all_scopes:
            raise InternalError(f"A path of {ecosystem} has a scope that none of its mounts has.")
        allowed, entitled = self._entitlements.allowed, all_scopes
        for scope in all_scopes:
            if allowed(ecosystem, scope) is not ALLOWED:
                entitled -= {scope}
        if not scopes.isdisjoint(entitled):  # one that is allowed is enough to go and look
            return Grant(principal.name, ecosystem, entitled)
        raise _refusal(target, {allowed(ecosystem, scope) for scope in scopes})

    def entitled(self, ecosystem: str, scope: str) -> bool:
        """Whether the organisation still may, for who passed here a moment ago with the same
        question: everything else that `require` looks at does not change while a client is one."""
        return scope == PUBLIC or self._entitlements.allowed(ecosystem, scope) is ALLOWED

    @staticmethod
    def _require_client(principal: Principal, ecosystem: str, may: frozenset[str]) -> None:
        if ecosystem not in may:
            raise ClientForbidden(
                f"The client {principal.name} of this proxy may not use {ecosystem}; ask the "
                f"proxy's operator to add {ecosystem} to the client's ecosystems."
            )

    @staticmethod
    def _require_package(principal: Principal, target: Target, purl: str) -> None:
        """An index of everything is of no package: a client that is limited may not have it. An
        answer that says nothing (a ping, a redirect to that index) it may."""
        says_nothing = not target.package and _is_neutral(target)
        if says_nothing or covered(principal.packages, purl):
            return
        raise ClientForbidden(
            f"The client {principal.name} of this proxy is limited to certain packages, and"
            f" {purl or 'an index of all packages'} is none of them; ask the proxy's operator."
        )


def _refusal(target: Target, verdicts: set[Verdict]) -> NotEntitled | EntitlementUnknown:
    """Why it is refused where none of the verdicts is one that allows it."""
    if Verdict.UNKNOWN in verdicts:
        return EntitlementUnknown(
            f"Whether the organisation is entitled to {target.scope} could not be found "
            "out: the vendor's platform does not answer the proxy; try again later.",
            retry_after=_RETRY_AFTER,
        )
    return NotEntitled(
        f"The organisation behind this proxy is not entitled to {target.scope}; ask "
        "the proxy's operator, or the vendor, for the entitlement."
    )


def _is_neutral(target: Target) -> bool:
    """Whether nothing is said of packages that the client may not have."""
    match target:
        case StaticTarget():
            return True
        case DocumentTarget():
            return target.neutral
        case ForwardTarget():
            return target.sifted
        case ArtifactTarget() | ChecksumTarget():
            return False
        case _:
            assert_never(target)


def _scopes_of(target: Target) -> set[str]:
    if isinstance(target, ArtifactTarget) and target.listed_in:
        return {listing.scope for listing in target.listed_in}
    return {target.scope}
