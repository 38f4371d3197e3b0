"""Redirects by hand: what goes to the object store, what does not, and where none is followed."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from proxy.errors import ForbiddenAddress, Malformed, ProxyError, RateLimited, Unavailable
from tests.origin import COOKIE_CANARY, Origin, redirect, status
from tests.unit.upstream_room import (
    LOOPBACK,
    OK,
    Names,
    Raw,
    answer,
    ask,
    redirect_to,
    room,
    room_of,
    token_of,
)

WHEEL = "alpha-1.0-py3-none-any.whl"
EVERYTHING = "*.store.test"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        yield running


# --- the object store --------------------------------------------------------------------------


async def test_an_artifact_comes_through_the_redirect_byte_for_byte(origin: Origin) -> None:
    wheel = origin.content.find(WHEEL)
    async with room_of(origin) as made:
        body = await made.get(wheel.link)
    assert body == b"".join([chunk async for chunk in wheel.blob.chunks(0, wheel.blob.size)])
    assert origin.violations == []
    assert origin.journal.counters["presigned_unknown"] == 0
    assert [(entry.server, entry.method) for entry in origin.log] == [
        ("origin", "GET"),
        ("store", "GET"),
    ]


async def test_the_store_gets_the_presigned_target_as_it_was_issued() -> None:
    target = "/b%2dc/%40x/sha256%3aA%2Bv1%7E?b=AK%2F1%2f&a=a%2Bb%2Fc%3D&empty=&x-id=~'()!$,;:@"
    async with (
        Raw(lambda _: OK) as store,
        Raw(lambda _: redirect_to(store.url + target)) as origin,
        room(origin.url, hosts=(store.place,)) as made,
    ):
        assert await made.get("/x") == b"ok"
    assert store.targets == [target]


async def test_the_store_gets_no_credential_no_cookie_no_validator_and_nothing_of_ours(
    origin: Origin,
) -> None:
    wheel = origin.content.find(WHEEL)
    async with room_of(origin) as made:
        await made.get(wheel.link)
        response = await made.upstream.open(
            ask(wheel.link, etag='"e"', start=7, if_range='"r"', no_cache=True, accept="a/b")
        )
        await response.close()
    sent = [
        sorted(name.lower() for name, _ in entry.headers)
        for entry in origin.log
        if entry.server == "store"
    ]
    plain = ["accept", "accept-encoding", "host", "user-agent"]
    assert sent == [plain, sorted([*plain, "range", "if-range"])]
    everything = repr([entry for entry in origin.log if entry.server == "store"])
    pair = base64.b64encode(f"{origin.username}:{origin.password}".encode()).decode()
    assert not any(
        secret in everything for secret in (origin.password, pair, origin.username, COOKIE_CANARY)
    )
    assert origin.violations == []


async def test_a_cookie_is_never_sent_back(origin: Origin) -> None:
    names = Names({"a.store.test": [["127.0.0.3"]]})
    async with Raw(lambda _: answer(200, Set_Cookie="a=b; Path=/")) as store:
        where = f"http://a.store.test:{store.port}"
        hosts = (where.removeprefix("http://"),)
        async with room_of(origin, hosts=hosts, resolver=names) as made:
            for _ in range(3):
                await made.get("/python/simple/alpha/")
                await made.get(where + "/x")
    assert all(entry.header("cookie") is None for entry in origin.log)
    assert "cookie" not in "".join(store.heads).lower()


async def test_nobody_is_ever_asked_by_head(origin: Origin) -> None:
    async with room_of(origin) as made:
        await made.get(origin.content.find(WHEEL).link)
        response = await made.upstream.open(ask(origin.content.find(WHEEL).link, probe=True))
        await response.close()
    assert {entry.method for entry in origin.log} == {"GET"}


async def test_a_page_of_a_redirect_is_read_so_that_its_connection_is_used_again() -> None:
    async with (
        Raw(lambda _: OK) as store,
        Raw(lambda _: redirect_to(store.url + "/x")) as origin,
        room(origin.url, hosts=(store.place,)) as made,
    ):
        for _ in range(5):
            assert await made.get("/x") == b"ok"
        assert (origin.connections, store.connections) == (1, 1)
        assert len(origin.heads) == 5


async def test_a_page_without_end_costs_a_connection_and_no_more() -> None:
    def endless(_: str) -> bytes:
        head = f"HTTP/1.1 302 Found\r\nLocation: {store.url}/x\r\nContent-Length: 9999999\r\n\r\n"
        return head.encode() + b"x" * 200_000

    async with Raw(lambda _: OK) as store, Raw(endless) as origin:
        async with room(origin.url, hosts=(store.place,)) as made:
            assert await made.get("/x") == b"ok"
            assert await made.get("/x") == b"ok"
        assert origin.connections == 2


@pytest.mark.parametrize("status_code", [301, 302, 303, 307, 308])
async def test_every_kind_of_redirect_is_followed(status_code: int) -> None:
    async with (
        Raw(lambda _: OK) as store,
        Raw(lambda _: redirect_to(store.url + "/y", status_code)) as origin,
        room(origin.url, hosts=(store.place,)) as made,
    ):
        assert await made.get("/x") == b"ok"


async def test_the_url_of_the_head_is_the_upstreams_own_without_anything_presigned(
    origin: Origin,
) -> None:
    wheel = origin.content.find(WHEEL)
    async with room_of(origin) as made:
        response = await made.upstream.open(ask(wheel.link))
        await response.close()
    assert response.head.url == origin.url + wheel.link


async def test_a_probe_stops_at_the_first_answer(origin: Origin) -> None:
    wheel = origin.content.find(WHEEL)
    async with room_of(origin) as made:
        response = await made.upstream.open(ask(wheel.link, probe=True))
        assert response.head.status == 200
        assert [piece async for piece in response.pieces()] == []
        await response.close()
        assert origin.count(server="store") == 0
        origin.block("alpha", "1.0")
        with pytest.raises(ProxyError) as caught:
            await made.upstream.open(ask(wheel.link, probe=True))
    assert caught.value.status == 403


async def test_a_redirect_on_the_same_origin_keeps_the_token(origin: Origin) -> None:
    origin.fault("origin", r"^/moved$", **redirect("/python/simple/alpha/"))
    async with room_of(origin) as made:
        assert b"alpha-1.0" in await made.get("/moved")
    assert [entry.header("authorization") is not None for entry in origin.log] == [True, True]


async def test_a_way_back_from_another_host_does_not_bring_the_token_back(origin: Origin) -> None:
    async with Raw(lambda _: redirect_to(origin.url + "/python/simple/alpha/")) as store:
        origin.fault("origin", r"^/moved$", times=None, **redirect(store.url + "/x"))
        async with room_of(origin, hosts=(store.place,)) as made:
            with pytest.raises(Unavailable):
                await made.get("/moved")
    back = [entry for entry in origin.log if entry.target == "/python/simple/alpha/"]
    assert back
    assert all(entry.header("authorization") is None for entry in back)


async def test_a_learnt_location_is_asked_without_the_token_too(origin: Origin) -> None:
    async with Raw(lambda _: OK) as store, room_of(origin, hosts=(store.place,)) as made:
        assert await made.get(store.url + "/x") == b"ok"
        with pytest.raises(ForbiddenAddress):
            await made.get("http://127.0.0.9:1/x")
    assert "authorization" not in store.heads[0].lower()
    assert origin.log == []


async def test_an_absolute_location_on_the_origin_is_the_origin(origin: Origin) -> None:
    async with room_of(origin) as made:
        assert b"alpha-1.0" in await made.get(origin.url + "/python/simple/alpha/")


# --- expired pre-signed URLs -------------------------------------------------------------------


async def test_an_expired_address_is_asked_for_afresh_once(origin: Origin) -> None:
    wheel = origin.content.find(WHEEL)
    origin.fault("store", **status(403, b"<Error><Code>AccessDenied</Code></Error>"))
    async with room_of(origin) as made:
        assert len(await made.get(wheel.link)) == wheel.blob.size
    assert (origin.count(server="origin"), origin.count(server="store")) == (2, 2)
    targets = [entry.target for entry in origin.log if entry.server == "store"]
    assert targets[0] != targets[1]


@pytest.mark.parametrize("code", [400, 403, 404])
async def test_a_store_that_goes_on_refusing_is_unavailable_not_an_answer(
    origin: Origin, code: int
) -> None:
    origin.fault("store", times=None, **status(code, b"<Error/>"))
    async with room_of(origin) as made:
        with pytest.raises(Unavailable) as caught:
            await made.get(origin.content.find(WHEEL).link)
        assert made.upstream.open_breakers == ()
    assert caught.value.upstream_status == code
    assert (origin.count(server="origin"), origin.count(server="store")) == (2, 2)


async def test_a_store_that_wants_quiet_gets_it_and_the_upstream_is_still_asked(
    origin: Origin,
) -> None:
    origin.fault("store", **status(429, Retry_After="20"))
    wheel = origin.content.find(WHEEL)
    async with room_of(origin) as made:
        for _ in range(3):
            with pytest.raises(RateLimited):
                await made.get(wheel.link)
        assert origin.count(server="store") == 1
        assert await made.get("/python/simple/alpha/")
        made.clock.ahead += 21
        assert len(await made.get(wheel.link)) == wheel.blob.size


async def test_a_dead_store_is_not_asked_for_ever_and_the_upstream_is_not_held_for_dead(
    origin: Origin,
) -> None:
    await origin.close_listener("store")
    async with room_of(origin) as made:
        for _ in range(6):
            with pytest.raises(Unavailable):
                await made.get(origin.content.find(WHEEL).link)
        assert list(made.upstream.open_breakers) == [origin.store_url]
        assert await made.get("/python/simple/alpha/")
        await origin.reopen("store")
        made.clock.ahead += 31
        assert await made.get(origin.content.find(WHEEL).link)
        assert list(made.upstream.open_breakers) == []


# --- circles -----------------------------------------------------------------------------------


async def test_a_circle_ends_after_five_questions() -> None:
    async with Raw(lambda _: redirect_to("/x")) as origin, room(origin.url) as made:
        with pytest.raises(ForbiddenAddress) as caught:
            await made.get("/x")
        assert caught.value.status == 502
        assert len(origin.heads) == 5


async def test_a_circle_over_two_hosts_ends_too() -> None:
    async with (
        Raw(lambda _: redirect_to(first.url + "/x")) as second,
        Raw(lambda _: redirect_to(second.url + "/x")) as first,
        room(first.url, hosts=(second.place,)) as made,
    ):
        with pytest.raises(ForbiddenAddress):
            await made.get("/x")
        assert len(first.heads) + len(second.heads) == 5


async def test_four_redirects_in_a_row_are_followed() -> None:
    async with (
        Raw(lambda target: redirect_to("/" + target[2:]) if target[2:] else OK) as origin,
        room(origin.url) as made,
    ):
        assert await made.get("/abcde") == b"ok"
    assert origin.targets == ["/abcde", "/bcde", "/cde", "/de", "/e"]


# --- where no redirect leads -------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://evil.test/x",
        "http://evil.test:{port}/x",
        "http://a.store.test.evil.test:{port}/x",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1:{port}/x",
        "http://127.0.0.3:{port}/x",
        "http://127.0.0.3.:{port}/x",
        "http://127.3:{port}/x",
        "http://[::1]:{port}/x",
        "http://[::ffff:127.0.0.3]:{port}/x",
        "http://[::ffff:7f00:3]:{port}/x",
        "http://2130706435:{port}/x",
        "http://0x7f.3:{port}/x",
        "http://0177.0.0.3:{port}/x",
        "http://localhost:{port}/x",
        "http://localhost.:{port}/x",
        "http://LOCALHOST:{port}/x",
        "http://0:{port}/x",
        "http://user:secret@127.0.0.3:{port}/x",
        "http://127.0.0.1@127.0.0.3:{port}/x",
        "http://@127.0.0.3:{port}/x",
        "http://127.0.0.1:{port}/x",
        "https://127.0.0.1:{origin}/x",
        "//127.0.0.3:{port}/x",
        "//evil.test/x",
        "\\\\127.0.0.3:{port}\\x",
        "file:///etc/passwd",
        "ftp://127.0.0.3:{port}/x",
        "gopher://127.0.0.3:{port}/x",
        "javascript:alert(1)",
        "",
        "http://",
        "http://127.0.0.3:{port}\t/x",
        "http://127.0.0.3:{port}/a b",
        "http://127.0.0.3:99999/x",
        "http://é.test/x",
        "../x",
    ],
)
async def test_a_forbidden_redirect_reaches_nobody(location: str) -> None:
    names = Names({"evil.test": [["127.0.0.3"]], "localhost": [["127.0.0.3"]]})
    async with Raw(lambda _: OK) as sink, Raw(lambda _: redirect_to(where), "127.0.0.1") as origin:
        where = location.format(port=sink.port, origin=origin.port)
        async with room(origin.url, hosts=(EVERYTHING,), resolver=names) as made:
            with pytest.raises(ForbiddenAddress) as caught:
                await made.get("/x")
        assert caught.value.status == 502
        assert sink.connections == 0
        assert names.asked == []
        assert len(origin.heads) == 1
        assert "secret" not in caught.value.detail


async def test_a_redirect_without_a_location_is_refused() -> None:
    async with Raw(lambda _: answer(302, b"<html>")) as origin, room(origin.url) as made:
        with pytest.raises(ForbiddenAddress):
            await made.get("/x")


@pytest.mark.parametrize("spelling", ["2130706435", "0x7f.3", "127.3", "0177.0.0.3", "127.0.0.3"])
async def test_a_host_rule_alone_opens_no_private_number(spelling: str) -> None:
    async with Raw(lambda _: OK) as sink:
        async with Raw(lambda _: redirect_to(f"http://{spelling}:{sink.port}/x")) as origin:
            hosts = (f"{spelling}:{sink.port}",)
            async with room(origin.url, hosts=hosts, networks=()) as made:
                with pytest.raises((ForbiddenAddress, Malformed)) as caught:
                    await made.get("/x")
        assert caught.value.status == 502
        assert sink.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.3"],
        ["::ffff:127.0.0.3"],
        ["::1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["1.1.1.1", "127.0.0.3"],
        ["127.0.0.3", "1.1.1.1"],
    ],
)
async def test_a_good_name_that_leads_inside_is_not_followed(addresses: list[str]) -> None:
    names = Names({"a.store.test": [addresses]})
    async with Raw(lambda _: OK) as sink:
        async with Raw(lambda _: redirect_to(f"http://a.store.test:{sink.port}/x")) as origin:
            hosts = (f"*.store.test:{sink.port}",)
            async with room(origin.url, hosts=hosts, networks=(), resolver=names) as made:
                with pytest.raises(ForbiddenAddress):
                    await made.get("/x")
        assert sink.connections == 0
        assert names.asked == ["a.store.test"]


async def test_a_name_that_changes_its_mind_still_means_the_address_that_was_checked() -> None:
    names = Names({"a.store.test": [["127.0.0.2"], ["127.0.0.3"]]})
    async with Raw(lambda _: answer(200, b"ok", Connection="close"), "127.0.0.2") as store:
        where = f"http://a.store.test:{store.port}/x"
        async with Raw(lambda _: redirect_to(where)) as origin:
            hosts = (f"*.store.test:{store.port}",)
            async with room(origin.url, hosts=hosts, resolver=names) as made:
                assert [await made.get("/x") for _ in range(3)] == [b"ok"] * 3
        assert names.asked == ["a.store.test"]
        assert store.connections == 3


async def test_a_look_up_that_fails_is_no_answer_and_is_made_once_for_many() -> None:
    names = Names({})
    async with Raw(lambda _: redirect_to("http://a.store.test:81/x")) as origin:
        hosts = ("*.store.test:81",)
        async with room(origin.url, hosts=hosts, resolver=names) as made:
            with pytest.raises(Unavailable):
                await made.get("/x")
            assert len(names.asked) == 3
            names.asked.clear()
            for _ in range(20):
                with pytest.raises(Unavailable):
                    await made.get("/x")
            assert len(names.asked) < 10


async def test_a_name_that_no_resolver_takes_is_rubbish() -> None:
    where = f"http://{'x' * 70}.store.test:81/x"
    async with (
        Raw(lambda _: redirect_to(where)) as origin,
        room(origin.url, hosts=("*.store.test:81",)) as made,
    ):
        with pytest.raises(ProxyError) as caught:
            await made.get("/x")
    assert caught.value.status in (502, 503)


async def test_plain_http_behind_a_redirect_needs_the_switch_for_tests() -> None:
    async with Raw(lambda _: OK) as store:
        async with (
            Raw(lambda _: redirect_to(store.url + "/x")) as origin,
            room(origin.url, hosts=(store.place,), insecure=False) as made,
        ):
            with pytest.raises(ForbiddenAddress):
                await made.get("/x")
        assert store.connections == 0


async def test_many_at_a_time_are_followed_each_to_its_own_answer(origin: Origin) -> None:
    wheels = [item for item in origin.content if item.filename.endswith(".whl")]
    async with room_of(origin, networks=LOOPBACK) as made:
        bodies = await asyncio.gather(*(made.get(wheel.link) for wheel in wheels * 5))
    assert [len(body) for body in bodies] == [wheel.blob.size for wheel in wheels * 5]
    assert origin.violations == []


async def test_a_refused_token_does_not_follow_into_the_error(origin: Origin) -> None:
    origin.fault("origin", r"^/moved$", **redirect("http://evil.test/x?X-Amz-Signature=canary"))
    async with room(origin.url, token_of(origin)) as made:
        with pytest.raises(ForbiddenAddress) as caught:
            await made.get("/moved")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- addresses that carry the token on ---------------------------------------------------------


def spellings(origin: Origin) -> dict[str, str]:
    """Where an upstream that echoes what it was sent could put it."""
    pair = base64.b64encode(f"{origin.username}:{origin.password}".encode()).decode()
    signature = origin.password.rpartition(".")[2]
    return {
        "query": f"/x?token={origin.password}",
        "path": f"/x/{origin.password}/y",
        "basic": f"/x?auth={pair}",
        "encoded": f"/x?auth={quote(pair, safe='')}",
        "twice encoded": f"/x?auth={quote(quote(pair, safe=''))}",
        "signature": f"/{signature}",
        "every character": "/x?t=" + "".join(f"%{ord(sign):02x}" for sign in origin.password),
        "without end": "/x?t=%" + "25" * 20 + "41",
    }


@pytest.mark.parametrize("where", ["other", "own"])
@pytest.mark.parametrize(
    "spelling",
    [
        *("query", "path", "basic", "encoded", "twice encoded", "signature"),
        *("every character", "without end"),
    ],
)
async def test_an_address_that_holds_our_token_is_not_asked(
    origin: Origin, spelling: str, where: str
) -> None:
    echoed = spellings(origin)[spelling]
    async with Raw(lambda _: OK) as store, room_of(origin, hosts=(store.place,)) as made:
        base = store.url if where == "other" else ""
        origin.fault("origin", times=None, **status(302, Location=base + echoed))
        with pytest.raises(ForbiddenAddress) as caught:
            await made.get("/python/simple/alpha/")
        assert store.heads == []
        assert origin.count() == 1
        assert echoed[4:] not in str(caught.value)


async def test_an_address_that_names_our_user_or_holds_anothers_token_is_asked(
    origin: Origin,
) -> None:
    head, _, _ = origin.password.rpartition(".")
    target = f"/{origin.username}/x?token={head}.{'other-signature' * 4}"
    async with Raw(lambda _: OK) as store, room_of(origin, hosts=(store.place,)) as made:
        origin.fault("origin", **status(302, Location=store.url + target))
        assert await made.get("/python/simple/alpha/") == b"ok"
        assert store.targets == [target]
