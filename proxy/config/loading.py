"""Put everything together: sources in, frozen settings out, or all mistakes at once.

Purpose: file < environment < command line for each key; then clients, credentials and the rules
between keys. Nothing here reads the process's environment: the caller passes it in.

Non-goals: looking whether a named file exists. A credential may be mounted or rotated at any time,
so its absence is a state, not a mistake (`missing_files` lists them for a person).
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from proxy.config.clients import read_clients
from proxy.config.credentials import resolve
from proxy.config.mistakes import Mistakes
from proxy.config.oidc import read_issuers
from proxy.config.reading import read
from proxy.config.registries import read_registries
from proxy.config.repositories import read_repositories
from proxy.config.rules import check_rules
from proxy.config.schema import file_keys
from proxy.config.settings import (
    CacheSettings,
    ClientSettings,
    CredentialSettings,
    EntitlementSettings,
    IssuerSettings,
    LimitSettings,
    LogSettings,
    RegistrySettings,
    RepositorySettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from proxy.config.sources import (
    Given,
    find_file,
    from_environment,
    from_options,
    from_table,
    parse_file,
    read_content,
)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    content: bytes | None = None,
) -> Settings:
    """Load the settings. `overrides`: dotted key to text, from the command line. `content`: what
    the file held when it was read; None: it is read now.

    Raises ConfigError with every mistake (a file that cannot be read or is not TOML is one alone).
    """
    mistakes = Mistakes()
    file = find_file(path, environ)
    given: dict[str, Given] = {}
    clients: tuple[ClientSettings, ...] = ()
    issuers: tuple[IssuerSettings, ...] = ()
    registries: tuple[RegistrySettings, ...] = ()
    repositories: tuple[RepositorySettings, ...] = ()
    if file is not None:
        content = read_content(file) if content is None else content
        given, stanzas = from_table(parse_file(file, content), file, mistakes)
        clients = read_clients(stanzas["clients"], file, mistakes)
        issuers = read_issuers(stanzas["oidc"], file, mistakes)
        registries = read_registries(stanzas["registries"], file, mistakes)
        repositories = read_repositories(stanzas["repositories"], file, mistakes)
    given |= from_environment(environ, mistakes)
    given |= from_options(overrides, mistakes)
    places = {name: value.place for name, value in given.items()}
    found = {
        name: read(key, given.get(name), mistakes, name=name) for name, key in file_keys().items()
    }
    found["cache.directory"] = found["cache.directory"] or _cache_folder(environ, mistakes)
    credentials = resolve(found, places, environ, mistakes)
    settings = _settings(found, (clients, issuers, registries, repositories), credentials, file)
    check_rules(settings, places, mistakes)
    mistakes.raise_if_any()
    return settings


def _settings(
    found: Mapping[str, Any],
    arrays: tuple[
        tuple[ClientSettings, ...],
        tuple[IssuerSettings, ...],
        tuple[RegistrySettings, ...],
        tuple[RepositorySettings, ...],
    ],
    credentials: Mapping[str, tuple[CredentialSettings, ...]],
    file: Path | None,
) -> Settings:
    def section(name: str) -> dict[str, Any]:
        start = f"{name}."
        return {key.removeprefix(start): found[key] for key in found if key.startswith(start)}

    clients, issuers, registries, repositories = arrays
    return Settings(
        server=ServerSettings(**section("server")),
        cache=CacheSettings(**section("cache")),
        limits=LimitSettings(**section("limits")),
        upstream=UpstreamSettings(**section("upstream")),
        credentials=credentials,
        entitlements=EntitlementSettings(**section("entitlements")),
        clients=clients,
        oidc=issuers,
        registries=registries,
        repositories=repositories,
        log=LogSettings(**section("log")),
        file=file,
    )


def _cache_folder(environ: Mapping[str, str], mistakes: Mistakes) -> Path:
    """Find the XDG cache folder. The specification says to ignore a relative $XDG_CACHE_HOME."""
    for name, below in (("XDG_CACHE_HOME", ""), ("HOME", ".cache")):
        base = Path(environ.get(name, ""))
        if base.is_absolute():
            return base / below / "cgr-proxy"
    if "cache.directory" not in mistakes.broken:
        mistakes.add("defaults:cache.directory", "there is no home folder: name a directory")
    return Path("cgr-proxy")


def missing_files(settings: Settings) -> tuple[str, ...]:
    """One line for each file that the settings name and that is not there at the moment."""
    named: list[tuple[str, Path | None]] = [
        ("server.admin_token_file", settings.server.admin_token_file),
        ("server.tls_certificate", settings.server.tls_certificate),
        ("server.tls_key", settings.server.tls_key),
        ("server.client_ca", settings.server.client_ca),
        ("upstream.proxy_password_file", settings.upstream.proxy_password_file),
        ("upstream.ca_bundle", settings.upstream.ca_bundle),
    ]
    further = [item.credential for item in settings.registries]
    further += [item.credential for item in settings.repositories]
    own = (credential for credential in further if credential is not None)
    for credential in chain(own, *settings.credentials.values()):
        kinds = (field.name for field in fields(credential))
        found = (getattr(credential, kind) for kind in kinds)
        named.extend((credential.source, path) for path in found if isinstance(path, Path))
    lines = (
        f"{place}: {path} is not there or cannot be seen"
        for place, path in named
        if path is not None and not os.path.exists(path)  # noqa: PTH110  # never raises
    )
    return tuple(dict.fromkeys(lines))
