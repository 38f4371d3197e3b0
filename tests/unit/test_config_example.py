"""The example file, the table of keys and the dataclasses say the same."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tomllib
from pathlib import Path

import pytest

from proxy.config import (
    ClientSettings,
    CredentialSettings,
    IssuerSettings,
    Reference,
    RegistrySettings,
    RepositorySettings,
    Settings,
    load,
    reference,
    settings,
)
from proxy.config.schema import ARRAYS, NAMED

EXAMPLE = Path(__file__).parents[2] / "deploy" / "cgr-proxy.example.toml"
ENVIRON = {"HOME": "/nonexistent"}
# Commented keys begin with "#" and no space; comments for people with "# ".
COMMENTED = re.compile(r"^#(?=[\[a-z])", re.MULTILINE)
INTERNAL = {
    "credentials.<ecosystem>.source",
    "credentials.<ecosystem>.password",
    *(f"registries.{name}" for name in ("credential", "source", "password")),
    # An identity is the vendor's.
    *(f"registries.{name}" for name in ("identity", "identity_token_file")),
    *(f"repositories.<name>.{name}" for name in ("name", "credential", "source", "password")),
    *(f"repositories.<name>.{name}" for name in ("identity", "identity_token_file")),
}


def uncommented() -> str:
    return COMMENTED.sub("", EXAMPLE.read_text(encoding="utf-8"))


def dotted(table: dict[str, object]) -> dict[str, object]:
    """Flatten a parsed example to the names of the reference."""
    found: dict[str, object] = {}
    for section, body in table.items():
        if section in ARRAYS:
            assert isinstance(body, list)
            found |= {f"{section}.{key}": value for key, value in body[0].items()}
        elif section == "credentials":
            assert isinstance(body, dict)
            found |= {f"credentials.<ecosystem>.{key}": v for key, v in body["python"].items()}
        elif section in NAMED:
            assert isinstance(body, dict)
            first = next(iter(body.values()))
            found |= {f"{section}.<name>.{key}": value for key, value in first.items()}
        else:
            assert isinstance(body, dict)
            found |= {f"{section}.{key}": value for key, value in body.items()}
    return found


def test_the_example_loads_as_it_is_and_means_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(EXAMPLE, ENVIRON, {})
    assert dataclasses.replace(loaded, file=None) == load(None, ENVIRON, {})


def test_the_example_has_exactly_the_keys_of_the_reference_in_its_order() -> None:
    assert list(dotted(tomllib.loads(uncommented()))) == [row.key for row in reference()]


def test_the_keys_of_the_reference_are_the_fields_of_the_dataclasses() -> None:
    sections = {
        field.name: getattr(settings, f"{field.type}")
        for field in dataclasses.fields(Settings)
        if field.name not in {"credentials", *ARRAYS, *NAMED, "file"}
    }
    fields = {
        f"{name}.{field.name}"
        for name, kind in sections.items()
        for field in dataclasses.fields(kind)
    }
    fields |= {f"clients.{field.name}" for field in dataclasses.fields(ClientSettings)}
    fields |= {f"oidc.{field.name}" for field in dataclasses.fields(IssuerSettings)}
    fields |= {f"registries.{field.name}" for field in dataclasses.fields(RegistrySettings)}
    fields |= {f"registries.{field.name}" for field in dataclasses.fields(CredentialSettings)}
    for kind in (RepositorySettings, CredentialSettings):
        fields |= {f"repositories.<name>.{field.name}" for field in dataclasses.fields(kind)}
    fields |= {f"credentials.<ecosystem>.{f.name}" for f in dataclasses.fields(CredentialSettings)}
    assert fields - INTERNAL == {row.key for row in reference()}


def test_the_values_of_the_example_are_the_defaults() -> None:
    plain = dotted(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))
    defaults = {row.key: tomllib.loads(f"x = {row.default}")["x"] for row in reference()}
    assert plain == {key: defaults[key] for key in plain}


def test_each_key_of_the_example_stands_under_its_meaning() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    meanings: dict[str, set[str]] = {row.key.rpartition(".")[2]: set() for row in reference()}
    for row in reference():
        meanings[row.key.rpartition(".")[2]].add(f"# {row.meaning}")
    for above, line in itertools.pairwise(lines):
        key, equals, _ = line.removeprefix("#").partition(" = ")
        if equals and re.fullmatch("[a-z_]+", key):
            assert above in meanings[key], line


def test_the_commented_parts_of_the_example_load_too(tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    text = uncommented().replace('username = ""', "").replace('pair_file = ""', "")
    file.write_text(text, encoding="utf-8")
    loaded = load(file, ENVIRON, {})
    assert list(loaded.credentials) == ["python"]
    assert [client.name for client in loaded.clients] == ["farm-a"]
    assert [issuer.name for issuer in loaded.oidc] == ["ci"]
    assert [registry.alias for registry in loaded.registries] == ["mirror"]
    assert [repository.name for repository in loaded.repositories] == ["public"]


@pytest.mark.parametrize("row", reference(), ids=lambda row: row.key)
def test_each_row_of_the_reference_is_complete(row: Reference) -> None:
    assert row.meaning.endswith(".")
    assert "|" not in row.meaning, "it must fit into a table of Markdown"
    tomllib.loads(f"x = {row.default}")
