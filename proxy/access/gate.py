"""Who asks: whatever a request shows of its sender, in one question.

Purpose: hold the table of clients and the judge of ID tokens, both replaceable while requests are
served: every request asks anew, so that a client that was removed is refused on its next one, on
a connection that is long open too.

The order: a token that matches a client, else the ID token of a job, else a certificate, else the
network. A credential that matches nobody is 401 even where certificate or network would do. An
issuer that is away stands only in the way of those whom nothing else names.

Reading: the README's part on clients. Non-goals: what somebody may have (`door`).
"""

from __future__ import annotations

from typing import final

from proxy.access.clients import Clients
from proxy.access.credential import Credential
from proxy.access.oidc import Oidc
from proxy.access.peer import Address
from proxy.errors import IssuerUnavailable, Unauthenticated
from proxy.model import Principal


@final
class Gate:
    """Finds the principal of a request. `clients` may be replaced at any time."""

    def __init__(self, clients: Clients, oidc: Oidc) -> None:
        self.clients = clients
        self._oidc = oidc

    async def identify(
        self,
        credential: Credential | None,
        peer: Address | None,
        *,
        subjects: tuple[str, ...] = (),
        forwarded: bool,
        lenient: bool = False,
    ) -> Principal:
        """Say who asks; see `Clients.identify`. Raises IssuerUnavailable besides."""
        job, unjudged = None, None
        if credential is not None and self._may_be_job(credential, peer, subjects):
            try:
                job = await self._oidc.identify(credential.token)
            except Unauthenticated:
                if not lenient:
                    raise
            except IssuerUnavailable as error:
                if not lenient:
                    raise
                unjudged = error
        try:
            return self.clients.identify(
                credential, peer, subjects=subjects, job=job, forwarded=forwarded, lenient=lenient
            )
        except Unauthenticated:
            if unjudged is not None:
                # Whose it is could not be found out, and nothing else is enough: no 401.
                raise unjudged from None
            raise

    def _may_be_job(
        self, credential: Credential, peer: Address | None, subjects: tuple[str, ...]
    ) -> bool:
        """Tell whether to judge an ID token: not one that a client was given as its token."""
        if not self._oidc.concerns(credential.token):
            return False
        return not self.clients.holds_token(credential, peer, subjects)
