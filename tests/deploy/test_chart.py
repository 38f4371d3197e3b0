"""The Helm chart: linted, rendered, valid, and its configuration one that the proxy takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy import __version__
from proxy.config import Settings, load
from proxy.config.schema import reference
from tests.deploy.tools import CHART, Tools

FULL = CHART / "ci" / "full-values.yaml"
VALUES = {
    "default": (),
    "full": ("--values", str(FULL)),
    "cilium": ("--set", "networkPolicy.flavor=cilium"),
    "empty": ("--set", "persistence.enabled=false", "--set", "serviceAccount.create=false"),
}
# What a cluster knows only with an operator, for which there is no schema here.
OPERATORS = {"ServiceMonitor", "PrometheusRule", "CiliumNetworkPolicy"}

Manifest = Mapping[str, Any]


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind, or the one that is named like the release."""
    found = [it for it in manifests if it["kind"] == kind]
    return min(found, key=lambda it: len(it["metadata"]["name"]))


def pod(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = of_kind(manifests, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def taken(manifests: list[Manifest], folder: Path) -> Settings:
    """The configuration as the proxy reads it. Raises ConfigError."""
    file = folder / "cgr-proxy.toml"
    file.write_text(of_kind(manifests, "ConfigMap")["data"]["cgr-proxy.toml"], encoding="utf-8")
    return load(file, {}, {})


@pytest.mark.parametrize("values", [(), ("--values", str(FULL))], ids=["default", "full"])
def test_helm_finds_nothing_to_say(tools: Tools, values: tuple[str, ...]) -> None:
    done = tools.run("helm", "lint", "--strict", CHART, *values)

    assert done.code == 0, done.output
    assert "[WARNING]" not in done.output


@pytest.mark.parametrize("name", VALUES)
def test_what_it_renders_is_what_a_cluster_takes(tools: Tools, tmp_path: Path, name: str) -> None:
    file = tmp_path / "rendered.yaml"
    manifests = tools.rendered(file, *VALUES[name])

    done = tools.run("kubernetes-validate", "--strict", file)

    kinds = [it["kind"] for it in manifests]
    assert done.code == 0, done.output
    assert done.output.count(" passed ") == len([it for it in kinds if it not in OPERATORS])
    assert len({(it["kind"], it["metadata"]["name"]) for it in manifests}) == len(manifests)


@pytest.mark.parametrize("name", VALUES)
def test_its_configuration_is_one_that_the_proxy_takes(
    tools: Tools, tmp_path: Path, name: str
) -> None:
    settings = taken(tools.rendered(tmp_path / "rendered.yaml", *VALUES[name]), tmp_path)

    assert str(settings.server.listen) == "0.0.0.0:8080"
    assert settings.clients


def test_every_value_reaches_the_configuration(tools: Tools, tmp_path: Path) -> None:
    settings = taken(tools.rendered(tmp_path / "rendered.yaml", *VALUES["full"]), tmp_path)

    assert [client.name for client in settings.clients] == ["farm-a", "nodes"]
    assert settings.limits.max_connections == 5000
    assert settings.cache.core_metadata is False
    assert [registry.alias for registry in settings.registries] == ["mirror"]
    assert dict(settings.oidc[0].claims) == {
        "repository_owner": "my-org",
        "workflow": r'build "all" <\x> *',
    }
    assert settings.server.tls_certificate == Path("/run/cgr-proxy/tls/tls.crt")
    assert {"python", "oci"} <= set(settings.credentials)


def test_every_file_that_the_configuration_names_is_mounted_as_a_folder(
    tools: Tools, tmp_path: Path
) -> None:
    manifests = tools.rendered(tmp_path / "rendered.yaml", *VALUES["full"])
    text = of_kind(manifests, "ConfigMap")["data"]["cgr-proxy.toml"]
    (container,) = pod(manifests)["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod(manifests)["volumes"]} | {"cache"}

    named = {word.strip('",') for word in text.split() if word.strip('"').startswith("/run/")}

    assert len(named) == 11
    assert {os.path.dirname(path) for path in named} <= set(mounts)  # noqa: PTH120
    assert not [path for path, mount in mounts.items() if "subPath" in mount]
    assert {mount["name"] for mount in mounts.values()} == volumes
    assert [path for path, mount in mounts.items() if not mount.get("readOnly")] == [
        "/var/cache/cgr-proxy"
    ]


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_has_no_right_that_it_does_not_need(tools: Tools, tmp_path: Path, name: str) -> None:
    spec = pod(tools.rendered(tmp_path / "rendered.yaml", *VALUES[name]))
    (container,) = spec["containers"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "env" not in container


def test_probes_ask_what_the_proxy_answers_and_by_tls_where_it_has_a_certificate(
    tools: Tools, tmp_path: Path
) -> None:
    for name, scheme in (("default", "HTTP"), ("full", "HTTPS")):
        spec = pod(tools.rendered(tmp_path / "rendered.yaml", *VALUES[name]))
        (container,) = spec["containers"]
        asked = {
            probe: container[probe]["httpGet"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        assert {it["scheme"] for it in asked.values()} == {scheme}
        assert [it["path"] for it in asked.values()] == ["/readyz", "/readyz", "/healthz"]
        grace = spec["terminationGracePeriodSeconds"]
        assert grace > 60


def test_the_upstreams_are_named_for_a_network_policy_that_knows_names(
    tools: Tools, tmp_path: Path
) -> None:
    policy = of_kind(
        tools.rendered(tmp_path / "rendered.yaml", *VALUES["cilium"]), "CiliumNetworkPolicy"
    )
    ways = policy["spec"]["egress"]
    named = {host["matchName"] for way in ways for host in way.get("toFQDNs", [])}
    defaults = {key.key: key.default.strip('"') for key in reference()}
    upstreams = {
        urlsplit(defaults[f"upstream.{name}"]).hostname
        for name in ("libraries", "registry", "apk", "issuer", "api")
    }

    assert upstreams <= named
    assert len(named - upstreams) == 1  # the object store's account


def test_without_such_a_policy_nothing_of_a_private_network_is_reached(
    tools: Tools, tmp_path: Path
) -> None:
    policy = of_kind(tools.rendered(tmp_path / "rendered.yaml"), "NetworkPolicy")["spec"]
    names, upstreams = policy["egress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert upstreams["ports"] == [{"port": 443, "protocol": "TCP"}]
    refused = upstreams["to"][0]["ipBlock"]["except"]
    assert {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(refused)
    assert [way["from"] for way in policy["ingress"]] == [[{"podSelector": {}}]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "replcas=2"), "replcas"),
        (("--set", "config.servr.listen=x"), "servr"),
        (("--set", "credentials.pyton.existingSecret=x"), "pyton"),
        (("--set", "workloadIdentity.enabled=true"), "identity"),
        (("--set", "metrics.serviceMonitor.enabled=true"), "metrics.existingSecret"),
        (("--set", "podSecurityContext.runAsNonRoot=false"), "runAsNonRoot"),
        (("--set", "networkPolicy.flavor=calico"), "flavor"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(
    tools: Tools, options: tuple[str, ...], said: str
) -> None:
    done = tools.run("helm", "template", "builds", CHART, *options)

    assert done.code != 0
    assert said in done.output


def test_another_client_does_not_restart_the_pods_and_another_cache_does(
    tools: Tools, tmp_path: Path
) -> None:
    def checksum(*options: str) -> str:
        manifests = tools.rendered(tmp_path / "rendered.yaml", *options)
        template = of_kind(manifests, "StatefulSet")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum("--set", "config.clients[0].name=other") == checksum()
    assert checksum("--set", "config.cache.max_size=1GiB") != checksum()


def test_the_version_is_that_of_the_proxy(tools: Tools) -> None:
    (chart,) = tools.yaml(CHART / "Chart.yaml")

    assert chart["appVersion"] == __version__.partition(".dev")[0]
    assert (CHART / "values.schema.json").is_file()
