"""The vendor's platform: which entitlements does the organisation have?

Purpose: one verb, `ask`: every pull token of a library ecosystem in turn, until one is answered.
The API gets a short-lived token of its own audience, never a pull token.

Reading: the platform API in the README's part on entitlements. Non-goals: when to ask and what
to make of silence (`learning`), what the answer means (`known`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

from proxy.access.asking import Asking, Reply
from proxy.access.exchange import Tokens
from proxy.access.known import Answer, read_items
from proxy.errors import PlatformRefused, PlatformSilent
from proxy.model import Subject, SubjectSource

PERMISSION_DENIED = 7  # google.rpc.Code


class Asker(Protocol):
    """Knows whom to ask."""

    def organisations(self) -> frozenset[str]:
        """Those that an answer could be about at present; empty: not known."""
        ...

    async def ask(self) -> Answer:
        """The platform's answer. Raises PlatformRefused, PlatformSilent: there is none."""
        ...


@final
class Platform:
    """Implements `Asker`.

    `url`: the API's base. `ecosystems`: whose pull tokens may ask, in this order. `organisation`
    empty: the one that the identity of the asking pull token belongs to.
    """

    def __init__(  # noqa: PLR0913  # made at one place
        self,
        asking: Asking,
        tokens: Tokens,
        subjects: SubjectSource,
        ecosystems: Sequence[str],
        *,
        url: str,
        organisation: str = "",
    ) -> None:
        self._asking = asking
        self._tokens = tokens
        self._subjects = subjects
        self._ecosystems = tuple(ecosystems)
        self._url = f"{url}/libraries/v1/entitlements"
        self._organisation = organisation

    def organisations(self) -> frozenset[str]:
        """See `Asker.organisations`."""
        if self._organisation:
            return frozenset({self._organisation})
        return frozenset(self._organisation_of(subject) for subject in self._all_subjects())

    async def ask(self) -> Answer:
        """See `Asker.ask`. Silence outweighs a "no": who did not answer might have known."""
        silent: PlatformSilent | None = None
        refused: PlatformRefused | None = None
        unasked: Answer | None = None
        subjects = self._all_subjects()
        if not subjects:
            if any(map(self._subjects.stranger, self._ecosystems)):
                return Answer(self._organisation, may_ask=False)
            raise PlatformRefused("there is no pull token to ask with")
        for subject in subjects:
            try:
                answer = await self._ask_as(subject)
            except PlatformSilent as error:
                silent = error
            except PlatformRefused as error:
                refused = error
            else:
                if answer.may_ask:
                    return answer
                unasked = answer
        if silent is not None:
            raise silent
        if unasked is not None:
            return unasked
        raise refused or PlatformRefused("no pull token was taken")

    def _all_subjects(self) -> list[Subject]:
        found = (self._subjects.subject(ecosystem) for ecosystem in self._ecosystems)
        return list(dict.fromkeys(subject for subject in found if subject is not None))

    def _organisation_of(self, subject: Subject) -> str:
        return self._organisation or subject.identity.rpartition("/")[0]

    async def _ask_as(self, subject: Subject) -> Answer:
        reply = await self._list(subject)
        if reply.status == 401:
            # Its end came early, or it was revoked: the pull token may be good all the same.
            self._tokens.forget(subject)
            reply = await self._list(subject)
        organisation = self._organisation_of(subject)
        if reply.status == 200:
            return Answer(organisation, read_items(reply.data))
        if reply.status == 401:
            self._tokens.forget(subject)
            raise PlatformRefused("the platform does not take the issuer's token")
        if reply.status == 403 and _code(reply) == PERMISSION_DENIED:
            return Answer(organisation, may_ask=False)
        raise PlatformSilent(f"the platform answered {reply.status}")

    async def _list(self, subject: Subject) -> Reply:
        token = await self._tokens.get(subject)
        parameters = {"parent_id": self._organisation_of(subject)}
        return await self._asking.get(self._url, parameters, token)


def _code(reply: Reply) -> object:
    return reply.data.get("code") if isinstance(reply.data, dict) else None
