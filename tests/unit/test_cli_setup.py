"""`cgr-proxy setup`: what it prints, of every client; the README shows the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest

from proxy.cli import main
from proxy.cli.setup import DEFAULT_URL, setups
from proxy.ecosystems.setups import Place
from tests.printed import printed

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PROMISED = (
    *("pip", "uv", "poetry", "pdm", "pipenv", "npm", "pnpm", "yarn", "bun", "maven", "gradle"),
    *("bazel", "docker", "containerd", "k3s", "buildkit", "podman", "helm", "apk", "go", "nuget"),
    *("github-actions", "gitlab-ci"),
)
ELSEWHERE = "https://proxy.example"
# What the README shows for a proxy across the network: containers by https, jobs of a service.
REMOTE = (
    "docker",
    "containerd",
    "k3s",
    "buildkit",
    "podman",
    "helm",
    "github-actions",
    "gitlab-ci",
)
URLS = (DEFAULT_URL, ELSEWHERE, "http://proxy.example:8080", "http://[::1]:8080")

clients = pytest.mark.parametrize("client", PROMISED)
urls = pytest.mark.parametrize("url", URLS)


def test_every_promised_client_is_there() -> None:
    assert set(PROMISED) <= set(setups())


@clients
def test_it_prints_the_texts_of_a_client(client: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", client]) == 0
    assert capsys.readouterr() == ("\n".join(printed(client, DEFAULT_URL)), "")


@clients
def test_the_address_is_the_one_that_was_given(
    client: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["setup", client, "--url", "https://Proxy.Example:8443/"]) == 0
    shown = capsys.readouterr().out
    assert "proxy.example:8443" in shown
    assert "127.0.0.1" not in shown


def test_an_unknown_client_is_told_all_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["setup", "pipx"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in PROMISED)


def test_an_address_with_a_password_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["setup", "pip", "--url", "http://any:canary@127.0.0.1:8080"])
    assert end.value.code == 2
    assert "canary" not in capsys.readouterr().err


@pytest.mark.parametrize("client", sorted(setups()))
def test_the_readme_shows_what_it_prints(client: str) -> None:
    url = ELSEWHERE if client in REMOTE else DEFAULT_URL
    for snippet in setups()[client].snippets(Place(url)):
        assert f"```{snippet.language}\n{snippet.text}```" in README


@urls
@pytest.mark.parametrize("client", sorted(setups()))
def test_every_text_can_be_read_and_names_no_other_place(client: str, url: str) -> None:
    for snippet in setups()[client].snippets(Place(url)):
        match snippet.language:
            case "toml":
                tomllib.loads(snippet.text)
            case "xml":
                ET.fromstring(snippet.text)  # noqa: S314  # our own text
            case _:
                pass
        hosts = {urlsplit(found).netloc for found in re.findall(r"\w+://[^\s'\"<,]+", snippet.text)}
        assert {host.rpartition("@")[2] for host in hosts} <= {Place(url).host}


@urls
@pytest.mark.parametrize("client", sorted(setups()))
def test_no_text_has_a_second_index_or_a_token(client: str, url: str) -> None:
    for text in printed(client, url):
        settings = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        assert not re.search(r"extra[-_]index|find-links", "\n".join(settings), re.IGNORECASE)
        assert "cgrp_" not in text


@pytest.mark.parametrize("client", ["pip", "uv", "poetry", "npm", "maven", "docker", "go", "apk"])
def test_it_says_where_the_token_goes(client: str) -> None:
    text = "\n".join(printed(client, ELSEWHERE))
    assert "TOKEN" in text


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ("pip", "trusted-host = proxy.example:8080"),
        ("pdm", "verify_ssl = false"),
        ("pipenv", "verify_ssl = false"),
        ("yarn", 'unsafeHttpWhitelist: ["proxy.example"]'),
        ("gradle", "allowInsecureProtocol = true"),
        ("docker", '"insecure-registries": ["proxy.example:8080"]'),
        ("buildkit", "http = true"),
        ("podman", "insecure = true"),
        ("helm", "--plain-http"),
        ("nuget", 'allowInsecureConnections="true"'),
        ("gitlab-ci", "YARN_UNSAFE_HTTP_WHITELIST"),
    ],
)
def test_plain_http_is_allowed_only_where_it_is_used(client: str, words: str) -> None:
    assert words in "\n".join(printed(client, "http://proxy.example:8080"))
    assert words not in "\n".join(printed(client, ELSEWHERE))


@pytest.mark.parametrize(
    "path", ["$(id)", "a'b", "a;id", "a&amp;b", "a%24HOME%b", "a(b)", "a*", "a!b", "$HOME"]
)
@pytest.mark.parametrize("client", ["apk", "gradle", "maven", "nuget", "gitlab-ci"])
def test_an_address_that_a_shell_or_a_file_would_read_in_its_own_way_is_refused(
    client: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["setup", client, "--url", f"https://proxy.example/{path}"])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--url" in told.err
