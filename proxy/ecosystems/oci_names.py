"""Names, tags and digests of container images, checked before any path or key is made of them.

Reading: OCI distribution specification 1.1 ("Pulling manifests": name and tag), OCI image
specification 1.1 (`descriptor`: digests). Non-goals: paths (`oci_paths`).
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import InvalidDigest, InvalidName, UnknownPath
from proxy.model import Digest

MAX_NAME: Final = 255  # characters; clients have no room for more
_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

MANIFEST: Final = "manifest"
BLOB: Final = "blob"
REPOSITORY: Final = "repository"
PARAMETER: Final = "parameter"
"""What an error can be about, `kind` of targets and errors."""


def repository_name(text: str) -> str:
    """A repository's name, as it is. Raises InvalidName."""
    # The length first: the pattern takes quadratic time on long runs of dashes.
    if len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise InvalidName("This can be the name of no repository (OCI distribution specification).")
    return text


def digest(text: str) -> Digest:
    """A digest of one of the two algorithms that images have. Raises InvalidDigest."""
    if not _DIGEST.fullmatch(text):
        raise InvalidDigest("The digest is neither sha256 nor sha512 in lower-case hex.")
    return Digest.of(*text.split(":", 1))


def is_digest(text: str) -> bool:
    """Tell whether a text is a digest of one of the two algorithms."""
    return _DIGEST.fullmatch(text) is not None


def tag(text: str) -> str:
    """A tag, as it is. Raises UnknownPath: no manifest can be there."""
    if not _TAG.fullmatch(text):
        error = UnknownPath("This can be no tag (OCI distribution specification).")
        error.kind = MANIFEST
        raise error
    return text
