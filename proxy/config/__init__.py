"""Configuration: typed frozen settings out of file, environment and command line.

Purpose: `load` gives `Settings` or raises `ConfigError` with every mistake at once, each as
`place: message`, secrets masked. Only `proxy.cli`, `proxy.app` and its wiring import this package,
and only the CLI reads the environment; every other room is handed the values it needs.

Where to read on: `schema` (every key once), `settings` (what comes out), `values` (what a single
value may be), `rules` (what two keys must not say together), `sources` and `loading` (how).

Departures: one package in place of one `config.py`, because the file would be longer than any
other; lists can come from the environment too, with commas (not only scalars).
"""

from __future__ import annotations

from proxy.config.loading import load, missing_files
from proxy.config.mistakes import ConfigError
from proxy.config.schema import Reference, reference
from proxy.config.settings import (
    ECOSYSTEMS,
    LIBRARIES,
    Address,
    CacheSettings,
    ClientSettings,
    CredentialSettings,
    EntitlementSettings,
    IssuerSettings,
    LimitSettings,
    LogSettings,
    Network,
    RegistrySettings,
    RepositorySettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)

__all__ = [
    "ECOSYSTEMS",
    "LIBRARIES",
    "Address",
    "CacheSettings",
    "ClientSettings",
    "ConfigError",
    "CredentialSettings",
    "EntitlementSettings",
    "IssuerSettings",
    "LimitSettings",
    "LogSettings",
    "Network",
    "Reference",
    "RegistrySettings",
    "RepositorySettings",
    "ServerSettings",
    "Settings",
    "UpstreamSettings",
    "load",
    "missing_files",
    "reference",
]
