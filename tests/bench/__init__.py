"""Benchmarks, run by hand: `python -m tests.bench [ROW ...]`. Public tools only (nginx, wrk).

Every row compares this proxy with a named peer in one run: the two are measured by turns, round
after round, and only the ratio is reported, because the machine is shared. nginx is measured
against a clone of itself in the same way: a ratio outside 0.9 to 1.1 there voids the run. Servers
under test sit on one core, the loader on another. Nothing here asserts a time.
"""
