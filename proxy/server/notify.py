"""What a service manager is told: the proxy is ready, reads its configuration again, stops.

Purpose: systemd's notification protocol, so that `Type=notify` (and `notify-reload`) is true: units
that come after this one start when the proxy serves, `systemctl reload` returns when the new
configuration is in force. One datagram a message, to the socket that the manager named.

Reading: sd_notify(3), unix(7) for abstract addresses, systemd.service(5). Non-goals: watchdog
messages, passing descriptors, addresses other than a unix socket's; reading the environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import final

LOG = logging.getLogger(__name__)
VARIABLE = "NOTIFY_SOCKET"
"""The environment variable in which a service manager names its socket."""
PATIENCE = 5.0  # seconds for a message, where a manager has no room for one more


@final
class Notifier:
    """Tells the manager at `address`: a path, an abstract name (`@...`), or empty for none.

    No method raises: a manager that cannot be told is a line in the log, and the proxy goes on.
    """

    def __init__(self, address: str = "") -> None:
        self._address = (
            b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        )
        if address and not address.startswith(("/", "@")):
            LOG.warning("%s is neither a path nor an abstract name: nobody is told", VARIABLE)
            self._address = b""

    async def ready(self, status: str) -> None:
        """It serves; also: a reload is over. `status`: one line for people."""
        await self._tell("READY=1", f"STATUS={status}")

    async def reloading(self) -> None:
        """It reads its configuration again; `ready` MUST follow."""
        # The time lets the manager match this to its own request (Type=notify-reload).
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        await self._tell("RELOADING=1", f"MONOTONIC_USEC={moment}", "STATUS=reloading")

    async def stopping(self) -> None:
        """It takes no more connections and finishes what is under way."""
        await self._tell("STOPPING=1", "STATUS=draining")

    async def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)  # noqa: FBT003  # the name of the call says it
                sender.connect(self._address)
                message = "\n".join(lines).encode()
                async with asyncio.timeout(PATIENCE):
                    await asyncio.get_running_loop().sock_sendall(sender, message)
        except OSError as error:  # a TimeoutError is one
            words = error.strerror or f"it reads nothing for {PATIENCE:g} s"
            LOG.warning("the service manager could not be told %s: %s", lines[0], words)
