"""deploy/compose.yaml: what Docker Compose makes of it, and that its files fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config import load
from tests.deploy.tools import DEPLOY, TOP, Tools

COMPOSE = DEPLOY / "compose.yaml"


@pytest.fixture
def services(tools: Tools) -> dict[str, Any]:
    (document,) = tools.yaml(COMPOSE)
    found: dict[str, Any] = document["services"]
    return found


@pytest.mark.extra
def test_docker_compose_takes_it(tools: Tools) -> None:
    done = tools.run("docker-compose", "-f", COMPOSE, "config", "--quiet")

    assert (done.code, done.output) == (0, "")


def test_every_file_that_is_mounted_is_there(services: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]

    assert len(mounted) == 6
    assert [path for path in mounted if not (DEPLOY / path).exists()] == []


def test_nothing_is_reached_from_other_machines(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]

    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_proxy_is_not_root_and_writes_its_cache_only(services: dict[str, Any]) -> None:
    proxy = services["proxy"]

    assert proxy["user"] == "65532:65532"
    assert proxy["read_only"] is True
    assert proxy["cap_drop"] == ["ALL"]
    assert proxy["security_opt"] == ["no-new-privileges:true"]
    writable = [volume for volume in proxy["volumes"] if not volume.endswith(":ro")]
    assert writable == ["cache:/var/cache/cgr-proxy"]


def test_its_configuration_is_one_that_the_proxy_takes(services: dict[str, Any]) -> None:
    folder = services["proxy"]["environment"]["CREDENTIALS_DIRECTORY"]
    settings = load(
        DEPLOY / "compose" / "proxy" / "cgr-proxy.toml", {"CREDENTIALS_DIRECTORY": folder}, {}
    )

    assert settings.server.listen.port == 8080
    assert settings.cache.directory == Path("/var/cache/cgr-proxy")
    # Prometheus shares the proxy's network: loopback, where metrics want no token.
    assert str(settings.server.admin_listen) == "127.0.0.1:9180"
    assert services["prometheus"]["network_mode"] == "service:proxy"


def test_a_pull_token_that_is_put_there_never_becomes_part_of_the_project(tools: Tools) -> None:
    secret = "deploy/compose/credentials/python-password"

    done = tools.run("git", "-C", TOP, "check-ignore", secret)

    assert done.output.strip() == secret
    assert "deploy/*" in (TOP / ".dockerignore").read_text("utf-8").splitlines()
