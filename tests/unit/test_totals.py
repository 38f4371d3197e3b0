"""The numbers of several processes as one exposition."""

from __future__ import annotations

import json
from threading import Event, Thread

from proxy.observe.metrics import Metrics
from proxy.observe.totals import Family, Totals
from tests.running import samples


def worker(answers: int, seconds: float = 0.01) -> Metrics:
    metrics = Metrics(["python"], "1.0")
    for _ in range(answers):
        metrics.request("python", 200, "hit", seconds, 10)
    metrics.watch_in_flight(lambda: answers)
    metrics.watch_cache_bytes(lambda: 1000)
    metrics.watch_breakers(["libraries"], lambda _: float(answers > 5))
    return metrics


def dumped(metrics: Metrics) -> list[Family]:
    """As it comes out of the other end of a line."""
    found: list[Family] = json.loads(json.dumps(metrics.dump()))
    return found


def shown(totals: Totals) -> dict[str, float]:
    return samples(totals.render()[0])


HITS = 'cgr_proxy_requests_total{cache="hit",ecosystem="python",status="200"}'


def test_counters_and_histograms_are_added_up() -> None:
    found = shown(Totals(lambda: [dumped(worker(3)), dumped(worker(4, 0.2))]))
    assert found[HITS] == 7
    assert found['cgr_proxy_bytes_sent_total{ecosystem="python"}'] == 70
    buckets = {
        name.partition('le="')[2].partition('"')[0]: value
        for name, value in found.items()
        if name.startswith("cgr_proxy_request_seconds_bucket") and '"python"' in name
    }
    assert (buckets["0.005"], buckets["0.025"], buckets["0.5"], buckets["+Inf"]) == (0, 3, 7, 7)


def test_gauges_are_taken_each_in_its_own_way() -> None:
    found = shown(Totals(lambda: [dumped(worker(3)), dumped(worker(6))]))
    assert found["cgr_proxy_in_flight"] == 9  # both
    assert found["cgr_proxy_cache_bytes"] == 1000  # the same store
    assert found['cgr_proxy_breaker_open{upstream="libraries"}'] == 1  # one of them says so
    assert found['cgr_proxy_build_info{version="1.0"}'] == 1


def test_what_a_worker_had_counted_outlives_it_and_its_gauges_do_not() -> None:
    living = [dumped(worker(3)), dumped(worker(4))]
    totals = Totals(lambda: living)
    before = shown(totals)
    totals.ended(living[-1], living.pop)
    after = shown(totals)
    assert after[HITS] == before[HITS] == 7
    assert after["cgr_proxy_in_flight"] == 3
    totals.ended(living[-1], living.pop)
    assert shown(totals)[HITS] == 7


def test_a_worker_that_ends_while_somebody_looks_is_counted_once() -> None:
    ending = dumped(worker(4))
    living = [dumped(worker(3)), ending]
    looking, look_on = Event(), Event()
    found: list[dict[str, float]] = []

    def look() -> list[list[Family]]:
        seen = list(living)
        looking.set()
        look_on.wait(10)
        return seen

    totals = Totals(look)
    threads = [
        Thread(target=lambda: found.append(shown(totals))),
        Thread(target=lambda: totals.ended(ending, lambda: living.remove(ending))),
    ]
    threads[0].start()
    looking.wait(10)
    threads[1].start()
    threads[1].join(0.2)  # it waits for who looks, or has ended
    look_on.set()
    for thread in threads:
        thread.join(10)
    assert [one[HITS] for one in (*found, shown(totals))] == [7, 7]


def test_one_process_alone_looks_as_it_does_without_a_supervisor() -> None:
    metrics = worker(3)
    alone = {line.split()[0] for line in metrics.render()[0].decode().splitlines()}
    added = {
        line.split()[0]
        for line in Totals(lambda: [dumped(metrics)]).render()[0].decode().splitlines()
    }
    assert added == alone
