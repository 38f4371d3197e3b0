"""The table of all keys: name, shape, default, parser and meaning, each exactly once.

Purpose: whatever needs to know which keys exist reads this table: the loader, the suggestions for
a mistyped key, the example file's and the README's tests. Adding a key is one row here, one field
in `proxy.config.settings` and one line in the example file; the tests fail until all three agree.

Non-goals: rules that hold between keys (see `proxy.config.rules`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from proxy.config import values
from proxy.config.settings import ECOSYSTEMS
from proxy.model import HostRules

SECTIONS = (
    "server", "cache", "limits", "upstream", "credentials", "entitlements", "clients", "log",
)  # fmt: skip
DEFAULT_CREDENTIAL = "default"
Default: TypeAlias = str | int | bool | tuple[str, ...]


class Shape(Enum):
    """What a value is in TOML, in words for a person."""

    TEXT = "a text in quotes"
    PATH = "a path in quotes"
    INTEGER = "a whole number without quotes"
    BOOLEAN = "true or false without quotes"
    LIST = "a list of texts, such as []"


def _same(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `default` as in the file; `parse` takes one value (of a list: each item).

    `gather` makes the final value of a list out of the tuple of its parsed items.
    """

    name: str
    shape: Shape
    default: Default
    parse: Callable[[Any], object]
    meaning: str
    gather: Callable[[tuple[Any, ...]], object] = _same


class Reference(NamedTuple):
    """One row of the reference: dotted key, default as TOML text, meaning in one sentence."""

    key: str
    default: str
    meaning: str


_ON, _OFF = True, False
_TTL = values.bounded(values.duration, "0s", "3650d")
_TIMEOUT = values.bounded(values.duration, "10ms", "1d")
_WHOLE_SIZE = values.bounded(values.size, "1KiB", "1000TiB")

SERVER = (
    Key("server.listen", Shape.TEXT, "127.0.0.1:8080", values.address,
        "Where clients connect, HOST:PORT; port 0 picks a free one; off loopback needs clients."),
    Key("server.admin_listen", Shape.TEXT, "127.0.0.1:9180", values.optional_address,
        'Metrics and probes; "" turns it off; off loopback it needs admin_token_file.'),
    Key("server.admin_token_file", Shape.PATH, "", _same,
        "File with the bearer token that the admin listener asks for."),
    Key("server.public_url", Shape.TEXT, "", values.optional_url,
        'What clients call us, for absolute links; "" takes scheme and host from the request.'),
    Key("server.trusted_proxies", Shape.LIST, (), values.network,
        "Networks of fronts whose X-Forwarded-Proto, -Host, -Prefix and -For are believed."),
    Key("server.shutdown_grace", Shape.TEXT, "60s", values.bounded(values.duration, "0s", "1d"),
        "How long transfers in flight may go on after SIGTERM."),
)  # fmt: skip
CACHE = (
    Key("cache.directory", Shape.PATH, "", _same,
        'Where the cache lives; "" is cgr-proxy in the XDG cache folder.'),
    Key("cache.max_size", Shape.TEXT, "20GiB", _WHOLE_SIZE,
        "How much the cache may hold before the least recently used is evicted."),
    Key("cache.document_ttl", Shape.TEXT, "5m", _TTL,
        "How long a document is fresh; the upstream's max-age may shorten it, never lengthen it."),
    Key("cache.negative_ttl", Shape.TEXT, "30s", values.bounded(values.duration, "0s", "60s"),
        "How long a not-found is remembered; 60s at most."),
    Key("cache.max_stale", Shape.TEXT, "24h", _TTL,
        'How old a document may be served when the upstream cannot answer; "0s" is never.'),
    Key("cache.core_metadata", Shape.BOOLEAN, _ON, _same,
        "Offer core metadata of Python wheels, made here where the upstream has none."),
)  # fmt: skip
LIMITS = (
    Key("limits.max_connections", Shape.INTEGER, 20000, values.count,
        "Client connections at a time."),
    Key("limits.max_upstream_connections", Shape.INTEGER, 64, values.count,
        "Upstream connections at a time."),
    Key("limits.queue_timeout", Shape.TEXT, "30s", _TIMEOUT,
        "How long a request may wait for an upstream connection."),
    Key("limits.connect_timeout", Shape.TEXT, "3s", _TIMEOUT,
        "How long connecting to an upstream may take."),
    Key("limits.first_byte_timeout", Shape.TEXT, "15s", _TIMEOUT,
        "How long an upstream may take until its answer begins."),
    Key("limits.max_document", Shape.TEXT, "64MiB", _WHOLE_SIZE,
        "The largest document that is read; artifacts have no such limit."),
    Key("limits.min_rate", Shape.TEXT, "1KiB", values.bounded(values.size, "0B", "1GiB"),
        'Slowest transfer per second over 30 s, both directions; "0B" is no minimum.'),
)  # fmt: skip
UPSTREAM = (
    Key("upstream.libraries", Shape.TEXT, "https://libraries.cgr.dev", values.url,
        "Where language packages come from."),
    Key("upstream.redirect_hosts", Shape.LIST, ("*.r2.cloudflarestorage.com",), values.host_rule,
        "Hosts that an upstream may redirect to, host or host:port, wildcard on the left.",
        HostRules),
    Key("upstream.allow_networks", Shape.LIST, (), values.network,
        "Private networks that a learnt address may lie in; a configured one lies anywhere."),
    Key("upstream.allow_insecure", Shape.BOOLEAN, _OFF, _same,
        "Accept upstreams of plain http: for tests only."),
    Key("upstream.ca_bundle", Shape.PATH, "", _same,
        "PEM file of certification authorities to trust besides the system's."),
    Key("upstream.frozen", Shape.LIST, (), values.ecosystem,
        "Ecosystems that are served from the cache only.", frozenset),
)  # fmt: skip
ENTITLEMENTS = (
    Key("entitlements.source", Shape.TEXT, "auto",
        values.choice("auto", "static",
                      refused={"platform": '"platform" is not available in this version'}),
        'Who says what the organisation may use: "static" (the list here) or "auto".'),
    Key("entitlements.ecosystems", Shape.LIST, (), values.ecosystem,
        "What the organisation may use, for the source static.", frozenset),
)  # fmt: skip
LOG = (
    Key("log.level", Shape.TEXT, "info", values.choice("debug", "info", "warning", "error"),
        "The least important record that is written: debug, info, warning or error."),
    Key("log.format", Shape.TEXT, "auto", values.choice("auto", "text", "json"),
        "text, json, or auto: text on a terminal, json elsewhere."),
    Key("log.access", Shape.BOOLEAN, _ON, _same,
        "Write one line for each request."),
)  # fmt: skip
# One stanza; the names are relative to [[clients]]. Each of them only in the file.
CLIENT = (
    Key("name", Shape.TEXT, "", values.client_name,
        "Name of the client, for logs."),
    Key("token_hashes", Shape.LIST, (), values.token_hash,
        "SHA-256 of each token of this client, sha256:HEX; several for rotation."),
    Key("networks", Shape.LIST, (), values.network,
        "Networks of this client; with token_hashes too, a request needs both."),
    Key("ecosystems", Shape.LIST, (), values.ecosystem,
        "What this client may use.", frozenset),
)  # fmt: skip
# The names are relative to [credentials.ECOSYSTEM].
CREDENTIAL = (
    Key("username", Shape.TEXT, "", values.username,
        "User name of the pull token."),
    Key("username_file", Shape.PATH, "", _same,
        "File with the user name, in place of username."),
    Key("password_file", Shape.PATH, "", _same,
        "File with the password; a literal password is refused."),
    Key("pair_file", Shape.PATH, "", _same,
        "File with the user name on the first line and the password on the second."),
)  # fmt: skip


def scalar_keys() -> Mapping[str, Key]:
    """Every key that is no part of [[clients]], by its full dotted name."""
    fixed = SERVER + CACHE + LIMITS + UPSTREAM + ENTITLEMENTS + LOG
    spread = {
        f"credentials.{owner}.{key.name}": key
        for owner in (*ECOSYSTEMS, DEFAULT_CREDENTIAL)
        for key in CREDENTIAL
    }
    return {key.name: key for key in fixed} | spread


def reference() -> list[Reference]:
    """Every key once, in the order of the file, for the documentation and its tests."""
    rows = [(key.name, key) for key in SERVER + CACHE + LIMITS + UPSTREAM]
    rows += [(f"credentials.<ecosystem>.{key.name}", key) for key in CREDENTIAL]
    rows += [(key.name, key) for key in ENTITLEMENTS]
    rows += [(f"clients.{key.name}", key) for key in CLIENT]
    rows += [(key.name, key) for key in LOG]
    return [Reference(name, _as_toml(key.default), key.meaning) for name, key in rows]


def _as_toml(default: Default) -> str:
    # JSON and TOML write these four types alike.
    return json.dumps(list(default) if isinstance(default, tuple) else default)
