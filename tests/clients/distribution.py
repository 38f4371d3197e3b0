"""The CNCF distribution registry as a real upstream, and the server that gives tokens for it.

Purpose: what it does was not written by us: challenges, tokens that it verifies by their signature,
manifests, ranges, lists. One repository is private; the pull token (`username`, `password`) opens
it, and `pusher` may push. `asked` counts what the registry and the token server were asked.

Reading: the distribution project's `spec/auth/token.md` and `spec/auth/jwt.md`.
Non-goals: redirects to an object store, referrers (this registry has neither).
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.clients.engines import Login

HOST, TOKEN_HOST = "127.0.0.6", "127.0.0.7"
SERVICE, ISSUER = "registry.example", "tests"
PRIVATE = "acme.example/app"
_LIMIT = 30.0

_CONFIG = """
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/store}}}}
http: {{addr: "{host}:{port}", secret: {secret}}}
auth:
  token: {{realm: "{realm}", service: {service}, issuer: {issuer}, rootcertbundle: {root}}}
"""


class Tokens:
    """Gives tokens for what a login may do. `given`: how many, by user name."""

    def __init__(self, folder: Path, pull: Login, push: Login) -> None:
        self._rights = {
            _basic(pull): (pull[0], {"pull"}),
            _basic(push): (push[0], {"pull", "push"}),
        }
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _certificate(self._key)
        self.root = folder / "tokens.pem"
        self.root.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self.given: list[str] = []
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = tokens._answer(self.path, self.headers.get("Authorization"))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((TOKEN_HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="tokens")
        self._thread.start()

    @property
    def url(self) -> str:
        """The token server's address."""
        return f"http://{TOKEN_HOST}:{self._server.server_port}"

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join(_LIMIT)
        self._server.server_close()

    def _answer(self, target: str, authorization: str | None) -> tuple[int, bytes]:
        name, rights = "", {"pull"}
        if authorization is not None:
            if authorization not in self._rights:
                return 401, b'{"details": "unknown login"}'
            name, rights = self._rights[authorization]
        asked = parse_qs(urlsplit(target).query)
        access: list[dict[str, object]] = []
        for scope in asked.get("scope", []):
            _, repository, actions = scope.split(":")
            if name or repository != PRIVATE:
                allowed = sorted(rights & set(actions.split(",")))
                access.append({"type": "repository", "name": repository, "actions": allowed})
        self.given.append(name)
        return 200, json.dumps({"token": self._token(name, access), "expires_in": 300}).encode()

    def _token(self, name: str, access: list[dict[str, object]]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": name,
            "aud": SERVICE,
            "access": access,
            "iat": now,
            "nbf": now - 10,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
        }
        shown = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"x5c": [shown]})


class Distribution:
    """The registry and its token server. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.username, self.password = f"{'a' * 40}/{'b' * 16}", f"canary-{secrets.token_hex(20)}"
        self.pusher: Login = ("pusher", secrets.token_hex(16))
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def registry_url(self) -> str:
        """The registry's address."""
        return f"http://{HOST}:{self._port}"

    @property
    def url(self) -> str:
        """The same: there are no libraries here."""
        return self.registry_url

    @property
    def store_url(self) -> str:
        """The other host that a proxy has to know: here it is the one that gives tokens."""
        return self.tokens.url

    @property
    def host(self) -> str:
        """host:port of the registry."""
        return f"{HOST}:{self._port}"

    def __enter__(self) -> Self:
        login = (self.username, self.password)
        self.tokens = Tokens(self._folder, login, self.pusher)
        config = self._folder / "config.yml"
        config.write_text(
            _CONFIG.format(
                folder=self._folder,
                host=HOST,
                port=self._port,
                secret=secrets.token_hex(16),
                realm=f"{self.tokens.url}/token",
                service=SERVICE,
                issuer=ISSUER,
                root=self.tokens.root,
            )
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.tokens.stop()

    def start(self) -> None:
        """Start the registry, again too."""
        with (self._folder / "log").open("ab") as log:
            command = ["docker-registry", "serve", str(self._folder / "config.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + _LIMIT
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, "the registry does not start"
            time.sleep(0.05)  # a bounded poll of another process

    def stop(self) -> None:
        """Stop the registry."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_LIMIT)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self._port)) == 0


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode("ascii")


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name.from_rfc4514_string("CN=tokens")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
