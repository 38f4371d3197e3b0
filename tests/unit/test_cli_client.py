"""`cgr-proxy client`: a token that is shown once, a stanza that loads, a list without hashes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.config import load

HASH = "sha256:" + "ab" * 32
CONFIG = f"""
[server]
tls_certificate = "c"
tls_key = "k"
client_ca = "a"

[[clients]]
name = "farm"
token_hashes = ["{HASH}", "sha256:{"cd" * 32}"]
networks = ["10.1.0.0/16"]
ecosystems = ["python", "java"]

[[clients]]
name = "build"
subjects = ["CN=build"]
ecosystems = ["python"]
packages = ["pkg:pypi/flask"]

[[oidc]]
issuer = "https://ci.example"
audience = "us"
claims = {{ repository = "my-org/app" }}
ecosystems = ["go"]
"""


def test_a_new_client_is_a_token_and_a_stanza_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["client", "new", "farm-a", "--ecosystems", "python, java"]) == 0
    out, err = capsys.readouterr()
    token, _, stanza = out.partition("\n")
    assert re.fullmatch(r"cgrp_[A-Za-z0-9_-]{43}", token)
    assert token not in stanza + err
    file = tmp_path / "c.toml"
    file.write_text(stanza)
    (client,) = load(file, {"HOME": "/nonexistent"}, {}).clients
    assert client.name == "farm-a"
    assert client.ecosystems == {"python", "java"}
    assert client.token_hashes == (f"sha256:{hashlib.sha256(token.encode()).hexdigest()}",)


def test_no_two_tokens_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        main(["client", "new", "x", "--ecosystems", "go"])
    assert len(set(re.findall("cgrp_.{43}", capsys.readouterr().out))) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a b", "--ecosystems", "python"], "1 to 64 letters"),
        (["a", "--ecosystems", "pyton"], "is no ecosystem"),
        (["a", "--ecosystems", ""], "is no ecosystem"),
        (["a"], "--ecosystems"),
    ],
)
def test_what_is_no_client_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["client", "new", *arguments])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""


def test_the_list_shows_who_and_what_and_no_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(CONFIG)
    assert main(["client", "list", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "KIND", "ECOSYSTEMS", "NETWORKS", "PACKAGES"],
        ["farm", "2", "tokens+network", "java,python", "10.1.0.0/16", "-"],
        ["build", "certificate", "python", "-", "pkg:pypi/flask"],
        ["ci.example", "oidc", "https://ci.example", "go", "-", "-"],
    ]
    assert "abab" not in out
    assert "sha256" not in out


def test_a_wrong_configuration_is_exit_code_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[[clients]]\n")
    assert main(["client", "list", "--config", str(file)]) == 78
    assert "clients[0].name" in capsys.readouterr().err
