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
from proxy.config.settings import ECOSYSTEMS, FURTHER, MAX_LIVE
from proxy.model import HostRules

SECTIONS = (
    "server", "cache", "limits", "upstream", "credentials", "entitlements", "clients",
    "oidc", "registries", "repositories", "log",
)  # fmt: skip
ARRAYS = ("clients", "oidc", "registries")
"""Sections that are written with two brackets, once for each."""
NAMED = ("repositories",)
"""Sections that are written with a name behind a dot, once for each."""
DEFAULT_CREDENTIAL = "default"
Default: TypeAlias = str | int | bool | tuple[str, ...]


class Shape(Enum):
    """What a value is in TOML, in words for a person."""

    TEXT = "a text in quotes"
    PATH = "a path in quotes"
    INTEGER = "a whole number without quotes"
    BOOLEAN = "true or false without quotes"
    LIST = "a list of texts, such as []"
    TABLE = 'a table of texts, such as { sub = "ci" }'


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
    Key("server.workers", Shape.INTEGER, 1, values.workers,
        "Processes that answer clients; 1 is one process, more get a supervisor beside them."),
    Key("server.public_url", Shape.TEXT, "", values.optional_url,
        'What clients call us, for absolute links; "" takes scheme and host from the request.'),
    Key("server.trusted_proxies", Shape.LIST, (), values.network,
        "Networks of fronts whose X-Forwarded-Proto, -Host, -Prefix and -For are believed."),
    Key("server.tls_certificate", Shape.PATH, "", _same,
        "PEM file with the certificate (and its chain) to serve TLS with; read again on change."),
    Key("server.tls_key", Shape.PATH, "", _same,
        "PEM file with the key of tls_certificate, not encrypted."),
    Key("server.client_ca", Shape.PATH, "", _same,
        "PEM file of authorities whose client certificates are believed (mutual TLS)."),
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
    Key("cache.tag_ttl", Shape.TEXT, "60s", _TTL,
        "How long a tag of a container image is taken to name the same image."),
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
        "Upstream connections at a time; a quarter of them is for documents only."),
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
    Key("upstream.registry", Shape.TEXT, "https://cgr.dev", values.url,
        "Where container images and charts come from."),
    Key("upstream.apk", Shape.TEXT, "https://apk.cgr.dev", values.url,
        "Where apk packages come from."),
    Key("upstream.issuer", Shape.TEXT, "https://issuer.enforce.dev", values.url,
        "Where a pull token is exchanged for a short-lived one."),
    Key("upstream.api", Shape.TEXT, "https://console-api.enforce.dev", values.url,
        "The vendor's platform, which knows what the organisation may use."),
    Key("upstream.redirect_hosts", Shape.LIST, ("*.r2.cloudflarestorage.com",), values.host_rule,
        "Hosts that an upstream may redirect to, host or host:port, wildcard on the left.",
        HostRules),
    Key("upstream.allow_networks", Shape.LIST, (), values.network,
        "Private networks that a learnt address may lie in; a configured one lies anywhere."),
    Key("upstream.allow_insecure", Shape.BOOLEAN, _OFF, _same,
        "Accept upstreams of plain http: for tests only."),
    Key("upstream.proxy", Shape.TEXT, "", values.optional_url,
        'Proxy of the organisation that everything upstream is asked through; "" asks directly.'),
    Key("upstream.proxy_password_file", Shape.PATH, "", _same,
        "File with user name and password for that proxy, a line each."),
    Key("upstream.ca_bundle", Shape.PATH, "", _same,
        "PEM file of certification authorities to trust besides the system's."),
    Key("upstream.frozen", Shape.LIST, (), values.ecosystem,
        "Ecosystems that are served from the cache only.", frozenset),
)  # fmt: skip
ENTITLEMENTS = (
    Key("entitlements.source", Shape.TEXT, "auto", values.choice("auto", "platform", "static"),
        "Who says what the organisation may use: static (the list), platform, or auto: that if it"
        " may ask."),
    Key("entitlements.organization", Shape.TEXT, "", values.organization,
        'UIDP of the organisation; "" takes it from the pull token\'s user name.'),
    Key("entitlements.ecosystems", Shape.LIST, (), values.ecosystem,
        "What the organisation may use, for the source static.", frozenset),
    Key("entitlements.refresh", Shape.TEXT, "60s", values.bounded(values.duration, "1s", "1h"),
        "How often the platform is asked; something withdrawn is refused after that."),
    Key("entitlements.grace", Shape.TEXT, "24h", values.bounded(values.duration, "0s", "24h"),
        "How long the last known answer holds while the platform does not answer; then 503."),
)  # fmt: skip
LOG = (
    Key("log.level", Shape.TEXT, "info", values.choice("debug", "info", "warning", "error"),
        "The least important record that is written: debug, info, warning or error."),
    Key("log.format", Shape.TEXT, "auto", values.choice("auto", "text", "json"),
        "text, json, or auto: text on a terminal, json elsewhere."),
    Key("log.access", Shape.BOOLEAN, _ON, _same,
        "Write one line for each request."),
    Key("log.audit", Shape.PATH, "", _same,
        'Where the audit log is kept; "" is audit.jsonl in the cache folder.'),
    Key("log.audit_size", Shape.TEXT, "100MiB", values.bounded(values.size, "0B", "1TiB"),
        'How large the audit log may become before the older half goes; "0B" keeps none.'),
)  # fmt: skip
# One stanza; the names are relative to [[clients]]. Each of them only in the file.
CLIENT = (
    Key("name", Shape.TEXT, "", values.client_name,
        "Name of the client, for logs."),
    Key("token_hashes", Shape.LIST, (), values.token_hash,
        "SHA-256 of each token of this client, sha256:HEX; several for rotation."),
    Key("subjects", Shape.LIST, (), values.subject,
        "Subjects of client certificates: a whole distinguished name (RFC 4514), DNS:.. or URI:.."),
    Key("networks", Shape.LIST, (), values.network,
        "Networks of this client; with token_hashes or subjects too, a request needs both."),
    Key("ecosystems", Shape.LIST, (), values.ecosystem,
        "What this client may use.", frozenset),
    Key("packages", Shape.LIST, (), values.package,
        "Prefixes of package URLs that this client is limited to, such as pkg:pypi/flask."),
)  # fmt: skip
# One stanza; the names are relative to [[oidc]]. Each of them only in the file.
OIDC = (
    Key("name", Shape.TEXT, "", values.optional_name,
        'Name of these jobs, for logs; "" is the host of the issuer.'),
    Key("issuer", Shape.TEXT, "", values.issuer,
        "Whose ID tokens are believed: the URL that stands in their iss claim."),
    Key("audience", Shape.TEXT, "", values.claim,
        "What the aud claim of a token must name."),
    Key("claims", Shape.TABLE, (), values.claims,
        "What other claims must say, exactly or with a star at the end; one at least."),
    Key("ecosystems", Shape.LIST, (), values.ecosystem,
        "What these jobs may use.", frozenset),
    Key("packages", Shape.LIST, (), values.package,
        "Prefixes of package URLs that these jobs are limited to."),
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
    Key("docker_config", Shape.PATH, "", _same,
        "A Docker config.json with the pull token, for the upstream's host or cgr.dev in auths."),
    Key("netrc", Shape.PATH, "", _same,
        "A netrc file with the pull token; its machine is the upstream's host."),
    Key("identity", Shape.TEXT, "", values.identity,
        "UIDP of an identity to assume without any pull token, with identity_token_file."),
    Key("identity_token_file", Shape.PATH, "", _same,
        "File with the workload's own OIDC token; it is exchanged for short-lived tokens."),
)  # fmt: skip
# One stanza; the names are relative to [[registries]]. Each of them only in the file.
REGISTRY = (
    Key("alias", Shape.TEXT, "", values.alias,
        "First part of the names of its images here; also what ?ns= may say."),
    Key("url", Shape.TEXT, "", values.optional_url,
        "Address of a further registry; https."),
    *(key for key in CREDENTIAL if not key.name.startswith("identity")),
)  # fmt: skip


# One section; the names are relative to [repositories.NAME]. Each of them only in the file.
REPOSITORY = (
    Key("ecosystem", Shape.TEXT, "", values.choice("", *FURTHER),
        f"What it is a repository of: {', '.join(FURTHER)}."),
    Key("upstream", Shape.TEXT, "", values.optional_url,
        "Address of the repository, with its path; https."),
    *(key for key in CREDENTIAL if not key.name.startswith("identity")),
)  # fmt: skip


def scalar_keys() -> Mapping[str, Key]:
    """Every key that is no part of an array of tables, by its full dotted name."""
    fixed = SERVER + CACHE + LIMITS + UPSTREAM + ENTITLEMENTS + LOG
    spread = {
        f"credentials.{owner}.{key.name}": key
        for owner in (*ECOSYSTEMS, DEFAULT_CREDENTIAL)
        for key in CREDENTIAL
    }
    return {key.name: key for key in fixed} | spread


def file_keys() -> Mapping[str, Key]:
    """The scalar keys, and those of a second [[credentials.ECOSYSTEM]], which only a file has."""
    further = {
        f"{credential_section(owner, number)}.{key.name}": key
        for owner in (*ECOSYSTEMS, DEFAULT_CREDENTIAL)
        for number in range(1, MAX_LIVE)
        for key in CREDENTIAL
    }
    return {**scalar_keys(), **further}


def credential_section(owner: str, number: int) -> str:
    """The dotted name of one stanza of credentials; the first one is called as if it were alone."""
    return f"credentials.{owner}[{number}]" if number else f"credentials.{owner}"


def reference() -> list[Reference]:
    """Every key once, in the order of the file, for the documentation and its tests."""
    rows = [(key.name, key) for key in SERVER + CACHE + LIMITS + UPSTREAM]
    rows += [(f"credentials.<ecosystem>.{key.name}", key) for key in CREDENTIAL]
    rows += [(key.name, key) for key in ENTITLEMENTS]
    rows += [(f"clients.{key.name}", key) for key in CLIENT]
    rows += [(f"oidc.{key.name}", key) for key in OIDC]
    rows += [(f"registries.{key.name}", key) for key in REGISTRY]
    rows += [(f"repositories.<name>.{key.name}", key) for key in REPOSITORY]
    rows += [(key.name, key) for key in LOG]
    return [Reference(name, _as_toml(key), key.meaning) for name, key in rows]


def _as_toml(key: Key) -> str:
    default = key.default
    if key.shape is Shape.TABLE:
        return "{}"
    # JSON and TOML write these four types alike.
    return json.dumps(list(default) if isinstance(default, tuple) else default)
