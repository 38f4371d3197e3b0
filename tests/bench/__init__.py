"""Benchmarks, run by hand: `python -m tests.bench [--rounds N] [ROW ...]` prints one table.

Purpose: every row compares this proxy with a named peer in one run: they are measured by turns,
round after round, and the ratio is what counts, because no machine is quiet. nginx is measured
against a clone of itself in the same way: a ratio outside 0.9 to 1.1 there voids the line. For hits
the servers sit on one core and the loader on another; misses and herds may use all. Bodies are
compared with their SHA-256 and requests counted at the upstream, outside of what is timed.

`upstream` (plain files behind nginx, the same for all) and `scene` are the stage, `fetcher` and
wrk ask, `compare` takes turns, `table` judges; the rows are in `hits`, `misses`, `mixed`, `herd`,
`growth` and `peers`.

Reading: Tene, "How NOT to measure latency"; wrk. Non-goals: asserting a time in a test.
"""
