"""Container images, charts and signatures of the test origin, made in Python, always the same.

Purpose: a small mutable catalogue of repositories. `Images.tiny()` has what the vendor's registry
has: public images for two architectures in OCI and docker media types with moving tags, a private
organisation's image, a Helm chart, cosign's signature tag, and a software bill of materials that
refers to the image (OCI 1.1 `subject`). Layers are real tar archives.

Reading: OCI image specification 1.1 (`manifest`, `image-index`, `config`), Helm's OCI media types,
cosign's signature specification. Non-goals: HTTP (`registry`), signatures that verify.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.origin.blobs import Blob, BytesBlob, SyntheticBlob

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
SPDX = "application/spdx+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
EMPTY = b"{}"
PUBLIC = "chainguard/static"
DOCKER = "chainguard/docker-static"
PRIVATE = "acme.example/app"
CHART = "acme.example/iamguarded-charts/demo"
_EPOCH = "2026-03-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as pushed. `subject`: the digest that it refers to."""

    media_type: str
    body: bytes
    artifact_type: str = ""
    subject: str = ""

    @property
    def digest(self) -> str:
        """`sha256:...` over the bytes."""
        return digest_of(self.body)

    @property
    def descriptor(self) -> dict[str, Any]:
        """How another manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body)}


@dataclass(slots=True)
class Repository:
    """One repository. `private`: anonymous tokens do not open it. `history`: of tags."""

    name: str
    private: bool = False
    blobs: dict[str, Blob] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def add_blob(self, blob: Blob | bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; its descriptor."""
        blob = BytesBlob(blob) if isinstance(blob, bytes) else blob
        digest = f"sha256:{blob.sha256}"
        self.blobs[digest] = blob
        return {"mediaType": media_type, "digest": digest, "size": blob.size}

    def add(self, manifest: Manifest, *tags: str) -> Manifest:
        """Add a manifest, under tags too; a tag that is there moves."""
        self.manifests[manifest.digest] = manifest
        for tag in tags:
            self.tags[tag] = manifest.digest
            entry = {"updateTimestamp": _EPOCH, "digest": manifest.digest}
            self.history.setdefault(tag, []).append(entry)
        return manifest

    def image(
        self,
        text: str,
        *tags: str,
        docker: bool = False,
        architectures: Sequence[str] = ("amd64", "arm64"),
        layers: Sequence[Blob] = (),
    ) -> Manifest:
        """Add an image for several architectures; its index."""
        manifests = []
        for architecture in architectures:
            made = self._platform(text, architecture, docker, layers)
            platform = {"architecture": architecture, "os": "linux"}
            manifests.append({**made.descriptor, "platform": platform})
        media_type = DOCKER_LIST if docker else OCI_INDEX
        body = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
        return self.add(Manifest(media_type, dump(body)), *tags)

    def _platform(
        self, text: str, architecture: str, docker: bool, layers: Sequence[Blob]
    ) -> Manifest:
        tar = tar_of({"etc/message": f"{text} for {architecture}\n".encode()})
        found = [(gzip.compress(tar, mtime=0), digest_of(tar))]
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": _EPOCH,
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in found]},
            "history": [{"created": _EPOCH, "created_by": "test origin"}],
        }
        kinds = (DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_CONFIG, OCI_LAYER)
        media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        body = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.add_blob(dump(config), kinds[0]),
            "layers": [
                *(self.add_blob(data, kinds[1]) for data, _ in found),
                *(self.add_blob(blob, kinds[1]) for blob in layers),
            ],
        }
        return self.add(Manifest(media_type, dump(body)))

    def artifact(
        self,
        artifact_type: str,
        payload: bytes,
        *tags: str,
        subject: Manifest | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Add an artifact with one layer, which may refer to an image."""
        body: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self.add_blob(EMPTY, OCI_EMPTY),
            "layers": [self.add_blob(payload, artifact_type)],
        }
        if subject is not None:
            body["subject"] = subject.descriptor
        if annotations:
            body["annotations"] = dict(annotations)
        digest = subject.digest if subject is not None else ""
        return self.add(Manifest(OCI_MANIFEST, dump(body), artifact_type, digest), *tags)

    def sign(self, image: Manifest) -> Manifest:
        """Add what cosign stores for a signature: a tag made of the image's digest."""
        payload = dump({"critical": {"image": {"docker-manifest-digest": image.digest}}})
        layer = self.add_blob(payload, COSIGN_LAYER)
        layer["annotations"] = {"dev.cosignproject.cosign/signature": "bm90IGEgc2lnbmF0dXJl"}
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.add_blob(dump({"rootfs": {"type": "layers"}}), OCI_CONFIG),
            "layers": [layer],
        }
        tag = f"{image.digest.replace(':', '-')}.sig"
        return self.add(Manifest(OCI_MANIFEST, dump(body)), tag)

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """Descriptors of what refers to a digest, in the order added."""
        found = (item for item in self.manifests.values() if item.subject == digest)
        return [{**item.descriptor, "artifactType": item.artifact_type} for item in found]


class Images:
    """Repositories by name."""

    def __init__(self) -> None:
        self._all: dict[str, Repository] = {}

    @classmethod
    def tiny(cls) -> Images:
        """Make a small set: see the module."""
        images = cls()
        public = images.repository(PUBLIC)
        public.image("older", "1.0")
        latest = public.image("hello", "latest", "1.1")
        public.image("hello with a shell", "latest-dev")
        public.sign(latest)
        public.artifact(SPDX, b'{"spdxVersion": "SPDX-2.3"}', subject=latest)
        public.artifact(SIGNATURE, b'{"signature": "none"}', subject=latest)
        images.repository(DOCKER).image("docker", "latest", docker=True)
        images.repository(PRIVATE, private=True).image("private", "latest")
        chart = images.repository(CHART, private=True)
        metadata = {"apiVersion": "v2", "name": "demo", "version": "0.1.0", "type": "application"}
        archive = tar_of(
            {
                "demo/Chart.yaml": dump(metadata),
                "demo/values.yaml": b"message: hello\n",
                "demo/templates/config.yaml": _TEMPLATE,
            }
        )
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": chart.add_blob(dump(metadata), HELM_CONFIG),
            "layers": [chart.add_blob(gzip.compress(archive, mtime=0), HELM_LAYER)],
        }
        chart.add(Manifest(OCI_MANIFEST, dump(body)), "0.1.0")
        return images

    def __iter__(self) -> Iterator[Repository]:
        return iter(self._all.values())

    def repository(self, name: str, *, private: bool = False) -> Repository:
        """The repository of that name, made if it is not there."""
        return self._all.setdefault(name, Repository(name, private))

    def find(self, name: str) -> Repository | None:
        """The repository of that name, if it is there."""
        return self._all.get(name)

    def drop(self, name: str) -> None:
        """Take a whole repository away."""
        del self._all[name]

    def tagged(self, name: str = PUBLIC, tag: str = "latest") -> Manifest:
        """What a tag names. Raises LookupError."""
        repository = self._all[name]
        return repository.manifests[repository.tags[tag]]

    def big_layer(self, size: int, name: str = PUBLIC, seed: int = 0) -> str:
        """Add an image `big` with a layer of noise; the layer's digest."""
        blob = SyntheticBlob(size, seed)
        self.repository(name).image("big", "big", layers=[blob], architectures=("amd64",))
        return f"sha256:{blob.sha256}"


def layers_of(repository: Repository, index: Manifest) -> list[str]:
    """Digests of every blob of an image, of all architectures, without repetition."""
    found: dict[str, None] = {}
    for entry in json.loads(index.body)["manifests"]:
        manifest = json.loads(repository.manifests[entry["digest"]].body)
        for part in (manifest["config"], *manifest["layers"]):
            found[part["digest"]] = None
    return list(found)


def digest_of(data: bytes) -> str:
    """`sha256:...`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def dump(document: object) -> bytes:
    """JSON in a form that nobody makes again by chance: a proxy must keep the very bytes."""
    return json.dumps(document, indent=3).encode() + b"\n"


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar archive that depends on its content only."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 1_772_000_000
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


_TEMPLATE = b"""apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-demo
data:
  message: {{ .Values.message }}
"""
