"""Docker's config.json and netrc: whose pair is found, and what is refused in which words."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from proxy.observe.redaction import Redactor
from proxy.upstream.credential_files import NoEntry, from_docker_config, from_netrc
from proxy.upstream.pairs import PairSource, Unusable, read_pair

HOST = "libraries.cgr.dev"
USER = "9f" * 20 + "/" + "1c" * 8
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
AUTH = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()


def docker(auths: object, **more: object) -> str:
    return json.dumps({"auths": auths, **more})


@pytest.mark.parametrize(
    "auths",
    [
        {HOST: {"auth": AUTH}},
        {"cgr.dev": {"auth": AUTH}},
        {"https://cgr.dev": {"auth": AUTH}},
        {"https://cgr.dev/v2/": {"auth": AUTH}},
        {"CGR.dev": {"auth": AUTH}},
        {"cgr.dev": {"username": USER, "password": TOKEN}},
        {"cgr.dev": {"username": "other", "password": "other"}, HOST: {"auth": AUTH}},
        {"other.example": {"auth": "x"}, "cgr.dev": {"auth": AUTH, "email": ""}},
    ],
)
def test_the_upstreams_host_is_found_in_auths_and_else_the_vendors_registry(auths: object) -> None:
    assert from_docker_config(docker(auths), HOST) == (USER, TOKEN)


def test_an_auth_beside_a_store_counts() -> None:
    text = docker({"cgr.dev": {"auth": AUTH}}, credsStore="desktop")
    assert from_docker_config(text, HOST) == (USER, TOKEN)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"auths": {"cgr.dev": {"au', "not JSON"),
        ("[]", "no Docker config.json"),
        ("{}", "name neither"),
        (docker([]), "name neither"),
        (docker({"cgr.dev": "x"}), "name neither"),
        (docker({"cgr.dev.evil.example": {"auth": AUTH}}), "name neither"),
        (docker({"sub.cgr.dev": {"auth": AUTH}}), "name neither"),
        (docker({"cgr.dev": {}}), "neither auth nor"),
        (docker({"cgr.dev": {"identitytoken": "x"}}), "neither auth nor"),
        (docker({"cgr.dev": {}}, credsStore="desktop"), "credential store"),
        (docker({"cgr.dev": {"auth": "?"}}), "not base64"),
        (docker({"cgr.dev": {"auth": base64.b64encode(b"x").decode()}}), "not user:password"),
        (docker({}, credHelpers={"cgr.dev": "chainctl"}), "credential helper"),
        (docker({"cgr.dev": {"auth": AUTH}}, credHelpers={HOST: "x"}), "credential helper"),
    ],
)
def test_a_docker_config_without_a_pair_says_why(text: str, reason: str) -> None:
    with pytest.raises(NoEntry, match=reason) as caught:
        from_docker_config(text, HOST)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"machine {HOST} login {USER} password {TOKEN}",
        f"machine {HOST}\n\tlogin {USER}\n\tpassword {TOKEN}\n",
        f"machine {HOST.upper()} password {TOKEN} login {USER}",
        f'machine "{HOST}" login "{USER}" password "{TOKEN}"',
        f"# a comment\nmachine {HOST} user {USER} account x password {TOKEN} # another\n",
        f"machine other login a password b\nmachine {HOST} login {USER} password {TOKEN}",
        f"machine {HOST} login {USER} password {TOKEN}\nmachine {HOST} login a password b",
        f"machine {HOST} login {USER} password {TOKEN}\ndefault login a password b",
        f"macdef init\ncd /machine\nls\n\nmachine {HOST} login {USER} password {TOKEN}",
    ],
)
def test_the_first_machine_that_is_the_upstreams_host_counts(text: str) -> None:
    assert from_netrc(text, HOST) == (USER, TOKEN)


def test_a_host_with_a_port_is_found_with_and_without_it() -> None:
    for machine in ("127.0.0.1", "127.0.0.1:8080"):
        assert from_netrc(f"machine {machine} login a password b", "127.0.0.1:8080") == ("a", "b")
    assert from_netrc('machine ::1 login a password "b \\" c"', "[::1]:80") == ("a", 'b " c')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no machine"),
        ("default login a password b", "no machine"),
        ("machine cgr.dev login a password b", "no machine"),
        (f"machine x.{HOST} login a password b", "no machine"),
        (f"machine {HOST}", "no login or no password"),
        (f"machine {HOST} login a", "no login or no password"),
        (f"machine {HOST} password {TOKEN}", "no login or no password"),
        (f"{TOKEN}", "no netrc"),
        (f'machine {HOST} login a password "{TOKEN}', "quote"),
    ],
)
def test_a_netrc_without_a_pair_says_why(text: str, reason: str) -> None:
    with pytest.raises(NoEntry, match=reason) as caught:
        from_netrc(text, HOST)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("username", [USER, USER.replace("/", "_")])
def test_both_files_give_a_pair_whichever_way_the_user_name_is_written(
    tmp_path: Path, username: str
) -> None:
    auth = base64.b64encode(f"{username}:{TOKEN}".encode()).decode()
    (tmp_path / "config.json").write_text(docker({"cgr.dev": {"auth": auth}}))
    (tmp_path / "netrc").write_text(f"machine {HOST} login {username} password {TOKEN}\n")
    for source in (
        PairSource(docker_config=tmp_path / "config.json", host=HOST),
        PairSource(netrc=tmp_path / "netrc", host=HOST),
    ):
        pair = read_pair(source)
        assert pair.authorization == f"Basic {auth}"
        assert USER in {name.replace("_", "/") for name in pair.spellings}


@pytest.mark.parametrize("half", ["", "a b", "a\nb", "t\u00f6"])
def test_what_basic_cannot_carry_is_refused_here_too(tmp_path: Path, half: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(docker({"cgr.dev": {"username": USER, "password": half}}))
    with pytest.raises(Unusable):
        read_pair(PairSource(docker_config=file, host=HOST))


def test_a_user_name_that_is_any_word_is_not_masked_and_its_password_is(tmp_path: Path) -> None:
    file = tmp_path / "pair"
    file.write_text("requests\na-mirrors-password\n")
    redactor = Redactor()
    redactor.register("python", *read_pair(PairSource(pair_file=file)).spellings)
    assert redactor.redact("pkg:pypi/requests@2.0") == "pkg:pypi/requests@2.0"
    assert "password" not in redactor.redact("requests:a-mirrors-password")
