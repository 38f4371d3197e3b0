"""What the engine knows about a stored body. Pure.

Purpose: the typed form of a storage record's opaque fields, made and read only here. A record whose
fields are not understood is a miss, never an error.

Non-goals: reading or writing storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final, Literal, NamedTuple, Self, TypeAlias

from proxy.errors import InvalidDigest
from proxy.model import Digest, Whole
from proxy.storage.base import Field, Fields, Record
from proxy.upstream.base import Head

Extracted: TypeAlias = Literal["", "parts", "whole"]
_EXTRACTED: Final[Mapping[Field, Extracted]] = {"": "", "parts": "parts", "whole": "whole"}


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """Facts about a stored document. Times in seconds since the epoch; `max_age` in seconds.

    `checked_at`: when the upstream last confirmed it (200 or 304). `refused`: the upstream's word
    against it, as `verdicts` writes it, with nothing left of the document itself; "": none.
    """

    url: str
    media_type: str
    etag: str
    last_modified: str
    max_age: int | None
    checked_at: float
    headers: tuple[tuple[str, str], ...] = ()
    refused: str = ""

    @classmethod
    def of_head(cls, head: Head, now: float) -> Self:
        """Make them from an upstream's answer."""
        return cls(
            url=head.url,
            media_type=head.media_type,
            etag=head.etag,
            last_modified=head.last_modified,
            max_age=head.max_age,
            checked_at=now,
            headers=head.fields,
        )

    @classmethod
    def of_record(cls, record: Record) -> Self | None:
        """Read them back; None when the fields are not ours."""
        fields = record.fields
        try:
            max_age = fields["max_age"]
            return cls(
                url=str(fields["url"]),
                media_type=str(fields["media_type"]),
                etag=str(fields["etag"]),
                last_modified=str(fields["last_modified"]),
                max_age=None if max_age is None else int(max_age),
                checked_at=_moment(fields["checked_at"]),
                headers=_unpack(str(fields.get("headers") or "")),
                refused=str(fields.get("refused") or ""),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def refused_with(self, verdict: str) -> Self:
        """What is noted in place of a refused document: nothing that could be confirmed, nor used
        by who does not know that it was refused."""
        return replace(self, etag="", last_modified="", checked_at=0.0, refused=verdict)

    def confirmed(self, head: Head, now: float) -> Self:
        """The same document after a 304, whose validators and lifetime count from now on."""
        return replace(
            self,
            etag=head.etag or self.etag,
            last_modified=head.last_modified or self.last_modified,
            max_age=head.max_age if head.max_age is not None else self.max_age,
            checked_at=now,
        )

    def fields(self) -> Fields:
        """The form that storage keeps."""
        return {
            "url": self.url,
            "media_type": self.media_type,
            "etag": self.etag,
            "last_modified": self.last_modified,
            "max_age": self.max_age,
            "checked_at": self.checked_at,
            "headers": "\n".join(f"{name}: {value}" for name, value in self.headers),
            **({"refused": self.refused} if self.refused else {}),
        }


def one_digest(sha256: str, digests: str, algorithm: str) -> Digest | None:
    """The digest by an algorithm of a body of that SHA-256; None: not computed.

    `digests`: what else was computed of it, as it stands in `ArtifactFacts.digests`.
    """
    if algorithm == "sha256":
        return Digest("sha256", sha256)
    found = next((one for one in digests.split() if one.startswith(f"{algorithm}:")), None)
    try:
        return Digest.of(algorithm, found.partition(":")[2]) if found else None
    except InvalidDigest:
        return None


@dataclass(frozen=True, slots=True)
class Compared:
    """What the upstream's sidecars of one artifact say at a moment. `paths`: of those that there
    are, separated by spaces; "none": it was asked and has none."""

    digests: tuple[Digest, ...] = ()
    paths: str = "none"


class ArtifactFacts(NamedTuple):
    """Facts about a stored artifact.

    `listing`, `listing_sha256`: the document, and its very bytes, that listed it: while those are
    still current nothing needs to be parsed again. `digest`: what the listing promised and the
    body fulfilled; None: the listing promised none. `fetched_at`, `checked_at`: epoch seconds;
    the latter when the upstream last let us have it. `withheld`: the verdict (see `verdicts`) by
    which the upstream has taken it back; it is not served until the upstream says otherwise.
    `whole`: what it belongs to, if it has no digest of its own. `extracted`: it was made of that,
    which was verified (`whole`) or of which only parts were read (`parts`). `digests`: computed of
    it besides SHA-256, `algorithm:hex` each, separated by spaces. `compared`: with which sidecars
    of the upstream (paths, or "none": it has none). `superseded`: the digest by which the
    upstream's sidecar names other bytes by now. `seal`: see `Source`; the body fulfilled it.
    """

    location: str
    package: str
    version: str
    digest: Digest | None
    fetched_at: float
    checked_at: float
    listing: str = ""
    listing_sha256: str = ""
    withheld: str = ""
    whole: Whole | None = None
    extracted: Extracted = ""
    digests: str = ""
    compared: str = ""
    superseded: str = ""
    seal: str = ""

    @classmethod
    def of_record(cls, record: Record) -> Self | None:
        """Read them back; None when the fields are not ours."""
        fields = record.fields
        try:
            digest = fields["digest"]
            return cls(
                location=str(fields["location"]),
                package=str(fields["package"]),
                version=str(fields["version"]),
                digest=_digest(digest),
                fetched_at=_moment(fields["fetched_at"]),
                checked_at=_moment(fields["checked_at"]),
                listing=str(fields["listing"]),
                listing_sha256=str(fields["listing_sha256"]),
                withheld=str(fields.get("withheld") or ""),
                whole=_whole(fields),
                extracted=_EXTRACTED[fields.get("extracted") or ""],
                digests=str(fields.get("digests") or ""),
                compared=str(fields.get("compared") or ""),
                superseded=str(fields.get("superseded") or ""),
                seal=str(fields.get("seal") or ""),
            )
        except (KeyError, TypeError, ValueError, OverflowError, InvalidDigest):
            return None

    def fields(self) -> Fields:
        """The form that storage keeps."""
        digest = self.digest
        fields: dict[str, Field] = {
            "location": self.location,
            "package": self.package,
            "version": self.version,
            "digest": f"{digest.algorithm}:{digest.hex}" if digest else None,
            "fetched_at": self.fetched_at,
            "checked_at": self.checked_at,
            "listing": self.listing,
            "listing_sha256": self.listing_sha256,
            "withheld": self.withheld,
        }
        if self.whole is not None:
            fields.update(_fields_of(self.whole))
        if self.extracted:
            fields["extracted"] = self.extracted
        if self.digests:
            fields["digests"] = self.digests
        if self.compared:
            fields["compared"] = self.compared
        if self.superseded:
            fields["superseded"] = self.superseded
        if self.seal:
            fields["seal"] = self.seal
        return fields

    def digest_by(self, algorithm: str, sha256: str) -> Digest | None:
        """The digest of the stored body, of that SHA-256, by an algorithm; None: not computed."""
        return one_digest(sha256, self.digests, algorithm)

    def fulfils(self, promised: Digest | None, sha256: str, seal: str = "") -> bool:
        """Tell whether the stored body, of that SHA-256, is the one that a listing promises now.

        A listing that promises no digest (any more) does not contradict what is stored, nor does
        one without a `seal`.
        """
        if self.superseded or (seal and seal != self.seal):
            return False
        mine = (self.digest, self.whole.digest if self.whole is not None else None)
        if promised is None or promised in mine:
            return True
        return promised == Digest("sha256", sha256)


def _digest(value: Field) -> Digest | None:
    return Digest.of(*str(value).split(":", 1)) if value else None


def _whole(fields: Fields) -> Whole | None:
    path = fields.get("whole_path")
    return Whole(str(path), _digest(fields.get("whole_digest"))) if path else None


def _fields_of(whole: Whole) -> Fields:
    return {"whole_path": whole.path, "whole_digest": str(whole.digest) if whole.digest else None}


def _moment(value: Field) -> float:
    moment = float(value or 0)
    if not isfinite(moment):
        raise ValueError("not a moment")
    return moment


def _unpack(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (line.partition(": ") for line in text.splitlines())
    return tuple((name, value) for name, _, value in pairs if name)
