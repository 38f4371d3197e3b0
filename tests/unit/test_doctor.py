"""The doctor finds what is wrong with upstreams, tokens and the way there, each on purpose."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from proxy.config import ECOSYSTEMS as NAMED
from proxy.doctor.findings import ALL
from proxy.ecosystems import ECOSYSTEMS
from proxy.ecosystems.base import Introducing, Probing
from tests.origin import html_page, status, wrong_bytes
from tests.running import Clock, client, token
from tests.unit.doctored import PROBED, WHEEL, scene

STORED = pytest.mark.parametrize("ecosystem", PROBED)


def test_every_ecosystem_that_wants_a_pull_token_can_be_tried_and_set_up() -> None:
    named = [item for item in ECOSYSTEMS if item.name in NAMED]
    assert len(named) >= len(PROBED)
    assert [item.name for item in named if not isinstance(item, Probing)] == []
    assert [item.name for item in named if not isinstance(item, Introducing)] == []


async def test_where_all_is_well_everything_is_looked_at(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        found = await made.findings()
    assert [item for item in found.values() if not item.ok] == []
    for name in PROBED:
        for check in ("host", "token", "document", "object-store", "checksum", "proxy"):
            assert (name, check) in found
    for name in PROBED[:5]:
        assert "is entitled" in found[name, "entitlement"].detail
    for check in ("clock", "disk-access", "disk-space", "proxy"):
        assert (ALL, check) in found
    assert "without a credential" in found["python", "object-store"].detail
    assert "the same bytes" in found["python", "proxy"].detail


async def test_nothing_is_asked_by_head_and_no_artifact_more_than_twice(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        await made.findings()
        assert made.origin.count("HEAD") == 0
        assert made.origin.count("GET", WHEEL, "origin") == 2  # for the doctor and for the proxy


async def test_the_checks_are_made_at_the_same_time(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        held = {
            server: made.origin.fault(server, path, hold=True)
            for server, path in (
                ("origin", "/python/simple/six"),
                ("registry", "/manifests/"),
                ("apk", "APKINDEX"),
            )
        }
        asked = asyncio.ensure_future(made.findings())
        await asyncio.gather(*(handle.reached() for handle in held.values()))
        for handle in held.values():
            handle.release()
        assert (await asked)["python", "document"].ok


# --- the object store ----------------------------------------------------------------------------


@STORED
async def test_a_blocked_object_store_is_told_from_a_broken_upstream(
    ecosystem: str, tmp_path: Path
) -> None:
    async with scene(tmp_path, runs=False) as made:
        await made.origin.close_listener("store")
        wrong = await made.wrong()
        store = made.origin.store_url
    found = wrong[ecosystem, "object-store"]
    assert store in found.detail
    assert "object store" in found.fix
    host = wrong[ecosystem, "host"]
    assert (store in host.detail, "no connection could be made" in host.detail) == (True, True)
    assert (ecosystem, "document") not in wrong


async def test_a_filter_that_answers_in_the_object_stores_place_is_seen(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.fault("store", times=None, **html_page())
        wrong = await made.wrong()
    for name in PROBED:
        assert "web page in place of the file" in wrong[name, "object-store"].detail


async def test_an_object_store_that_refuses_is_seen(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.fault("store", times=None, **status(403))
        wrong = await made.wrong()
    assert "answered 403" in wrong["python", "object-store"].detail


async def test_an_object_store_that_is_not_allowed_is_named(tmp_path: Path) -> None:
    hosts = {"upstream": {"redirect_hosts": ["*.store.example"]}}
    async with scene(tmp_path, hosts, runs=False) as made:
        wrong = await made.wrong()
    found = wrong["python", "object-store"]
    assert "127.0.0.2" in found.detail
    assert "redirect_hosts" in found.fix


async def test_other_bytes_than_are_listed_are_seen(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.fault("store", r"\.whl", times=None, **wrong_bytes())
        wrong = await made.wrong()
    assert "other bytes" in wrong["python", "checksum"].detail


async def test_other_bytes_than_an_index_vouches_for_are_seen(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.fault("store", r"\.apk", times=None, **wrong_bytes())
        wrong = await made.wrong()
    assert "other bytes" in wrong["apk", "checksum"].detail


async def test_a_document_that_lies_in_a_blocked_object_store_is_told_from_a_broken_upstream(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.apk.behaviour.index_redirect = True
        await made.origin.close_listener("store")
        wrong = await made.wrong()
    assert made.origin.store_url in wrong["apk", "object-store"].detail
    assert ("apk", "document") not in wrong


# --- documents -----------------------------------------------------------------------------------


async def test_a_page_in_a_documents_place_is_not_understood(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.fault("origin", "/javascript/ms", times=None, **html_page())
        wrong = await made.wrong()
    assert "/javascript/ms is not understood" in wrong["javascript", "document"].detail
    assert "login page" in wrong["javascript", "document"].fix


@pytest.mark.parametrize(
    ("code", "words"), [(404, "does not have"), (503, "cannot be had: The upstream answered 503")]
)
async def test_a_document_that_the_upstream_does_not_give_is_told(
    code: int, words: str, tmp_path: Path
) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.fault("origin", "/java/commons-io", times=None, **status(code))
        wrong = await made.wrong()
    assert words in wrong["java", "document"].detail


async def test_an_artifact_that_the_upstream_blocks_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.block("six", "1.17.0")
        wrong = await made.wrong()
    assert "MALWARE_DETECTED" in wrong["python", "checksum"].detail


# --- tokens --------------------------------------------------------------------------------------


async def test_an_expired_token_is_a_finding_of_its_own(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        pair = made.origin.credentials.issue(-3600)
        (tmp_path / "default.pair").write_text(f"{pair.username}\n{pair.password}\n")
        wrong = await made.wrong()
    assert "expired" in wrong["python", "token-expired"].detail
    assert "chainctl" in wrong["python", "token-expired"].fix
    assert "401" in wrong["python", "token"].detail
    assert pair.password not in made.said


async def test_a_token_on_its_last_day_is_told_in_time(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        pair = made.origin.credentials.issue(7200)
        (tmp_path / "default.pair").write_text(f"{pair.username}\n{pair.password}\n")
        clock = Clock()
        clock.advance(7000)
        wrong = await made.wrong(clock=clock)
    assert "in 0 hours" in wrong["java", "token"].detail


async def test_another_ecosystems_token_is_told_whose_it_is(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.credentials.limit(made.origin.pair, "java")
        wrong = await made.wrong()
    assert "takes the same pull token for java" in wrong["python", "token-ecosystem"].detail
    assert "Make one for python" in wrong["python", "token-ecosystem"].fix
    assert ("python", "entitlement") not in wrong
    assert ("java", "document") not in wrong


async def test_what_the_organisation_lacks_is_not_blamed_on_the_token(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.platform.entitle(made.origin.pair, "JAVA", "JAVASCRIPT", "GO")
        made.origin.settings.entitled = frozenset({"java", "javascript", "go"})
        wrong = await made.wrong()
    assert ("python", "entitlement") in wrong
    assert ("python", "token-ecosystem") not in wrong


async def test_a_token_that_nobody_takes_is_called_refused(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.credentials.retire(made.origin.pair)
        wrong = await made.wrong()
    assert "401" in wrong["python", "token"].detail
    assert ("python", "token-ecosystem") not in wrong


async def test_half_a_token_is_told_without_its_half(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        (tmp_path / "default.pair").write_text("half-canary\n")
        wrong = await made.wrong()
    assert "cannot be used" in wrong["python", "token"].detail
    assert "half-canary" not in made.said


async def test_no_token_at_all_is_a_finding_and_ecosystems_without_one_are_none(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, credentials={}, runs=False) as made:
        found = await made.findings()
    assert not found[ALL, "token"].ok
    assert found["python", "token"].ok
    assert ("python", "document") not in found
    assert found["oci", "document"].ok  # public images


async def test_containers_that_nobody_asked_for_are_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path, credentials={"python": ("-", "-")}, runs=False) as made:
        pair = made.origin.pair
        (tmp_path / "python.pair").write_text(f"{pair.username}\n{pair.password}\n")
        found = await made.findings()
        assert made.origin.count(server="registry") == 0
    assert found["python", "document"].ok
    assert "not in use" in found["oci", "token"].detail


async def test_public_images_need_no_token_where_a_client_may_have_them(tmp_path: Path) -> None:
    tables = {"clients": [client("farm", "oci")]}
    async with scene(tmp_path, tables, credentials={}) as made:
        found = await made.findings(token=token("farm"))
    assert [item for item in found.values() if not item.ok] == []
    assert "the same bytes" in found["oci", "proxy"].detail


async def test_a_frozen_ecosystem_is_not_asked(tmp_path: Path) -> None:
    tables = {"upstream": {"frozen": ["python"]}}
    async with scene(tmp_path, tables, runs=False) as made:
        found = await made.findings()
        assert made.origin.count(pattern="/python/") == 0
    assert "frozen" in found["python", "document"].detail


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_identity_that_is_assumed_gets_a_token_or_not(
    tmp_path: Path, *, trusted: bool
) -> None:
    proof = tmp_path / "identity.jwt"
    proof.write_text("canary-of-the-workload\n")
    identity = f"{'a' * 40}/{'b' * 16}"
    keyless = {"identity": identity, "identity_token_file": str(proof)}
    tables = {"credentials": {"python": keyless}}
    async with scene(tmp_path / "proxy", tables, credentials={}, runs=False) as made:
        known = identity if trusted else f"{'a' * 40}/{'c' * 16}"
        made.origin.platform.trust("canary-of-the-workload", known)
        found = await made.findings()
    assert found["python", "token"].ok is trusted
    assert (("python", "document") in found) is trusted
    assert made.origin.issuer_url in found["python", "token"].detail
    assert "canary-of-the-workload" not in made.said


# --- entitlements --------------------------------------------------------------------------------


async def test_an_ecosystem_that_the_organisation_lacks_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        made.origin.platform.entitle(made.origin.pair, "PYTHON")
        wrong = await made.wrong()
    assert "is not entitled" in wrong["java", "entitlement"].detail
    assert ("python", "entitlement") not in wrong


async def test_what_the_configuration_lists_needs_no_platform(tmp_path: Path) -> None:
    static = {"entitlements": {"source": "static", "ecosystems": ["python"]}}
    async with scene(tmp_path, static, runs=False) as made:
        await made.origin.close_listener("issuer")
        found = await made.findings()
    assert found["python", "entitlement"].ok
    assert "is not entitled" in found["java", "entitlement"].detail


@pytest.mark.parametrize(("source", "well"), [("auto", True), ("platform", False)])
async def test_tokens_that_may_not_ask_are_told_where_that_matters(
    source: str, tmp_path: Path, *, well: bool
) -> None:
    async with scene(tmp_path, {"entitlements": {"source": source}}, runs=False) as made:
        made.origin.platform.settings.may_ask = False
        found = await made.findings()
    assert found[ALL, "entitlement"].ok is well


async def test_tokens_that_the_issuer_refuses_are_told(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        refused = status(403, b'{"code": 7, "message": "no"}', Content_Type="application/json")
        made.origin.fault("issuer", times=None, **refused)
        wrong = await made.wrong()
    assert "refuses the pull tokens" in wrong[ALL, "entitlement"].detail


async def test_a_platform_that_is_silent_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        await made.origin.close_listener("issuer")
        wrong = await made.wrong()
    assert "no answer" in wrong[ALL, "entitlement"].detail
    assert "the issuer" in wrong[ALL, "host"].detail


# --- hosts ---------------------------------------------------------------------------------------


async def test_a_host_that_cannot_be_reached_is_said_once_for_each_ecosystem(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, runs=False) as made:
        await made.origin.close_listener("registry")
        wrong = await made.wrong()
    assert made.origin.registry_url in wrong["oci", "host"].detail
    assert [check for name, check in wrong if name == "oci"] == ["host"]
    assert ("python", "host") not in wrong


async def test_a_name_that_nobody_knows_is_a_matter_of_dns(tmp_path: Path) -> None:
    where = {"upstream": {"apk": "http://apk.upstream.invalid"}}
    async with scene(tmp_path, where, runs=False) as made:
        wrong = await made.wrong()
    assert "cannot be resolved" in wrong["apk", "host"].detail


@pytest.mark.parametrize(("ahead", "words"), [(3600.0, "ahead of"), (-900.0, "behind")])
async def test_a_clock_that_is_off_is_told(ahead: float, words: str, tmp_path: Path) -> None:
    async with scene(tmp_path, runs=False) as made:
        clock = Clock()
        clock.advance(ahead)
        wrong = await made.wrong(clock=clock)
    told = re.fullmatch(rf".* clock is (\d+) s {words} the upstream's", wrong[ALL, "clock"].detail)
    assert told is not None
    assert abs(int(told[1]) - abs(ahead)) < 10
    assert "NTP" in wrong[ALL, "clock"].fix
