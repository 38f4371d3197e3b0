"""TLS on the clients' listener: handshakes, renewal without a drop, certificates of clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy.server import listener, seam
from proxy.server.process import CannotStart
from proxy.server.tls import ServerTls, TlsFiles, _read
from proxy.server.watch import Watch
from tests.certificates import Authority, Pair
from tests.descriptors import exhausted
from tests.origin import Origin
from tests.running import Running, answers, request_bytes, running

PAGE = "/python/simple/alpha/"


class Files:
    """The pair that a proxy serves with; `use` swaps it as a rotation does."""

    def __init__(self, folder: Path, pair: Pair) -> None:
        self.pair = Pair(folder / "now.pem", folder / "now.key")
        self.use(pair)

    def use(self, pair: Pair) -> None:
        for now, new in (
            (self.pair.certificate, pair.certificate),
            (self.pair.key, pair.key),
        ):
            made = now.with_suffix(".new")
            shutil.copy(new, made)
            made.replace(now)

    def server(self, **more: Any) -> dict[str, Any]:
        return {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "tls_certificate": str(self.pair.certificate),
            "tls_key": str(self.pair.key),
            **more,
        }


@pytest.fixture
def farm(tmp_path: Path) -> Authority:
    return Authority("farm", tmp_path)


@pytest.fixture
def files(tmp_path: Path, farm: Authority) -> Files:
    return Files(tmp_path, farm.server("127.0.0.1"))


@asynccontextmanager
async def secured(
    folder: Path, farm: Authority, files: Files, *clients: dict[str, Any], **server: Any
) -> AsyncIterator[Running]:
    tables: dict[str, Any] = {"server": files.server(**server)}
    if clients:
        tables["clients"] = list(clients)
    async with Origin() as origin, running(folder, origin, tables) as proxy:
        proxy.tls = farm.context()
        yield proxy


async def test_the_ready_line_and_the_answers_are_those_of_https(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with secured(tmp_path, farm, files) as proxy:
        assert proxy.app.ready_line.startswith("cgr-proxy ready https://127.0.0.1:")
        assert (await proxy.get(PAGE)).status == 200
        raw = await proxy.send(b"GET / HTTP/1.1\r\n\r\n", url=proxy.url.replace("https", "http"))
        assert b"200" not in raw


async def test_a_large_artifact_comes_whole_through_tls(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    tables = {"server": files.server()}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        proxy.tls = farm.context()
        wheel = origin.content.synthetic(size=5 << 20)
        cold = await proxy.get(wheel.path)
        cached = await proxy.get(wheel.path)
        part = await proxy.get(wheel.path, range="bytes=1000000-2999999")
        assert cold.sha256 == cached.sha256 == wheel.blob.sha256
        assert cached.cache == "cgr-proxy; hit"
        assert part.body == cached.body[1_000_000:3_000_000]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_tls_older_than_1_2_is_refused(tmp_path: Path, farm: Authority, files: Files) -> None:
    async with secured(tmp_path, farm, files) as proxy:
        old = farm.context()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        proxy.tls = old
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await proxy.connect()
        new = farm.context()
        new.maximum_version = ssl.TLSVersion.TLSv1_2
        proxy.tls = new
        assert (await proxy.get(PAGE)).status == 200


async def test_a_handshake_that_does_not_come_is_given_up(
    tmp_path: Path, farm: Authority, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT", 0.05)
    async with secured(tmp_path, farm, files) as proxy:
        parts = urlsplit(proxy.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


def serial(writer: asyncio.StreamWriter) -> int:
    found = writer.get_extra_info("peercert")
    return int(found["serialNumber"], 16)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Running
) -> bytes:
    """One request on a connection that stays open."""
    host = urlsplit(proxy.url).netloc
    writer.write(request_bytes("GET", PAGE, host, {"connection": "keep-alive"}, close=False))
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return head


async def polled(proxy: Running, times: int = 2) -> None:
    for _ in range(times):
        await proxy.app.live.poll()


async def test_a_new_certificate_is_taken_and_drops_no_connection(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with secured(tmp_path, farm, files) as proxy:
        reader, writer = await proxy.connect()
        before = serial(writer)
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        files.use(farm.server("127.0.0.1"))
        await polled(proxy)
        _, second = await proxy.connect()
        assert serial(second) != before
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        for each in (writer, second):
            each.transport.abort()
        assert "read anew" in str(proxy.messages())


async def test_half_of_a_rotation_leaves_the_old_certificate_in_force(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with secured(tmp_path, farm, files) as proxy:
        other = farm.server("127.0.0.1")
        shutil.copy(other.certificate, files.pair.certificate)
        await polled(proxy)
        assert (await proxy.get(PAGE)).status == 200
        assert "stays as it was" in str(proxy.messages())
        shutil.copy(other.key, files.pair.key)
        await polled(proxy)
        _, writer = await proxy.connect()
        assert serial(writer) == serial_of(other)
        writer.transport.abort()


def serial_of(pair: Pair) -> int:
    from cryptography import x509  # noqa: PLC0415

    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


async def test_a_certificate_that_no_descriptor_was_left_to_read_is_taken_once_there_is_one(
    farm: Authority, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServerTls(TlsFiles(files.pair.certificate, files.pair.key))
    before = tls.context.inner
    files.use(farm.server("127.0.0.1"))
    with exhausted():
        for _ in range(4):
            await tls.poll()
    assert tls.context.inner is before
    for _ in range(2):
        await tls.poll()
    assert tls.context.inner is not before
    assert [text for text in caplog.messages if "stays as it was" in text] == [
        "the TLS certificate stays as it was: Too many open files"
    ]


@pytest.mark.parametrize("what", ["missing", "garbage", "encrypted", "another key"])
def test_files_that_cannot_be_used_end_the_start(
    tmp_path: Path, farm: Authority, what: str
) -> None:
    pair = farm.server("127.0.0.1", password=b"secret" if what == "encrypted" else b"")
    if what == "missing":
        pair.key.unlink()
    elif what == "garbage":
        pair.certificate.write_text("-----BEGIN CERTIFICATE-----\n")
    elif what == "another key":
        shutil.copy(farm.server("127.0.0.1").key, pair.key)
    with pytest.raises(OSError):  # noqa: PT011  # whatever OpenSSL or the system says
        ServerTls(TlsFiles(pair.certificate, pair.key))


async def test_the_key_is_blamed_for_files_that_cannot_be_used(
    tmp_path: Path, files: Files
) -> None:
    files.pair.key.write_text("x")
    async with Origin() as origin:
        with pytest.raises(CannotStart, match=r"server\.tls_certificate"):
            async with running(tmp_path, origin, {"server": files.server()}):
                pass


# --- certificates of clients --------------------------------------------------------------------

FARM_CLIENT = {"name": "build", "subjects": ["CN=build-7,OU=ci,O=farm"], "ecosystems": ["python"]}


@pytest.mark.parametrize(
    ("subject", "names", "stanza", "status"),
    [
        ("CN=build-7,OU=ci,O=farm", {}, ["CN=build-7,OU=ci,O=farm"], 200),
        ("CN=build-7,OU=ci,O=farm", {}, ["CN = build-7, OU = ci, O = farm"], 200),
        ("CN=build-7,OU=ci,O=farm", {}, ["CN=build-7"], 401),
        ("CN=build-7,OU=ci,O=farm", {}, ["O=farm,OU=ci,CN=build-7"], 401),
        ("CN=build-7", {}, ["CN=build-7"], 200),
        ("CN=build-7\\,O\\=farm", {}, ["CN=build-7,O=farm"], 401),
        ("CN=x", {"dns": ["Build-7.farm.example"]}, ["DNS:build-7.farm.example"], 200),
        ("CN=x", {"dns": ["build-77.farm.example"]}, ["DNS:build-7.farm.example"], 401),
        ("", {"uri": ["spiffe://farm/b/7"]}, ["CN=y", "URI:spiffe://farm/b/7"], 200),
        ("CN=DNS:a", {}, ["DNS:a"], 401),
    ],
)
async def test_a_client_is_known_by_the_whole_name_of_its_certificate(  # noqa: PLR0917
    tmp_path: Path,
    farm: Authority,
    files: Files,
    subject: str,
    names: dict[str, Any],
    stanza: list[str],
    status: int,
) -> None:
    client = {**FARM_CLIENT, "subjects": stanza}
    async with secured(tmp_path, farm, files, client, client_ca=str(farm.file)) as proxy:
        proxy.tls = farm.context(farm.client(subject, **names))
        answer = await proxy.get(PAGE)
        assert answer.status == status
        expected = {"build"} if status == 200 else {""}
        assert {line["principal"] for line in proxy.access()} == expected


@pytest.mark.parametrize("what", ["stranger", "ended", "for servers"])
async def test_a_certificate_that_does_not_verify_ends_the_connection(
    tmp_path: Path, farm: Authority, files: Files, what: str
) -> None:
    authority = Authority("stranger", tmp_path) if what == "stranger" else farm
    pair = authority.client(
        "CN=build-7,OU=ci,O=farm",
        seconds=-60 if what == "ended" else 86400,
        for_servers=what == "for servers",
    )
    async with secured(tmp_path, farm, files, FARM_CLIENT, client_ca=str(farm.file)) as proxy:
        proxy.tls = farm.context(pair)
        try:
            raw = await proxy.send(request_bytes("GET", PAGE, urlsplit(proxy.url).netloc, {}))
        except ssl.SSLError:
            raw = b""
        assert raw == b""
        assert proxy.access() == []


async def test_without_a_certificate_a_client_may_still_show_a_token(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with secured(tmp_path, farm, files, FARM_CLIENT, client_ca=str(farm.file)) as proxy:
        assert (await proxy.get(PAGE)).status == 401


async def test_a_certificate_that_ends_while_its_connection_is_open_names_nobody(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    pair = farm.client("CN=build-7,OU=ci,O=farm", seconds=3600)
    async with secured(tmp_path, farm, files, FARM_CLIENT, client_ca=str(farm.file)) as proxy:
        proxy.tls = farm.context(pair)
        reader, writer = await proxy.connect()
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        proxy.clock.advance(3600)
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 401")
        writer.transport.abort()


async def test_another_authority_is_taken_with_the_certificate(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    next_farm = Authority("next", tmp_path)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(farm.file.read_bytes())
    pair = next_farm.client("CN=build-7,OU=ci,O=farm")
    async with secured(tmp_path, farm, files, FARM_CLIENT, client_ca=str(bundle)) as proxy:
        bundle.write_bytes(next_farm.file.read_bytes())
        await polled(proxy)
        context = farm.context(pair)
        proxy.tls = context
        assert (await proxy.get(PAGE)).status == 200
        proxy.tls = farm.context(farm.client("CN=build-7,OU=ci,O=farm"))
        raw = await proxy.send(request_bytes("GET", PAGE, urlsplit(proxy.url).netloc, {}))
        assert b"200" not in raw


@asynccontextmanager
async def two_farms(
    folder: Path, farm: Authority, files: Files
) -> AsyncIterator[tuple[Running, Path, Authority]]:
    """A proxy that believes two authorities, the file that names them, and the second one."""
    second = Authority("second", folder)
    bundle = folder / "bundle.pem"
    bundle.write_bytes(second.file.read_bytes() + farm.file.read_bytes())
    async with secured(folder, farm, files, FARM_CLIENT, client_ca=str(bundle)) as proxy:
        proxy.tls = farm.context(farm.client("CN=build-7,OU=ci,O=farm"))
        yield proxy, bundle, second


@pytest.mark.parametrize("how", ["told", "by itself"])
async def test_an_authority_that_is_taken_out_ends_open_connections_too(
    tmp_path: Path, farm: Authority, files: Files, how: str
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, second):
        reader, writer = await proxy.connect()
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        bundle.write_bytes(second.file.read_bytes())
        await (proxy.app.reload() if how == "told" else polled(proxy))
        # Idle: it is closed at once, so that whoever still may comes again.
        async with asyncio.timeout(seam.KEEPALIVE / 3):
            assert await reader.read() == b""
        writer.transport.abort()


async def test_a_request_that_comes_as_its_authority_goes_is_refused_and_the_last(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, second):
        tls = proxy.app.live.tls
        assert tls is not None
        tls.on_withdrawn = None  # as a connection whose handshake ends a moment later
        reader, writer = await proxy.connect()
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        bundle.write_bytes(second.file.read_bytes())
        await proxy.app.reload()
        head = await exchange(reader, writer, proxy)
        assert head.startswith(b"HTTP/1.1 401")
        assert b"\r\nConnection: close\r\n" in head
        assert await reader.read() == b""
        writer.transport.abort()


async def test_a_transfer_that_is_under_way_as_its_authority_goes_is_finished_and_the_last(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(farm.file.read_bytes())
    server = files.server(client_ca=str(bundle))
    tables = {"server": server, "clients": [FARM_CLIENT]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        proxy.tls = farm.context(farm.client("CN=build-7,OU=ci,O=farm"))
        held = origin.fault("origin", "/simple/", hold=True)
        reader, writer = await proxy.connect()
        one = request_bytes("GET", PAGE, "a", {}, close=False)
        writer.write(one + one)
        await held.reached()
        bundle.write_bytes(Authority("next", tmp_path).file.read_bytes())
        await proxy.app.reload()
        held.release()
        found = answers(await reader.read())
        assert [answer.status for answer in found] == [200]
        writer.transport.abort()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_that_is_resumed_is_verified_by_the_authorities_of_now(
    tmp_path: Path, farm: Authority, files: Files, version: ssl.TLSVersion
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, second):
        context, parts = farm.context(farm.client("CN=build-7,OU=ci,O=farm")), urlsplit(proxy.url)
        context.maximum_version = version
        one = request_bytes("HEAD", PAGE, parts.netloc, {})

        def ask(session: ssl.SSLSession | None) -> tuple[bytes, bool, ssl.SSLSession | None]:
            address = (parts.hostname or "", parts.port or 0)
            with (
                socket.create_connection(address, 10) as plain,
                context.wrap_socket(plain, server_hostname=address[0], session=session) as tls,
            ):
                tls.sendall(one)
                head = b""
                while more := tls.recv(1 << 16):
                    head += more
                return head, bool(tls.session_reused), tls.session

        head, _, session = await asyncio.to_thread(ask, None)
        assert head.startswith(b"HTTP/1.1 200")
        _, resumed, _ = await asyncio.to_thread(ask, session)
        assert resumed
        bundle.write_bytes(second.file.read_bytes())
        await proxy.app.reload()
        try:
            head, resumed, _ = await asyncio.to_thread(ask, session)
        except (ssl.SSLError, ConnectionError):
            head, resumed = b"", False
        assert (head, resumed) == (b"", False)


async def test_of_two_readings_at_a_time_the_later_one_counts(
    tmp_path: Path, farm: Authority
) -> None:
    began, go, held = threading.Event(), threading.Event(), threading.Event()

    class Slow(TlsFiles):
        def load(self) -> Any:
            found = super().load()
            if held.is_set():
                held.clear()
                began.set()
                assert go.wait(10)
            return found

    second, pair, bundle = Authority("second", tmp_path), farm.server("::1"), tmp_path / "ca.pem"
    bundle.write_bytes(farm.file.read_bytes())
    tls = ServerTls(Slow(pair.certificate, pair.key, bundle))
    held.set()
    first = asyncio.create_task(tls.reload())
    assert await asyncio.to_thread(began.wait, 10)
    bundle.write_bytes(second.file.read_bytes())
    later = asyncio.create_task(tls.reload())
    await asyncio.wait({later}, timeout=0.2)  # as long as it may take where nothing holds it up
    go.set()
    await asyncio.gather(first, later)
    wanted = ssl.PEM_cert_to_DER_cert(second.file.read_text())
    assert tls.context.inner.authorities == {wanted}


async def test_an_authority_that_is_added_and_a_new_certificate_end_no_connection(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, _):
        reader, writer = await proxy.connect()
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        third = Authority("third", tmp_path)
        bundle.write_bytes(third.file.read_bytes() + bundle.read_bytes())
        files.use(farm.server("127.0.0.1"))
        await proxy.app.reload()
        assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()


async def test_who_shows_no_certificate_keeps_the_connection_as_an_authority_goes(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, second):
        proxy.tls = farm.context()
        reader, writer = await proxy.connect()
        for _ in range(2):
            assert (await exchange(reader, writer, proxy)).startswith(b"HTTP/1.1 401")
            bundle.write_bytes(second.file.read_bytes())
            await proxy.app.reload()
        writer.transport.abort()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"nothing of that kind\n",
        lambda data: data.replace(b"-----END", b"!\n-----END"),
        lambda data: data + data.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        lambda data: data[: len(data) // 2],
        lambda _: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ids=["empty", "text", "odd character", "trust settings", "cut", "no certificate"],
)
async def test_authorities_that_cannot_be_read_leave_the_old_ones_in_force(
    tmp_path: Path, farm: Authority, files: Files, spoil: Callable[[bytes], bytes]
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, _):
        bundle.write_bytes(spoil(bundle.read_bytes()))
        await proxy.app.reload()
        assert (await proxy.get(PAGE)).status == 200
        assert "stays as it was: " in str(proxy.messages())


async def test_authorities_may_stand_among_other_text(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    async with two_farms(tmp_path, farm, files) as (proxy, bundle, _):
        text = "# Bäume\n".encode() + bundle.read_bytes().replace(b"\n", b"\r\n")
        bundle.write_bytes(text.replace(b" CERTIFICATE", b" X509 CERTIFICATE"))
        await proxy.app.reload()
        assert (await proxy.get(PAGE)).status == 200
        assert "stays as it was" not in str(proxy.messages())


async def test_an_intermediate_authority_is_enough_and_lets_in_its_own_only(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    root, office = Authority("root", tmp_path), Authority("office", tmp_path)
    name = FARM_CLIENT["subjects"][0]
    only = {"client_ca": str(farm.under(root))}
    async with secured(tmp_path, farm, files, FARM_CLIENT, **only) as proxy:
        proxy.tls = farm.context(farm.client(name))
        assert (await proxy.get(PAGE)).status == 200
        for other in (office, root):
            proxy.tls = farm.context(other.client(name))
            data = b""
            with contextlib.suppress(ssl.SSLError):  # told early or late, as the version has it
                data = await proxy.send(request_bytes("GET", PAGE, "a", {}))
            assert data == b""


async def test_a_certificate_of_a_trusted_front_is_not_its_clients(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    more = {"client_ca": str(farm.file), "trusted_proxies": ["127.0.0.0/8"]}
    async with secured(tmp_path, farm, files, FARM_CLIENT, **more) as proxy:
        proxy.tls = farm.context(farm.client("CN=build-7,OU=ci,O=farm"))
        for fields in ({}, {"x_forwarded_for": "10.0.0.1"}, {"via": "1.1 front"}):
            assert (await proxy.get(PAGE, **fields)).status == 401


def test_a_certificate_with_an_extension_twice_names_nobody(farm: Authority) -> None:
    twice = farm.odd_client("CN=build-7,OU=ci,O=farm")
    assert _read(twice) == ((), 0.0)


async def test_a_stanza_with_subject_and_network_asks_for_both(
    tmp_path: Path, farm: Authority, files: Files
) -> None:
    client = {**FARM_CLIENT, "networks": ["127.0.0.9/32"]}
    async with secured(tmp_path, farm, files, client, client_ca=str(farm.file)) as proxy:
        pair = farm.client("CN=build-7,OU=ci,O=farm")
        for tls, source, status in (
            (farm.context(pair), None, 401),
            (farm.context(), ("127.0.0.9", 0), 401),
            (farm.context(pair), ("127.0.0.9", 0), 200),
        ):
            proxy.tls, proxy.source = tls, source
            assert (await proxy.get(PAGE)).status == status


# --- watching -----------------------------------------------------------------------------------


def touched(file: Path, text: str) -> None:
    file.write_text(text)
    # Two writes in one tick of the clock look alike where sizes agree too.
    os.utime(file, ns=(time.time_ns(), time.time_ns()))


def test_a_change_counts_once_and_only_when_it_has_settled(tmp_path: Path) -> None:
    file = tmp_path / "f"
    touched(file, "one")
    watch = Watch([file])
    assert [watch.changed(), watch.changed()] == [False, False]
    touched(file, "two!")
    assert watch.changed() is False
    touched(file, "three")
    assert [watch.changed(), watch.changed(), watch.changed()] == [False, True, False]


@pytest.mark.parametrize("how", ["renamed over", "symlink swung", "removed"])
def test_every_way_of_replacing_a_file_is_a_change(tmp_path: Path, how: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in "ab":
        (tmp_path / name / "f").write_text("same")
    link = tmp_path / "now"
    link.symlink_to("a")
    watch = Watch([link / "f"])
    if how == "renamed over":
        (tmp_path / "b" / "f").replace(tmp_path / "a" / "f")
    elif how == "symlink swung":
        other = tmp_path / "next"
        other.symlink_to("b")
        other.replace(link)
    else:
        (tmp_path / "a" / "f").unlink()
    assert [watch.changed(), watch.changed()] == [False, True]
