"""What `cgr-proxy doctor` asks an upstream for, made up: so that it finds the look-alike well.

Purpose: one home for these names beside the probes of the ecosystems (`Ecosystem.probe`). Images
are in every origin. Non-goals: `six`, which the look-alike takes through this machine's own pip.
"""

from __future__ import annotations

from tests.origin import apks, jars, modules, nupkgs
from tests.origin.content import Content
from tests.origin.tarballs import tarball


def add_probed(content: Content) -> None:
    """Add a version of each."""
    for file in (
        *jars.made_up("commons-io:commons-io", "2.15.1"),
        *modules.made_up("github.com/google/uuid", "v1.6.0"),
        tarball("ms", "2.1.3"),
        *nupkgs.with_manifest(nupkgs.nupkg("Microsoft.NETCore.Platforms", "7.0.4")),
        *apks.tiny(),
    ):
        content.add(file)
