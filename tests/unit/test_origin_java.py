"""The look-alike's Maven repositories, asked directly: the traps are there, and nothing else."""

from __future__ import annotations

import hashlib
import re
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.origin import OriginThread, Settings
from tests.running import basic

JAR = "/java/org/example/demo/1.0/demo-1.0.jar"


class Seen(NamedTuple):
    status: int
    location: str
    body: bytes


def ask(origin: OriginThread, target: str, *, server: str = "") -> Seen:
    parts = urlsplit(server or origin.url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    credential = basic(origin.password, origin.username)
    headers = {"Accept-Encoding": "identity", **({} if server else {"Authorization": credential})}
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    seen = Seen(answer.status, answer.getheader("Location") or "", answer.read())
    connection.close()
    return seen


def followed(origin: OriginThread, target: str) -> Seen:
    first = ask(origin, target)
    assert (first.status, first.body[:2]) == (302, b"<a")
    store = first.location.removeprefix(origin.store_url)
    return ask(origin, store, server=origin.store_url)


def test_a_jar_and_its_checksum_are_redirected_to_the_object_store_with_a_page_as_body() -> None:
    with OriginThread() as origin:
        jar, sidecar = followed(origin, JAR), followed(origin, JAR + ".sha1")
        assert (jar.status, jar.body[:2]) == (200, b"PK")
        assert sidecar.body.decode() == hashlib.sha1(jar.body).hexdigest()
        assert ask(origin, JAR + ".sha512").status == 404
        assert origin.violations == []


def test_the_remediated_repository_holds_remediated_versions_only() -> None:
    with OriginThread() as origin:
        folder = ask(origin, "/java-remediated/org/example/demo/").body
        assert b"1.0-0.cgr.1/" in folder
        assert ask(origin, JAR.replace("/java/", "/java-remediated/")).status == 404


def test_folders_are_pages_and_metadata_lists_what_is_there() -> None:
    with OriginThread() as origin:
        page = ask(origin, "/java/org/example/demo/1.0/").body.decode()
        assert 'href="demo-1.0.jar"' in page
        assert ask(origin, "/java/org/example/demo").location == "/java/org/example/demo/"
        metadata = ask(origin, "/java/org/example/demo/maven-metadata.xml").body.decode()
        assert re.findall(r"<version>(.*)</version>", metadata) == ["1.0", "2.0"]
        assert ask(origin, "/java/org/nobody/").status == 404


def test_a_blocked_version_and_a_missing_entitlement_are_403() -> None:
    with OriginThread(Settings(entitled=frozenset({"java"}))) as origin:
        assert ask(origin, "/java-remediated/").status == 403
        origin.call(lambda inner: inner.block("org.example:demo", "1.0"))
        assert ask(origin, JAR).status == 403
        assert ask(origin, JAR.replace("1.0", "2.0")).status == 302
