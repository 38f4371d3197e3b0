"""The doctor: asks everything that the proxy depends on, and says what is wrong and what mends it.

Purpose: what fails in front of the vendor's hosts fails in a few well-known ways: the object store
is blocked, TLS is looked into, a pull token has ended or is another ecosystem's, a cache or a clock
is behind, a disk is full. Each is a finding of its own, with its cause and what to do.

- `findings`: the words; `report` prints them.
- `hosts`: a host, from its name to the date that it tells.
- `tokens`: pull tokens as they stand in their files.
- `trial`: an ecosystem tried out: a document, an artifact by way of the object store, its digest.
- `visit`: the same artifact from the running proxy.
- `entitlements`, `disk`: what their names say.
- `rounds`: all of that at the same time.

The upstream is asked through the proxy's own room (`proxy.upstream`), so what is found is what
would happen to the proxy. Never by HEAD: object stores sign for one method only.

Reading: the vendor's troubleshooting pages. Non-goals: mending anything; writing to the cache.
"""
