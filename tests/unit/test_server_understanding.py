"""What request targets mean, as it was found out before."""

from __future__ import annotations

from pathlib import Path

from proxy.ecosystems import ECOSYSTEMS
from proxy.model import RequestLine, StaticTarget
from proxy.server.understanding import LONGEST, Meaning, Understanding, Words
from tests.origin import Origin
from tests.running import running

MEANING: Meaning = (RequestLine("GET", ("a",)), ECOSYSTEMS[0], StaticTarget("python"))


def words(
    target: str = "/a",
    method: str = "GET",
    host: str | None = "a",
    accept: tuple[str, ...] = (),
) -> Words:
    return method, target, host, accept


def test_every_word_counts() -> None:
    found = Understanding()
    found.keep(words(), MEANING)
    assert found.find(words()) is MEANING
    others = [words("/b"), words(method="HEAD"), words(host="b"), words(accept=("x",))]
    assert [found.find(other) for other in [*others, words(host=None)]] == [None] * 5


def test_what_is_kept_is_bounded_in_number_and_length() -> None:
    found = Understanding(limit=10)
    for number in range(100):
        found.keep(words(f"/{number}"), MEANING)
    assert len(found) == 10
    assert found.find(words("/99")) is MEANING
    long = words(accept=("x" * LONGEST,))
    found.keep(long, MEANING)
    assert found.find(long) is None


async def test_a_refusal_is_worded_and_logged_alike_each_time(tmp_path: Path) -> None:
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        for target in ("/python/simple/alpha/../", "/python/nothing/here", "/nowhere"):
            first, second = await proxy.get(target), await proxy.get(target)
            assert first.status == second.status >= 400
            lines = [record for record in proxy.access() if record["status"] == first.status]
            parts = ("path", "ecosystem", "error", "method")
            assert len({tuple(line[part] for part in parts) for line in lines[-2:]}) == 1


async def test_what_is_understood_alike_is_not_allowed_alike(tmp_path: Path) -> None:
    clients = [{"name": "java", "networks": ["127.0.0.2/32"], "ecosystems": ["java"]}]
    clients += [{"name": "python", "networks": ["127.0.0.1/32"], "ecosystems": ["python"]}]
    async with Origin() as origin, running(tmp_path, origin, {"clients": clients}) as proxy:
        assert (await proxy.get("/python/simple/alpha/")).status == 200
        assert (await proxy.get("/python/simple/alpha/")).status == 200
        proxy.source = ("127.0.0.2", 0)
        assert (await proxy.get("/python/simple/alpha/", host="a")).status == 403
        assert (await proxy.get("/python/simple/alpha/")).status == 403
