"""The door: who asks, and may they have it.

Purpose: everything between a connection and the cache. `peer` finds the address that asks,
`credential` reads what it presents, `clients` turns both into a `Principal`, `entitlements`
says what the organisation may pull, and `door` joins the two into a `Grant`, without which the
cache answers nothing, on a hit as on a miss.

Fails closed: what is unknown is refused, and the refusal says whose fault it is and what to do.

Reading: RFC 9110 section 11 (authentication), RFC 7617 (Basic), RFC 6750 (Bearer).
Non-goals: the proxy's own credentials (the upstream room has them), rate limits, sessions,
a token endpoint.
"""
