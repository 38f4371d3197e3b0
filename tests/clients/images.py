"""An image of two architectures as files, for tools that push it to a real registry.

Purpose: skopeo's `dir:` form of what the test origin makes. Non-goals: other forms, other images.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.origin.blobs import BytesBlob, SyntheticBlob
from tests.origin.images import PUBLIC, Manifest, Repository, layers_of


def image() -> tuple[Repository, Manifest]:
    """An image and the repository that holds its parts; always the same."""
    repository = Repository(PUBLIC)
    return repository, repository.image("real", "latest")


def written(folder: Path, image: tuple[Repository, Manifest]) -> None:
    """Write an image as skopeo's `dir:` has it."""
    folder.mkdir()
    repository, index = image
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(index.body)
    for entry in json.loads(index.body)["manifests"]:
        name = entry["digest"].removeprefix("sha256:")
        (folder / f"{name}.manifest.json").write_bytes(repository.manifests[entry["digest"]].body)
    for digest in layers_of(repository, index):
        blob = repository.blobs[digest]
        with (folder / digest.removeprefix("sha256:")).open("wb") as file:
            if isinstance(blob, SyntheticBlob):
                file.writelines(blob.pieces())
            else:
                assert isinstance(blob, BytesBlob)
                file.write(blob.data)
