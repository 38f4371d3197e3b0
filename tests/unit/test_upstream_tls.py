"""TLS towards the upstream: only certificates that we trust, and no way around."""

from __future__ import annotations

import random
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.errors import ForbiddenAddress, InsecureUpstream, ProxyError, Unavailable
from proxy.upstream.breaker import FAILURES_TO_OPEN
from proxy.upstream.tls import client_context
from tests.unit.upstream_room import OK, Raw, redirect_to, room

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder, made with the openssl program."""

    folder: Path
    name: str = "ca"

    @property
    def bundle(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def found(self) -> Authority:
        self._openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN=test {self.name}"),
            *("-keyout", f"{self.name}.key", "-out", self.bundle.name),
        )
        return self

    def context(self, *, names: str = "IP:127.0.0.3", days: int = 2) -> ssl.SSLContext:
        """A server's context with a certificate for some names."""
        request = ("-subj", "/CN=leaf", "-keyout", "leaf.key", "-out", "leaf.csr")
        self._openssl("req", *_KEY, *request)
        (self.folder / "names").write_text(f"subjectAltName={names}\n")
        authority = ("-CA", self.bundle.name, "-CAkey", f"{self.name}.key", "-CAcreateserial")
        self._openssl(
            *("x509", "-req", "-in", "leaf.csr", *authority, "-days", str(days)),
            *("-extfile", "names", "-out", "leaf.pem"),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "leaf.pem", self.folder / "leaf.key")
        return context

    def hash(self) -> str:
        """The name under which a folder of authorities holds this one."""
        return self._openssl("x509", "-noout", "-hash", "-in", self.bundle.name).strip()

    def _openssl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path).found()


async def test_an_own_bundle_is_trusted_besides_the_systems(authority: Authority) -> None:
    tls = client_context(authority.bundle)
    async with (
        Raw(lambda _: OK, tls=authority.context()) as raw,
        room(raw.url, tls=tls, insecure=False) as made,
    ):
        assert await made.get("/x") == b"ok"
        assert made.seen.outcomes == ["200"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"days": -1}, "certificate has expired"),
        ({"names": "DNS:other.example"}, "mismatch"),
        ({"names": "IP:127.0.0.4"}, "mismatch"),
    ],
    ids=["expired", "wrong name", "wrong address"],
)
async def test_a_certificate_that_is_not_right_is_refused_with_its_reason(
    authority: Authority, how: dict, reason: str
) -> None:
    tls = client_context(authority.bundle)
    async with (
        Raw(lambda _: OK, tls=authority.context(**how)) as raw,
        room(raw.url, tls=tls) as made,
    ):
        with pytest.raises(InsecureUpstream) as caught:
            await made.get("/x")
        assert made.seen.outcomes == ["error"]
    assert caught.value.status == 502
    assert reason in caught.value.detail
    assert raw.heads == []


async def test_an_unknown_authority_is_refused(authority: Authority) -> None:
    async with Raw(lambda _: OK, tls=authority.context()) as raw, room(raw.url) as made:
        with pytest.raises(InsecureUpstream) as caught:
            await made.get("/x")
    assert "issuer certificate" in caught.value.detail
    assert raw.heads == []


async def test_a_self_signed_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.bundle, tmp_path / "ca.key")
    async with Raw(lambda _: OK, tls=context) as raw, room(raw.url) as made:
        with pytest.raises(InsecureUpstream) as caught:
            await made.get("/x")
    assert "self-signed" in caught.value.detail
    assert raw.heads == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_a_variable_of_the_environment_adds_no_authority(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    digest = authority.hash()
    (tmp_path / f"{digest}.0").write_bytes(authority.bundle.read_bytes())
    value = authority.bundle if variable == "SSL_CERT_FILE" else tmp_path
    monkeypatch.setenv(variable, str(value))
    async with (
        Raw(lambda _: OK, tls=authority.context()) as raw,
        room(raw.url, tls=client_context(None)) as made,
    ):
        with pytest.raises(InsecureUpstream):
            await made.get("/x")
    assert raw.heads == []


async def test_a_server_without_tls_on_a_tls_port_gets_nothing_in_plain_text() -> None:
    async with Raw(lambda _: OK) as raw, room(raw.url.replace("http:", "https:")) as made:
        with pytest.raises((InsecureUpstream, Unavailable)):
            await made.get("/x")
    assert raw.heads == []


@pytest.mark.filterwarnings("ignore:ssl.OP_NO_:DeprecationWarning")
async def test_an_old_version_of_tls_is_refused(authority: Authority) -> None:
    context = authority.context()
    context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with (
        Raw(lambda _: OK, tls=context) as raw,
        room(raw.url, tls=client_context(authority.bundle)) as made,
    ):
        with pytest.raises((InsecureUpstream, Unavailable)):
            await made.get("/x")
    assert raw.heads == []


async def test_a_store_is_held_to_the_same(authority: Authority) -> None:
    context = authority.context()
    other = Authority(authority.folder, "other").found()
    async with (
        Raw(lambda _: OK, tls=other.context()) as store,
        Raw(lambda _: redirect_to(store.url + "/x"), tls=context) as origin,
    ):
        tls = client_context(authority.bundle)
        async with room(origin.url, tls=tls, hosts=(store.place,)) as made:
            with pytest.raises(InsecureUpstream):
                await made.get("/x")
    assert store.heads == []
    assert len(origin.heads) == 1


async def test_a_redirect_from_tls_to_plain_http_is_refused_even_where_plain_http_is_allowed(
    authority: Authority,
) -> None:
    async with Raw(lambda _: OK) as store:
        context = authority.context()
        async with Raw(lambda _: redirect_to(store.url + "/x"), tls=context) as origin:
            tls = client_context(authority.bundle)
            async with room(origin.url, tls=tls, hosts=(store.place,)) as made:
                with pytest.raises(ForbiddenAddress):
                    await made.get("/x")
        assert store.connections == 0


async def test_a_broken_bundle_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate\n")
    with pytest.raises(ssl.SSLError):
        client_context(tmp_path / "bad.pem")
    with pytest.raises(OSError, match="No such file"):
        client_context(tmp_path / "none.pem")


async def test_an_untrustworthy_upstream_is_soon_not_asked_any_more(authority: Authority) -> None:
    async with Raw(lambda _: OK, tls=authority.context()) as raw, room(raw.url) as made:
        for _ in range(FAILURES_TO_OPEN * 2):
            with pytest.raises(ProxyError):
                await made.get("/x")
        assert made.seen.outcomes == ["error"] * FAILURES_TO_OPEN
    assert raw.heads == []


def test_there_is_no_way_to_switch_verification_off() -> None:
    context = client_context(None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 0


async def test_a_small_body_comes_whole_over_tls_in_however_many_records(
    authority: Authority,
) -> None:
    body = random.Random(3).randbytes(200_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    server = authority.context()
    async with (
        Raw(lambda _: head + body, tls=server) as raw,
        room(raw.url, tls=client_context(authority.bundle)) as made,
    ):
        for _ in range(3):
            assert await made.get("/x") == body
        assert (raw.connections, made.seen.received) == (1, 3 * len(body))
