"""What container tools are told: docker, containerd, k3s, buildkit, podman and helm.

Where a tool can have the proxy in the place of `cgr.dev`, it is told so; where it only knows
mirrors, behind which it goes to `cgr.dev` by itself, that is said. `cgr.dev` is what the vendor's
images are called, whatever `upstream.registry` is.

Reading: containers-registries.conf(5), containerd's `docs/hosts.md`, k3s' private registries,
buildkitd.toml. Non-goals: pushing.
"""

from __future__ import annotations

from typing import Final

from proxy.ecosystems.setups import GUARDED, VARIABLE, Place, Setup, Snippet

_IMAGE = "chainguard/static:latest"
_CHART = "ORGANISATION/iamguarded-charts/CHART --version 0.1.0"


def _login(program: str, place: Place, *options: str) -> str:
    words = " ".join((program, "login", *options, "--username any --password-stdin", place.host))
    return f'# {GUARDED}:\n# printf %s "${VARIABLE}" | {words}'


def _docker(place: Place) -> tuple[Snippet, ...]:
    # docker takes plain http from this machine by itself.
    plain = f'/etc/docker/daemon.json: {{"insecure-registries": ["{place.host}"]}}'
    body = f"""
{"" if place.trusted else f"# plain http wants in {plain}"}
{_login("docker", place)}
docker pull {place.host}/{_IMAGE}
"""
    return (Snippet("docker: images are called by the proxy's name", "sh", body),)


def _containerd(place: Place) -> tuple[Snippet, ...]:
    hosts = f"""
server = "{place.url}"
[host."{place.url}"]
  capabilities = ["pull", "resolve"]
# {GUARDED}; printf any:%s "${VARIABLE}" | base64 -w 0
# [host."{place.url}".header]
# Authorization = ["Basic WHAT_THAT_PRINTS"]
"""
    pull = f"ctr images pull --hosts-dir /etc/containerd/certs.d cgr.dev/{_IMAGE}"
    return (
        Snippet("/etc/containerd/certs.d/cgr.dev/hosts.toml", "toml", hosts),
        Snippet("containerd: images are called cgr.dev/...", "sh", pull),
    )


def _k3s(place: Place) -> tuple[Snippet, ...]:
    body = f"""
# Start k3s with --disable-default-registry-endpoint: else what is refused comes from cgr.dev.
mirrors:
  cgr.dev:
    endpoint: ["{place.url}"]
# {GUARDED}; TOKEN is what `cgr-proxy client new` printed:
# configs:
#   "{place.host}":
#     auth: {{username: any, password: TOKEN}}
"""
    return (Snippet("k3s: /etc/rancher/k3s/registries.yaml", "yaml", body),)


def _buildkit(place: Place) -> tuple[Snippet, ...]:
    plain = f'[registry."{place.host}"]\n  http = true\n'
    body = f"""
# What the proxy refuses buildkit asks of cgr.dev itself: let no other way lead there.
[registry."cgr.dev"]
  mirrors = ["{place.host}"]
{"" if place.secure else plain}{_login("docker", place)}
"""
    return (Snippet("buildkit: /etc/buildkit/buildkitd.toml", "toml", body),)


def _podman(place: Place) -> tuple[Snippet, ...]:
    registry = f"""
[[registry]]
prefix = "cgr.dev"
location = "{place.host}"
{"" if place.secure else "insecure = true  # plain http"}
"""
    plain = () if place.secure else ("--tls-verify=false",)
    pull = f"{_login('podman', place, *plain)}\npodman pull cgr.dev/{_IMAGE}"
    return (
        Snippet("/etc/containers/registries.conf.d/cgr.conf", "toml", registry),
        Snippet("podman, buildah, skopeo, cri-o: images are called cgr.dev/...", "sh", pull),
    )


def _helm(place: Place) -> tuple[Snippet, ...]:
    plain = () if place.secure else ("--plain-http",)
    pull = " ".join((f"helm pull oci://{place.host}/{_CHART}", *plain))
    body = f"{_login('helm registry', place, *plain)}\n{pull}"
    return (Snippet("helm", "sh", body),)


SETUPS: Final = (
    Setup("docker", _docker),
    Setup("containerd", _containerd),
    Setup("k3s", _k3s),
    Setup("buildkit", _buildkit),
    Setup("podman", _podman),
    Setup("helm", _helm),
)
