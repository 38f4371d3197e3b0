"""Counters for an operator, in Prometheus' exposition format.

Purpose: every number the proxy shows, in one place, with one registry per instance. Label values
come from enumerations fixed at construction; whatever else is given counts as `other`, so that
no client can make the number of series grow. Children are looked up once and kept.

Reading: Prometheus "metric and label naming" and "histograms"; RFC 9211 for the words of the cache.
Non-goals: metrics per client or package (unbounded, and not everybody's business), pushing,
adding up several processes (`totals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from proxy.observe.answers import Answers, Cell, Words
from proxy.observe.totals import Family, dump

NAMESPACE = "cgr_proxy"
OTHER = "other"
NONE = "none"
"""Label where there is none: a path of no ecosystem, an answer without the cache."""

STATUSES = (
    *(200, 204, 206, 301, 302, 304, 307, 308),
    *(400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415, 416, 417, 429, 431, 499),
    *(500, 502, 503, 504, 505),
)
CACHE_STATES = ("hit", "miss", "collapsed", "revalidated", "stale", "denied", "bypass", NONE)
UPSTREAM_OUTCOMES = (*map(str, STATUSES), "challenge", "error")
"""The status that an upstream answered; `challenge`: a 401 that says where a token is to be had;
`error`: it did not answer."""
LIMITS = (
    *("max_connections", "queue_timeout", "connect_timeout", "first_byte_timeout"),
    *("max_document", "min_rate", "min_rate_client"),
)
"""The keys of `[limits]` that something can reach; `min_rate` by direction."""
_UNAUTHORIZED = "401"
_OURS = Words(
    (f"{NAMESPACE}_requests", "Answers to clients, by what the cache did."),
    ("ecosystem", "status", "cache"),
    (f"{NAMESPACE}_request_seconds", "From request to the last byte."),
    (f"{NAMESPACE}_bytes_sent", "Body bytes to clients."),
)
_THEIRS = Words(
    (f"{NAMESPACE}_upstream_requests", "Requests to upstreams, each try."),
    ("ecosystem", "outcome"),
    (f"{NAMESPACE}_upstream_seconds", "One try, to the end of the head."),
    (f"{NAMESPACE}_upstream_bytes", "Body bytes from upstreams."),
)
_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)


class Metrics:
    """The numbers of one proxy. All methods are cheap, and safe from any thread but those that
    count answers, ours and the upstreams'.

    `ecosystems`: the names that may appear as label. `version`: of the program.
    """

    def __init__(self, ecosystems: Sequence[str], version: str = "") -> None:
        self._registry = CollectorRegistry()
        self._ecosystems = frozenset((*ecosystems, NONE))
        self._statuses = {status: str(status) for status in STATUSES}
        self._cache_states = frozenset(CACHE_STATES)
        self._outcomes = frozenset(UPSTREAM_OUTCOMES)
        ProcessCollector(registry=self._registry)
        self._cells: dict[tuple[str, int, str], Cell] = {}
        self._tries: dict[tuple[str, str], Cell] = {}
        names = sorted(self._ecosystems | {OTHER})
        self._answers = Answers(_OURS, names, _SECONDS)
        self._registry.register(self._answers)
        self._upstreams = Answers(_THEIRS, names, _SECONDS)
        self._registry.register(self._upstreams)
        self._make_upstream_metrics(names)
        self._make_cache_metrics(names)
        self._gauge("build_info", "The running version.", ("version",)).labels(version).set(1)

    # --- what happened -----------------------------------------------------------------------

    def request(self, ecosystem: str, status: int, cache: str, seconds: float, sent: int) -> None:
        """An answer went out: `sent` bytes of body, `seconds` from the first byte to the last.

        `ecosystem` and `cache` empty where there is none. For the loop's thread only.
        """
        self.answers(ecosystem, status, cache).count(seconds, sent)

    def answers(self, ecosystem: str, status: int, cache: str) -> Cell:
        """Where the answers with these labels are counted: for who gives many of the same."""
        labels = (ecosystem, status, cache)
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._answers.cell(
                self._ecosystem(ecosystem),
                self._statuses.get(status, OTHER),
                _among(cache or NONE, self._cache_states),
            )
            if OTHER not in cell.labels:  # what others are called is an open set
                self._cells[labels] = cell
        return cell

    def upstream_request(self, ecosystem: str, outcome: str, seconds: float) -> None:
        """One exchange with an upstream ended: `outcome` is one of `UPSTREAM_OUTCOMES`.

        A 401 counts as a failure of our pull token besides. For the loop's thread only.
        """
        cell = self._tries.get((ecosystem, outcome))
        if cell is None:
            labels = self._ecosystem(ecosystem), _among(outcome, self._outcomes)
            cell = self._upstreams.cell(*labels)
            if OTHER not in labels:  # what others are called is an open set
                self._tries[ecosystem, outcome] = cell
        cell.count(seconds, 0)
        if outcome == _UNAUTHORIZED:
            self._auth_failures[self._ecosystem(ecosystem)].inc()

    def upstream_bytes(self, ecosystem: str, count: int) -> None:
        """Bytes of body came from an upstream. For the loop's thread only."""
        self._upstreams.more(self._ecosystem(ecosystem), count)

    def limit_reached(self, limit: str) -> None:
        """A limit of the configuration, one of `LIMITS`, cost somebody something."""
        self._limits[limit].inc()

    def digest_mismatch(self, ecosystem: str) -> None:
        """An upstream sent other bytes than the listing promises."""
        self._digest_mismatches[self._ecosystem(ecosystem)].inc()

    def follower(self, ecosystem: str) -> None:
        """A request joined the flight of another one."""
        self._followers[self._ecosystem(ecosystem)].inc()

    def cache_write_error(self) -> None:
        """The disk refused; the answer went out unstored."""
        self._write_errors.inc()

    def cache_healed(self) -> None:
        """An entry was unreadable or without its body and is fetched anew."""
        self._healed.inc()

    # --- what is ------------------------------------------------------------------------------

    def watch_in_flight(self, read: Callable[[], float]) -> None:
        """Take the number of requests being answered from `read`, at each rendering."""
        self._gauge("in_flight", "Requests being answered.").set_function(read)

    def watch_cache_bytes(self, read: Callable[[], float]) -> None:
        """Take the bytes that the store holds from `read`."""
        self._gauge("cache_bytes", "Bytes in the store.").set_function(read)

    def watch_cache_entries(self, read: Callable[[], float]) -> None:
        """Take the number of entries that the store holds from `read`."""
        self._gauge("cache_entries", "Entries in the store.").set_function(read)

    def watch_evictions(self, entries: Callable[[], int], freed: Callable[[], int]) -> None:
        """Take from these the number of entries evicted so far, and of their bytes."""
        self._read_counter("cache_evicted_entries", "Entries evicted for room.", entries)
        self._read_counter("cache_evicted_bytes", "Bytes of evicted entries.", freed)

    def cache_limit(self, count: int) -> None:
        """The bytes that the store may hold."""
        self._gauge("cache_limit_bytes", "Bytes that the store may hold.").set(count)

    def watch_breakers(self, upstreams: Iterable[str], is_open: Callable[[str], float]) -> None:
        """Ask `is_open` (0 or 1) for each of the configured upstreams, named by their key."""
        gauge = self._gauge(
            "breaker_open", "1 while an upstream is left alone after failures.", ("upstream",)
        )
        for name in upstreams:
            gauge.labels(name).set_function(partial(is_open, name))

    def watch_dropped_lines(self, read: Callable[[], int]) -> None:
        """Take the number of lost log lines from `read`."""
        self._read_counter(
            "log_lines_dropped", "Log lines lost: queue full, or the sink refused.", read
        )

    def watch_repeats(self, read: Callable[[], int]) -> None:
        """Take the number of answers that were given anew without a walk from `read`."""
        text = "Hits whose very question was answered a moment before."
        self._read_counter("answers_repeated", text, read)

    def watch(self, collector: Collector) -> None:
        """Take further samples from a collector, at each rendering."""
        self._registry.register(collector)

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type. Reads /proc: call it in a thread."""
        return generate_latest(_WithoutCreated(self._registry)), CONTENT_TYPE_LATEST

    def dump(self) -> list[Family]:
        """The same as plain data, for who adds up several processes. Reads /proc, too."""
        return dump(self._registry)

    # --- construction -------------------------------------------------------------------------

    def _make_upstream_metrics(self, names: Sequence[str]) -> None:
        self._auth_failures = self._by_ecosystem(
            "upstream_auth_failures_total", "Upstream refused our pull token.", names
        )
        self._digest_mismatches = self._by_ecosystem(
            "digest_mismatch_total", "Upstream sent other bytes than listed.", names
        )

    def _make_cache_metrics(self, names: Sequence[str]) -> None:
        reached = self._counter(
            "limit_reached_total", "What ended at a limit of [limits].", ("limit",)
        )
        self._limits = {limit: reached.labels(limit) for limit in LIMITS}
        self._followers = self._by_ecosystem(
            "singleflight_followers_total", "Requests that joined another one's flight.", names
        )
        self._write_errors = self._counter(
            "cache_write_errors_total", "The disk refused; answered unstored."
        )
        self._healed = self._counter(
            "cache_healed_total",
            "Entries that were dropped since they, or their bodies, were damaged.",
        )

    def _by_ecosystem(self, name: str, text: str, names: Sequence[str]) -> dict[str, Counter]:
        counter = self._counter(name, text, ("ecosystem",))
        return {label: counter.labels(label) for label in names}

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, namespace=NAMESPACE, registry=self._registry)

    def _read_counter(self, name: str, text: str, read: Callable[[], int]) -> None:
        self._registry.register(ReadCounter(f"{NAMESPACE}_{name}", text, read))

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, namespace=NAMESPACE, registry=self._registry)

    def _ecosystem(self, name: str) -> str:
        return _among(name or NONE, self._ecosystems)


class ReadCounter(Collector):
    """A counter that lives elsewhere and is read at each rendering."""

    def __init__(self, name: str, text: str, read: Callable[[], int]) -> None:
        self._name = name
        self._text = text
        self._read = read

    def collect(self) -> Iterable[CounterMetricFamily]:
        """The one sample; `_total` is added by the exposition."""
        return (CounterMetricFamily(self._name, self._text, value=self._read()),)


class _WithoutCreated(CollectorRegistry):
    """A registry without the `_created` samples of its counters and histograms: one more series for
    each, of which the text format makes gauges, and which nobody asks for."""

    def __init__(self, inner: CollectorRegistry) -> None:
        super().__init__(auto_describe=False)
        self._inner = inner

    def collect(self) -> Iterable[Metric]:
        """The metrics of the other one, each a copy."""
        for metric in self._inner.collect():
            kept = copy(metric)
            kept.samples = [it for it in metric.samples if not it.name.endswith("_created")]
            yield kept


def _among(value: str, allowed: frozenset[str]) -> str:
    return value if value in allowed else OTHER
