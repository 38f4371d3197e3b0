"""Cache keys. Pure.

A key names one entry: ecosystem, package, version, upstream path, kind, upstream origin. Ordered
and readable, its parts joined by NUL (which no canonical path holds), so that a secondary index
can walk everything of a package. It holds no principal: the right to an entry is checked before
every look-up. It holds the origin: another upstream is other content.

Non-goals: representations: a document is stored as the upstream sent it, but for the few that are
too large to be rewritten whole.
"""

from __future__ import annotations

from proxy.model import ArtifactTarget, DocumentTarget, Source

SEPARATOR = "\0"


def document_key(ecosystem: str, origin: str, target: DocumentTarget) -> str:
    """Name the entry of a document."""
    return f"{ecosystem}\0{target.package}\0{target.version}\0{target.path}\0document\0{origin}"


def artifact_key(ecosystem: str, origin: str, target: ArtifactTarget) -> str:
    """Name the entry of an artifact."""
    return f"{ecosystem}\0{target.package}\0{target.version}\0{target.path}\0artifact\0{origin}"


def beside(key: str, path: str) -> str:
    """Name the entry of another artifact of the same package and version."""
    ecosystem, package, version, _, *rest = key.split(SEPARATOR)
    return SEPARATOR.join((ecosystem, package, version, path, *rest))


def variant_key(ecosystem: str, origin: str, target: DocumentTarget) -> str:
    """Name the entry of a `bulk` document as one kind of client gets it."""
    return SEPARATOR.join(
        (
            *(ecosystem, target.package, target.version, target.path),
            *("variant", origin, target.representation),
        )
    )


def flight_name(key: str, source: Source) -> str:
    """Name what one flight brings: an entry's body with the digest that its listing promises, from
    the address that it names. (What an address refuses says nothing about another one.)"""
    return f"{key}\0{source.seal or source.digest or source.promise}\0{source.location}"
