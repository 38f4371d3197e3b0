"""The apk host of the test origin: what it makes is what the format's own words describe."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.origin import Origin, apks
from tests.origin.apks import KEY, ApkFile
from tests.origin.blobs import BytesBlob
from tests.origin.raw import IDENTITY, ask, basic

INDEX = f"/{apks.REPOSITORY}/APKINDEX.tar.gz"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


def split(whole: bytes) -> list[bytes]:
    """The gzip members of a file, by a reader of its own."""
    found = []
    while whole:
        inflating = zlib.decompressobj(31)
        inflating.decompress(whole)
        assert inflating.eof
        found.append(whole[: len(whole) - len(inflating.unused_data)])
        whole = inflating.unused_data
    return found


def names(*members: bytes) -> list[str]:
    archive = io.BytesIO(b"".join(map(gzip.decompress, members)))
    with tarfile.open(fileobj=archive) as tar:
        return [name for name in tar.getnames() if tar.getmember(name).isfile()]


def verify(signature: bytes, signed: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(signature) + bytes(1024))) as tar:
        file = tar.extractfile(f".SIGN.RSA.{KEY}")
        assert file is not None
        key = serialization.load_pem_public_key(apks.public_key())
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(file.read(), signed, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  # the format's


def test_a_package_is_signature_control_and_data_each_vouched_for_by_the_one_before() -> None:
    file = apks.package("some", "1.0-r0", {"usr/bin/some": b"x" * 1000})
    assert isinstance(file.blob, BytesBlob)
    signature, control, data = split(file.blob.data)
    verify(signature, control)
    assert names(signature, control, data) == [
        f".SIGN.RSA.{KEY}",
        ".PKGINFO",
        "usr/bin/some",
    ]
    told = re.findall(rb"^datahash = (\w+)$", gzip.decompress(control), re.MULTILINE)
    assert told == [hashlib.sha256(data).hexdigest().encode()]
    sha1 = base64.b64decode(file.checksum.removeprefix("Q1"))
    assert sha1 == hashlib.sha1(control).digest()


async def test_the_index_is_signed_and_lists_what_there_is(origin: Origin) -> None:
    answer = await ask(origin.apk_url, INDEX, basic(origin))
    signature, listed = split(answer.body)
    verify(signature, listed)
    text = gzip.decompress(listed).decode()
    packages = [item for item in origin.content if isinstance(item, ApkFile)]
    assert {f"{p}-{v}.apk" for p, v in re.findall(r"P:(.+)\nV:(.+)\n", text)} == {
        item.filename for item in packages
    }
    assert all(f"C:{item.checksum}\n" in text for item in packages)


async def test_nobody_gets_anything_without_the_pull_token(origin: Origin) -> None:
    link = origin.content.find("alpha-apk-1.0-r0.apk").path
    for path in (INDEX, link, f"/example/{KEY}", "/example/apk-configuration"):
        answer = await ask(origin.apk_url, path, IDENTITY)
        assert (answer.status, answer.header("WWW-Authenticate")) == (401, 'Basic realm="apk"')
    other = await ask(origin.apk_url, "/other/x86_64/APKINDEX.tar.gz", basic(origin))
    assert other.status == 403


async def test_a_package_is_in_the_object_store(origin: Origin) -> None:
    file = origin.content.find("alpha-apk-1.0-r0.apk")
    answer = await ask(origin.apk_url, file.path, basic(origin))
    assert answer.status == 302
    assert (answer.header("Location") or "").startswith(origin.store_url)
    assert b"<a href" in answer.body
