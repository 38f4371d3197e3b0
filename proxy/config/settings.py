"""The typed, frozen settings: what every other room is given instead of a file.

Purpose: one dataclass for each section, with the names of the file. Times are seconds, sizes are
bytes, networks are parsed, URLs are normalised (scheme, host, port and path, no trailing slash).
A value of these types has been checked; nobody checks it again.

Reading: contract of the configuration in the README. Non-goals: defaults (they stand once, in
`proxy.config.schema`), reading anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from proxy.model import HostRules
from proxy.secret import Secret

Network = IPv4Network | IPv6Network

# Every ecosystem that a client, a credential or an entitlement may name, built or not yet.
ECOSYSTEMS = ("python", "java", "javascript", "oci", "apk", "go", "dotnet")
# Those of `upstream.libraries`: their pull tokens may ask the platform what is entitled.
LIBRARIES = ("python", "java", "javascript", "go", "dotnet")
# Those that can have further upstreams by [repositories.NAME].
FURTHER = ("apk",)
# How many credentials of one ecosystem may be live at a time.
MAX_LIVE = 2


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `host` is a name or an IP address (IPv6 without brackets); port 0: any."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect. A name other than localhost counts as public."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        # Python before 3.13 does not look into ::ffff:127.0.0.1.
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback

    @property
    def from_here(self) -> Address:
        """Where this machine reaches what listens there: loopback for "every address"."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self
        if not address.is_unspecified:
            return self
        return Address("127.0.0.1" if address.version == 4 else "::1", self.port)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """[server]. `admin_listen` None: no admin listener. `public_url` empty: from the request."""

    listen: Address
    admin_listen: Address | None
    admin_token_file: Path | None
    workers: int
    public_url: str
    trusted_proxies: tuple[Network, ...]
    tls_certificate: Path | None
    tls_key: Path | None
    client_ca: Path | None
    shutdown_grace: float


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """[cache]. `directory` is always set: the XDG cache folder where the file names none."""

    directory: Path
    max_size: int
    document_ttl: float
    tag_ttl: float
    negative_ttl: float
    max_stale: float
    core_metadata: bool


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """[limits]. `min_rate` in bytes per second, 0 = no minimum; timeouts in seconds."""

    max_connections: int
    max_upstream_connections: int
    queue_timeout: float
    connect_timeout: float
    first_byte_timeout: float
    max_document: int
    min_rate: int


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """[upstream]. `frozen`: ecosystems that are served from the cache only. `proxy` empty: the way
    out is direct."""

    libraries: str
    registry: str
    apk: str
    issuer: str
    api: str
    redirect_hosts: HostRules
    allow_networks: tuple[Network, ...]
    allow_insecure: bool
    proxy: str
    proxy_password_file: Path | None
    ca_bundle: Path | None
    frozen: frozenset[str]

    @property
    def has_platform(self) -> bool:
        """Whether issuer and API belong to `libraries`: the vendor's to the vendor's, or all own.

        The pull token of a mirror must not be shown to the vendor's issuer, which knows nothing
        of it.
        """
        own = urlsplit(self.libraries).hostname
        if own is not None and own.endswith(".cgr.dev"):
            return True
        hosts = [urlsplit(url).hostname or "" for url in (self.issuer, self.api)]
        return not any(host.endswith(".enforce.dev") for host in hosts)


@dataclass(frozen=True, slots=True)
class CredentialSettings:
    """Where one ecosystem's credential comes from: exactly one complete source.

    Either `pair_file` (user name and password on two lines), `docker_config`, `netrc`, or a user
    name (`username` or `username_file`) with a password (`password_file`, or `password` from the
    environment); or no pull token at all: `identity` with `identity_token_file`.
    The files are read later, again and again, by who uses them. `source` names the place for a
    person; it holds no secret.
    """

    source: str
    username: str = field(default="", repr=False)
    username_file: Path | None = None
    password: Secret | None = None
    password_file: Path | None = None
    pair_file: Path | None = None
    docker_config: Path | None = None
    netrc: Path | None = None
    identity: str = ""
    identity_token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class EntitlementSettings:
    """[entitlements]. `ecosystems` counts for the source `static` only. `organization` empty:
    from the pull token. `refresh`, `grace` in seconds."""

    source: Literal["auto", "platform", "static"]
    organization: str
    ecosystems: frozenset[str]
    refresh: float
    grace: float


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One [[clients]] stanza. `token_hashes`: `sha256:<64 lower-case hex>` each. `subjects`:
    distinguished names (RFC 4514), `DNS:...` or `URI:...`. `packages`: prefixes of package URLs.

    Of hashes, subjects and networks a request needs everything that is given; one of them is.
    """

    name: str
    token_hashes: tuple[str, ...]
    subjects: tuple[str, ...]
    networks: tuple[Network, ...]
    ecosystems: frozenset[str]
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One [[oidc]] stanza. `issuer` as the tokens spell it. `claims`: name and wanted value each,
    exact or with a star at its end. `name` is always set: the issuer's host where none is given."""

    name: str
    issuer: str
    audience: str
    claims: tuple[tuple[str, str], ...]
    ecosystems: frozenset[str]
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """One [[registries]] stanza. `credential` None: images are pulled as nobody."""

    alias: str
    url: str
    credential: CredentialSettings | None


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """One [repositories.NAME] section. `credential` None: it is asked as nobody."""

    name: str
    ecosystem: str
    upstream: str
    credential: CredentialSettings | None


@dataclass(frozen=True, slots=True)
class LogSettings:
    """[log]. `audit` None: `audit.jsonl` in the cache folder; `audit_size` 0: no audit log."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["auto", "text", "json"]
    access: bool
    audit: Path | None
    audit_size: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything. `credentials`: only ecosystems that have some, `default` spread out; one or two.

    `file` is where the settings were read from, None for the built-in defaults.
    """

    server: ServerSettings
    cache: CacheSettings
    limits: LimitSettings
    upstream: UpstreamSettings
    credentials: Mapping[str, tuple[CredentialSettings, ...]]
    entitlements: EntitlementSettings
    clients: tuple[ClientSettings, ...]
    oidc: tuple[IssuerSettings, ...]
    registries: tuple[RegistrySettings, ...]
    repositories: tuple[RepositorySettings, ...]
    log: LogSettings
    file: Path | None = None
