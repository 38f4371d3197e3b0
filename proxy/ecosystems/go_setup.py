"""What the go command is told: one module proxy, and nothing beside it.

Reading: the Go modules reference, "Environment variables". Non-goals: a checksum database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.ecosystems.setups import GUARDED, Place, Setup, Snippet


def _variables(place: Place) -> Mapping[str, str]:
    return {"GOPROXY": f"{place.url}/go,off", "GONOSUMDB": "*"}


def _go(place: Place) -> tuple[Snippet, ...]:
    settings = _variables(place)
    body = f"""
go env -w 'GOPROXY={settings["GOPROXY"]}'  # off: nothing comes from anywhere else
go env -w 'GONOSUMDB={settings["GONOSUMDB"]}'  # the database does not know the vendor's builds
# A remediated build is a version, vX.Y.Z-cgr.N: go get MODULE@VERSION
"""
    token = Snippet(
        f"~/.netrc, mode 0600, {GUARDED}; over https only; before go 1.24 without the port",
        "sh",
        f"# machine {place.host} login any password TOKEN",
    )
    return Snippet("go", "sh", body), token


SETUPS: Final = (Setup("go", _go, _variables),)
