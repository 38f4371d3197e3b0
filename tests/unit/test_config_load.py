"""Loading: defaults, the search for the file, precedence, and where credentials come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import TypeAlias

import pytest

from proxy.config import Address, ConfigError, load, missing_files
from proxy.model import HostRules
from proxy.secret import Secret

Write: TypeAlias = Callable[..., Path]
HASH = "sha256:" + "AB" * 32


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of a person without any configuration, in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and give its path."""

    def write(text: str, name: str = "given.toml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write


def mistakes_of(
    path: Path | None, environ: dict[str, str], overrides: dict[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ, overrides or {})
    return caught.value.mistakes


def test_without_a_file_the_defaults_of_the_contract_hold(
    environ: dict[str, str], tmp_path: Path
) -> None:
    settings = load(None, environ, {})
    assert settings.file is None
    assert settings.server.listen == Address("127.0.0.1", 8080)
    assert settings.server.admin_listen == Address("127.0.0.1", 9180)
    assert settings.server.admin_token_file is None
    assert settings.server.public_url == ""
    assert settings.server.trusted_proxies == ()
    assert settings.server.shutdown_grace == 60
    assert settings.cache.directory == tmp_path / "home" / ".cache" / "cgr-proxy"
    assert settings.cache.max_size == 20 * 2**30
    assert settings.cache.document_ttl == 300
    assert settings.cache.tag_ttl == 60
    assert settings.cache.negative_ttl == 30
    assert settings.cache.max_stale == 86400
    assert dataclasses.asdict(settings.limits) == {
        "max_connections": 20000,
        "max_upstream_connections": 64,
        "queue_timeout": 30,
        "connect_timeout": 3,
        "first_byte_timeout": 15,
        "max_document": 64 * 2**20,
        "min_rate": 1024,
    }
    assert settings.upstream.libraries == "https://libraries.cgr.dev"
    assert settings.upstream.registry == "https://cgr.dev"
    assert settings.upstream.apk == "https://apk.cgr.dev"
    assert settings.upstream.redirect_hosts == HostRules(("*.r2.cloudflarestorage.com",))
    assert settings.upstream.allow_insecure is False
    assert settings.upstream.frozen == frozenset()
    assert settings.credentials == {}
    assert settings.entitlements.source == "auto"
    assert settings.clients == ()
    assert (settings.log.level, settings.log.format, settings.log.access) == ("info", "auto", True)


def test_the_xdg_cache_folder_is_honoured_only_when_absolute(
    environ: dict[str, str], tmp_path: Path
) -> None:
    absolute = load(None, environ | {"XDG_CACHE_HOME": str(tmp_path / "xdg")}, {})
    relative = load(None, environ | {"XDG_CACHE_HOME": "xdg"}, {})
    assert absolute.cache.directory == tmp_path / "xdg" / "cgr-proxy"
    assert relative.cache.directory == tmp_path / "home" / ".cache" / "cgr-proxy"


def test_without_a_home_folder_a_cache_directory_must_be_named(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert mistakes_of(None, {}) == (
        "defaults:cache.directory: there is no home folder: name a directory",
    )
    named = {"CGR_PROXY_CACHE__DIRECTORY": str(tmp_path / "c")}
    assert load(None, named, {}).cache.directory == tmp_path / "c"


def test_the_file_is_sought_in_the_order_of_the_contract(
    environ: dict[str, str], write: Write
) -> None:
    Path("cgr-proxy.toml").write_text('[log]\nlevel = "debug"\n', encoding="utf-8")
    asked = write('[log]\nlevel = "warning"\n', "asked.toml")
    option = write('[log]\nlevel = "error"\n', "option.toml")
    with_variable = environ | {"CGR_PROXY_CONFIG": str(asked)}
    assert load(None, environ, {}).log.level == "debug"
    assert load(None, environ, {}).file == Path("cgr-proxy.toml")
    assert load(None, with_variable, {}).log.level == "warning"
    assert load(option, with_variable, {}).log.level == "error"
    assert load(option, with_variable, {}).file == option


def test_a_file_named_by_the_environment_must_exist(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (line,) = mistakes_of(None, environ | {"CGR_PROXY_CONFIG": str(tmp_path / "no.toml")})
    assert "no.toml: cannot be read" in line


def test_the_command_line_beats_the_environment_beats_the_file(
    environ: dict[str, str], write: Write
) -> None:
    file = write('[server]\nlisten = "127.0.0.1:1"\n')
    variable = environ | {"CGR_PROXY_SERVER__LISTEN": "127.0.0.1:2"}
    assert load(file, environ, {}).server.listen.port == 1
    assert load(file, variable, {}).server.listen.port == 2
    assert load(file, variable, {"server.listen": "127.0.0.1:3"}).server.listen.port == 3


def test_the_environment_gives_numbers_booleans_and_lists(environ: dict[str, str]) -> None:
    settings = load(
        None,
        environ
        | {
            "CGR_PROXY_LIMITS__MAX_CONNECTIONS": "12",
            "CGR_PROXY_LOG__ACCESS": "false",
            "CGR_PROXY_UPSTREAM__FROZEN": "python, java",
            "CGR_PROXY_UPSTREAM__REDIRECT_HOSTS": "",
            "CGR_PROXY_SERVER__ADMIN_LISTEN": "",
        },
        {},
    )
    assert settings.limits.max_connections == 12
    assert settings.log.access is False
    assert settings.upstream.frozen == {"python", "java"}
    assert settings.upstream.redirect_hosts == HostRules(())
    assert settings.server.admin_listen is None


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("CGR_PROXY_SERVER__LISTN", "x", 'did you mean "CGR_PROXY_SERVER__LISTEN"'),
        ("CGR_PROXY_SERVER__LISTEN", "x", "HOST:PORT"),
        ("CGR_PROXY_SERVER__LISTEN", "0.0.0.0:80", "no [[clients]]"),
        ("CGR_PROXY_LIMITS__MAX_CONNECTIONS", "1e3", "a whole number"),
        ("CGR_PROXY_LOG__ACCESS", "yes", "true or false"),
        ("CGR_PROXY_CLIENTS__NAME", "x", "only be given in the file"),
        ("CGR_PROXY_CREDENTIALS__GO__PASSWORD", "canary", "PASSWORD_FILE"),
        ("CGR_PROXY_CREDENTIALS__GO__USERNAME", "eyJcanarycanary", "literal secret"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    environ: dict[str, str], name: str, text: str, part: str
) -> None:
    (line,) = mistakes_of(None, environ | {name: text})
    assert line.startswith(f"environment:{name}: ")
    assert part in line
    assert "canary" not in line


def test_variables_of_others_with_our_prefix_are_ignored(environ: dict[str, str]) -> None:
    others = {"CGR_PROXY_PORT": "tcp://10.0.0.1:80", "CGR_PROXY_SERVICE_HOST": "10.0.0.1"}
    assert load(None, environ | others, {}) == load(None, environ, {})


def test_a_token_on_the_command_line_is_refused_and_not_echoed(environ: dict[str, str]) -> None:
    (line,) = mistakes_of(None, environ, {"server.listen": "eyJcanarycanary"})
    assert line.startswith("command line:--listen: looks like a token")
    assert "canary" not in line


def test_a_mistake_on_the_command_line_names_the_option(environ: dict[str, str]) -> None:
    (line,) = mistakes_of(None, environ, {"server.admin_listen": "nowhere"})
    assert line.startswith("command line:--admin-listen: ")


def test_relative_paths_start_at_the_folder_of_the_file(
    environ: dict[str, str], write: Write, tmp_path: Path
) -> None:
    file = write('[cache]\ndirectory = "store"\n[upstream]\nca_bundle = "ca.pem"\n')
    settings = load(file, environ, {})
    assert settings.cache.directory == tmp_path / "store"
    assert settings.upstream.ca_bundle == tmp_path / "ca.pem"


def test_clients_are_read_as_written(environ: dict[str, str], write: Write) -> None:
    file = write(
        '[server]\nlisten = "0.0.0.0:0"\ntrusted_proxies = ["10.9.0.0/16"]\n'
        f'[[clients]]\nname = "a"\ntoken_hashes = ["{HASH}"]\necosystems = ["python", "java"]\n'
        '[[clients]]\nname = "b"\nnetworks = ["10.1.2.3", "fd00::/8"]\necosystems = ["go"]\n'
    )
    first, second = load(file, environ, {}).clients
    assert (first.name, first.token_hashes, first.networks) == ("a", (HASH.lower(),), ())
    assert first.ecosystems == {"python", "java"}
    assert second.networks == (ip_network("10.1.2.3/32"), ip_network("fd00::/8"))


def test_plain_http_is_accepted_when_it_is_allowed(environ: dict[str, str], write: Write) -> None:
    text = '[upstream]\nlibraries = "http://127.0.0.1:8000/"\nallow_insecure = true\n'
    assert load(write(text), environ, {}).upstream.libraries == "http://127.0.0.1:8000"


# --- credentials -----------------------------------------------------------------------------

PYTHON_ENV = {"CHAINGUARD_PYTHON_IDENTITY_ID": "org/id", "CHAINGUARD_PYTHON_TOKEN": "eyJtoken.x.y"}


def test_the_pair_that_chainctl_prints_is_taken_and_masked(environ: dict[str, str]) -> None:
    settings = load(None, environ | PYTHON_ENV, {})
    credential = settings.credentials["python"][0]
    assert credential.username == "org/id"
    assert credential.password == Secret("eyJtoken.x.y")
    assert credential.source == "environment:CHAINGUARD_PYTHON_IDENTITY_ID"
    assert "eyJtoken" not in repr(settings)
    assert list(settings.credentials) == ["python"]


def test_the_sources_of_a_credential_are_sought_in_order(
    environ: dict[str, str], write: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "systemd"
    folder.mkdir()
    for half in ("username", "password"):
        (folder / f"python-{half}").write_text("x", encoding="utf-8")
    file = write('[credentials.python]\nusername = "u"\npassword_file = "p"\n')
    default = write('[credentials.default]\npair_file = "pair"\n', "default.toml")
    systemd = environ | PYTHON_ENV | {"CREDENTIALS_DIRECTORY": str(folder)}

    configured = load(file, systemd, {}).credentials["python"][0]
    assert (configured.username, configured.password_file) == ("u", tmp_path / "p")
    assert configured.source == f"{file}:credentials.python"

    directory = load(default, systemd, {}).credentials["python"][0]
    assert directory.username_file == folder / "python-username"
    assert directory.password_file == folder / "python-password"
    assert directory.password is None

    assert load(default, environ | PYTHON_ENV, {}).credentials["python"][0].username == "org/id"

    spread = load(default, environ | PYTHON_ENV, {}).credentials
    assert spread["java"][0].pair_file == tmp_path / "pair"
    assert set(spread) == {"python", "java", "javascript", "oci", "apk", "go", "dotnet"}


def test_half_a_pair_is_a_mistake_and_not_passed_over(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "go-username").write_text("x", encoding="utf-8")
    half = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "CHAINGUARD_GO_IDENTITY_ID": "a/b",
        "CHAINGUARD_GO_TOKEN": "eyJ",
        "CHAINGUARD_JAVA_TOKEN": "eyJhbGciOi",
    }
    assert mistakes_of(None, environ | half) == (
        "environment:CHAINGUARD_JAVA_TOKEN: CHAINGUARD_JAVA_IDENTITY_ID is missing beside it",
        "environment:CREDENTIALS_DIRECTORY: go-password is missing beside go-username",
    )


@pytest.mark.parametrize("token", ["two words", "two\nlines", "\u00fcnicode", "nul\x00"])
def test_a_token_that_is_not_one_word_is_a_mistake_and_not_echoed(
    environ: dict[str, str], token: str
) -> None:
    (line,) = mistakes_of(None, environ | PYTHON_ENV | {"CHAINGUARD_PYTHON_TOKEN": token})
    assert line == "environment:CHAINGUARD_PYTHON_TOKEN: a token is one word of visible ASCII"


def test_an_identity_with_a_colon_is_a_mistake(environ: dict[str, str]) -> None:
    (line,) = mistakes_of(None, environ | PYTHON_ENV | {"CHAINGUARD_PYTHON_IDENTITY_ID": "a:b"})
    assert line.startswith("environment:CHAINGUARD_PYTHON_IDENTITY_ID: ")


def test_a_newline_at_the_end_of_a_variable_is_no_part_of_the_token(
    environ: dict[str, str],
) -> None:
    settings = load(None, environ | {key: f"{text}\n" for key, text in PYTHON_ENV.items()}, {})
    assert settings.credentials["python"][0].password == Secret("eyJtoken.x.y")


def test_credential_files_can_be_named_by_the_environment(
    environ: dict[str, str], tmp_path: Path
) -> None:
    name = "CGR_PROXY_CREDENTIALS__PYTHON__PAIR_FILE"
    settings = load(None, environ | {name: str(tmp_path / "pair")}, {})
    assert settings.credentials["python"][0].pair_file == tmp_path / "pair"


def test_files_that_are_not_there_are_listed_but_are_no_mistake(
    environ: dict[str, str], write: Write, tmp_path: Path
) -> None:
    file = write('[credentials.default]\nusername = "u"\npassword_file = "p"\n')
    assert missing_files(load(file, environ, {})) == (
        f"{file}:credentials.default: {tmp_path / 'p'} is not there or cannot be seen",
    )
    (tmp_path / "p").write_text("x", encoding="utf-8")
    assert missing_files(load(file, environ, {})) == ()
