"""Samples of the apk ecosystem."""

from __future__ import annotations

import re

from tests.matrix.samples import Samples
from tests.origin import Artifact, Origin
from tests.origin.apks import KEY, ORGANISATION, REPOSITORY
from tests.running import Answer


def _package(origin: Origin) -> Artifact:
    return origin.content.find("alpha-apk-1.0-r0.apk")


def _read_error(answer: Answer) -> tuple[str, str]:
    text = answer.body.decode("ascii").removeprefix(f"{answer.reason}: ")
    found = re.fullmatch(r"(.+) \(request (\S+)\)\n", text)
    assert found is not None
    return found[2], found[1]


SAMPLES = Samples(
    document=f"/apk/{REPOSITORY}/APKINDEX.tar.gz",
    artifact=lambda origin: _package(origin).link,
    sha256=lambda origin: _package(origin).blob.sha256,
    listing=f"/apk/{ORGANISATION}/{KEY}",
    missing=f"/apk/{ORGANISATION}/nobody-has-made-this.rsa.pub",
    unknown=f"/apk/{REPOSITORY}/APKINDEX.zip",
    accept="*/*",
    error_type="text/plain; charset=utf-8",
    read_error=_read_error,
)
