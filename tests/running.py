r"""A running proxy for tests: in this event loop, or as a process of its own.

In the event loop, with an `Origin` behind it (the usual way: fast, its rooms within reach)::

    async with Origin() as origin, running(tmp_path, origin) as proxy:
        page = await proxy.get("/python/simple/alpha/", accept="text/html")
        assert (page.status, page.cache) == (200, "cgr-proxy; fwd=miss; stored")
        assert origin.count("GET", "/simple/") == 1
        proxy.clock.advance(301)                     # seconds; documents are stale now
        raw = await proxy.send(b"GET / HTTP/1.1\r\n\r\n")          # bytes as they are, to the end

As a process, with an `OriginThread` behind it (signals, real clients, exit codes)::

    with OriginThread() as origin, process(tmp_path, origin) as proxy:
        assert proxy.get("/healthz").status == 200
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0

Both take the configuration as nested tables over working defaults, checked by the real loader::

    running(tmp_path, origin, {"cache": {"document_ttl": "1s"}, "clients": [client("a", "python")]})

`client(name, *ecosystems)` makes a stanza whose token is `token(name)`; `basic(...)` and
`bearer(...)` make Authorization values. The origin's pull token is configured for all ecosystems;
`credentials={"python": pair, "java": other}` says otherwise, `credentials={}` none.

What a proxy has said is in `proxy.messages()` (log records), `proxy.access()` (access lines; both
as dictionaries) and `proxy.received` (every byte that a client of this module got).

At the end of the block two things must hold, whatever the test is about: no secret of the origin is
in any of that, nor in the cache folder (`proxy.leaks()`); no traceback is in the log (`tracebacks=
True` allows them). So a test need not ask, but its failures may come from there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, quote_plus, urlsplit

from proxy.access.memory import steady_seconds
from proxy.app import App
from proxy.config import load
from proxy.observe.logs import start_logs
from proxy.upstream.tls import client_context
from tests.origin import COOKIE_CANARY

TOP = Path(__file__).resolve().parent.parent
LIMIT = 30.0  # seconds that any single wait in this module may take
Tables = Mapping[str, Any]


class Upstream(Protocol):
    """What an `Origin` and an `OriginThread` have in common."""

    @property
    def url(self) -> str: ...

    @property
    def store_url(self) -> str: ...

    @property
    def registry_url(self) -> str: ...

    @property
    def username(self) -> str: ...

    @property
    def password(self) -> str: ...


# --- what a client sends and gets -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `complete`: the body has the length that its framing promises."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    version: int
    complete: bool = True

    def header(self, name: str) -> str | None:
        """The only value of a field, or None. Fails when it was sent twice."""
        values = self.all(name)
        assert len(values) < 2, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def cache(self) -> str | None:
        """The Cache-Status."""
        return self.header("Cache-Status")

    @property
    def sha256(self) -> str:
        """Of the body."""
        return hashlib.sha256(self.body).hexdigest()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request_bytes(
    method: str, target: str, host: str, fields: Mapping[str, str], *, close: bool = True
) -> bytes:
    """A request as bytes. `fields`: `_` in a name stands for `-`; `host` may be among them."""
    names = {name.replace("_", "-").lower(): value for name, value in fields.items()}
    names = {"host": host, **({"connection": "close"} if close else {}), **names}
    lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in names.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answers(raw: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """Every answer in a stream of them. `methods`: of the requests; GET where not given."""
    stream = _Stream(raw)
    found: list[Answer] = []
    while stream.tell() < len(raw):
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        response = http.client.HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        response.begin()
        complete = True
        try:
            body = response.read()
        except http.client.IncompleteRead as error:
            body, complete = error.partial, False
        fields = tuple(response.getheaders())
        reason, version = response.reason, response.version
        found.append(Answer(response.status, reason, fields, body, version, complete))
    return found


class _Stream(io.BytesIO):
    """Bytes that pass for a socket and that `http.client` does not close."""

    def makefile(self, _mode: str) -> _Stream:
        return self

    def close(self) -> None:
        pass


def samples(exposition: bytes) -> dict[str, float]:
    """Every sample of what /metrics shows, by name and labels as spelt there."""
    text = exposition.decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


# --- configuration ----------------------------------------------------------------------------


def token(name: str) -> str:
    """The token of a test client."""
    return f"cgrp_{hashlib.sha256(name.encode()).hexdigest()[:43]}"


def client(name: str, *ecosystems: str, networks: Sequence[str] = ()) -> dict[str, Any]:
    """A `[[clients]]` stanza; with `networks` it is one of a network and has no token."""
    hashed = f"sha256:{hashlib.sha256(token(name).encode()).hexdigest()}"
    who = {"networks": list(networks)} if networks else {"token_hashes": [hashed]}
    return {"name": name, "ecosystems": list(ecosystems), **who}


def basic(password: str, username: str = "user") -> str:
    """An Authorization value."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def bearer(value: str) -> str:
    """An Authorization value."""
    return f"Bearer {value}"


def configuration(
    folder: Path,
    origin: Upstream,
    tables: Tables | None = None,
    credentials: Mapping[str, tuple[str, str]] | None = None,
) -> Path:
    """Write a configuration file, and the pull tokens that it names, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {"default": (origin.username, origin.password)} if credentials is None else credentials
    for name, pair in pairs.items():
        (folder / f"{name}.pair").write_text("\n".join(pair) + "\n", encoding="utf-8")
    given: dict[str, Any] = {
        "server": {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"},
        "cache": {"directory": str(folder / "cache")},
        "upstream": {
            "libraries": origin.url,
            "registry": origin.registry_url,
            # Only the whole look-alike has a host of its own for them.
            "apk": getattr(origin, "apk_url", origin.url),
            "redirect_hosts": [urlsplit(origin.store_url).netloc],
            "allow_networks": ["127.0.0.0/8"],
            "allow_insecure": True,
        },
        "credentials": {name: {"pair_file": str(folder / f"{name}.pair")} for name in pairs},
        "log": {"format": "json", "level": "debug"},
    }
    for name, table in (tables or {}).items():
        given[name] = {**given.get(name, {}), **table} if isinstance(table, Mapping) else table
    file = folder / "cgr-proxy.toml"
    file.write_text(_toml(given), encoding="utf-8")
    return file


def _toml(tables: Tables) -> str:
    def value(item: Any) -> str:
        if isinstance(item, Mapping):
            return "{" + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + "}"
        if isinstance(item, (list, tuple)):
            return "[" + ", ".join(map(value, item)) + "]"
        return json.dumps(item)  # texts, numbers and booleans are spelt alike

    sections = []
    for name, table in tables.items():
        if isinstance(table, Mapping):
            sections.append(
                "\n".join([f"[{name}]", *(f"{k} = {value(v)}" for k, v in table.items())])
            )
    arrays = [
        f"{name} = {value(item)}" for name, item in tables.items() if not isinstance(item, Mapping)
    ]
    return "\n\n".join([*arrays, *sections]) + "\n"


# --- what every running proxy has said ---------------------------------------------------------


class Evidence:
    """What came out of one proxy, and whether a secret is in it."""

    def __init__(self, origin: Upstream, folder: Path) -> None:
        self.folder = folder
        self.received: list[bytes] = []
        self._secrets = list(secrets_of(origin.username, origin.password))

    def log_bytes(self) -> bytes:
        """The log so far."""
        raise NotImplementedError

    def keep_secret(self, *values: str) -> None:
        """Add values to what must appear nowhere (a second pull token, a pre-signed signature)."""
        self._secrets += [value.encode() for value in values]

    def records(self) -> list[dict[str, Any]]:
        """Every log line as a dictionary. Fails on a line that is not JSON, and leaves out what a
        process that still runs has half written."""
        whole, _, _ = self.log_bytes().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()]

    def messages(self) -> list[dict[str, Any]]:
        """The log without the access lines."""
        return [record for record in self.records() if record["logger"] != "access"]

    def access(self) -> list[dict[str, Any]]:
        """The access lines."""
        return [record for record in self.records() if record["logger"] == "access"]

    def stored(self) -> list[Path]:
        """The entries of the cache: one metadata file each."""
        entries = self.folder / "cache" / "v2" / "entries"
        return sorted(path for path in entries.rglob("*") if path.is_file())

    def leaks(self) -> list[str]:
        """Where a secret is: the log, a client's bytes, a file of the cache."""
        places = {"log": self.log_bytes(), "answers": b"\0".join(self.received)}
        for path in (self.folder / "cache").rglob("*"):
            # Files come and go while the proxy runs: the index's journal, a flight.
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_size <= 1 << 20:
                    places[str(path.relative_to(self.folder))] = path.read_bytes()
        return [
            f"{secret!r} in {place}"
            for place, data in places.items()
            for secret in self._secrets
            if secret in data
        ]

    def check(self, *, tracebacks: bool) -> None:
        """Fail on a leak, and on a traceback unless they are allowed."""
        assert self.leaks() == []
        assert tracebacks or b"Traceback" not in self.log_bytes(), self.log_bytes().decode()


def secrets_of(username: str, password: str) -> Iterator[bytes]:
    """A pull token in every form in which it could show."""
    pair = f"{username}:{password}".encode()
    yield from (base64.b64encode(pair), base64.urlsafe_b64encode(pair), COOKIE_CANARY.encode())
    # The middle of the pair's base64 without the user name in front.
    yield from (base64.b64encode(bytes(pad) + password.encode())[4:-4] for pad in range(3))
    for form in (password, quote(password, safe=""), quote_plus(password)):
        yield form.encode()
    yield from (part.encode() for part in password.split(".") if len(part) >= 12)
    yield from (b"X-Amz-Signature", b"X-Amz-Credential")


# --- in this event loop ------------------------------------------------------------------------


@functools.cache
def trusting(ca_bundle: Path | None) -> ssl.SSLContext:
    """The context of an earlier proxy of this run: the system's authorities are read once."""
    return client_context(ca_bundle)


class Clock:
    """Seconds since the epoch (or of another clock), and how far a test has moved them."""

    def __init__(self, read: Callable[[], float] = time.time) -> None:
        self.offset = 0.0
        self._read = read

    def __call__(self) -> float:
        return self._read() + self.offset

    def advance(self, seconds: float) -> None:
        """Move it, back too."""
        self.offset += seconds


class _Memory:
    """A log sink that keeps everything."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, lines: bytes) -> None:
        self.data += lines

    def close(self) -> None:
        pass


class Running(Evidence):
    """A proxy in this loop. `app`: its rooms. `clock`: what its cache takes for the time; `steady`:
    what the age of its entitlements is measured with. `file`: its configuration; `reconfigure`
    changes it. `tls` and `source`: how this module's clients connect, with which certificate and
    from which address."""

    def __init__(self, origin: Upstream, folder: Path, file: Path) -> None:
        super().__init__(origin, folder)
        self.clock = Clock()
        self.steady = Clock(steady_seconds)
        self.settings = load(file, {}, {})
        self._sink = _Memory()
        self._logs = start_logs(self.settings.log.level, "json", access=True, sink=self._sink)
        self.file = file
        self.tls: ssl.SSLContext | None = None
        self.source: tuple[str, int] | None = None
        self.app = App(
            self.settings,
            self._logs,
            clock=self.clock,
            steady=self.steady,
            load=lambda: load(file, {}, {}),
            trust=trusting,
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.app.listener.url

    @property
    def admin_url(self) -> str:
        """Where an operator connects."""
        assert self.app.admin is not None
        return self.app.admin.url

    def log_bytes(self) -> bytes:
        """The log so far."""
        assert self._logs.flush(LIMIT)
        return bytes(self._sink.data)

    async def connect(self, url: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of one's own; its bytes are not recorded."""
        parts = urlsplit(url or self.url)
        tls = self.tls if parts.scheme == "https" else None
        return await asyncio.open_connection(
            parts.hostname, parts.port, ssl=tls, local_addr=self.source
        )

    async def send(self, *pieces: bytes, url: str = "", end: bool = False) -> bytes:
        """Send pieces on a connection of their own and read until the proxy closes it.

        `end`: half-close after the last piece. A reset ends the answer where it was.
        """
        reader, writer = await self.connect(url)
        data = bytearray()
        try:
            async with asyncio.timeout(LIMIT):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                if end:
                    writer.write_eof()
                while more := await reader.read(1 << 16):
                    data += more
        except ConnectionError:
            # What came before the reset is in the reader's buffer.
            data += reader._buffer  # type: ignore[attr-defined]
        finally:
            writer.transport.abort()
        self.received.append(bytes(data))
        return bytes(data)

    async def request(self, method: str, target: str, *, url: str = "", **fields: str) -> Answer:
        """One request on a connection of its own. `fields`: `if_none_match="x"` and so on."""
        host = urlsplit(url or self.url).netloc
        raw = await self.send(request_bytes(method, target, host, fields), url=url)
        found = answers(raw, [method])
        assert len(found) == 1, f"{len(found)} answers to {method} {target}"
        return found[0]

    async def get(self, target: str, *, url: str = "", **fields: str) -> Answer:
        """GET."""
        return await self.request("GET", target, url=url, **fields)

    async def head(self, target: str, *, url: str = "", **fields: str) -> Answer:
        """HEAD."""
        return await self.request("HEAD", target, url=url, **fields)

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by name and labels as spelt there."""
        return samples((await self.get("/metrics", url=self.admin_url)).body)

    def drive_upstream(self, clock: Callable[[], float]) -> None:
        """Have those who ask upstreams (breakers, refused tokens, pauses) go by a steady clock."""
        room: Any = self.app.upstream
        asking = room._exchange
        for part in (room, asking, asking.at_once, asking._bearers, asking.outages):
            part._clock = clock
        room._terms.clock = clock

    async def reconfigure(self, origin: Upstream, tables: Tables, *, told: bool = True) -> None:
        """Write another configuration and have it taken (`told` False: only write it)."""
        configuration(self.folder, origin, tables)
        if told:
            await self.app.reload()

    async def stop(self) -> None:
        """Stop without grace; the end of the block does it otherwise."""
        hurry = asyncio.Event()
        hurry.set()
        await self.app.stop(hurry)

    def end_logs(self) -> None:
        """Give the root logger back."""
        self._logs.stop()


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    origin: Upstream,
    tables: Tables | None = None,
    *,
    credentials: Mapping[str, tuple[str, str]] | None = None,
    tracebacks: bool = False,
) -> AsyncIterator[Running]:
    """Run a proxy in this loop. A second one over the same folder finds the first one's cache."""
    proxy = Running(origin, folder, configuration(folder, origin, tables, credentials))
    try:
        await proxy.app.start()
        try:
            yield proxy
        finally:
            await proxy.stop()
        proxy.check(tracebacks=tracebacks)
    finally:
        proxy.end_logs()


# --- as a process ------------------------------------------------------------------------------


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process(Evidence):
    """A proxy as a process of its own. `url`, `admin_url`: from its ready line."""

    def __init__(
        self,
        origin: Upstream,
        folder: Path,
        arguments: Sequence[str],
        variables: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "proxy"),
    ) -> None:
        super().__init__(origin, folder)
        self._log = folder / "stderr.log"
        usual = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
        environment = {**usual, **(variables or {})}
        with self._log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*command, "serve", *arguments],
                cwd=TOP,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self.url = self.admin_url = ""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak_rss(self) -> int:
        """The most that was resident at any time, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) << 10

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def workers(self) -> list[int]:
        """The processes that it has started, those of workers."""
        found = []
        for file in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The name, in brackets, may hold anything; state and parent stand behind it.
                state, parent, *_ = file.read_text("ascii").rpartition(")")[2].split()
                if int(parent) == self.pid and state != "Z":
                    found.append(int(file.parent.name))
        return sorted(found)

    def ready(self) -> None:
        """Wait for the ready line. Fails when the process ends before."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        words = line.split()
        assert words[:2] == ["cgr-proxy", "ready"], (line, self.log_bytes().decode())
        self.url, self.admin_url = words[2], words[4]

    def said(self) -> bytes:
        """What else was on standard output, to its end."""
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def log_bytes(self) -> bytes:
        """The log so far; while the process runs it may be half a second behind."""
        return self._log.read_bytes()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, timeout: float = LIMIT) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(LIMIT)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def connect(self, url: str = "") -> socket.socket:
        """A connection of one's own; its bytes are not recorded."""
        parts = urlsplit(url or self.url)
        return socket.create_connection((parts.hostname or "", parts.port or 0), LIMIT)

    def send(self, raw: bytes, url: str = "") -> bytes:
        """Send bytes on a connection of their own and read until the proxy closes it."""
        data = bytearray()
        with self.connect(url) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(raw)
            while more := sock.recv(1 << 16):
                data += more
        self.received.append(bytes(data))
        return bytes(data)

    def request(self, method: str, target: str, *, url: str = "", **fields: str) -> Answer:
        """One request on a connection of its own."""
        host = urlsplit(url or self.url).netloc
        found = answers(self.send(request_bytes(method, target, host, fields), url), [method])
        assert len(found) == 1, f"{len(found)} answers to {method} {target}"
        return found[0]

    def get(self, target: str, *, url: str = "", **fields: str) -> Answer:
        """GET."""
        return self.request("GET", target, url=url, **fields)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by name and labels as spelt there."""
        return samples(self.get("/metrics", url=self.admin_url).body)

    def refuses(self) -> bool:
        """Whether nobody listens any more."""
        try:
            self.connect().close()
        except ConnectionError:
            return True
        return False


def until(condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    """Wait for what another process does. Fails after a while."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # a bounded poll of another process


@contextlib.contextmanager
def process(
    folder: Path,
    origin: Upstream,
    tables: Tables | None = None,
    *,
    credentials: Mapping[str, tuple[str, str]] | None = None,
    tracebacks: bool = False,
    ready: bool = True,
    variables: Mapping[str, str] | None = None,
    command: Sequence[str] = (sys.executable, "-m", "proxy"),
) -> Iterator[Process]:
    """Run a proxy as a process. `ready` False: do not wait for it (it is about to fail).

    `variables`: of its environment, besides the usual ones. `command`: another installation."""
    file = configuration(folder, origin, tables, credentials)
    proxy = Process(origin, folder, ["--config", str(file)], variables, command)
    try:
        if ready:
            proxy.ready()
        yield proxy
    finally:
        proxy.kill()
    proxy.check(tracebacks=tracebacks)
