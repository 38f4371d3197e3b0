"""What is kept in memory is bounded, and has a life of its own."""

from __future__ import annotations

from proxy.cache.decisions import Decisions, Refusals
from proxy.cache.packages import Packages
from proxy.cache.ready import OVERHEAD, Ready
from proxy.ecosystems.oci import Oci
from proxy.errors import NotFound, ProxyError, Unavailable
from proxy.model import ArtifactTarget, DocumentTarget
from proxy.server.canonical import canonicalise


def test_a_decision_holds_for_its_time() -> None:
    known: Decisions[str] = Decisions()
    known.remember("a", "no", now=100, seconds=30)
    assert [known.find("a", now) for now in (100, 129.9, 130)] == ["no", "no", None]
    assert known.find("a", 110) is None  # gone is gone


def test_a_clock_that_is_stepped_back_ends_a_decision() -> None:
    known: Decisions[str] = Decisions()
    known.remember("a", "no", now=1e9, seconds=30)
    assert known.find("a", 1000) is None


def test_a_decision_may_be_renewed_and_forgotten() -> None:
    known: Decisions[str] = Decisions()
    known.remember("a", "no", now=0, seconds=30)
    known.remember("a", "never", now=20, seconds=30)
    assert known.find("a", 45) == "never"
    known.forget("a")
    known.forget("a")
    assert known.find("a", 45) is None


def test_the_oldest_decision_goes_when_there_are_too_many() -> None:
    known: Decisions[int] = Decisions(limit=3)
    for number in range(5):
        known.remember(str(number), number, now=0, seconds=30)
    assert [known.find(str(number), 1) for number in range(5)] == [None, None, 2, 3, 4]


def test_ready_values_stay_within_their_budget() -> None:
    ready: Ready[int] = Ready(10 * (100 + OVERHEAD))
    for number in range(100):
        ready.put(number, number, 100)
        assert ready.used <= 10 * (100 + OVERHEAD)
    assert [ready.get(number) for number in (89, 90, 99)] == [None, 90, 99]


def test_the_least_recently_used_value_goes_first() -> None:
    ready: Ready[str] = Ready(3 * (100 + OVERHEAD))
    for name in "abc":
        ready.put(name, name, 100)
    assert ready.get("a") == "a"
    ready.put("d", "d", 100)
    assert [ready.get(name) for name in "abcd"] == ["a", None, "c", "d"]


def test_a_value_that_would_push_out_all_others_is_not_kept() -> None:
    ready: Ready[str] = Ready(10_000)
    ready.put("small", "x", 100)
    ready.put("large", "x", 9000)
    assert (ready.get("small"), ready.get("large")) == ("x", None)
    ready.put("small", "y", 200)
    assert (ready.get("small"), ready.used) == ("y", 200 + OVERHEAD)
    ready.drop("small")
    ready.drop("small")
    assert ready.used == 0


def told(refusals: Refusals) -> list[tuple[str, str | None, float]]:
    said: list[tuple[str, str | None, float]] = []

    def tell(key: str, error: ProxyError | None, seconds: float) -> None:
        said.append((key, error.detail if error else None, seconds))

    refusals.on_news(tell)
    return said


def test_only_what_the_upstream_said_is_told_to_other_processes() -> None:
    refusals = Refusals()
    said = told(refusals)
    refusals.remember("a", NotFound("no"), 100.0, 30.0)
    refusals.remember("b", Unavailable("silent"), 100.0, 1.0)
    refusals.remember("c", NotFound("no"), 100.0, 0.0)  # is not remembered here either
    refusals.forget("a")
    refusals.forget("never known")
    refusals.forget("new", new=True)
    assert said == [("a", "no", 30.0), ("a", None, 0.0), ("new", None, 0.0)]


def test_what_another_process_was_told_counts_here_and_is_not_told_on() -> None:
    refusals = Refusals()
    said = told(refusals)
    refusals.hear("a", NotFound("no"), 100.0, 30.0)
    refusals.hear("b", NotFound("no"), 100.0, 30.0)
    assert [type(refusals.find(key, 129.0)) for key in "ab"] == [NotFound, NotFound]
    refusals.hear("a", None, 110.0, 0.0)
    assert refusals.find("a", 110.0) is None
    refusals.forget_all()
    assert refusals.find("b", 110.0) is None
    assert said == []


def test_a_package_that_was_open_and_is_refused_is_told_once_and_closed_everywhere() -> None:
    oci = Oci()
    target = oci.classify(canonicalise("GET", "/v2/chainguard/static/manifests/latest", host=None))
    layer = f"/v2/chainguard/static/blobs/sha256:{'ab' * 32}"
    artifact = oci.classify(canonicalise("GET", layer, host=None))
    assert isinstance(target, DocumentTarget)
    assert isinstance(artifact, ArtifactTarget)
    one, two = Packages(300.0, lambda: 1000.0), Packages(300.0, lambda: 1000.0)
    said: list[str] = []

    def tell(key: str) -> None:
        said.append(key)
        two.hear(key)

    one.on_news(tell)
    for packages in (one, two):
        packages.shown("oci", target)
        assert packages.is_open("oci", artifact)
    for _ in range(2):
        one.refused("oci", target)
    assert [packages.is_open("oci", artifact) for packages in (one, two)] == [False, False]
    assert len(said) == 1
