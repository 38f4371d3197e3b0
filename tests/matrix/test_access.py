"""Who gets what: every ecosystem, every kind of client, every kind of request, cold and cached.

The tables are written down, not computed. Whoever is refused gets the same answer whether the
thing is cached or not, and no upstream hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.ecosystems import ECOSYSTEMS
from proxy.model import PUBLIC
from tests.matrix.samples import Samples, samples_of
from tests.origin import Origin
from tests.running import Answer, Running, basic, bearer, client, running, token

# Not those that every client may use: there is no right to it that could be missing.
NAMES = [item.name for item in ECOSYSTEMS if {m.scope for m in item.mounts} != {PUBLIC}]
FLEETING = {"x-request-id", "date", "content-length"}

# Who asks: the configuration's clients, and the Authorization sent. {e} is the ecosystem, {o}
# another one.
WHO: Mapping[str, tuple[list[dict[str, Any]], str]] = {
    "nobody": ([client("right", "{e}")], ""),
    "wrong token": ([client("right", "{e}")], bearer(token("nobody"))),
    "wrong password": ([client("right", "{e}")], basic("wrong", "right")),
    "token as user name": ([client("right", "{e}")], basic("x", token("right"))),
    "hash as token": ([client("right", "{e}")], bearer(client("right")["token_hashes"][0])),
    "broken": ([client("right", "{e}")], "Basic !!!!"),
    "of another ecosystem": ([client("other", "{o}")], bearer(token("other"))),
    "of none": ([client("none", "{o}"), client("right", "{e}")], bearer(token("none"))),
    "basic": ([client("right", "{e}")], basic(token("right"))),
    "bearer": ([client("right", "{e}")], bearer(token("right"))),
    "scheme in small": ([client("right", "{e}")], "bEARER " + token("right")),
    "by network": ([client("net", "{e}", networks=["127.0.0.0/8"])], ""),
    "by another network": ([client("net", "{e}", networks=["10.0.0.0/8"])], ""),
    "wrong token by network": (
        [client("net", "{e}", networks=["127.0.0.0/8"])],
        bearer(token("nobody")),
    ),
    "by network of another": ([client("net", "{o}", networks=["127.0.0.0/8"])], ""),
    "token in its network": (
        [client("right", "{e}") | {"networks": ["127.0.0.0/8"]}],
        bearer(token("right")),
    ),
    "token out of its network": (
        [client("right", "{e}") | {"networks": ["10.0.0.0/8"]}],
        bearer(token("right")),
    ),
}
REQUESTS = ("document", "artifact", "head", "range", "if-none-match", "listing")
SERVED = dict(zip(REQUESTS, (200, 200, 200, 206, 304, 200), strict=True))
STRANGER = dict.fromkeys((*REQUESTS, "unknown", "put"), 401)
FOREIGNER = dict.fromkeys(REQUESTS, 403)
# The path is understood before the right to it is checked.
KNOWN = {"unknown": 404, "put": 405}
STATUS: Mapping[str, Mapping[str, int]] = {
    "nobody": STRANGER,
    "wrong token": STRANGER,
    "wrong password": STRANGER,
    "token as user name": STRANGER,
    "hash as token": STRANGER,
    "broken": STRANGER,
    "of another ecosystem": FOREIGNER | KNOWN,
    "of none": FOREIGNER | KNOWN,
    "basic": SERVED | KNOWN,
    "bearer": SERVED | KNOWN,
    "scheme in small": SERVED | KNOWN,
    "by network": SERVED | KNOWN,
    "by another network": STRANGER,
    "wrong token by network": STRANGER,
    "by network of another": FOREIGNER | KNOWN,
    "token in its network": SERVED | KNOWN,
    "token out of its network": STRANGER,
}


# A credential that is meant for others: these rows in place of those, where that does no harm.
LENIENT = {"wrong token by network": "by network"}


def row(who: str, ecosystem: str) -> Mapping[str, int]:
    """The row of one case in one ecosystem."""
    return STATUS[LENIENT.get(who, who) if samples_of(ecosystem).lenient else who]


CASES = [(name, who) for name in NAMES for who in STATUS]
REFUSED = [case for case in CASES if row(case[1], case[0])["document"] >= 400]
MAY = [case for case in CASES if case not in REFUSED]


def clients_of(who: str, ecosystem: str) -> dict[str, Any]:
    """The configuration of one case."""
    other = "java" if ecosystem != "java" else "go"
    stanzas = [
        stanza
        | {"ecosystems": [name.format(e=ecosystem, o=other) for name in stanza["ecosystems"]]}
        for stanza in WHO[who][0]
    ]
    return {"clients": stanzas}


async def ask(
    proxy: Running, origin: Origin, samples: Samples, request: str, authorization: str
) -> Answer:
    """Send one kind of request."""
    fields = {"accept": samples.accept}
    if authorization:
        fields["authorization"] = authorization
    artifact = samples.artifact(origin)
    match request:
        case "document" | "listing" | "unknown":
            return await proxy.get(getattr(samples, request), **fields)
        case "head":
            return await proxy.head(artifact, **fields)
        case "range":
            return await proxy.get(artifact, range="bytes=0-0", **fields)
        case "if-none-match":
            return await proxy.get(artifact, if_none_match="*", **fields)
        case "put":
            return await proxy.request("PUT", samples.document, **fields)
        case _:
            return await proxy.get(artifact, **fields)


async def prime(folder: Path, origin: Origin, ecosystem: str, samples: Samples) -> None:
    """Fill a cache folder by way of a proxy whose clients may do everything."""
    async with running(folder, origin, {"clients": [client("filler", ecosystem)]}) as proxy:
        for request in ("listing", "document", "artifact"):
            answer = await ask(proxy, origin, samples, request, bearer(token("filler")))
            assert answer.status == 200
    origin.reset()


def lasting(answer: Answer, samples: Samples) -> tuple[object, ...]:
    """What of a refusal must not depend on anything."""
    assert answer.header("Content-Type") == samples.type_of(answer.status)
    kept = {name: value for name, value in answer.headers if name.lower() not in FLEETING}
    if not answer.body:  # HEAD
        return answer.status, answer.reason, kept
    request_id, text = samples.read_error(answer)
    assert request_id == answer.header("X-Request-Id")
    return answer.status, answer.reason, kept, text


def test_every_ecosystem_has_samples() -> None:
    for name in NAMES:
        assert samples_of(name).document.startswith("/")


def test_every_case_has_its_row() -> None:
    assert set(STATUS) == set(WHO)


def judge(answer: Answer, wanted: int, what: str) -> None:
    """What holds for every answer of the table."""
    assert answer.status == wanted, what
    if wanted < 400:
        return
    assert answer.header("Cache-Control") == "no-store", what
    assert answer.header("ETag") is None, what
    challenge = 'Basic realm="cgr-proxy"' if wanted == 401 else None
    assert answer.header("WWW-Authenticate") == challenge, what
    denied = "cgr-proxy; detail=denied" if wanted in {401, 403} else None
    assert answer.cache == denied, what


@pytest.mark.parametrize(("ecosystem", "who"), REFUSED)
async def test_who_is_refused_is_told_the_same_cold_and_cached(
    ecosystem: str, who: str, tmp_path: Path
) -> None:
    samples = samples_of(ecosystem)
    tables, authorization = clients_of(who, ecosystem), WHO[who][1]
    refusals: dict[str, list[object]] = {}
    async with Origin() as origin:
        await prime(tmp_path / "cached", origin, ecosystem, samples)
        for folder in ("cold", "cached"):
            async with running(tmp_path / folder, origin, tables) as proxy:
                for kind, wanted in row(who, ecosystem).items():
                    answer = await ask(proxy, origin, samples, kind, authorization)
                    judge(answer, wanted, f"{kind} {folder}")
                    refusals.setdefault(kind, []).append(lasting(answer, samples))
        assert origin.log == []
    for kind, (cold, cached) in refusals.items():
        assert cold == cached, kind


@pytest.mark.parametrize(("ecosystem", "who"), MAY)
async def test_who_may_is_served_cold_and_cached(ecosystem: str, who: str, tmp_path: Path) -> None:
    samples = samples_of(ecosystem)
    tables, authorization = clients_of(who, ecosystem), WHO[who][1]
    async with Origin() as origin:
        for kind, wanted in row(who, ecosystem).items():
            async with running(tmp_path / kind, origin, tables) as proxy:
                answer = await ask(proxy, origin, samples, kind, authorization)
                judge(answer, wanted, f"{kind} cold")
        await prime(tmp_path / "cached", origin, ecosystem, samples)
        async with running(tmp_path / "cached", origin, tables) as proxy:
            for kind, wanted in row(who, ecosystem).items():
                answer = await ask(proxy, origin, samples, kind, authorization)
                judge(answer, wanted, f"{kind} cached")
        assert origin.log == []
        assert origin.violations == []


@pytest.mark.parametrize("ecosystem", NAMES)
@pytest.mark.parametrize("request_kind", REQUESTS)
async def test_without_the_entitlement_it_is_403_cold_and_cached(
    ecosystem: str, request_kind: str, tmp_path: Path
) -> None:
    samples = samples_of(ecosystem)
    other = "java" if ecosystem != "java" else "go"
    tables = {
        "clients": [client("right", ecosystem)],
        "entitlements": {"source": "static", "ecosystems": [other]},
    }
    async with Origin() as origin:
        await prime(tmp_path / "cached", origin, ecosystem, samples)
        found = []
        for folder in ("cold", "cached"):
            async with running(tmp_path / folder, origin, tables) as proxy:
                answer = await ask(proxy, origin, samples, request_kind, bearer(token("right")))
            assert (answer.status, answer.reason) == (403, "Organisation not entitled")
            found.append(lasting(answer, samples))
        assert found[0] == found[1]
        assert origin.log == []


@pytest.mark.parametrize("ecosystem", NAMES)
async def test_with_the_entitlement_written_down_it_is_served(
    ecosystem: str, tmp_path: Path
) -> None:
    samples = samples_of(ecosystem)
    tables = {"entitlements": {"source": "static", "ecosystems": [ecosystem]}}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        answer = await ask(proxy, origin, samples, "artifact", "")
        assert (answer.status, answer.sha256) == (200, samples.sha256(origin))


@pytest.mark.parametrize("ecosystem", NAMES)
async def test_the_log_names_the_client_and_what_was_decided(
    ecosystem: str, tmp_path: Path
) -> None:
    samples = samples_of(ecosystem)
    other = "java" if ecosystem != "java" else "go"
    tables = {"clients": [client("right", ecosystem), client("other", other)]}
    async with Origin() as origin, running(tmp_path, origin, tables) as proxy:
        for authorization in (bearer(token("right")), bearer(token("other")), "", basic("wrong")):
            await ask(proxy, origin, samples, "document", authorization)
        lines = proxy.access()
        seen = [(line["principal"], line["status"], line["cache"]) for line in lines]
        assert seen == [
            ("right", 200, "miss"),
            ("other", 403, "denied"),
            ("", 401, "denied"),
            ("", 401, "denied"),
        ]
        assert {line["ecosystem"] for line in lines} == {ecosystem}
        assert {line["path"] for line in lines} == {samples.document}
        assert token("right").encode() not in proxy.log_bytes()
