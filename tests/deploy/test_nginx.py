"""deploy/nginx.conf in the real nginx, before a real proxy: what curl makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.bench.nginx import Server
from tests.certificates import Authority
from tests.deploy.tools import DEPLOY, Tools
from tests.origin import OriginThread
from tests.origin.content import Artifact
from tests.running import Process, client, process

CLIENT = "127.0.0.9"
SIZE = 3 << 20
VERSIONS = ("--http1.0", "--http1.1", "--http2")
BEHIND = {
    "server": {"trusted_proxies": ["127.0.0.1/32"]},
    "clients": [client("farm", "python", "javascript", networks=[f"{CLIENT}/32"])],
}


@dataclass(frozen=True, slots=True)
class Front:
    """nginx, and the proxy behind it. `url`: as clients call it."""

    url: str
    proxy: Process
    authority: Path
    tools: Tools

    def curl(self, target: str, *options: str, address: str = CLIENT) -> tuple[int, bytes]:
        """The exit code of curl and what it got, as a client with this address."""
        command = [self.tools.program("curl"), "--silent", "--cacert", str(self.authority)]
        command += ["--interface", address, "--max-time", "60", *options, self.url + target]
        done = subprocess.run(command, capture_output=True, check=False, timeout=90)
        return done.returncode, done.stdout

    def packument(self, target: str, *options: str) -> set[str]:
        """Where the tarballs of a packument are said to be: everything up to the path."""
        code, body = self.curl(target, *options)
        assert code == 0
        versions: dict[str, Any] = json.loads(body)["versions"]
        links = [urlsplit(version["dist"]["tarball"]) for version in versions.values()]
        return {f"{link.scheme}://{link.netloc}{link.path.split('/-/')[0]}" for link in links}


@pytest.fixture
def origin() -> Iterator[OriginThread]:
    with OriginThread() as running:
        running.call(lambda origin: origin.content.synthetic(size=SIZE))
        yield running


@pytest.fixture
def front(origin: OriginThread, tmp_path: Path, tools: Tools) -> Iterator[Front]:
    """The file as it is, but for addresses and the certificate."""
    farm = Authority("farm", tmp_path)
    pair = farm.server("127.0.0.1", name="proxy.example")
    with process(tmp_path / "proxy", origin, BEHIND) as proxy:
        text = (DEPLOY / "nginx.conf").read_text("utf-8")
        text = text.replace("{", "{{").replace("}", "}}")
        for found, used in (
            ("127.0.0.1:8080;", f"{urlsplit(proxy.url).netloc};"),
            ("listen 443 ssl", "listen 127.0.0.1:{port} ssl"),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("/etc/ssl/cgr-proxy/tls.crt", str(pair.certificate)),
            ("/etc/ssl/cgr-proxy/tls.key", str(pair.key)),
        ):
            assert text.count(found) == 1, found
            text = text.replace(found, used)
        nginx = Server(tmp_path / "nginx", text)
        try:
            url = nginx.url.replace("http:", "https:")
            yield Front(url, proxy, farm.file, tools)
        finally:
            nginx.stop()


def big(origin: OriginThread) -> Artifact:
    return origin.origin.content.find("bigblob-1.0-py3-none-any.whl")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "fault",
    [
        {"cut_at": SIZE // 2, "framing": "length"},
        {"cut_at": SIZE // 2, "framing": "chunked"},
        {"cut_at": SIZE // 2, "framing": "close", "cut": "fin"},
        {"flip_at": SIZE // 2, "framing": "length"},
        {"flip_at": SIZE // 2, "framing": "chunked"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_a_transfer_that_breaks_off_is_a_broken_one_to_the_client(
    front: Front, origin: OriginThread, version: str, fault: dict[str, Any]
) -> None:
    wheel = big(origin)
    # Without a length from anybody the proxy's own answer has none either.
    origin.call(lambda it: setattr(it.settings, "sizes", fault["framing"] == "length"))
    struck = origin.fault("store", "bigblob", times=None, **fault)
    # Nothing can be asked for after it: the proxy cannot mend it.
    origin.fault("origin", wheel.link, after=1, times=None, status=418)

    code, body = front.curl(wheel.link, version, "--fail")

    assert struck.hits
    assert code != 0
    assert len(body) < SIZE or version == "--http1.0"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_one_is_whole(front: Front, origin: OriginThread, version: str) -> None:
    wheel = big(origin)

    for _ in range(2):  # from the upstream, from the cache
        code, body = front.curl(wheel.link, version, "--fail")
        assert (code, len(body)) == (0, SIZE)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_name_and_the_scheme_that_clients_use_stand_in_the_links(
    front: Front, version: str
) -> None:
    port = urlsplit(front.url).port
    named = (version, "--resolve", f"proxy.example:{port}:127.0.0.1")
    by_name = replace(front, url=f"https://proxy.example:{port}")

    assert front.packument("/javascript/alpha-js", version) == {f"{front.url}/javascript/alpha-js"}
    assert by_name.packument("/javascript/alpha-js", *named) == {
        f"https://proxy.example:{port}/javascript/alpha-js"
    }


def test_what_a_client_says_of_itself_is_not_believed(front: Front) -> None:
    said = ("X-Forwarded-Prefix: /evil", "X-Forwarded-Host: evil.example", "Forwarded: host=evil")
    lies = [word for line in said for word in ("--header", line)]

    assert front.packument("/javascript/alpha-js", *lies) == {f"{front.url}/javascript/alpha-js"}


def test_the_client_is_known_by_its_own_address_only(front: Front) -> None:
    page = ("/python/simple/alpha/", "--fail")
    known = ("--header", f"X-Forwarded-For: {CLIENT}")

    assert front.curl(*page)[0] == 0
    assert front.curl(*page, *known, address="127.0.0.8")[0] == 22  # 401
    front.proxy.signal(signal.SIGTERM)
    front.proxy.wait()
    assert [line["peer"] for line in front.proxy.access()] == [CLIENT, "127.0.0.8"]


@pytest.mark.parametrize(
    "path",
    [
        "/javascript/@scope%2fbeta-js",
        "/javascript/@scope%252fbeta-js",
        "/python//simple/alpha/",
        "/python/simple/%61lpha/",
        "/python/./simple/alpha/",
        "/python/simple/alpha/?a=%2f",
        "/python/simple/a%00/",
    ],
)
def test_a_path_arrives_as_it_was_sent(front: Front, path: str) -> None:
    shown = ("--path-as-is", "--output", os.devnull, "--write-out", "%{http_code}")

    assert front.curl(path, *shown) == replace(front, url=front.proxy.url).curl(path, *shown)
