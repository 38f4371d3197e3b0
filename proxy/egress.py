"""The way out to the internet, where it leads through a proxy of the organisation.

Purpose: what the rooms that ask somebody need to know of it: its address, and who we are there. A
tunnel (CONNECT) is asked for with it, so what is asked for by https stays between us and the
upstream. Reading: RFC 9110 section 9.3.6. Non-goals: choosing a way by host, reading environment
variables.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.secret import Secret


@dataclass(frozen=True, slots=True)
class Egress:
    """`url`: scheme, host and port. `authorization`: who we are there, as the value of a header
    field; None: it asks for no credential."""

    url: str
    authorization: Secret | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header field that shows who we are, for that proxy alone; none where it asks none."""
        if self.authorization is None:
            return {}
        return {"Proxy-Authorization": self.authorization.reveal()}
