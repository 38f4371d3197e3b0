"""What apk is told: one repository, and the key that signs its index.

Reading: apk-repositories(5). Non-goals: apko and melange, whose files take the same address.
"""

from __future__ import annotations

from typing import Final

from proxy.ecosystems.setups import GUARDED, VARIABLE, Place, Setup, Snippet


def _apk(place: Place) -> tuple[Snippet, ...]:
    repository = f"{place.url}/apk/ORGANISATION"
    guarded = f"{place.scheme}://any:${VARIABLE}@{place.below}/apk/ORGANISATION"
    body = f"""
wget -P /etc/apk/keys/ "{repository}/KEY.rsa.pub"
echo "{repository}" > /etc/apk/repositories  # the only one
apk add PACKAGE
# {GUARDED}, the address of both is:
# "{guarded}"
"""
    return (Snippet("apk: ORGANISATION and KEY are the vendor's names", "sh", body),)


SETUPS: Final = (Setup("apk", _apk),)
