r"""The test origin: a look-alike of the vendor's upstream on loopback, traps included.

One file for each part: `libraries` (the host: credentials, entitlement), `python` (its indexes and
files), `java` (its Maven repositories; `jars` makes what is in them), `javascript` (its npm
registry), `golang` (its module proxy; `modules` makes what is in it), `dotnet` (its NuGet source;
`nupkgs` makes what is in it), `registry` (the host of
images, with its tokens) and `images`, `apk` (the host of apk packages; `apks` makes them), `store`
(the object store behind all of them, on another address), `platform` (the token exchange and the
API of entitlements, each on another address); shared by all of them `answers`, `content`, `faults`,
`journal`, `credentials`, `settings`; underneath `wire` and `transmit`, an HTTP/1.1 server that sees
raw targets and can misbehave at any byte. It knows nothing of the proxy.

In a test that runs in the event loop::

    async with Origin() as origin:                       # Content.tiny(): made up, no network
        wheel = origin.content.find("alpha-1.0-py3-none-any.whl")
        ...                                              # drive the proxy at origin.url
        assert origin.count("GET", r"alpha-1\.0", "store") == 1
        assert origin.violations == []                   # no HEAD, no leaked header, ...

Faults, without a sleep::

    cut = origin.fault("store", r"alpha", cut_at=100, framing="close")     # RST at byte 100
    slow = origin.fault("store", r"alpha", stall_at=100)
    await slow.reached()                                 # 100 bytes are out, the rest waits
    slow.release()
    origin.fault("origin", r"/simple/", **status(429, Retry_After="5"), times=None)
    await origin.close_listener()                        # the upstream is down
    await origin.reopen()                                # same ports

Content and settings change while it runs: `origin.block("alpha", "1.0")`, `origin.content.drop(f)`,
`.replace_bytes(f, b"...")`, `.synthetic(size=50 << 20)`; `origin.settings.json_index = False`,
`.presign_lifetime = 1`, `.clock = fake`; `origin.credentials.issue()` and `.retire(origin.pair)`;
`origin.throttle.rate = 1e6`.

The vendor's platform stands beside it, at `origin.issuer_url` and `origin.api_url`::

    origin.platform.entitle(origin.pair, "PYTHON", "PYTHON_ATHENA")    # replaces the list
    origin.platform.settings.may_ask = False                           # 403, code 7
    origin.fault("api", **status(503), times=None)                     # also "issuer"
    await origin.close_listener("issuer")
    assert origin.platform.count("GET", server="api") == 1             # counted apart

Real wheels: `real()` (blocking; once through this machine's package client, then from a cache
folder). For a test that drives a program: `with OriginThread(content=real()) as origin`.
By hand: `python -m tests.origin --credentials-out DIR --fill`; see `control` for steering it.
"""

from __future__ import annotations

from tests.origin.content import Artifact, Content
from tests.origin.download import TREE, DownloadFailed, cache_folder, real, tree
from tests.origin.faults import (
    Fault,
    FaultHandle,
    empty,
    garbage,
    header_bomb,
    html_page,
    interim_flood,
    redirect,
    status,
    wrong_bytes,
    wrong_content_range,
)
from tests.origin.journal import Received
from tests.origin.origin import COOKIE_CANARY, Origin
from tests.origin.platform import ALL, PlatformSettings
from tests.origin.settings import Settings
from tests.origin.thread import OriginThread

__all__ = [
    "ALL",
    "COOKIE_CANARY",
    "TREE",
    "Artifact",
    "Content",
    "DownloadFailed",
    "Fault",
    "FaultHandle",
    "Origin",
    "OriginThread",
    "PlatformSettings",
    "Received",
    "Settings",
    "cache_folder",
    "empty",
    "garbage",
    "header_bomb",
    "html_page",
    "interim_flood",
    "real",
    "redirect",
    "status",
    "tree",
    "wrong_bytes",
    "wrong_content_range",
]
