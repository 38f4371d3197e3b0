"""apk repositories: what paths mean, what an index says, whether a package is the listed one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import pickle
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ecosystems.apk import Apk
from proxy.ecosystems.apk_index import Offers
from proxy.ecosystems.apk_package import MAX_SEGMENT, Package, control_digest
from proxy.ecosystems.base import Cataloguing, Ecosystem, Sealing
from proxy.errors import (
    Malformed,
    MethodNotAllowed,
    NotFound,
    NotListed,
    ProxyError,
    UnknownPath,
)
from proxy.model import ArtifactTarget, Document, DocumentTarget, Links
from proxy.server.canonical import canonicalise
from tests.origin import apks
from tests.origin.apks import ApkFile, Segments
from tests.origin.blobs import BytesBlob

APK = Apk()
INDEX = "/apk/example/x86_64/APKINDEX.tar.gz"
URL = "https://apk.example/example/x86_64/APKINDEX.tar.gz"
MADE = apks.segments("alpha", "1.0-r0", {"usr/bin/alpha": bytes(range(256)) * 20})


def asked(target: str, method: str = "GET") -> Any:
    return APK.classify(canonicalise(method, target, host=None))


def holds(whole: bytes, made: Segments = MADE, *, size: int | None = None) -> bool:
    package = Package(made.checksum, len(whole) if size is None else size)
    package.feed(whole)
    return package.holds()


# --- paths ---------------------------------------------------------------------------------------


def test_it_is_an_ecosystem_that_seals_and_has_catalogues() -> None:
    ecosystem: Ecosystem = APK
    assert isinstance(ecosystem, Sealing)
    assert isinstance(ecosystem, Cataloguing)
    assert [(mount.prefix, mount.scope) for mount in ecosystem.mounts] == [(("apk",), "apk")]


@pytest.mark.parametrize(
    ("name", "package", "version"),
    [
        ("alpha-1.0-r0.apk", "alpha", "1.0-r0"),
        ("py3.12-some-pkg-2.0_rc1-r10.apk", "py3.12-some-pkg", "2.0_rc1-r10"),
        ("libstdc%2B%2B-13.2.0-r5.apk", "libstdc++", "13.2.0-r5"),
        ("a-1-2.3-r1.apk", "a-1", "2.3-r1"),
        ("go-1.22-1.22.4-r0.apk", "go-1.22", "1.22.4-r0"),
        ("x-0.0.0~20240101-r0.apk", "x", "0.0.0~20240101-r0"),
    ],
)
def test_a_package_is_listed_in_the_index_beside_it(name: str, package: str, version: str) -> None:
    target = asked(f"/apk/example/x86_64/{name}")
    assert isinstance(target, ArtifactTarget)
    assert (target.package, target.version) == (package, version)
    assert target.path == f"/example/x86_64/{name.replace('%2B', '+')}"
    (listing,) = target.listed_in
    assert listing == asked(INDEX)
    assert listing.path == "/example/x86_64/APKINDEX.tar.gz"


def test_indexes_and_keys_are_documents_of_no_package() -> None:
    for path in (
        INDEX,
        "/apk/example/some-key@host-5f.rsa.pub",
        "/apk/example/apk-configuration",
        "/apk/example/jwks",
        "/apk/example/jwks.json",
    ):
        target = asked(path)
        assert isinstance(target, DocumentTarget)
        assert (target.path, target.package, target.neutral) == (path[4:], "", True)


@pytest.mark.parametrize(
    "path",
    [
        *("/apk", "/apk/", "/apk/example", "/apk/example/", "/apk/example/x86_64"),
        *("/apk/example/x86_64/", "/apk/example/APKINDEX.tar.gz", f"{INDEX}/", f"{INDEX}.asc"),
        *("/apk/example/x86_64/APKINDEX.adb", "/apk/example/x86_64/alpha.apk"),
        *("/apk/example/x86_64/alpha-1.0.apk", "/apk/example/x86_64/alpha-r0.apk"),
        *("/apk/example/x86_64/more/alpha-1.0-r0.apk", "/apk/example/x86_64/-1.0-r0.apk"),
        *("/apk/example/key.pub", "/apk/example/.rsa.pub", "/apk/example/keys/a.rsa.pub"),
        *("/apk/.hidden/x86_64/APKINDEX.tar.gz", "/apk/ex%20ample/x86_64/APKINDEX.tar.gz"),
    ],
)
def test_any_other_path_is_unknown(path: str) -> None:
    with pytest.raises(UnknownPath):
        asked(path)


def test_nothing_is_uploaded_and_a_package_has_its_url() -> None:
    with pytest.raises(MethodNotAllowed):
        asked(INDEX, "POST")
    assert APK.purl("curl", "8.0-r0") == "pkg:apk/chainguard/curl@8.0-r0"
    assert APK.purl("") == ""


# --- indexes -------------------------------------------------------------------------------------


def index_of(text: str) -> Document:
    return Document(gzip.compress(apks._tar({"APKINDEX": text.encode()})), "", URL)


def target_of(filename: str) -> ArtifactTarget:
    return ArtifactTarget(f"/example/x86_64/{filename}", "apk", "", filename)


@pytest.mark.parametrize("signed", [True, False])
def test_an_index_is_passed_on_byte_for_byte_and_lists_packages(signed: bool) -> None:
    body = apks.index(apks.tiny(), signed=signed)
    document = Document(body, "application/octet-stream", URL)
    made = APK.rewrite(asked(INDEX), document, Links())
    assert (made.body, made.media_type) == (body, "application/gzip")
    for file in apks.tiny():
        target = asked(file.link)
        source = APK.locate(target, document)
        assert (source.location, source.size) == (file.path, file.blob.size)
        assert (source.digest, source.seal) == (None, file.checksum)
    with pytest.raises(NotListed):
        APK.locate(asked("/apk/example/x86_64/alpha-apk-1.0-r1.apk"), document)
    with pytest.raises(NotListed):
        APK.locate(asked("/apk/example/x86_64/apk-1.0-r0.apk"), document)


def test_a_table_is_small_handed_over_as_one_and_holds_its_edges() -> None:
    table = Offers.of(index_of("P:a\nV:1-r0\nC:Q1" + "A" * 27 + "=\nS:5\nD:x y\n\n" * 2))
    assert pickle.loads(pickle.dumps(table)) == table  # noqa: S301  # our own
    assert table.find(target_of("a-1-r0.apk")).size == 5
    for absent in ("1-r0.apk", "a-1-r0.ap", "a", "", "\n"):
        with pytest.raises(NotListed):
            table.find(target_of(absent))


def test_the_order_of_fields_and_a_missing_end_do_not_matter() -> None:
    checksum = "Q1" + base64.b64encode(bytes(20)).decode()
    for text in (
        f"S:7\nV:1-r0\nP:a\nC:{checksum}",
        f"C:{checksum}\r\nP:a\r\nV:1-r0\r\nS:7\r\n\n",
        f"\n\nX:?\nC:{checksum}\nP:a\nV:1-r0\nT:C:no P:no\nS:7\n\nP:b\nV:1-r0\n\n",
    ):
        source = Offers.of(index_of(text)).find(target_of("a-1-r0.apk"))
        assert (source.size, source.seal) == (7, checksum)


CHECKSUM = "Q1" + "A" * 27 + "="


@pytest.mark.parametrize(
    "fields",
    [
        *("", "C:Q1AAAA\nS:5\n", "C:Q2" + "A" * 43 + "=\nS:5\n", f"C:{CHECKSUM}\n", "S:5\n"),
        *(f"C:{CHECKSUM}\nS:-5\n", "C:Q1" + "!" * 28 + "\nS:5\n", "C:" + "0" * 40 + "\nS:5\n"),
    ],
)
def test_a_package_that_the_index_does_not_vouch_for_is_not_served(fields: str) -> None:
    table = Offers.of(index_of(f"P:a\nV:1-r0\n{fields}\nP:b\nV:1-r0\n\n"))
    with pytest.raises(Malformed):
        table.find(target_of("a-1-r0.apk"))


WHOLE = apks.index(apks.tiny())


NO_INDEXES = (
    *(b"", b"<html>sign in</html>", WHOLE[:-1], WHOLE[:-8], WHOLE[: len(WHOLE) // 2]),
    *(WHOLE + b"x", WHOLE[:-20] + bytes(20), gzip.compress(b""), gzip.compress(b"x" * 100)),
    gzip.compress(apks._tar({"DESCRIPTION": b"x"})),
    gzip.compress(apks._tar({"APKINDEX": b"P:a\n"}, cut=True)) + WHOLE,
    gzip.compress(apks._tar({"APKINDEX": b"P:a\n"})[:514]),
)


@pytest.mark.parametrize("number", range(len(NO_INDEXES)))  # the bytes differ from run to run
def test_what_is_no_whole_index_is_never_passed_on(number: int) -> None:
    body = NO_INDEXES[number]
    document = Document(body, "application/octet-stream", URL)
    with pytest.raises(Malformed):
        APK.rewrite(asked(INDEX), document, Links())
    with pytest.raises(Malformed):
        APK.locate(asked("/apk/example/x86_64/alpha-apk-1.0-r0.apk"), document)


@given(st.binary(max_size=600))
def test_any_bytes_are_an_index_or_malformed(data: bytes) -> None:
    for body in (data, gzip.compress(data), gzip.compress(apks._tar({"APKINDEX": data}))):
        try:
            APK.locate(target_of("a-1-r0.apk"), Document(body, "", URL))
        except (Malformed, NotListed):
            continue


# --- keys ----------------------------------------------------------------------------------------


def rewritten(path: str, body: bytes) -> bytes:
    url = f"https://apk.example{path.removeprefix('/apk')}"
    links = Links(base="https://proxy.example")
    return APK.rewrite(asked(path), Document(body, "text/plain", url), links).body


def test_keys_are_passed_on_and_nothing_else_is_taken_for_one() -> None:
    key, keys = apks.public_key(), json.dumps(apks.jwks()).encode()
    assert rewritten("/apk/example/a.rsa.pub", key) == key
    assert rewritten("/apk/example/jwks", keys) == keys
    for path, body in (
        ("/apk/example/a.rsa.pub", b"<html>sign in</html>"),
        ("/apk/example/a.rsa.pub", key[:-20]),
        ("/apk/example/jwks", b"[]"),
        ("/apk/example/jwks", b'{"keys": 1}'),
        ("/apk/example/jwks", b"<html>"),
        ("/apk/example/apk-configuration", b"{"),
        ("/apk/example/apk-configuration", b'{"jwks_uri": "http://["}'),
    ):
        with pytest.raises(Malformed):
            rewritten(path, body)


def test_where_the_keys_are_is_here_or_nowhere() -> None:
    body = b'{"jwks_uri": "https://apk.example/example/jwks.json", "more": 1}'
    told = json.loads(rewritten("/apk/example/apk-configuration", body))
    assert told == {"jwks_uri": "https://proxy.example/apk/example/jwks.json", "more": 1}
    assert isinstance(asked(told["jwks_uri"].removeprefix("https://proxy.example")), DocumentTarget)
    for address in ("https://other.example/example/jwks", "https://apk.example/x/y/z", "", 5):
        with pytest.raises(NotFound):
            rewritten("/apk/example/apk-configuration", json.dumps({"jwks_uri": address}).encode())


# --- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_a_package_is_right_when_control_and_data_are(signed: bool) -> None:
    made = apks.segments("alpha", "1.0-r0", signed=signed)
    assert holds(made.whole, made)
    assert not holds(made.whole, MADE)


@given(cuts=st.lists(st.integers(0, len(MADE.whole)), max_size=8))
def test_pieces_of_any_size_make_the_same_verdict(cuts: list[int]) -> None:
    package = Package(MADE.checksum, len(MADE.whole))
    for start, end in pairwise([0, *sorted(cuts), len(MADE.whole)]):
        assert package.holds() is False or start == len(MADE.whole)
        package.feed(MADE.whole[start:end])
    assert package.holds()


def test_no_changed_byte_goes_unnoticed() -> None:
    whole = MADE.whole
    signature = len(MADE.signature)
    # The gzip header of the signature (its time, its system) is the only thing nobody vouches for.
    free = {4, 5, 6, 7, 8, 9}
    for at in range(0, len(whole), 3 if len(whole) < 4000 else 7):
        other = whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]
        assert not holds(other) or (at < signature and at in free), at


@pytest.mark.parametrize("size", [None, 0])
def test_no_cut_and_nothing_behind_the_end_goes_unnoticed(size: int | None) -> None:
    whole = MADE.whole
    borders = [len(MADE.signature), len(MADE.signature + MADE.control)]
    for end in (0, 1, *borders, *(border + 1 for border in borders), len(whole) - 1):
        package = Package(MADE.checksum, size)
        package.feed(whole[:end])
        assert not package.holds(), end
    assert not holds(whole + b"\0")
    assert not holds(whole, size=len(whole) + 1)


def test_segments_of_another_package_are_not_taken() -> None:
    other = apks.segments("alpha", "1.0-r0", {"usr/bin/alpha": b"evil"})
    for parts in (
        (MADE.signature, MADE.control, other.data),
        (MADE.signature, other.control, other.data),
        (MADE.signature, MADE.control, MADE.data, other.data),
        (MADE.control, MADE.control, MADE.data),
        (MADE.signature, MADE.signature, MADE.control, MADE.data),
        (MADE.signature, other.control, MADE.control, MADE.data),
        (MADE.data, MADE.control),
        (b"x" * 100,),
    ):
        assert not holds(b"".join(parts))
    assert holds(MADE.control + MADE.data)
    assert holds(other.signature + MADE.control + MADE.data)


def test_a_signature_with_something_else_in_it_is_none() -> None:
    hidden = gzip.compress(apks._tar({".SIGN.RSA.k": b"x", ".PKGINFO": b"pkgname = evil\n"}))
    assert not holds(hidden + MADE.control + MADE.data)
    hidden = gzip.compress(apks._tar({".SIGN.RSA.k": b"x", "usr/evil": b"x"}, cut=True))
    assert not holds(hidden + MADE.control + MADE.data)


def test_data_that_the_control_segment_does_not_vouch_for_is_not_taken() -> None:
    bare = apks.segments("alpha", "1.0-r0", datahash="")
    assert not holds(bare.whole, bare)
    assert holds(bare.signature + bare.control, bare)
    twice = apks.segments("alpha", "1.0-r0", datahash=f"{'0' * 64}\ndatahash = {'1' * 64}")
    assert not holds(twice.whole, twice)


def test_what_inflates_to_more_than_any_control_segment_is_refused() -> None:
    bomb = gzip.compress(bytes(MAX_SEGMENT + (1 << 20)))
    made = Segments(b"", bomb, b"")
    assert not holds(made.whole, made)


@pytest.mark.parametrize("checksum", ["", "Q1", "Q1AAAA", "Q2" + "A" * 43 + "=", "Q1\xe9", "x"])
def test_a_checksum_that_is_none_vouches_for_nothing(checksum: str) -> None:
    assert control_digest(checksum) is None
    package = Package(checksum, None)
    package.feed(MADE.whole)
    assert not package.holds()


@given(st.binary(max_size=3000))
def test_any_bytes_are_judged_without_a_word(data: bytes) -> None:
    for whole in (data, gzip.compress(data), MADE.signature + data, MADE.signature + MADE.control):
        made = Segments(b"", whole, b"")
        assert holds(whole, made) is False or b"datahash" not in whole


@given(st.text(max_size=40))
def test_any_path_is_understood_or_refused(path: str) -> None:
    try:
        target = asked(f"/apk/example/x86_64/{path}")
    except ProxyError:
        return
    assert isinstance(target, (DocumentTarget, ArtifactTarget))


def test_a_size_beyond_measure_is_never_the_smallest() -> None:
    rows = b"\na-1.apk Q1x= %b\nb-1.apk Q1x= 7\nc-1.apk Q1x= -\n" % (b"1" * 5000)
    assert Offers(rows).smallest() == "b-1.apk"
    assert not Offers(b"\n\n").smallest()


def test_an_error_is_one_line_of_text() -> None:
    worded = APK.render_error(NotFound("It is not\u00e9 there."), "abc")
    assert worded.media_type == "text/plain; charset=utf-8"
    assert re.fullmatch(rb"[^\n]+: It is not\\xe9 there\. \(request abc\)\n", worded.body)


def test_the_writer_of_the_tests_is_not_the_reader() -> None:
    file = apks.tiny()[0]
    assert isinstance(file, ApkFile)
    assert isinstance(file.blob, BytesBlob)
    control = hashlib.sha1(MADE.control).digest()
    assert control_digest(MADE.checksum) == control
