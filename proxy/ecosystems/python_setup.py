"""What pip, uv, poetry, pdm and pipenv are told: one index, and where the client's token is.

Reading: each tool's own manual. Non-goals: a second index beside this one; the README says what is
safe of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.ecosystems.setups import GUARDED, VARIABLE, Place, Setup, Snippet, netrc

_ONE = "# One index only, no extra-index-url. Remediated builds only: /python-remediated/simple/"
_FURTHER = "# One index only. Remediated builds of named packages:\n# {how}"


def _index(place: Place) -> str:
    return f"{place.url}/python/simple/"


def _environment(stem: str) -> str:
    given = f"{stem}_USERNAME=any {stem}_PASSWORD=${VARIABLE}"
    return f"# {GUARDED}, in the environment:\n# {given}"


def _pip(place: Place) -> tuple[Snippet, ...]:
    trusted = "" if place.trusted else f"trusted-host = {place.host}\n"
    body = f"[global]\nindex-url = {_index(place)}\n{trusted}{_ONE}"
    return Snippet("pip: ~/.config/pip/pip.conf", "ini", body), netrc(place)


def _pip_variables(place: Place) -> Mapping[str, str]:
    trusted = {} if place.trusted else {"PIP_TRUSTED_HOST": place.host}
    return {"PIP_INDEX_URL": _index(place), "PIP_NO_INPUT": "1"} | trusted


def _uv(place: Place) -> tuple[Snippet, ...]:
    body = f"""
[[index]]
name = "cgr"
url = "{_index(place)}"
default = true
{_environment("UV_INDEX_CGR")}
{_FURTHER.format(how="/python-remediated/simple/, explicit = true")}
"""
    return (Snippet("uv: ~/.config/uv/uv.toml", "toml", body),)


def _poetry(place: Place) -> tuple[Snippet, ...]:
    body = f"""
[[tool.poetry.source]]
name = "cgr"
url = "{_index(place)}"
priority = "primary"
{_environment("POETRY_HTTP_BASIC_CGR")}
{_FURTHER.format(how='/python-remediated/simple/, priority = "explicit"')}
"""
    return (Snippet("poetry: pyproject.toml", "toml", body),)


def _pdm(place: Place) -> tuple[Snippet, ...]:
    unverified = "" if place.trusted else "verify_ssl = false  # plain http\n"
    body = f"""
[[tool.pdm.source]]
name = "pypi"  # in the place of the one that is built in
url = "{_index(place)}"
{unverified}{_environment("PDM_PYPI")}
{_FURTHER.format(how="a source with /python-remediated/simple/, include_packages = [...]")}
"""
    return (Snippet("pdm: pyproject.toml", "toml", body),)


def _pipenv(place: Place) -> tuple[Snippet, ...]:
    body = f"""
[[source]]
name = "cgr"
url = "{_index(place).rstrip("/")}"  # no slash at the end: pipenv adds one
verify_ssl = {"true" if place.trusted else "false  # plain http"}
{_FURTHER.format(how='a source with /python-remediated/simple, and index = "..." at the package')}
"""
    return Snippet("pipenv: Pipfile", "toml", body), netrc(place)


SETUPS: Final = (
    Setup("pip", _pip, _pip_variables),
    Setup("uv", _uv, lambda place: {"UV_DEFAULT_INDEX": _index(place)}),
    Setup("poetry", _poetry),
    Setup("pdm", _pdm, lambda place: {"PDM_PYPI_URL": _index(place)}),
    Setup("pipenv", _pipenv, lambda place: {"PIPENV_PYPI_MIRROR": _index(place).rstrip("/")}),
)
