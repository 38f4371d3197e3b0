"""The test origin itself: the vendor's libraries host, registry and object store, in this loop.

Purpose: composition of the parts, and the handle that tests hold. Two loopback addresses, so that
"another host" is really another address. Non-goals: behaviour of any part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self

from tests.origin import apks, jars, modules, nupkgs
from tests.origin.apk import ApkHost
from tests.origin.content import Content
from tests.origin.credentials import Credentials, Pair
from tests.origin.dotnet import DotnetPart
from tests.origin.faults import Fault, FaultBook, FaultHandle
from tests.origin.golang import GoPart
from tests.origin.images import Images
from tests.origin.java import JavaPart
from tests.origin.javascript import JavaScriptPart
from tests.origin.journal import Journal, Received
from tests.origin.libraries import Libraries, Part
from tests.origin.platform import Platform
from tests.origin.python import Fill, PythonPart
from tests.origin.registry import Registry
from tests.origin.settings import Settings
from tests.origin.store import Store
from tests.origin.tarballs import add_tiny
from tests.origin.transmit import Throttle, Transmitter
from tests.origin.wire import Connection, Header, Listener, Request, Response

HOST = "127.0.0.1"
STORE_HOST = "127.0.0.2"
ISSUER_HOST = "127.0.0.3"
API_HOST = "127.0.0.4"
REGISTRY_HOST = "127.0.0.5"
APK_HOST = "127.0.0.6"
COOKIE_CANARY = "canary-cookie-5f0c1d"

Answer = Callable[[Request, Received], Awaitable[Response]]


class Origin:
    """A running look-alike of the upstream. Use it as an asynchronous context manager.

    `settings`, `content`, `throttle.rate` and `credentials` may be changed while it runs. `pair`:
    the pull token made at construction. `platform`: the vendor's issuer and API; its requests are
    counted apart, and only what names one of them (a fault, a listener to close) is about it.
    `javascript`: packuments, advisories and audits of that part.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        content: Content | None = None,
        *,
        port: int = 0,
        store_port: int = 0,
        fill: Fill | None = None,
    ) -> None:
        self.settings = settings or Settings()
        made_up = content is None
        if content is None:
            content = Content((*Content.tiny(), *jars.tiny(), *modules.tiny(), *apks.tiny()))
            nupkgs.add_tiny(content)
        self.content = content.copy()
        if made_up:
            add_tiny(self.content)
        self.journal = Journal()
        self.faults = FaultBook()
        self.throttle = Throttle()
        self.credentials = Credentials(self._now)
        self.pair: Pair = self.credentials.issue()
        store = Store(self.settings, self.journal)
        python = PythonPart(
            self.settings,
            self.content,
            store,
            base=lambda: self.url,
            store_base=lambda: self.store_url,
            fill=fill,
        )
        java = JavaPart(self.settings, self.content, store, store_base=lambda: self.store_url)
        self.javascript = JavaScriptPart(
            self.settings,
            self.content,
            store,
            base=lambda: self.url,
            store_base=lambda: self.store_url,
        )
        go = GoPart(self.settings, self.content, store, store_base=lambda: self.store_url)
        dotnet = DotnetPart(
            self.settings,
            self.content,
            store,
            base=lambda: self.url,
            store_base=lambda: self.store_url,
        )
        parts: list[Part] = [python, java, self.javascript, go, dotnet]
        libraries = Libraries(self.settings, self.credentials, self.journal, parts)
        self.images = Images.tiny()
        self.registry = Registry(
            self.settings,
            self.images,
            self.credentials,
            store,
            self.journal,
            base=lambda: self.registry_url,
            store_base=lambda: self.store_url,
        )
        self.apk = ApkHost(
            *(self.settings, self.content, self.credentials, store, self.journal),
            base=lambda: self.apk_url,
            store_base=lambda: self.store_url,
        )
        self._listeners = {
            "origin": self._listener("origin", HOST, port, libraries.answer),
            "store": self._listener("store", STORE_HOST, store_port, store.answer),
            "registry": self._listener("registry", REGISTRY_HOST, 0, self.registry.answer),
            "apk": self._listener("apk", APK_HOST, 0, self.apk.answer),
        }
        self.platform = Platform(
            self.credentials, self._now, lambda: self._platform_listeners["api"].url
        )
        self.platform.entitle(self.pair)
        platform = self.platform
        self._platform_listeners = {
            "issuer": self._listener("issuer", ISSUER_HOST, 0, platform.issue, platform),
            "api": self._listener("api", API_HOST, 0, platform.answer, platform),
        }

    async def __aenter__(self) -> Self:
        await self.reopen()
        for listener in self._platform_listeners.values():
            await listener.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.faults.clear()
        self.platform.faults.clear()
        for listener in (*self._listeners.values(), *self._platform_listeners.values()):
            await listener.close(keep_port=False)

    @property
    def url(self) -> str:
        """The libraries host: `http://127.0.0.1:PORT`."""
        return self._listeners["origin"].url

    @property
    def store_url(self) -> str:
        """The object store: `http://127.0.0.2:PORT`."""
        return self._listeners["store"].url

    @property
    def registry_url(self) -> str:
        """The registry of images: `http://127.0.0.5:PORT`."""
        return self._listeners["registry"].url

    @property
    def apk_url(self) -> str:
        """The host of apk packages: `http://127.0.0.6:PORT`."""
        return self._listeners["apk"].url

    @property
    def issuer_url(self) -> str:
        """The token exchange: `http://127.0.0.3:PORT`."""
        return self._platform_listeners["issuer"].url

    @property
    def api_url(self) -> str:
        """The platform's API: `http://127.0.0.4:PORT`."""
        return self._platform_listeners["api"].url

    @property
    def username(self) -> str:
        """User name of the pull token."""
        return self.pair.username

    @property
    def password(self) -> str:
        """Password of the pull token."""
        return self.pair.password

    @property
    def log(self) -> list[Received]:
        """Every request, in order."""
        return self.journal.log

    @property
    def violations(self) -> list[str]:
        """Every broken rule, one sentence each."""
        return self.journal.violations + self.platform.journal.violations

    @property
    def body_bytes_sent(self) -> int:
        """Bytes of body sent by all servers; `journal.body_bytes` has them apart."""
        return self.journal.body_bytes.total()

    def count(
        self, method: str | None = None, pattern: str | None = None, server: str | None = None
    ) -> int:
        """Count requests; `pattern` is a regular expression searched in the raw target."""
        return self.journal.count(method, pattern, server)

    def fault(self, server: str | None = None, path: str = "", **what: Any) -> FaultHandle:
        """Put a fault to work (fields: see `faults.Fault`; ready-made ones stand beside it)."""
        book = self.platform.faults if server in self._platform_listeners else self.faults
        return book.add(Fault(server=server, path=path, **what))

    def reset(self) -> None:
        """Forget what was seen; faults, blocks and content stay."""
        self.journal.reset()
        self.platform.journal.reset()

    def block(self, project: str, version: str | None = None) -> None:
        """Block a version (its files answer 403) or, without one, a package (409)."""
        if version is None:
            self.content.blocked_packages.add(project)
        else:
            self.content.blocked_versions.add((project, version))

    def unblock(self, project: str, version: str | None = None) -> None:
        """Undo `block`."""
        if version is None:
            self.content.blocked_packages.discard(project)
        else:
            self.content.blocked_versions.discard((project, version))

    async def close_listener(self, server: str | None = None) -> None:
        """Stop one server, or origin, store, registry and apk: no connection stays, no new one."""
        for listener in self._chosen(server):
            await listener.close()

    async def reopen(self, server: str | None = None) -> None:
        """Start again on the same ports."""
        for listener in self._chosen(server):
            await listener.open()

    def _chosen(self, server: str | None) -> list[Listener]:
        if server is None:
            return list(self._listeners.values())
        return [{**self._listeners, **self._platform_listeners}[server]]

    def _now(self) -> float:
        return self.settings.clock()

    def _common(self) -> tuple[Header, ...]:
        """Headers on every answer: none of them may be forwarded or replayed."""
        cookie = ("Set-Cookie", f"__cf_bm={COOKIE_CANARY}; Path=/; HttpOnly")
        return (
            ("Date", formatdate(self._now(), usegmt=True)),
            ("Server", "cloudflare"),
            *(() if self.settings.pip_friendly else (cookie,)),
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
            ("Alt-Svc", 'h3=":443"; ma=86400'),
        )

    def _listener(
        self,
        server: str,
        host: str,
        port: int,
        answer: Answer,
        apart: Platform | None = None,
    ) -> Listener:
        journal = apart.journal if apart else self.journal
        faults = apart.faults if apart else self.faults
        transmitter = Transmitter(server, self._common, self.throttle, journal.body_bytes)

        async def serve(connection: Connection, request: Request) -> bool:
            received = Received(
                server, request.method, request.target, request.headers, self._now()
            )
            journal.begin(received)
            try:
                handle = faults.pick(server, request.method, request.target)
                ignored = handle is not None and handle.fault.ignore_range
                asked = request.without("range", "if-range") if ignored else request
                response = await answer(asked, received)
                return await transmitter.send(connection, request, response, handle)
            finally:
                journal.end(received)

        return Listener(host, port, serve)
