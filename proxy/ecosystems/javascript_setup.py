"""What npm, pnpm, yarn and bun are told: one registry, and where the client's token is.

Yarn is two programs: 1 reads `.npmrc`, later ones `.yarnrc.yml`. Reading: each tool's own manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.ecosystems.setups import GUARDED, VARIABLE, Place, Setup, Snippet


def _registry(place: Place) -> str:
    return f"{place.url}/javascript/"


def _npmrc(title: str, place: Place, *more: str, guarded: str = "") -> Snippet:
    lines = [
        f"registry={_registry(place)}",
        *more,
        f"# {GUARDED}:",
        f"# //{place.below}/javascript/:_authToken=${{{VARIABLE}}}",
        *([guarded] if guarded else []),
    ]
    return Snippet(title, "ini", "\n".join(lines))


def _npm(place: Place) -> tuple[Snippet, ...]:
    # Lock files that were made elsewhere are led here too.
    return (_npmrc("npm: ~/.npmrc", place, "replace-registry-host=always"),)


def _pnpm(place: Place) -> tuple[Snippet, ...]:
    return (_npmrc("pnpm: ~/.npmrc", place),)


def _yarn(place: Place) -> tuple[Snippet, ...]:
    first = _npmrc("yarn 1: ~/.npmrc", place, guarded="# always-auth=true")
    plain = "" if place.secure else f'unsafeHttpWhitelist: ["{place.name}"]\n'
    later = f"""
npmRegistryServer: "{_registry(place).rstrip("/")}"
{plain}# {GUARDED}:
# npmAuthToken: "${{{VARIABLE}}}"
# npmAlwaysAuth: true
"""
    return Snippet("yarn 2 and later: ~/.yarnrc.yml", "yaml", later), first


def _bun(place: Place) -> tuple[Snippet, ...]:
    body = f"""
[install.registry]
url = "{_registry(place)}"
# {GUARDED}:
# token = "${VARIABLE}"
"""
    return (Snippet("bun: bunfig.toml", "toml", body),)


def _npm_variables(place: Place) -> Mapping[str, str]:
    here = _registry(place)
    return {"NPM_CONFIG_REGISTRY": here, "COREPACK_NPM_REGISTRY": here.rstrip("/")}


def _yarn_variables(place: Place) -> Mapping[str, str]:
    plain = {} if place.secure else {"YARN_UNSAFE_HTTP_WHITELIST": place.name}
    return {"YARN_NPM_REGISTRY_SERVER": _registry(place).rstrip("/")} | plain


SETUPS: Final = (
    Setup("npm", _npm, _npm_variables),
    Setup("pnpm", _pnpm),
    Setup("yarn", _yarn, _yarn_variables),
    Setup("bun", _bun, lambda at: {"BUN_CONFIG_REGISTRY": _registry(at)}),
)
