"""The doctor in front of hosts that mean it harm: it ends, it says so, it reaches no further."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from proxy.cli.doctor import table
from proxy.config import load
from proxy.doctor.hosts import Lookout
from proxy.doctor.trial import NotingRules, Trial
from proxy.doctor.visit import Visit
from proxy.ecosystems.dotnet import Dotnet
from proxy.egress import Egress
from proxy.model import HostRules
from proxy.upstream.addresses import AddressRules
from proxy.upstream.base import Head, UpstreamRequest
from proxy.upstream.tls import client_context
from tests.certificates import Authority
from tests.origin import redirect, status
from tests.unit.doctored import PROBED, scene
from tests.unit.in_pieces import InPieces

LIMIT = 5.0


@asynccontextmanager
async def saying(*pieces: bytes, pause: float = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A host that says these pieces to everybody, over and over where there is a pause; what it
    was sent."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            first, *more = pieces
            writer.write(first)
            for _ in range(1000 if pause else 1):
                for piece in more:
                    writer.write(piece)
                    await writer.drain()
                await asyncio.sleep(pause)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen


def lookout(egress: Egress | None = None) -> Lookout:
    return Lookout(client_context(None), LIMIT, LIMIT, time.time, egress)


@pytest.mark.parametrize("said", [b"x" * 100_000, b"\r\n\r\n", b"HTTP/1.1 \xff\xfe\x1b[2J\r\n\r\n"])
async def test_a_way_out_that_answers_with_rubbish_is_blamed(said: bytes) -> None:
    async with saying(said) as (place, _):
        sight = await lookout(Egress(f"http://{place}")).look("https://upstream.example")
    assert sight.check == "host"
    assert "[upstream] proxy" in sight.fix


async def test_a_name_that_no_host_can_have_is_a_finding() -> None:
    sight = await lookout().look(f"https://{'a' * 70}.store.example")
    assert sight.check == "host"


async def test_a_certificate_that_nobody_can_read_is_a_finding(tmp_path: Path) -> None:
    pair = Authority("odd", tmp_path).server("127.0.0.1")
    der = load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(Encoding.DER)
    odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)  # a version to come
    lines = (
        "-----BEGIN CERTIFICATE-----",
        base64.b64encode(odd).decode(),
        "-----END CERTIFICATE-----",
    )
    pair.certificate.write_text("\n".join(lines) + "\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    listening = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        sight = await lookout().look(f"https://127.0.0.1:{port}")
    assert sight.check == "tls"


async def test_a_host_that_may_not_be_asked_is_not_looked_at_either(tmp_path: Path) -> None:
    async with (
        saying(b"HTTP/1.1 200 OK\r\n\r\n") as (place, seen),
        scene(tmp_path, runs=False) as made,
    ):
        for where in ("/dotnet/", "/files/"):
            made.origin.fault("origin", where, times=None, **redirect(f"http://{place}/body"))
        wrong = await made.wrong()
    assert "redirect_hosts" in wrong["python", "object-store"].detail
    assert seen == []


class Told(InPieces):
    def __init__(self, body: bytes, url: str) -> None:
        self.head, self._body = Head(200, url, "application/json"), body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body

    async def close(self) -> None:
        pass


class Stuck(Told):
    """Never comes to its end."""

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)


async def test_a_document_that_never_ends_is_given_up() -> None:
    class Slow:
        async def open(self, request: UpstreamRequest) -> Told:
            return Stuck(b"", f"https://upstream.example{request.location}")

    async with asyncio.timeout(LIMIT):
        rules = NotingRules(AddressRules(HostRules()))
        found = await Trial(Dotnet(), Slow(), rules, 1 << 20, patience=0.2).run()
    assert "within 0.2 s" in found[0].detail


async def test_listings_that_refer_to_one_another_without_end_are_a_finding() -> None:
    def lead(path: str) -> bytes:
        if path.endswith("/v3/index.json"):
            kinds = {"PackageBaseAddress/3.0.0": "flat", "RegistrationsBaseUrl/3.6.0": "hive"}
            named = [{"@id": f"/dotnet/{at}/", "@type": kind} for kind, at in kinds.items()]
            return json.dumps({"version": "3.0.0", "resources": named}).encode()
        if path.startswith("/dotnet/flat/"):
            return b'{"versions": ["7.0.4"]}'
        page = "/dotnet/hive/microsoft.netcore.platforms/page/7.0.4/7.0.4.json"
        again = {"@id": page, "lower": "7.0.4", "upper": "7.0.4"}
        return json.dumps({"count": 1, "items": [again]}).encode()

    class Endless:
        asked = 0

        async def open(self, request: UpstreamRequest) -> Told:
            self.asked += 1
            assert self.asked < 50
            return Told(lead(request.location), f"https://upstream.example{request.location}")

    rules = NotingRules(AddressRules(HostRules()))
    found = await Trial(Dotnet(), Endless(), rules, 1 << 20).run()
    assert "without an end" in found[-1].detail


@pytest.mark.parametrize(
    "said", ["\x1b[2J\x1b]0;owned\x07", "a\nall is well", "\u202egood\x85", "\ud800"]
)
async def test_nothing_that_a_host_says_reaches_the_terminal_as_it_is(
    tmp_path: Path, said: str
) -> None:
    body = json.dumps({"message": said, "versions": [said], "error": said}).encode()
    async with scene(tmp_path, runs=False) as made:
        for where in ("/dotnet/v3-flatcontainer/", "/simple/six"):
            what = status(403 if "six" in where else 200, body, Content_Type="application/json")
            made.origin.fault("origin", where, times=None, **what)
        found = list((await made.findings()).values())
    text = table(found, colour=False)
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == len(found) + sum(bool(item.fix) for item in found) + 1


async def test_a_proxy_that_drips_is_given_up(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    async with saying(head, b"x", pause=0.05) as (place, _):
        file = tmp_path / "cgr-proxy.toml"
        folder = json.dumps(str(tmp_path / "cache"))
        file.write_text(f'[server]\nlisten = "{place}"\n[cache]\ndirectory = {folder}\n')
        async with asyncio.timeout(LIMIT):
            found = await Visit(load(file, {}, {}), None, patience=0.3).knock()
    assert "nothing answers" in found.detail


async def test_one_silent_host_for_everything_is_a_finding_of_every_ecosystem(
    tmp_path: Path,
) -> None:
    async with saying(b"", pause=LIMIT) as (place, _):
        there = f"http://{place}"
        names = ("libraries", "registry", "apk", "issuer", "api")
        tables = {"upstream": dict.fromkeys(names, there), "limits": {"first_byte_timeout": "1s"}}
        async with scene(tmp_path, tables, runs=False) as made:
            wrong = await made.wrong()
    assert all((name, "host") in wrong for name in PROBED)
