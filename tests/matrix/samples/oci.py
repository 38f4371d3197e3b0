"""Samples of container images: the artifact is a blob, the document the manifest behind a tag."""

from __future__ import annotations

from proxy.ecosystems.oci_paths import ACCEPT
from tests.matrix.samples import Samples
from tests.origin import Origin
from tests.origin.images import PUBLIC, layers_of
from tests.running import Answer


def _digest(origin: Origin) -> str:
    return layers_of(origin.images.repository(PUBLIC), origin.images.tagged())[0]


def _read_error(answer: Answer) -> tuple[str, str]:
    (error,) = answer.json()["errors"]
    assert answer.header("Docker-Distribution-Api-Version") == "registry/2.0"
    assert error["message"].startswith(answer.reason)
    return error["detail"]["request_id"], error["message"]


SAMPLES = Samples(
    document=f"/v2/{PUBLIC}/manifests/latest",
    artifact=lambda origin: f"/v2/{PUBLIC}/blobs/{_digest(origin)}",
    sha256=lambda origin: _digest(origin).removeprefix("sha256:"),
    listing=f"/v2/{PUBLIC}/tags/list",
    missing=f"/v2/{PUBLIC}/manifests/nobody-has-made-this",
    unknown="/v2/_catalog",
    accept=ACCEPT,
    error_type="application/json",
    read_error=_read_error,
    lenient=True,
)
