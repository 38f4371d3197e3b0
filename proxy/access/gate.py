"""Who asks: whatever a request shows of its sender, in one question.

Purpose: hold the table of clients and the judge of ID tokens, both replaceable while requests are
served: every request asks anew, so that a client that was removed is refused on its next one, on
a connection that is long open too.

The order: a token that matches a client, else the ID token of a job, else a certificate, else the
network. A credential that matches nobody is 401 even where certificate or network would do.

Reading: the README's part on clients. Non-goals: what somebody may have (`door`).
"""

from __future__ import annotations

from typing import final

from proxy.access.clients import Clients
from proxy.access.credential import Credential
from proxy.access.oidc import Oidc
from proxy.access.peer import Address
from proxy.errors import Unauthenticated
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
        peer: Address,
        *,
        subjects: tuple[str, ...] = (),
        forwarded: bool,
        lenient: bool = False,
    ) -> Principal:
        """Say who asks; see `Clients.identify`. Raises IssuerUnavailable besides."""
        job = await self._job(credential, lenient=lenient) if credential is not None else None
        return self.clients.identify(
            credential, peer, subjects=subjects, job=job, forwarded=forwarded, lenient=lenient
        )

    async def _job(self, credential: Credential, *, lenient: bool) -> Principal | None:
        try:
            return await self._oidc.identify(credential.token)
        except Unauthenticated:
            if lenient:
                return None
            raise
