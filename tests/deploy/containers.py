"""The image, built without the internet, and an engine that runs it.

Purpose: buildah builds in a chroot and podman runs with runc, as root, over a store of their own.
The bases are unpacked Debian packages in the place of the vendor's images (`bases.sh`). Non-goals:
what the image is to do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.machine import Done
from tests.deploy.tools import DEPLOY, TOP, Tools

USER = 65532
IMAGE = "localhost/cgr-proxy"
# No systemd, no engine of the machine's own, no network of its own.
RUN = (
    *("run", "--rm", "--runtime=runc", "--cgroup-manager=cgroupfs", "--network=host"),
    *("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--no-healthcheck"),
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges",),
)


@dataclass(frozen=True, slots=True)
class Engine:
    """buildah and podman over a store of their own. podman takes no long paths."""

    tools: Tools
    folder: Path

    @property
    def store(self) -> tuple[str, ...]:
        """The options that name it."""
        root, run = self.folder / "root", self.folder / "run"
        return (f"--root={root}", f"--runroot={run}", "--storage-driver=vfs")

    def run(self, program: str, *arguments: str | Path) -> Done:
        """Run one of the two."""
        return self.tools.run(program, *self.store, *arguments, limit=300)

    def must(self, program: str, *arguments: str | Path) -> str:
        """Run one of the two; its output."""
        done = self.run(program, *arguments)
        assert done.code == 0, done.output
        return done.output

    def command(self, *options: str) -> list[str]:
        """The command that runs the image, for a caller of its own."""
        return [self.tools.program("podman"), *self.store, *RUN, *options, IMAGE]

    def inspect(self) -> dict[str, Any]:
        """What the image says about itself."""
        found: list[dict[str, Any]] = json.loads(self.must("podman", "image", "inspect", IMAGE))
        return found[0]

    def build(self) -> None:
        """Make the image. pip is told of nothing but a folder of locked wheels."""
        bases = self.tools.folder / "bases"
        for name in ("builder", "python"):
            self.must("podman", "import", "--quiet", bases / f"{name}.tar", f"localhost/{name}")
        conf = self.folder / "pip.conf"
        conf.write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
        self.must(
            "buildah",
            *("bud", "--quiet", "--isolation=chroot", "--pull=false", "--format=docker"),
            *(f"--secret=id=pip,src={conf}", f"--volume={bases / 'wheels'}:/wheels:ro"),
            *("--build-arg=BUILDER=localhost/builder", "--build-arg=PYTHON=localhost/python"),
            *(f"--file={DEPLOY / 'Dockerfile'}", f"--tag={IMAGE}", TOP),
        )
