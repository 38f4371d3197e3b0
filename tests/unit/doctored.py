"""A proxy for the doctor to look at: what its tests share.

Purpose: an upstream that has what the probes of all ecosystems ask for, a proxy in front of it at a
port that its configuration names, and the findings by what they are about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.config import Settings, load
from proxy.doctor.findings import CHECKS, Finding
from proxy.doctor.rounds import Rounds
from proxy.secret import Secret
from tests.origin import Content, Origin
from tests.origin.blobs import BytesBlob
from tests.origin.content import Artifact
from tests.origin.probed import add_probed
from tests.origin.wheels import make_wheel, wheel_name
from tests.running import Clock, Running, configuration, free_port, running, trusting

PROBED = ("python", "java", "javascript", "go", "dotnet", "oci", "apk")
WHEEL = wheel_name("six", "1.17.0")


def content() -> Content:
    """What the probes ask for; containers are in every origin."""
    wheel = BytesBlob(make_wheel("six", "1.17.0"))
    made = Content([Artifact(WHEEL, "six", "1.17.0", wheel)])
    add_probed(made)
    return made


@dataclass
class Scene:
    """An upstream, a proxy (None: it does not run) and the settings of both."""

    origin: Origin
    proxy: Running | None
    settings: Settings
    said: str = ""

    async def findings(
        self, *, token: str = "", clock: Clock | None = None, settings: Settings | None = None
    ) -> dict[tuple[str, str], Finding]:
        """What the doctor says, by ecosystem and check: what is wrong goes before what is well."""
        rounds = Rounds(
            settings or self.settings,
            trusting(None),
            Secret(token) if token else None,
            wall=clock or Clock(),
        )
        found = await rounds.make()
        assert {item.check for item in found} <= set(CHECKS)
        self.said += "".join(f"{item.detail} {item.fix}" for item in found)
        ordered = sorted(found, key=lambda item: not item.ok)  # what is wrong comes last, and stays
        return {(item.ecosystem, item.check): item for item in ordered}

    async def wrong(self, **given: Any) -> dict[tuple[str, str], Finding]:
        """The same, without what is well."""
        found = await self.findings(**given)
        return {what: item for what, item in found.items() if not item.ok}


@asynccontextmanager
async def scene(
    folder: Path,
    tables: Mapping[str, Any] | None = None,
    *,
    credentials: Mapping[str, tuple[str, str]] | None = None,
    runs: bool = True,
) -> AsyncIterator[Scene]:
    """Set it up; at the end the upstream has seen no broken rule, and nobody a secret."""
    async with Origin(content=content()) as origin:
        where = {"listen": f"127.0.0.1:{free_port()}"}
        platform = {"issuer": origin.issuer_url, "api": origin.api_url}
        given = {"server": where, "upstream": platform, **(tables or {})}
        given["server"] = where | given["server"]
        given["upstream"] = platform | given["upstream"]
        if runs:
            async with running(folder, origin, given, credentials=credentials) as proxy:
                made = Scene(origin, proxy, proxy.settings)
                yield made
                proxy.received.append(made.said.encode())
        else:
            file = configuration(folder, origin, given, credentials)
            yield Scene(origin, None, load(file, {}, {}))
        violations = list(origin.violations)
        assert violations == []
