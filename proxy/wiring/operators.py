"""The operator's side of a process, from the settings: what answers there, and where.

Purpose: the same for a process that serves clients and for one that looks after such processes.
Non-goals: starting it (`proxy.app`, `proxy.workers.supervisor`), what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.config import ServerSettings
from proxy.server import process
from proxy.server.admin import Admin, Numbers
from proxy.server.health import Health
from proxy.server.listener import Listener
from proxy.server.own_names import OwnNames
from proxy.server.wire import Server


def make_admin(
    given: ServerSettings,
    health: Health,
    numbers: Numbers,
    views: Mapping[str, Callable[[], object]],
) -> Admin:
    """Make what answers the operator. Raises CannotStart for a token file that holds none."""
    with process.using("server.admin_token_file"):
        names = OwnNames(given.public_url)
        return Admin(numbers, health, given.admin_token_file, names, views)


def operators_listener(given: ServerSettings, admin: Admin) -> Listener | None:
    """The admin listener; None where it is turned off."""
    if (where := given.admin_listen) is None:
        return None
    return Listener(Server(admin, admin.refuse), where.host, where.port)


def ready_line(url: str, admin: Listener | None) -> str:
    """The line that scripts wait for: the real addresses."""
    return f"cgr-proxy ready {url} admin {admin.url if admin is not None else 'off'}"
