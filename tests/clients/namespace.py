"""A network of its own for a client: one cable to this machine, no other way, and names of ours.

Purpose: a tool in there may ask for `cgr.dev` and can reach nothing but the proxy that has the
name; whatever goes past the proxy goes nowhere, so a test notices. Wants root. Everything that is
made is taken away at the end. Reading: ip-netns(8), network_namespaces(7).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self


class Namespace:
    """Use it as a context manager. `address`: of this machine, seen from inside,
    in `network`.

    `inside`: put before a command, has it run in there. `names` are all that can be looked up.
    """

    def __init__(self, folder: Path, names: Mapping[str, str] | None = None) -> None:
        number = os.getpid() % (1 << 14)
        self._name = f"cgr{number}"
        # Addresses that are meant for tests of networks (RFC 2544), four of them for each process.
        stem, last = f"198.18.{number >> 6}", (number & 63) * 4
        self.network = f"{stem}.{last}/30"
        self.address = f"{stem}.{last + 1}"
        self._other = f"{stem}.{last + 2}"
        self._hosts = folder / "hosts"
        self._hosts.write_text(
            "127.0.0.1 localhost\n"
            + "".join(f"{address} {name}\n" for name, address in (names or {}).items())
        )

    def name(self, *names: str) -> None:
        """Have names lead to this machine."""
        with self._hosts.open("a") as hosts:
            hosts.write("".join(f"{self.address} {name}\n" for name in names))

    @property
    def inside(self) -> tuple[str, ...]:
        """The words before a command."""
        # Not by `ip netns exec`: that hides /sys/fs/cgroup, without which docker does not start.
        # The command has mounts of its own, so that only it sees these names.
        net = ("nsenter", f"--net=/run/netns/{self._name}", "unshare", "--mount")
        return (*net, "sh", "-c", f'mount --bind {self._hosts} /etc/hosts && exec "$@"', "sh")

    def __enter__(self) -> Self:
        ours, theirs = f"{self._name}a", f"{self._name}b"
        _ip("netns", "add", self._name)
        try:
            peer = ("peer", "name", theirs, "netns", self._name)
            _ip("link", "add", ours, "type", "veth", *peer)
            _ip("address", "add", f"{self.address}/30", "dev", ours)
            _ip("link", "set", ours, "up")
            there = ("-netns", self._name)
            _ip(*there, "address", "add", f"{self._other}/30", "dev", theirs)
            _ip(*there, "link", "set", theirs, "up")
            _ip(*there, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The cable goes with the network, but not before the last process in there has ended.
        subprocess.run(["ip", "link", "delete", f"{self._name}a"], check=False, capture_output=True)
        _ip("netns", "delete", self._name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr} (this wants root)"
