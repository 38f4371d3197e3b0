"""The Java ecosystem by itself: what paths mean, what sidecars, metadata and folder pages say."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.keys import artifact_key
from proxy.cache.selection import Selection
from proxy.ecosystems.java import Java
from proxy.errors import (
    Blocked,
    Malformed,
    MethodNotAllowed,
    NotFound,
    NotListed,
    Unavailable,
    UnknownPath,
)
from proxy.model import (
    ArtifactTarget,
    ChecksumTarget,
    Document,
    DocumentTarget,
    Links,
    StaticTarget,
)
from proxy.server.canonical import canonicalise

JAVA = Java()
HOST = "https://registry.example"
BASE = "/java/org/example/demo"
ENDINGS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


def asked(target: str, method: str = "GET") -> Any:
    return JAVA.classify(canonicalise(method, target, host="proxy.test", accept=()))


def artifact(target: str) -> ArtifactTarget:
    found = asked(target)
    assert isinstance(found, ArtifactTarget)
    return found


@pytest.mark.parametrize(
    ("target", "package", "version"),
    [
        (f"{BASE}/1.0/demo-1.0.jar", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0.pom", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0.module", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0-sources.jar", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0-linux-x86_64.tar.gz", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0.jar.asc", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0.spdx.json", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/sbom.spdx.json", "org.example:demo", "1.0"),
        (f"{BASE}/1.0/demo-1.0.jar.slsa-attestation.json", "org.example:demo", "1.0"),
        ("/java-remediated/a/b/1.0-0.cgr.1/b-1.0-0.cgr.1.jar", "a:b", "1.0-0.cgr.1"),
        ("/java/a/b/1%2B2/b-1+2.jar", "a:b", "1+2"),
        (f"{BASE}/1-SNAPSHOT/demo-1-20260301.070809-1.jar", "org.example:demo", "1-SNAPSHOT"),
        (f"{BASE}/1-SNAPSHOT/demo-1-SNAPSHOT.pom", "org.example:demo", "1-SNAPSHOT"),
    ],
)
def test_a_file_of_a_version_is_an_artifact_with_sidecars_to_compare(
    target: str, package: str, version: str
) -> None:
    found = artifact(target)
    assert (found.package, found.version) == (package, version)
    assert found.scope == target.split("/")[1]
    assert [one.path for one in found.checksum_of] == [found.path + ".sha256", found.path + ".sha1"]
    assert {name for name, _ in found.digests} == {"sha1", "sha256"}
    for ending in ENDINGS:
        sidecar = asked(f"{target}.{ending}")
        assert isinstance(sidecar, ChecksumTarget)
        assert (sidecar.of, sidecar.algorithm) == (found, ending)
        assert sidecar.document.path == f"{found.path}.{ending}"
        assert (sidecar.scope, sidecar.package, sidecar.version) == (found.scope, package, version)


@pytest.mark.parametrize(
    ("target", "package", "version"),
    [
        (f"{BASE}/maven-metadata.xml", "org.example:demo", ""),
        ("/java/org/apache/maven/plugins/maven-metadata.xml", "org.apache.maven:plugins", ""),
        (f"{BASE}/1-SNAPSHOT/maven-metadata.xml", "org.example:demo", "1-SNAPSHOT"),
        ("/java/junit/maven-metadata.xml", "junit", ""),
        ("/java/archetype-catalog.xml", "", ""),
        ("/java/.index/nexus-maven-repository-index.properties", "", ""),
    ],
)
def test_a_document_and_its_sidecars_are_forms_of_one_document(
    target: str, package: str, version: str
) -> None:
    found = asked(target)
    assert isinstance(found, DocumentTarget)
    assert (found.path, found.package, found.version) == (target, package, version)
    assert not found.follows
    for ending in ENDINGS:
        sidecar = asked(f"{target}.{ending}")
        assert isinstance(sidecar, DocumentTarget)
        assert (sidecar.path, sidecar.follows) == (target, True)
        assert sidecar.representation != found.representation


@pytest.mark.parametrize(
    ("target", "package", "version"),
    [
        ("/java/org/a/org.a.core/r09/", "org.a:org.a.core", "r09"),
        ("/java/org/a/org.a.core/1.0/", "org.a:org.a.core", "1.0"),
        ("/java/org/a/org.a.core/", "org.a:org.a.core", ""),
        ("/java/org/a/org.a.core/maven-metadata.xml", "org.a:org.a.core", ""),
        ("/java/org/a/org.a.core/1-SNAPSHOT/maven-metadata.xml", "org.a:org.a.core", "1-SNAPSHOT"),
        ("/java/org/a/org.a.core/r09/org.a.core-r09.jar", "org.a:org.a.core", "r09"),
    ],
)
def test_an_artifact_may_have_dots_in_its_name(target: str, package: str, version: str) -> None:
    found = asked(target)
    assert (found.package, found.version) == (package, version)


@pytest.mark.parametrize(
    "target",
    [
        "/java/org/example/demo/1.0/other-1.0.jar",
        "/java/org/example/demo/1.0/demo-1.1.jar",
        "/java/org/example/demo/1.0/demo-1.0",
        "/java/org/example/demo/1.0/demo-1.0.jar/x",
        "/java/org/example/demo/1.0/demo-1.0.jar.sha1.md5",
        "/java/org/example/demo/1.0/.sha1",
        "/java/demo/1.0/demo-1.0.jar",
        "/java/org/example/demo/1.0",
        "/java/org/ex ample/demo/1.0/demo-1.0.jar".replace(" ", "%20"),
        "/java/maven-metadata.xml",
        "/java/org/archetype-catalog.xml",
        "/java/.index/other.gz",
        "/java/.meta/x/1/x-1.jar",
        "/java/a/b/1-SNAPSHOT/b-1-",
        "/java/x.jar",
        # Rights and logs would know them by the name of what lies below /java/org/example/.
        "/java/org.example/demo/1.0/demo-1.0.jar",
        "/java/org.example/demo/1.0/demo-1.0.jar.sha1",
        "/java/org.example/demo/maven-metadata.xml",
        "/java/org.example/demo/1-SNAPSHOT/maven-metadata.xml",
        "/java/org.example/demo/",
        "/java/org.example/demo/1.0/",
        "/java/org.example:demo/",
        "/java/org/example:demo/",
    ],
)
def test_what_can_be_no_file_of_a_repository_is_unknown(target: str) -> None:
    with pytest.raises(UnknownPath):
        asked(target)


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("demo-1.0.jar", ""),
        ("demo-1.0.jar.asc", "demo-1.0.jar"),
        ("demo-1.0.tar.gz.asc", "demo-1.0.tar.gz"),
        ("demo-1.0.spdx.json", "demo-1.0.jar"),
        ("demo-1.0.pom.spdx.json", "demo-1.0.pom"),
        ("demo-1.0.jar.slsa-attestation.json", "demo-1.0.jar"),
        ("demo-1.0.spdx.json.asc", "demo-1.0.spdx.json"),
    ],
)
def test_a_statement_knows_what_it_is_about(name: str, about: str) -> None:
    folder = f"{BASE}/1.0/"
    assert artifact(folder + name).about == (folder + about if about else "")


def test_a_mount_without_its_slash_is_redirected_and_nothing_is_deployed() -> None:
    found = asked("/java")
    assert isinstance(found, StaticTarget)
    assert (found.status, found.headers) == (301, (("Location", "java/"),))
    with pytest.raises(MethodNotAllowed):
        asked(f"{BASE}/maven-metadata.xml", "POST")


def test_a_package_url_selects_what_is_kept_of_it() -> None:
    found = artifact(f"{BASE}/1.0/demo-1.0.jar")
    purl = JAVA.purl(found.package, found.version)
    assert purl == "pkg:maven/org.example/demo@1.0"
    assert Selection.of(purl).matches(artifact_key("java", HOST, found))
    assert JAVA.purl("") == ""


def test_absence_is_no_problem_but_plain_json() -> None:
    # Measured: Maven 3.9.11 and 4 take a 404 with problem details for a failure to transfer.
    for error, media_type in (
        (NotFound("x"), "application/json"),
        (NotFound("x", gone=True), "application/json"),
        (UnknownPath("x"), "application/json"),
        (Unavailable("x"), "application/problem+json"),
        (Blocked("x"), "application/problem+json"),
    ):
        worded = JAVA.render_error(error, "id")
        assert (worded.media_type, json.loads(worded.body)["detail"]) == (media_type, "x")


# --- sidecars -----------------------------------------------------------------------------------


def told(body: bytes, ending: str = "sha1") -> str | None:
    target = artifact(f"{BASE}/1.0/demo-1.0.jar")
    document = Document(body, "text/plain", f"{HOST}{target.path}.{ending}")
    try:
        source = JAVA.locate(target, document)
    except NotListed:
        return None
    assert source.location == target.path
    assert source.digest is not None
    assert source.digest.algorithm == ending
    return source.digest.hex


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_checksum_is_read_in_all_forms_that_are_about(ending: str) -> None:
    digest = hashlib.new(ending, b"x").hexdigest()
    for form in (
        "{}",
        "{}\n",
        "{}  demo-1.0.jar\n",
        "{} *demo-1.0.jar",
        "SHA1(x)= {}",
        "\n {} \r\n",
    ):
        assert told(form.format(digest).encode(), ending) == digest
        assert told(form.format(digest.upper()).encode(), ending) == digest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"0" * 39,
        b"0" * 41,
        b"0" * 64,
        b"0" * 40 + b" " + b"1" * 40,
        b"<html>" + b"0" * 40 + b"</html>",
        b"g" * 40,
        b"\xff" * 40,
        b"not found",
    ],
)
def test_what_is_no_checksum_tells_none(body: bytes) -> None:
    assert told(body) is None


# --- documents ----------------------------------------------------------------------------------

METADATA = b"<?xml version='1.0'?>\n<metadata><versioning/></metadata>\n"


def rewritten(target: str, body: bytes, media_type: str = "text/xml") -> Document:
    found = asked(target)
    assert isinstance(found, DocumentTarget)
    return JAVA.rewrite(found, Document(body, media_type, HOST + found.path), Links())


def test_metadata_is_passed_on_byte_for_byte_with_its_digests_as_fields() -> None:
    made = rewritten(f"{BASE}/maven-metadata.xml", METADATA)
    assert (made.body, made.media_type) == (METADATA, "application/xml")
    fields = dict(made.headers)
    assert fields["X-Checksum-Sha1"] == hashlib.sha1(METADATA).hexdigest()
    for ending in ENDINGS:
        sidecar = rewritten(f"{BASE}/maven-metadata.xml.{ending}", METADATA)
        assert sidecar.body.decode() == hashlib.new(ending, METADATA).hexdigest()
        assert sidecar.media_type == "text/plain; charset=utf-8"
        assert fields[f"X-Checksum-{ending.capitalize()}"] == sidecar.body.decode()


@pytest.mark.parametrize("ending", ["", ".sha1"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        METADATA[:-4],
        METADATA + METADATA,
        b"<html><body>sign in</body></html>",
        b"<!DOCTYPE html><html></html>",
        b"<!DOCTYPE metadata [<!ENTITY a 'b'>]><metadata>&a;</metadata>",
        b"<!DOCTYPE metadata SYSTEM 'https://elsewhere.example/x'><metadata/>",
        b"<metadata>&nbsp;</metadata>",
        b"{}",
        b"<metadata>\xff</metadata>",
    ],
)
def test_metadata_that_is_not_whole_is_never_passed_on_nor_told_of(
    body: bytes, ending: str
) -> None:
    with pytest.raises(Malformed):
        rewritten(f"{BASE}/maven-metadata.xml{ending}", body)


def test_the_catalogue_and_the_index_properties_are_told_from_pages() -> None:
    catalog = b"<archetype-catalog><archetypes/></archetype-catalog>"
    assert rewritten("/java/archetype-catalog.xml", catalog).body == catalog
    with pytest.raises(Malformed):
        rewritten("/java/archetype-catalog.xml", METADATA)
    properties = "/java/.index/nexus-maven-repository-index.properties"
    assert rewritten(properties, b"nexus.index.id=central\n").body == b"nexus.index.id=central\n"
    for wrong in (b"", b"<html></html>", b"\0"):
        with pytest.raises(Malformed):
            rewritten(properties, wrong)


# --- folder pages -------------------------------------------------------------------------------


def page(links: list[str], target: str = f"{BASE}/1.0/", url: str = "") -> str:
    body = "<html><pre>" + "".join(f'<a href="{link}">x</a>\n' for link in links)
    found = asked(target)
    document = Document(body.encode(), "text/html; charset=utf-8", url or HOST + target)
    return JAVA.rewrite(found, document, Links()).body.decode()


def hrefs(text: str) -> list[str]:
    return re.findall(r'<a href="([^"]*)"', text)


def test_a_folder_page_keeps_the_links_that_stay_and_makes_them_relative() -> None:
    text = page(
        [
            "../",
            "demo-1.0.jar",
            "./demo-1.0.pom",
            f"{BASE}/1.0/demo-1.0.jar.asc",
            f"{HOST}{BASE}/1.0/demo-1.0.jar.sha1",
            "demo-1.0.jar",
            "https://elsewhere.example/java/org/example/demo/1.0/demo-1.0-x.jar",
            "//elsewhere.example/demo-1.0-y.jar",
            "javascript:alert(1)",
            "../2.0/demo-2.0.jar",
            "%2e%2e/%2e%2e/x",
            "stranger.exe",
            "http://[broken/",
            "?C=N;O=D",
        ]
    )
    assert hrefs(text) == [
        "../",
        "demo-1.0.jar",
        "demo-1.0.pom",
        "demo-1.0.jar.asc",
        "demo-1.0.jar.sha1",
    ]


def test_the_root_page_has_no_way_up_and_folders_keep_their_slash() -> None:
    assert hrefs(page(["org/", "com/", "archetype-catalog.xml"], "/java/")) == [
        "org/",
        "com/",
        "archetype-catalog.xml",
    ]


def test_what_is_no_folder_page_is_never_passed_on() -> None:
    with pytest.raises(Malformed):
        page([])
    with pytest.raises(Malformed):
        page(["https://elsewhere.example/"])
    with pytest.raises(Malformed):
        rewritten(f"{BASE}/1.0/", b'{"files": []}', "application/json")


_NAMES = st.text(
    st.characters(min_codepoint=1, max_codepoint=300, exclude_characters="/"), max_size=9
)


@given(names=st.lists(st.tuples(_NAMES, st.booleans()), max_size=6))
def test_every_link_on_a_page_leads_to_a_path_that_is_understood(
    names: list[tuple[str, bool]],
) -> None:
    links = [f"demo-1.0-{name}.jar" if file else f"{name}/" for name, file in names]
    escaped = [link.replace("&", "&amp;").replace('"', "&quot;") for link in links]
    text = page(["demo-1.0.jar", *escaped])
    for href in hrefs(text)[1:]:
        asked(f"{BASE}/1.0/{href}")


@given(path=st.text(st.sampled_from("ab1./-+~%2fjarxmlshpo5"), max_size=40))
def test_any_path_is_understood_or_refused(path: str) -> None:
    parts = (part for part in path.replace("%", "").split("/") if part not in {"", ".", ".."})
    line = canonicalise("GET", "/".join(("/java/x", *parts)), host="a", accept=())
    try:
        found = JAVA.classify(line)
    except UnknownPath:
        return
    assert found.scope == "java"
