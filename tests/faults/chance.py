"""How long the tests here run, and with which chance: what they take from the environment.

Purpose: CGR_PROXY_TEST_LONG=1 runs everything at full length; every random run prints its seed, and
CGR_PROXY_TEST_SEED repeats it. Non-goals: what is long, and what is random (each test says).
"""

from __future__ import annotations

import os
import random

LONG = bool(os.environ.get("CGR_PROXY_TEST_LONG"))


def drawn_seed() -> int:
    """The seed that was asked for, or any; printed."""
    seed = int(os.environ.get("CGR_PROXY_TEST_SEED") or random.SystemRandom().randrange(10**9))
    print(f"CGR_PROXY_TEST_SEED={seed}")
    return seed


def seeded() -> random.Random:
    """Chance that can be repeated."""
    return random.Random(drawn_seed())
