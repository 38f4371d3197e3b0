"""Broken configurations: each is named by file and key, all at once, and no secret is echoed."""

from __future__ import annotations

import contextlib
import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import ConfigError, load
from proxy.config.mistakes import masked, shown

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2lnbmF0dXJlLWNhbmFyeQ"
MistakesOf: TypeAlias = Callable[[str | bytes], list[str]]
HOME = {"HOME": "/nonexistent"}
HASH = "sha256:" + "ab" * 32
EMPTY_HASH = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CLIENT = f'[[clients]]\nname = "farm"\ntoken_hashes = ["{HASH}"]\necosystems = ["python"]\n'
UIDP = "9f" * 20 + "/" + "1c" * 8
OIDC = (
    '[[oidc]]\nname = "ci"\nissuer = "https://i.example"\naudience = "a"\n'
    'claims = { repository = "me/*" }\necosystems = ["python"]\n'
)

BROKEN = [
    # unknown things, with the nearest known one
    ('[server]\nlistn = "127.0.0.1:1"', "server.listn", 'did you mean "listen"'),
    ("[server]\nmax_size = 1", "server.max_size", 'did you mean "cache.max_size"'),
    ("[server]\nworkers = 0", "server.workers", "between 1 and 64"),
    (
        "[server]\nworkers = 3\n[limits]\nmax_upstream_connections = 2",
        "server.workers",
        "each of them needs one",
    ),
    ("[serve]\n", "serve", 'unknown section; did you mean "server"'),
    ("[tls]\n", "tls", "unknown section"),
    ('listen = "127.0.0.1:1"', "listen", "unknown section"),
    ('[credentials.pyton]\nusername = "x"', "credentials.pyton", 'did you mean "python"'),
    ('[credentials.python]\nidentify = "x"', "credentials.python.identify", "unknown key"),
    (CLIENT + "quota = 3", "clients[farm].quota", "unknown key"),
    (CLIENT + "network = []", "clients[farm].network", 'did you mean "networks"'),
    (CLIENT + "token_hash = []", "clients[farm].token_hash", 'did you mean "token_hashes"'),
    (CLIENT + 'token = "canary"', "clients[farm].token", "literal secret"),
    # arrays of tables
    (CLIENT + 'packages = ["flask"]', "clients[farm].packages", "pkg:pypi/flask"),
    (CLIENT + 'packages = ["pkg:*"]', "clients[farm].packages", "no prefix"),
    (CLIENT + 'packages = ["pkg:pypi/a*b"]', "clients[farm].packages", "no prefix"),
    (CLIENT + 'packages = ["pkg:pypi/a", "pkg:pypi/A"]', "clients[farm].packages", "twice"),
    (CLIENT + 'subjects = ["build-7"]', "clients[farm].subjects", "distinguished name"),
    (CLIENT + 'subjects = ["DNS:"]', "clients[farm].subjects", "one name"),
    (CLIENT + 'subjects = ["CN=b"]', "clients", "client_ca is not set"),
    ("[oidc]\n", "oidc", "[[oidc]]"),
    (OIDC.replace("issuer =", "isuer ="), "oidc[ci].isuer", 'did you mean "issuer"'),
    (OIDC.replace("https:", "http:"), "oidc", "use an https issuer"),
    (OIDC.replace("https://i.example", "x"), "oidc[ci].issuer", "must be a URL"),
    (OIDC.replace("issuer =", "#"), "oidc[ci].issuer", "is missing"),
    (OIDC.replace("audience =", "#"), "oidc[ci].audience", "is missing"),
    (OIDC.replace("ecosystems =", "#"), "oidc[ci].ecosystems", "could use nothing"),
    (OIDC.replace("claims =", "#"), "oidc[ci].claims", "everybody who gets a token"),
    (OIDC.replace("me/*", "*"), "oidc[ci].claims", "everybody who gets a token"),
    (OIDC.replace("me/*", "*/app"), "oidc[ci].claims", "a star in its middle"),
    (OIDC.replace("repository", "aud"), "oidc[ci].claims", "always checked"),
    (OIDC.replace('"me/*"', "3"), "oidc[ci].claims", "a table of texts"),
    (OIDC.replace('{ repository = "me/*" }', '["me"]'), "oidc[ci].claims", "a table of texts"),
    ('[server]\ntls_key = "k"', "server.tls_certificate", "give both, or none"),
    ('[server]\nclient_ca = "c"', "server.client_ca", "set tls_certificate"),
    ('[log]\naudit_size = "2TiB"', "log.audit_size", "at most 1TiB"),
    # wrong types
    ("server = 3", "server", "write [server]"),
    ("[[server]]\n", "server", "write [server]"),
    ("[server]\nlisten = 8080", "server.listen", "a text in quotes"),
    ("[cache]\ndocument_ttl = 300", "cache.document_ttl", 'such as "5m"'),
    ('[limits]\nmax_connections = "100"', "limits.max_connections", "a whole number"),
    ("[limits]\nmax_connections = true", "limits.max_connections", "a whole number"),
    ("[upstream]\nallow_insecure = 1", "upstream.allow_insecure", "true or false"),
    ('[upstream]\nfrozen = "python"', "upstream.frozen", "a list of texts"),
    ("[upstream]\nfrozen = [1]", "upstream.frozen", "a list of texts"),
    ("[cache]\ndirectory = 1979-05-27", "cache.directory", "a path in quotes"),
    ("[clients]\nname = 'x'", "clients", "[[clients]]"),
    ("clients = [3]", "clients[0]", "[[clients]]"),
    ("credentials = 1", "credentials", "write [credentials]"),
    ("[credentials]\npython = 1", "credentials.python", "write [credentials.python]"),
    ("[[credentials.python]]\n", "credentials.python[0]", "is empty"),
    ("[credentials]\npython = []", "credentials.python", "twice at most"),
    ("[[credentials.go]]\npair_file = 'a'\n" * 3, "credentials.go", "twice at most"),
    (
        "[[credentials.go]]\npair_file = 'a'\n[[credentials.go]]\nusername = 'u'",
        "credentials.go[1].username",
        "add password_file",
    ),
    (
        "[[credentials.go]]\npair_file = 'a'\n[[credentials.go]]\npair_fil = 'u'",
        "credentials.go[1].pair_fil",
        'did you mean "pair_file"',
    ),
    # wrong values
    ('[server]\nlisten = "8080"', "server.listen", "HOST:PORT"),
    ('[server]\nlisten = "::1:8080"', "server.listen", "brackets"),
    ('[cache]\nmax_size = "20 gigs"', "cache.max_size", "is not a size"),
    ('[cache]\nmax_size = "-1GiB"', "cache.max_size", "is not a size"),
    ('[cache]\nmax_size = "0B"', "cache.max_size", "at least 1KiB"),
    ('[cache]\nmax_stale = "forever"', "cache.max_stale", "is not a time"),
    ('[cache]\nnegative_ttl = "61s"', "cache.negative_ttl", "at most 60s"),
    ('[cache]\ndirectory = "~/cache"', "cache.directory", "~ is not expanded"),
    ("[limits]\nmax_connections = 0", "limits.max_connections", "between 1 and"),
    ('[limits]\nconnect_timeout = "0s"', "limits.connect_timeout", "at least 10ms"),
    ('[upstream]\nlibraries = ""', "upstream.libraries", "must be a URL"),
    ('[upstream]\nlibraries = "ftp://x.example"', "upstream.libraries", "must be a URL"),
    ('[upstream]\nredirect_hosts = ["*"]', "upstream.redirect_hosts", "wildcard"),
    ('[upstream]\nfrozen = ["pip"]', "upstream.frozen", '"pip" is no ecosystem'),
    ('[upstream]\nfrozen = ["go", "go"]', "upstream.frozen", "twice"),
    ('[upstream]\nallow_networks = ["10.1.2.3/16"]', "upstream.allow_networks", '"10.1.0.0/16"'),
    ('[upstream]\nallow_networks = ["ten"]', "upstream.allow_networks", "is not a network"),
    ('[upstream]\nallow_networks = ["::ffff:a00:0/104"]', "upstream.allow_networks", "IPv4"),
    ('[server]\npublic_url = "https://p.example?x=1"', "server.public_url", "no query"),
    ('[server]\npublic_url = "proxy.example"', "server.public_url", "must be a URL"),
    ('[entitlements]\nsource = "platform"', "entitlements.source", "no pull token to ask it with"),
    ('[entitlements]\nsource = "vendor"', "entitlements.source", "none of"),
    ('[entitlements]\norganization = "acme"', "entitlements.organization", "40 hex digits"),
    ('[entitlements]\nrefresh = "100ms"', "entitlements.refresh", "at least 1s"),
    ('[entitlements]\ngrace = "25h"', "entitlements.grace", "at most 24h"),
    ('[upstream]\nissuer = "http://i.example"', "upstream.issuer", "plain http"),
    ('[upstream]\napi = "http://a.example"', "upstream.api", "plain http"),
    (
        '[upstream]\nlibraries = "https://m.example"\n[entitlements]\nsource = "platform"',
        "entitlements.source",
        "somebody else's issuer",
    ),
    ('[entitlements]\nsource = "free"', "entitlements.source", '"platform" or "static"'),
    ('[log]\nlevel = "loud"', "log.level", '"debug" or "info"'),
    # clients
    ('[[clients]]\necosystems = ["go"]\nnetworks = ["10.0.0.0/8"]', "clients[0].name", "missing"),
    (CLIENT.replace("farm", "a farm"), "clients[0].name", "1 to 64 letters"),
    (
        CLIENT.replace(HASH, "sha256:abc"),
        "clients[farm].token_hashes",
        "`cgr-proxy client new` makes both",
    ),
    (CLIENT.replace(HASH, EMPTY_HASH), "clients[farm].token_hashes", "empty token"),
    (CLIENT.replace('["python"]', '["pip"]'), "clients[farm].ecosystems", "is no ecosystem"),
    (CLIENT.replace('["python"]', "[]"), "clients[farm].ecosystems", "could use nothing"),
    ('[[clients]]\nname = "x"\necosystems = ["go"]', "clients[x]", "nobody could be this"),
    (CLIENT + 'networks = ["10.0.0.1/8"]', "clients[farm].networks", '"10.0.0.0/8"'),
    (CLIENT + CLIENT.replace("ab", "cd"), "clients[farm].name", "earlier client"),
    (CLIENT + CLIENT.replace("farm", "b"), "clients[b].token_hashes", "belongs to the client farm"),
    # between keys
    ('[server]\nlisten = "0.0.0.0:8080"', "server.listen", "no [[clients]]"),
    ('[server]\nadmin_listen = "0.0.0.0:9180"', "server.admin_listen", "set admin_token_file"),
    (
        '[server]\ntrusted_proxies = ["10.0.0.0/8"]',
        "server.trusted_proxies",
        "everybody looks local",
    ),
    (
        '[server]\ntrusted_proxies = ["10.0.0.0/8", "fd00::/8"]\n'
        + CLIENT
        + 'networks = ["10.1.0.0/16", "fd01::/16"]',
        "clients",
        "nobody could be it",
    ),
    ('[server]\nadmin_listen = "127.0.0.1:8080"', "server.admin_listen", "taken by server.listen"),
    (
        '[server]\nadmin_listen = "0.0.0.0:8080"\nadmin_token_file = "t"',
        "server.admin_listen",
        "taken by server.listen",
    ),
    ('[upstream]\nlibraries = "http://m.example"', "upstream.libraries", "plain http"),
    ('[upstream]\nregistry = "http://m.example"', "upstream.registry", "plain http"),
    ('[upstream]\napk = "http://m.example"', "upstream.apk", "plain http"),
    ('[entitlements]\nsource = "static"', "entitlements.ecosystems", "nobody could use anything"),
    ('[entitlements]\necosystems = ["go"]', "entitlements.ecosystems", "counts only with"),
    # registries
    ('[[registries]]\nurl = "https://r.example"', "registries[0].alias", "is missing"),
    ('[[registries]]\nalias = "a"', "registries[0].url", "is missing"),
    (
        '[[registries]]\nalias = "A/b"\nurl = "https://r.example"',
        "registries[0].alias",
        "small letters",
    ),
    ('[[registries]]\nalias = "a"\nurl = "r.example"', "registries[0].url", "must be a URL"),
    # repositories
    ('repositories = "a"', "repositories", "is written as [repositories.NAME]"),
    ('[[repositories]]\nname = "a"', "repositories", "is written as [repositories.NAME]"),
    ("[repositories.a]", "repositories[a].ecosystem", "is missing"),
    ("[repositories.a]", "repositories[a].upstream", "is missing"),
    ('[repositories.a]\necosystem = "java"', "repositories[a].ecosystem", "is none of"),
    ('[repositories.a]\nname = "b"', "repositories.a.name", "stands in the brackets"),
    ("[repositories.a]\nmembers = []", "repositories[a].members", "unknown key"),
    (
        '[repositories."A/b"]\necosystem = "apk"\nupstream = "https://p.example"',
        "repositories[0].name",
        "an alias has small letters",
    ),
    (
        (
            '[repositories.a]\necosystem = "apk"\nupstream = "https://p.example/os"\n'
            '[repositories.b]\necosystem = "apk"\nupstream = "https://p.example/os/"'
        ),
        "repositories[b].upstream",
        "earlier repository",
    ),
    (
        '[repositories.a]\necosystem = "apk"\nupstream = "http://p.example"',
        "repositories",
        "plain http",
    ),
    (
        '[[registries]]\nalias = "a"\nurl = "http://r.example"',
        "registries",
        "plain http would show tokens",
    ),
    (
        '[[registries]]\nalias = "a"\nurl = "https://r.example"\nusername = "u"',
        "registries[0]",
        "add password_file",
    ),
    (
        (
            '[[registries]]\nalias = "a"\nurl = "https://r.example"\n'
            '[[registries]]\nalias = "a"\nurl = "https://s.example"'
        ),
        "registries[1].alias",
        "earlier registry",
    ),
    (
        (
            '[[registries]]\nalias = "a"\nurl = "https://r.example"\n'
            '[[registries]]\nalias = "b"\nurl = "https://r.example/"'
        ),
        "registries[1].url",
        "earlier registry",
    ),
    (
        '[[registries]]\nalias = "a"\nurl = "https://r.example"\nidentity = "x"',
        "registries[0].identity",
        "unknown key",
    ),
    # credentials
    ('[credentials.go]\nusername = "u"', "credentials.go.username", "add password_file"),
    ('[credentials.go]\npassword_file = "p"', "credentials.go.password_file", "add username"),
    (
        '[credentials.go]\nusername = "u"\nusername_file = "u"\npassword_file = "p"',
        "credentials.go.username",
        "remove one",
    ),
    (
        '[credentials.go]\npair_file = "x"\npassword_file = "p"',
        "credentials.go.password_file",
        "holds both halves",
    ),
    (
        '[credentials.go]\nusername = "a:b"\npassword_file = "p"',
        "credentials.go.username",
        "without a colon",
    ),
    (
        '[credentials.go]\ndocker_config = "c"\nusername = "u"',
        "credentials.go.username",
        "docker_config holds both halves",
    ),
    ('[credentials.go]\nnetrc = "n"\npair_file = "p"', "credentials.go.pair_file", "holds both"),
    ('[credentials.go]\nidentity = "x"', "credentials.go.identity", "an identity is a UIDP"),
    (
        f'[credentials.go]\nidentity = "{UIDP}"',
        "credentials.go.identity",
        "add identity_token_file",
    ),
    (
        '[credentials.go]\nidentity_token_file = "t"',
        "credentials.go.identity_token_file",
        "add identity",
    ),
    (
        f'[credentials.go]\nidentity = "{UIDP}"\nidentity_token_file = "t"\nusername = "n"',
        "credentials.go.username",
        "needs no pull token",
    ),
    (
        (
            f'[upstream]\nlibraries = "https://mirror.example"\n[credentials.go]\n'
            f'identity = "{UIDP}"\nidentity_token_file = "t"'
        ),
        "upstream.issuer",
        "set upstream.issuer and upstream.api",
    ),
    ('[credentials.go]\npassword = "canary"', "credentials.go.password", "name a file with"),
    ('[credentials]\npassword = "canary"', "credentials.password", "name a file with"),
    # literal secrets
    (f'[credentials.go]\nusername = "{JWT}"', "credentials.go.username", "literal secret"),
    (f'[credentials.go]\npassword_file = "{JWT}"', "credentials.go.password_file", "literal"),
    (f'[upstream]\nfrozen = ["{JWT}"]', "upstream.frozen", "literal secret"),
    (CLIENT.replace(HASH, JWT), "clients[0].token_hashes", "literal secret"),
    (CLIENT.replace(HASH, "cgrp_" + "a" * 43), "clients[0].token_hashes", "literal secret"),
    (f'[nowhere.deep]\nx = [{{y = "{JWT}"}}]', "nowhere.deep.x[0].y", "literal secret"),
    (f'[upstream]\nlibraries = "https://u:{JWT}@x.example"', "upstream.libraries", "literal"),
    (
        '[upstream]\nlibraries = "https://u:canary@x.example"',
        "upstream.libraries",
        "use [credentials]",
    ),
    # no TOML
    ('[server]\nlisten = "127', "line 2", "is not TOML"),
    ("[server]\n\n[server]\n", "line 3", "is not TOML"),
    ("[server\n", "line 1", "is not TOML"),
    ("x = " + "[" * 5000, None, "nested too deeply"),
    ("x = " + "9" * 5000, None, "number that is too long"),
]


@pytest.fixture
def mistakes_of(tmp_path: Path) -> MistakesOf:
    """Load a text as a file and give the mistakes, the file's name cut off."""
    file = tmp_path / "broken.toml"

    def mistakes(text: str | bytes) -> list[str]:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(ConfigError) as caught:
            load(file, HOME, {})
        assert caught.value.mistakes
        assert str(caught.value) == "\n".join(caught.value.mistakes)
        assert all(line.startswith(f"{file}:") for line in caught.value.mistakes)
        return [line.removeprefix(f"{file}:") for line in caught.value.mistakes]

    return mistakes


@pytest.mark.parametrize(("text", "key", "part"), BROKEN, ids=itertools.count())
def test_a_broken_file_is_named_by_key_and_reason(
    mistakes_of: MistakesOf, text: str, key: str | None, part: str
) -> None:
    mistakes = mistakes_of(text)
    start = "" if key is None else f"{key}: "
    assert any(line.startswith(start) and part in line for line in mistakes), mistakes


@pytest.mark.parametrize(("text", "key", "part"), BROKEN, ids=itertools.count())
def test_no_mistake_echoes_a_secret_or_breaks_its_line(
    mistakes_of: MistakesOf, text: str, key: str | None, part: str
) -> None:
    for line in mistakes_of(text):
        assert "canary" not in line
        assert not any(segment in line for segment in JWT.split("."))
        assert "cgrp_" not in line
        assert line.isprintable()


def test_all_mistakes_come_at_once(mistakes_of: MistakesOf) -> None:
    parts = [
        '[server]\nlisten = "x"\nadmin_listen = "y"\nnothing = 1\n',
        '[cache]\nmax_size = "z"\n',
        '[upstream]\nallow_networks = ["a", "b"]\n',
        "[credentials.go]\nusername = 'u'\n",
        "[[clients]]\n",
    ]
    found = [line.partition(": ")[0] for line in mistakes_of("".join(parts))]
    assert sorted(set(found)) == [
        "cache.max_size",
        "clients[0]",
        "clients[0].ecosystems",
        "clients[0].name",
        "credentials.go.username",
        "server.admin_listen",
        "server.listen",
        "server.nothing",
        "upstream.allow_networks",
    ]
    assert found.count("upstream.allow_networks") == 2


def test_a_broken_client_does_not_also_count_as_no_client(mistakes_of: MistakesOf) -> None:
    broken = CLIENT.replace(HASH, "x")
    assert len(mistakes_of('[server]\nlisten = "0.0.0.0:80"\n' + broken)) == 1


def test_a_syntax_error_is_one_mistake(mistakes_of: MistakesOf) -> None:
    assert len(mistakes_of("[server]\nlistn = 1\nlisten = \n")) == 1


def test_a_secret_in_a_syntax_error_is_masked(mistakes_of: MistakesOf) -> None:
    (line,) = mistakes_of(f'[a]\n"{JWT}" = 1\n"{JWT}" = 2\n')
    assert JWT.split(".", maxsplit=1)[0] not in line


def test_a_file_that_is_not_utf8_is_named_with_its_line(mistakes_of: MistakesOf) -> None:
    assert mistakes_of(b"[server]\n# \xff\n") == ["line 2: is not UTF-8"]


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bom.toml"
    file.write_bytes(b'\xef\xbb\xbf[log]\nlevel = "debug"\n')
    assert load(file, HOME, {}).log.level == "debug"


@pytest.mark.parametrize("make", ["absent", "folder"])
def test_a_file_that_was_asked_for_must_be_readable(tmp_path: Path, make: str) -> None:
    file = tmp_path / "asked.toml"
    if make == "folder":
        file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file, HOME, {})


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.toml"
    file.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load(file, HOME, {})


def test_a_long_text_is_cut_and_a_token_not_shown_at_all() -> None:
    assert shown("x" * 100) == f'"{"x" * 60}..."'
    assert shown(f"a {JWT}") == "***"


@given(st.text(max_size=300))
def test_a_shown_text_is_one_bounded_line_of_ascii(text: str) -> None:
    line = shown(text)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 6 * 2 * 63 + 2


@given(st.text(max_size=80))
def test_a_masked_text_is_one_line_without_a_token(text: str) -> None:
    line = masked(text + JWT + text)
    assert line.isprintable()
    assert JWT.split(".", maxsplit=1)[0] not in line


TREES = st.recursive(
    st.text(max_size=8) | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["server", "cache", "upstream", "credentials", "clients", "log", "x"]),
        TREES | st.dictionaries(st.sampled_from(["listen", "python", "frozen", "access"]), TREES),
    )
)
def test_any_toml_is_either_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    file = tmp_path_factory.mktemp("any") / "any.toml"
    text = "\n".join(f"{key} = {_inline(value)}" for key, value in table.items())
    assert tomllib.loads(text) == table
    file.write_text(text, encoding="utf-8")
    # Everything but a ConfigError would fail the test.
    with contextlib.suppress(ConfigError):
        load(file, HOME, {})


def _inline(value: object) -> str:
    """Write a value as TOML, everything inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            pairs = (f"{_inline(key)} = {_inline(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case str():
            return '"' + "".join(f"\\U{ord(sign):08x}" for sign in value) + '"'
        case _:
            return str(value)
