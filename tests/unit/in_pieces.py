"""What all upstream answers have in common that tests make themselves: they come in pieces."""

from __future__ import annotations


class InPieces:
    """The side of `UpstreamResponse` that is for large bodies, of one that is none."""

    def pours(self) -> bool:
        return False

    async def read_into(self, view: memoryview) -> int:
        raise AssertionError("it comes in pieces")
