"""cgr-proxy: the repository manager in front of Chainguard Libraries and Containers.

A request walks through six rooms and never turns back::

     client (pip, uv, ...)
        | GET /files/a1/b2/flask/flask-3.0.3-py3-none-any.whl      (the CLIENT's token, or none)
     +--v---------+ 1 RequestLine, Principal     +-------------+ 2 classify -> Target       (pure)
     |  server    |------------------------------> ecosystem   | 6 rewrite / locate         (pure)
     |            | 7 bytes, Range, HEAD, 304,   +------+------+
     +--^---------+   or render_error            +------v------+ 3 require(who, what) -> Grant:
        |                                        |   access    |   fails closed, before any look-up
        |                                        +------+------+
        |            fresh                       +------v------+ 4 judge(what is held, now)  (pure)
        +----------------------------------------+   cache     |   one flight per key
                                                 +--+-------^--+
                                         5 miss or  |       | commit only when whole and verified
                                         stale   +--v---+ +-+-------+
                                                 | up-  |-> storage |   the pull token joins
                                                 |stream| +---------+   here, by origin; it is
                                                 +------+               dropped at a redirect

The server turns aiohttp's request into a `RequestLine`, access says who asks (a `Principal`); the
ecosystem, pure, says what is asked; access says whether this client may have it, *before* the cache
is looked at, on a hit as on a miss, and gives a `Grant` that the cache demands; the cache judges
freshness, collapses equal requests into one flight and, if it must, asks the upstream, the only
room that speaks to hosts and holds credentials (each ecosystem has one upstream; of container
registries and apk repositories there may be further ones, by alias; one `egress` proxy may stand
before all); storage keeps whole, verified entries under opaque keys. Documents are stored as the
upstream sent them and rewritten on the way out; artifacts are verified and streamed.

Short cuts: a question that was answered less than a second ago is answered before it is parsed
(`server/seam`, `server/hot`), if the rooms say, each time, that all of it still holds
(`server/repeats`): who asks, what the organisation may have, what is held. And who asks, and on
what conditions, is found out once for a burst of requests that differ in their path only
(`server/heading`); what they may have is asked each time. With that, a small artifact that is not
here is fetched without a task that waits for it (`server/prompt`, `server/errand`), and mostly
without one that brings it (`cache/untended`, `upstream/at_once`).

Three kinds of thing, never mixed:

- an *artifact* is immutable bytes with (where the ecosystem has one) a digest. It never expires;
  its right to be served does: a current listing, where there is one, must name it, or one that it
  leads to (`cache/listings`), and the upstream must still give it. Some are made of others
  (`cache/extracts`); a *checksum* is told of the very bytes that clients get (`cache/checksums`).
- a *document* is mutable metadata that lists artifacts. It has a ttl, a validator, a stale window,
  sometimes something that takes its place where the upstream has none (`otherwise`). Large ones
  are rewritten in another process (`cache/worker`), one is too large for that (`cache/bulk`).
- a *decision* is a short-lived refusal, raised as an error of `proxy.errors`. "I could not ask" is
  never a 404.

What is neither: answers known beforehand (a ping, a redirect), and the few calls that are passed on
and never kept (`server/passing`, `cache/forwards`). Both have access before them like all others.

Who may import whom, strictly downward (checked by import-linter)::

    cli -> workers -> app | doctor -> wiring -> live -> reloads -> server -> cache
        -> upstream | storage | access -> ecosystems -> model -> errors

`app` alone, with `wiring` (makes the rooms from the settings), `live` (takes anew what may change
meanwhile) and `reloads` (reads it), knows everybody; `workers` are several of it, in processes of
their own, with a supervisor; `doctor` looks at all that they depend on; `config` is known to
these and `cli` only; `observe` (logs, metrics) is a leaf for every room but the pure ones.
`ecosystems`, `model`, `errors`, `server.canonical` and, in `cache`, the modules that decide are
pure: no clock, no I/O, no loop, no randomness.

Where to begin reading: `errors` and `model` (the words), `ecosystems/base` (the contract of a
protocol), `server/handler` (the walk), `cache/documents`, `cache/artifacts`, `cache/rights`,
`cache/short` and `cache/untended` (the way of most misses) and `cache/download` (the engine).
"""

__version__ = "0.1.0"
