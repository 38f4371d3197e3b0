"""What all upstream answers have in common that tests make themselves: they come in pieces."""

from __future__ import annotations


class InPieces:
    """The sides of `UpstreamResponse` that spare somebody a wait or a copy: here nobody is."""

    def here(self) -> bytes:
        return b""

    def pours(self) -> bool:
        return False

    async def read_into(self, view: memoryview) -> int:
        raise AssertionError("it comes in pieces")
