"""Every way to be somebody, by real programs over TLS: pip and uv install, curl asks.

Purpose: a client token, a CI job's ID token and a client certificate, where these programs keep
them. Each installs through one proxy that knows all three; and one that shows nothing does not.
Nothing of any credential is in what the proxy says. Neighbours: the other files of this folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.certificates import Authority
from tests.origin import OriginThread
from tests.origin.oidc import JobIssuer
from tests.running import Process, basic, bearer, client, process, token

pytestmark = pytest.mark.client
PROGRAMS = ("pip-23", "pip", "uv")
LIMIT = 120


@dataclass(frozen=True, slots=True)
class Site:
    """A proxy over TLS, the issuer it believes, the authority of its farm."""

    proxy: Process
    issuer: JobIssuer
    farm: Authority
    certificate: Path
    folder: Path

    def index(self, secret: str = "") -> str:
        """The address of the index, with a password in it."""
        who = f"any:{secret}@" if secret else ""
        return f"https://{who}{urlsplit(self.proxy.url).netloc}/python/simple/"

    def audited(self) -> list[tuple[str, str]]:
        """Who was served what so far, by kind."""
        log = self.folder / "cache" / "audit.jsonl"
        lines = map(json.loads, log.read_text("ascii").splitlines())
        return [(line["kind"], line["purl"]) for line in lines if line["decision"] == "served"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    farm = Authority("farm", folder)
    server = farm.server("127.0.0.1")
    build = farm.client("CN=build-7,O=farm")
    both = folder / "build.pem"
    both.write_bytes(build.certificate.read_bytes() + build.key.read_bytes())
    with OriginThread() as origin:
        issuer = origin.run(JobIssuer().open())
        tables = {
            "server": {
                "listen": "127.0.0.1:0",
                "admin_listen": "127.0.0.1:0",
                "tls_certificate": str(server.certificate),
                "tls_key": str(server.key),
                "client_ca": str(farm.file),
            },
            "clients": [
                {**client("builder", "python"), "packages": ["pkg:pypi/alpha"]},
                {"name": "build-7", "subjects": ["CN=build-7,O=farm"], "ecosystems": ["python"]},
            ],
            "oidc": [issuer.stanza("python")],
        }
        with process(folder, origin, tables) as proxy:
            proxy.keep_secret(token("builder"))
            yield Site(proxy, issuer, farm, both, folder)
        origin.run(issuer.close())
        assert origin.violations == []
        assert issuer.journal.violations == []


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one program runs: its environment, a folder to install to."""

    environment: dict[str, str]
    folder: Path
    tools: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            cwd=self.folder,
            env=self.environment | variables,
        )

    def install(
        self, program: str, site: Site, what: str, secret: str = "", certificate: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Install one package into `folder/into`."""
        tail = ("--target", str(self.folder / "into"), "--no-deps", what)
        if program == "uv":
            shown = {} if certificate is None else {"SSL_CLIENT_CERT": str(certificate)}
            uv = str(self.tools / "uv" / "bin" / "uv")
            start = (uv, "pip", "install", "--python", sys.executable)
            index = ("--default-index", site.index(secret))
            return self.run(*start, *index, *tail, SSL_CERT_FILE=str(site.farm.file), **shown)
        pip = str(self.tools / program / "bin" / "pip")
        trust = ("--cert", str(site.farm.file), "--index-url", site.index(secret))
        show = () if certificate is None else ("--client-cert", str(certificate))
        return self.run(pip, "install", *trust, *show, *tail)

    @property
    def installed(self) -> bool:
        """Whether the package is there."""
        return (self.folder / "into" / "alpha" / "__init__.py").is_file() or bool(
            list((self.folder / "into").glob("alpha*.dist-info"))
        )


@pytest.fixture
def desk(tmp_path: Path, client_tools: Path, client_environment: dict[str, str]) -> Desk:
    return Desk(client_environment, tmp_path, client_tools)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", ["token", "oidc", "mtls"])
def test_it_installs_as_whoever_it_shows_itself_to_be(
    program: str, kind: str, site: Site, desk: Desk
) -> None:
    secret = {"token": token("builder"), "oidc": site.issuer.mint(), "mtls": ""}[kind]
    if secret:
        site.proxy.keep_secret(secret)
    done = desk.install(program, site, "alpha", secret, site.certificate if not secret else None)
    assert done.returncode == 0, done.stderr
    assert desk.installed
    assert (kind, "pkg:pypi/alpha@") in {
        (who, purl[: len("pkg:pypi/alpha@")]) for who, purl in wait_for_audit(site, kind)
    }


def wait_for_audit(site: Site, kind: str) -> list[tuple[str, str]]:
    """What the audit log holds once somebody of that kind is in it; it is written behind."""
    ends = time.monotonic() + 10
    found: list[tuple[str, str]] = []
    while kind not in {who for who, _ in found}:
        assert time.monotonic() < ends, found
        found = site.audited()
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_who_shows_nothing_installs_nothing(program: str, site: Site, desk: Desk) -> None:
    done = desk.install(program, site, "alpha")
    assert done.returncode != 0
    assert not desk.installed


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_package_outside_of_its_limits_is_not_had(program: str, site: Site, desk: Desk) -> None:
    done = desk.install(program, site, "beta", token("builder"))
    assert done.returncode != 0
    if program == "uv":
        assert "403" in done.stderr


CURL: dict[str, tuple[int, Callable[[Site], tuple[str, ...]]]] = {
    "certificate": (200, lambda s: ("--cert", str(s.certificate))),
    "npm's _authToken": (200, lambda _: ("-H", f"Authorization: {bearer(token('builder'))}")),
    "Maven's preemptive Basic": (200, lambda _: ("-u", f"builder:{token('builder')}")),
    "docker's login": (200, lambda _: ("-H", f"Authorization: {basic(token('builder'), 'x')}")),
    "docker-like with an ID token": (200, lambda s: ("-u", f"oidc:{s.issuer.mint()}")),
    "ID token as Bearer": (200, lambda s: ("-H", f"Authorization: {bearer(s.issuer.mint())}")),
    "ID token of another project": (
        401,
        lambda s: ("-H", f"Authorization: {bearer(s.issuer.mint(repository='x/y'))}"),
    ),
    "nothing": (401, lambda _: ()),
}


@pytest.mark.parametrize("how", CURL)
def test_curl_is_answered_as_its_credential_deserves(how: str, site: Site, desk: Desk) -> None:
    status, options = CURL[how]
    curl = shutil.which("curl")
    assert curl is not None, "curl is needed"
    done = desk.run(
        *(curl, "-sS", "--cacert", str(site.farm.file), "-o", str(desk.folder / "body")),
        *("-w", "%{http_code}", *options(site), f"{site.index()}alpha/"),
    )
    assert (done.returncode, done.stdout) == (0, str(status)), done.stderr
