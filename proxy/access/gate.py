"""Who asks: whatever a request shows of its sender, in one question.

Purpose: hold the table of clients and the judge of ID tokens, both replaceable while requests are
served: every request asks anew, so that a client that was removed is refused on its next one, on
a connection that is long open too.

The order: a token that matches a client, else the ID token of a job, else a certificate, else the
network. A credential that matches nobody, or cannot be read, is 401 even where certificate or
network would do, unless the path is a lenient one (see `Clients`).

Reading: the README's part on clients. Non-goals: what somebody may have (`door`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from proxy.access.clients import Clients
from proxy.access.credential import Credential, parse_authorization
from proxy.access.oidc import Oidc
from proxy.access.peer import Address
from proxy.errors import AccessError, IssuerUnavailable, Unauthenticated
from proxy.model import Principal


@final
class Gate:
    """Finds the principal of a request. `clients` may be replaced at any time."""

    def __init__(self, clients: Clients, oidc: Oidc) -> None:
        self.clients = clients
        self._oidc = oidc

    async def identify(
        self,
        authorization: Sequence[str],
        peer: Address | None,
        *,
        subjects: tuple[str, ...] = (),
        forwarded: bool,
        lenient: bool = False,
    ) -> Principal:
        """Say who asks; see `Clients.identify`.

        `authorization`: the values of all Authorization lines. Raises what `parse_authorization`
        and `Clients.identify` do, and IssuerUnavailable. Where it is `lenient` only if nothing
        else names somebody either; then the first of these reasons is the one that is told.
        """
        credential: Credential | None = None
        job: Principal | None = None
        reason: AccessError | None = None
        try:
            credential = parse_authorization(authorization)
            if credential is not None and self._may_be_job(credential, peer, subjects):
                job = await self._oidc.identify(credential.token)
        except (Unauthenticated, IssuerUnavailable) as error:
            if not lenient:
                raise
            reason = error
        try:
            return self.clients.identify(
                credential, peer, subjects=subjects, job=job, forwarded=forwarded, lenient=lenient
            )
        except Unauthenticated:
            if reason is not None:
                raise reason from None
            raise

    def _may_be_job(
        self, credential: Credential, peer: Address | None, subjects: tuple[str, ...]
    ) -> bool:
        """Tell whether to judge an ID token: not one that a client was given as its token."""
        if not self._oidc.concerns(credential.token):
            return False
        return not self.clients.holds_token(credential, peer, subjects)
