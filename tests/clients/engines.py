"""Container tools that pull, each with an empty home: skopeo, podman, docker, containerd, crane.

Purpose: one small shape for all of them, so that a test says what is pulled and not how. Nothing of
an earlier pull is kept, and every platform of an image is pulled: a pull always needs every byte.
Each runs as a user starts it, with no settings of this machine; the daemons (`daemons`) have
folders and sockets of their own.

    done = docker.pull("127.0.0.1:8080", "chainguard/static:latest")
    assert (done.code, done.digest) == (0, "sha256:...")

`Login` is a user name and a password. Reading: each tool's manual. Non-goals: pushing, running.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from tests.clients.daemons import Containerd, Dockerd
from tests.clients.machine import Done, clean_environment
from tests.printed import printed

LIMIT = 120.0
PLATFORMS = ("linux/amd64", "linux/arm64")
NAME = "cgr.dev"
"""What images are called where a tool is told to find them elsewhere."""

Login = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of a pull. `digest`: what the tool takes the image's for; empty if it failed."""

    code: int
    output: str
    digest: str = ""


class Engine(Protocol):
    """A tool that pulls. `folder`: everything it keeps."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def pull(self, where: str, image: str, login: Login | None = None) -> Pulled:
        """Pull `repository:tag` or `repository@digest` from host:port, of every platform."""
        ...

    def login(self, where: str, login: Login) -> Done:
        """Log in, as a person does. Containerd's tool has no such command."""
        ...


def insecure(where: str, prefix: str) -> tuple[str, ...]:
    """What has a tool take plain HTTP; the real name is a certified one."""
    return () if where == NAME else (f"{prefix}tls-verify=false",)


class Tool:
    """A home of its own and what runs in it. `inside`: put before every command (a namespace)."""

    def __init__(self, folder: Path, inside: tuple[str, ...] = (), **variables: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._inside = inside
        self._numbers = count(1)
        self._variables = clean_environment(self.home) | {
            "XDG_RUNTIME_DIR": str(self.home),
            **variables,
        }

    def run(self, *command: str, given: str = "") -> Done:
        """Run a command with something on its standard input."""
        done = subprocess.run(
            [*self._inside, *command],
            check=False,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            cwd=self.folder,
            env=self._variables,
        )
        return Done(done.returncode, done.stdout)

    def log_out(self) -> None:
        """Forget every login of docker's kind: the next proxy may have this one's address."""
        (self.home / ".docker" / "config.json").unlink(missing_ok=True)

    def fresh(self) -> Path:
        """A path where nothing is yet."""
        return self.folder / f"pulled-{next(self._numbers)}"


class Skopeo(Tool):
    """skopeo, copying to a folder. `registries`: its registries.conf."""

    name = "skopeo"
    registries = ""

    def pull(self, where: str, image: str, login: Login | None = None) -> Pulled:
        """Copy every platform."""
        source = f"docker://{where}/{image}"
        who = ("--src-creds", ":".join(login)) if login else ()
        target = self.fresh()
        options = ("--preserve-digests", "--retry-times=0", *insecure(where, "--src-"), *who)
        done = self.run(*self._start(), "copy", "--all", *options, source, f"dir:{target}")
        if done.code:
            return Pulled(done.code, done.output)
        body = (target / "manifest.json").read_bytes()
        return Pulled(0, done.output, f"sha256:{hashlib.sha256(body).hexdigest()}")

    def push(self, folder: Path, target: str, login: Login) -> None:
        """Push every platform of what was pulled into a folder, to be pulled by others."""
        options = ("--dest-tls-verify=false", "--dest-creds", ":".join(login))
        start = (*self._start(), "copy", "--all", "--preserve-digests", *options)
        done = self.run(*start, f"dir:{folder}", f"docker://{target}")
        assert done.code == 0, done.output

    def login(self, where: str, login: Login) -> Done:
        """`skopeo login`."""
        kept = ("--authfile", str(self.home / "auth.json"), "--tls-verify=false")
        who = ("--username", login[0], "--password-stdin")
        return self.run("skopeo", "login", *kept, *who, where, given=login[1])

    def _start(self) -> tuple[str, ...]:
        conf = self.folder / "registries.conf"
        conf.write_text(self.registries)
        return ("skopeo", "--insecure-policy", "--registries-conf", str(conf))


class Podman(Tool):
    """podman, with a store of its own. `registries`: its registries.conf."""

    name = "podman"
    registries = ""

    def pull(self, where: str, image: str, login: Login | None = None) -> Pulled:
        """Pull one platform after the other."""
        self._podman("rmi", "--all", "--force")
        who = ("--creds", ":".join(login)) if login else ()
        output = ""
        for platform in PLATFORMS:
            options = (*insecure(where, "--"), "--platform", platform, *who)
            done = self._podman("pull", *options, f"{where}/{image}")
            output += done.output
            if done.code:
                return Pulled(done.code, output)
        found = self._podman("image", "inspect", "--format={{.Digest}}", f"{where}/{image}")
        return Pulled(found.code, output, found.output.strip())

    def login(self, where: str, login: Login) -> Done:
        """`podman login`."""
        kept = ("--authfile", str(self.home / "auth.json"), "--tls-verify=false")
        who = ("--username", login[0], "--password-stdin")
        return self._podman("login", *kept, *who, where, given=login[1])

    def _podman(self, *arguments: str, given: str = "") -> Done:
        conf = self.folder / "registries.conf"
        conf.write_text(self.registries)
        store = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"))
        self._variables["CONTAINERS_REGISTRIES_CONF"] = str(conf)
        return self.run("podman", *store, "--storage-driver=vfs", *arguments, given=given)


def podman_storage(folder: Path) -> str:
    """A storage.conf of podman's that keeps everything below a folder, for commands as they are."""
    return f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'


class Docker(Tool):
    """docker's command line and its engine."""

    name = "docker"

    def __init__(self, folder: Path, inside: tuple[str, ...] = (), **variables: str) -> None:
        super().__init__(folder, inside, **variables)
        self.engine = Dockerd(folder / "engine", inside, self._variables)

    def pull(self, where: str, image: str, login: Login | None = None) -> Pulled:
        """Pull one platform after the other: of a digest the engine keeps only one at a time."""
        self.log_out()
        if login:
            done = self.login(where, login)
            if done.code:
                return Pulled(done.code, done.output)
        output = ""
        for platform in PLATFORMS:
            for kept in self._docker("image", "ls", "--quiet", "--no-trunc").output.split():
                self._docker("image", "rm", "--force", kept)
            done = self._docker("pull", "--platform", platform, f"{where}/{image}")
            output += done.output
            if done.code:
                return Pulled(done.code, output)
        # The engine remembers an index for one platform only, so its own words are taken.
        digests = set(re.findall(r"^Digest: (\S+)$", output, re.MULTILINE))
        return Pulled(0, output, " ".join(sorted(digests)))

    def login(self, where: str, login: Login) -> Done:
        """`docker login`."""
        who = ("--username", login[0], "--password-stdin")
        return self._docker("login", *who, where, given=login[1])

    def _docker(self, *arguments: str, given: str = "") -> Done:
        return self.run("docker", "--host", self.engine.address, *arguments, given=given)


class Ctr(Tool):
    """containerd and its command line. Images are called `cgr.dev/...` and found by hosts.toml."""

    def __init__(
        self,
        folder: Path,
        inside: tuple[str, ...] = (),
        programs: Path | None = None,
        **variables: str,
    ) -> None:
        super().__init__(folder, inside, **variables)
        self.name = "containerd-2" if programs else "containerd"
        self._ctr = str(programs / "ctr") if programs else "ctr"
        # From 2.0 on pulling is the daemon's work unless it is said otherwise; hosts are ours.
        self._options = ("--local",) if programs else ()
        daemon = str(programs / "containerd") if programs else "containerd"
        self.engine = Containerd(folder / "engine", daemon, inside, self._variables)

    def pull(self, where: str, image: str, login: Login | None = None) -> Pulled:
        """Pull all platforms as `cgr.dev/...` through a mirror at host:port, if that is another."""
        return self.pull_as(NAME, where, image, login)

    def pull_as(self, name: str, where: str, image: str, login: Login | None = None) -> Pulled:
        """Pull all platforms as `name/...`."""
        hosts = () if where == name else ("--hosts-dir", str(self.hosts(name, where)))
        who = ("--user", ":".join(login)) if login else ()
        known = self._run("images", "ls", "--quiet").output.split()
        if known:
            self._run("images", "rm", "--sync", *known)
        options = ("--all-platforms", "--snapshotter=native", *hosts, *who)
        done = self._run("images", "pull", *self._options, *options, f"{name}/{image}")
        if done.code:
            return Pulled(done.code, done.output)
        listed = self._run("images", "ls", f"name=={name}/{image}").output.splitlines()[1]
        return Pulled(0, done.output, listed.split()[2])

    def login(self, where: str, login: Login) -> Done:
        """Containerd has none."""
        raise NotImplementedError

    def hosts(self, name: str, where: str) -> Path:
        """Write a hosts.toml that leads from a name to the mirror and nowhere else."""
        folder = self.folder / "certs.d"
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "hosts.toml").write_text(printed("containerd", f"http://{where}")[0])
        return folder

    def _run(self, *arguments: str) -> Done:
        return self.run(self._ctr, "--address", self.engine.socket, *arguments)


class Crane(Tool):
    """crane, pulling every platform into a layout."""

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder)
        self.name = "crane"
        self._program = str(program)

    def pull(self, where: str, image: str, login: Login | None = None) -> Pulled:
        """Pull into a new folder."""
        self.log_out()
        if login and (done := self.login(where, login)).code:
            return Pulled(done.code, done.output)
        target = self.fresh()
        options = ("--insecure", "--platform=all", "--format=oci")
        done = self.run(self._program, "pull", *options, f"{where}/{image}", str(target))
        if done.code:
            return Pulled(done.code, done.output)
        (found,) = json.loads((target / "index.json").read_bytes())["manifests"]
        return Pulled(0, done.output, found["digest"])

    def login(self, where: str, login: Login) -> Done:
        """`crane auth login`, which asks nobody whether it is right."""
        who = ("--username", login[0], "--password-stdin")
        return self.run(self._program, "auth", "login", *who, where, given=login[1])


class Engines:
    """Engines by name, made when they are first asked for and ended with `stack`."""

    def __init__(self, folder: Path, extras: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._programs = extras / "usr" / "bin"
        self._stack = stack
        self._made: dict[str, Engine] = {}

    def __getitem__(self, name: str) -> Engine:
        """The engine of that name, running."""
        if name not in self._made:
            self._made[name] = self._make(name, self._folder / name)
        return self._made[name]

    def _make(self, name: str, folder: Path) -> Engine:
        match name:
            case "skopeo":
                return Skopeo(folder)
            case "podman":
                return Podman(folder)
            case "docker":
                docker = Docker(folder)
                self._stack.callback(docker.engine.stop)
                return docker
            case "containerd" | "containerd-2":
                ctr = Ctr(folder, programs=self._programs if name.endswith("2") else None)
                self._stack.callback(ctr.engine.stop)
                return ctr
            case _:
                return Crane(folder, self._programs / "crane")
