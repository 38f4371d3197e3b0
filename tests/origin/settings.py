"""What a test may choose about the test origin, all changeable while it runs.

Purpose: the vendor's documentation leaves some behaviour open ("assumed" in the notes of the
upstream); each such point is a switch here, so that a proxy can be shown to cope with either
answer. Non-goals: misbehaviour (see `faults`), content (see `content`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

ALL_SCOPES = frozenset(
    {"python", "python-remediated", "java", "java-remediated", "javascript", "go", "dotnet"}
)


@dataclass(slots=True)
class Settings:
    """Behaviour of one origin.

    Index pages: `hashes`, `sizes`, `upload_time`, `requires_python`, `yanked`, `core_metadata`
    (announced and served), `api_version` (sizes are needed for 1.1 and above), `json_index`
    (PEP 691 where asked for), `etag` (with 304), `weak_etag`, `cache_control` ("" = none), `gzip`
    (documents, where accepted). `metadata_hash`: with it or as a bare "true"; `old_names`: JSON has
    the names of core metadata from before PEP 714, too. `provenance` (PEP 740, linked and served),
    `gpg_sig` (the same), `status` and `status_reason` (PEP 792), `tracks` and
    `alternate_locations` (PEP 708), `private_keys` that no PEP names. `more_projects`: so many
    made-up names on the list of all projects.

    Artifacts: `direct` answers 200 in place of the redirect; `ranges` False: the object store sends
    the whole, whatever part is asked for; `presign_lifetime` in seconds;
    `store_media_type` of what the object store sends, rightly or wrongly.

    Maven repositories: `java_checksums`, the checksum files that there are of everything;
    `java_catalog`: there is a catalogue of archetypes.

    NuGet: `dotnet_hashes`, where the digest of a package stands (`catalog`, `registration`, or
    nowhere); `dotnet_pages`: registrations have their pages apart; `dotnet_registrations`: there
    are any.

    `pip_friendly`: leave out the traps that pip itself falls into when it is sent here directly
    (needless and lower-case escapes in pre-signed URLs, which it normalises; Set-Cookie, which it
    sends back). For comparing an installation through the proxy with a direct one.

    Access: `entitled`, the scopes the organisation has; anything else answers 403.

    `clock`: seconds since the epoch; tests inject their own to let URLs and tokens expire.
    """

    hashes: bool = True
    sizes: bool = True
    upload_time: bool = True
    requires_python: bool = True
    yanked: bool = True
    core_metadata: bool = False
    metadata_hash: bool = True
    old_names: bool = False
    provenance: bool = False
    gpg_sig: bool = False
    status: str = ""
    status_reason: str = ""
    tracks: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()
    private_keys: bool = False
    more_projects: int = 0
    api_version: str = "1.1"
    json_index: bool = True
    etag: bool = True
    weak_etag: bool = False
    cache_control: str = ""
    gzip: bool = False
    direct: bool = False
    ranges: bool = True
    presign_lifetime: float = 300.0
    java_checksums: tuple[str, ...] = ("md5", "sha1")
    java_catalog: bool = True
    dotnet_hashes: str = "catalog"
    dotnet_pages: bool = False
    dotnet_registrations: bool = True
    pip_friendly: bool = False
    store_media_type: str = "application/octet-stream"
    entitled: frozenset[str] = field(default=ALL_SCOPES)
    clock: Callable[[], float] = time.time
