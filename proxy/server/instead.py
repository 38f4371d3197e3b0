"""What is to be had in the place of a document that cannot be had.

Purpose: the upstream has no such document: what its ecosystem names in its place. The upstream does
not answer: that too, if it took the place before, when the upstream could be asked; so an outage
takes nothing away. What is made up (an empty list) stands for an answer only, never for silence.

Non-goals: documents themselves (`proxy.cache.documents`).
"""

from __future__ import annotations

from dataclasses import replace

from proxy.cache.documents import Documents
from proxy.ecosystems.base import Ecosystem
from proxy.errors import NotFound, UpstreamSilent
from proxy.model import DocumentTarget, Grant, StaticTarget


async def instead_of(
    error: NotFound | UpstreamSilent,
    documents: Documents,
    ecosystem: Ecosystem,
    target: DocumentTarget,
    grant: Grant,
) -> DocumentTarget | StaticTarget:
    """What to answer with in the place of `target`, which ended in `error`. Raises `error` where
    nothing takes its place."""
    other = target.otherwise
    if isinstance(error, NotFound) and other is not None:
        return other
    if isinstance(error, NotFound) or not isinstance(other, DocumentTarget):
        raise error
    if not await documents.keeps(ecosystem, other, grant):
        raise error
    return replace(other, otherwise=None)
