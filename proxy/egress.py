"""The way out to the internet, where it leads through a proxy of the organisation.

Purpose: what the rooms that ask somebody need to know of it: its address, and who we are there. A
tunnel (CONNECT) is asked for with it, so what is asked for by https stays between us and the
upstream. Reading: RFC 9110 section 9.3.6. Non-goals: choosing a way by host, reading environment
variables.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from proxy.secret import Secret


@dataclass(frozen=True, slots=True)
class Egress:
    """`url`: scheme, host and port. `password` None: it asks for no credential."""

    url: str
    username: str = ""
    password: Secret | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header field that shows who we are, for that proxy alone; none where it asks none."""
        if self.password is None:
            return {}
        raw = f"{self.username}:{self.password.reveal()}".encode()
        return {"Proxy-Authorization": f"Basic {base64.b64encode(raw).decode('ascii')}"}
