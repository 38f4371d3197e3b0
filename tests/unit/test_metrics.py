"""Metrics: the right series move, and nobody can make more of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.observe.metrics import CACHE_STATES, NAMESPACE, STATUSES, UPSTREAM_OUTCOMES, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body, _ = metrics.render()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"{NAMESPACE}_{name}", tuple(sorted(labels.items()))]


def test_a_request_moves_its_counter_its_time_and_its_bytes() -> None:
    metrics = Metrics(["python"])
    metrics.request("python", 200, "hit", 0.2, 1000)
    metrics.request("python", 200, "hit", 0.2, 1000)
    metrics.request("", 404, "", 0.001, 0)
    assert value(metrics, "requests_total", ecosystem="python", status="200", cache="hit") == 2
    assert value(metrics, "requests_total", ecosystem="none", status="404", cache="none") == 1
    assert value(metrics, "request_seconds_count", ecosystem="python") == 2
    assert value(metrics, "bytes_sent_total", ecosystem="python") == 2000


def test_an_upstream_401_is_a_failure_of_our_token() -> None:
    metrics = Metrics(["python"])
    metrics.upstream_request("python", "200", 0.1)
    metrics.upstream_request("python", "401", 0.1)
    metrics.upstream_request("python", "error", 0.1)
    assert value(metrics, "upstream_requests_total", ecosystem="python", outcome="401") == 1
    assert value(metrics, "upstream_requests_total", ecosystem="python", outcome="error") == 1
    assert value(metrics, "upstream_auth_failures_total", ecosystem="python") == 1
    assert value(metrics, "upstream_seconds_count", ecosystem="python") == 3


def test_an_upstreams_answers_are_timed_by_bucket_and_their_bytes_added_up() -> None:
    metrics = Metrics(["python"])
    for seconds in (0.0004, 0.2, 700.0):
        metrics.upstream_request("python", "200", seconds)
    metrics.upstream_bytes("python", 70)
    metrics.upstream_bytes("python", 7)
    buckets = {
        bound: value(metrics, "upstream_seconds_bucket", ecosystem="python", le=bound)
        for bound in ("0.001", "0.1", "0.5", "600.0", "+Inf")
    }
    assert buckets == {"0.001": 1, "0.1": 1, "0.5": 2, "600.0": 2, "+Inf": 3}
    assert value(metrics, "upstream_seconds_sum", ecosystem="python") == 700.2004
    assert value(metrics, "upstream_bytes_total", ecosystem="python") == 77
    assert value(metrics, "upstream_seconds_count", ecosystem="other") == 0
    assert value(metrics, "request_seconds_count", ecosystem="python") == 0


def test_each_event_has_its_counter() -> None:
    metrics = Metrics(["python"])
    metrics.digest_mismatch("python")
    metrics.follower("python")
    metrics.cache_write_error()
    metrics.cache_healed()
    metrics.upstream_bytes("python", 77)
    assert value(metrics, "digest_mismatch_total", ecosystem="python") == 1
    assert value(metrics, "singleflight_followers_total", ecosystem="python") == 1
    assert value(metrics, "cache_write_errors_total") == 1
    assert value(metrics, "cache_healed_total") == 1
    assert value(metrics, "upstream_bytes_total", ecosystem="python") == 77


def test_what_lives_elsewhere_is_read_at_each_rendering() -> None:
    metrics = Metrics(["python"], "1.2.3")
    now = {"in_flight": 3, "dropped": 0, "bytes": 10, "libraries": False}
    metrics.watch_in_flight(lambda: now["in_flight"])
    metrics.watch_dropped_lines(lambda: now["dropped"])
    metrics.watch_cache_bytes(lambda: now["bytes"])
    metrics.watch_breakers(["libraries"], lambda name: now[name])
    assert value(metrics, "in_flight") == 3
    now.update(in_flight=1, dropped=5, libraries=True)
    assert value(metrics, "in_flight") == 1
    assert value(metrics, "log_lines_dropped_total") == 5
    assert value(metrics, "cache_bytes") == 10
    assert value(metrics, "breaker_open", upstream="libraries") == 1
    assert value(metrics, "build_info", version="1.2.3") == 1


@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.integers(-1, 10_000), st.text(max_size=20)), max_size=60
    )
)
def test_no_value_from_outside_becomes_a_label(
    asked: list[tuple[str, int, str]],
) -> None:
    metrics = Metrics(["python"])
    for ecosystem, status, text in asked:
        metrics.request(ecosystem, status, text, 0.0, 1)
        metrics.upstream_request(ecosystem, text, 0.0)
        metrics.digest_mismatch(ecosystem)
    allowed = {
        "ecosystem": {"python", "none", "other"},
        "status": {*map(str, STATUSES), "other"},
        "cache": {*CACHE_STATES, "other"},
        "outcome": {*UPSTREAM_OUTCOMES, "other"},
    }
    for _, labels in samples(metrics):
        for name, found in labels:
            assert found in allowed.get(name, {found})


def test_two_instances_share_nothing() -> None:
    first, second = Metrics(["python"]), Metrics(["python"])
    first.cache_write_error()
    assert value(first, "cache_write_errors_total") == 1
    assert value(second, "cache_write_errors_total") == 0


def test_the_exposition_says_its_type_and_every_series_of_ours_its_prefix() -> None:
    body, content_type = Metrics(["python"]).render()
    assert content_type.startswith("text/plain")
    names = {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")}
    assert all(name.startswith((f"{NAMESPACE}_", "process_")) for name in names)


def test_no_series_tells_only_when_another_one_began() -> None:
    metrics = Metrics(["python"])
    metrics.request("python", 200, "hit", 0.2, 1000)
    body, _ = metrics.render()
    assert b"_created" not in body
    assert b"# TYPE cgr_proxy_requests_total counter" in body


def test_evictions_are_counted() -> None:
    metrics = Metrics(["python"])
    metrics.watch_evictions(lambda: 3, lambda: 4096)
    assert value(metrics, "cache_evicted_entries_total") == 3
    assert value(metrics, "cache_evicted_bytes_total") == 4096
