"""How often each fault is tried, and what chance decides: `CHAOS_ROUNDS`, `CHAOS_SEED`."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator

ROUNDS = int(os.environ.get("CHAOS_ROUNDS") or 1)
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**9))

LONG = ROUNDS >= 10 and not os.environ.get("CHAOS_HURRY")
"""A long run measures: it uses the product's own settings, where a short one is in a hurry."""

LEASE_S = 9.0 if LONG else 2.0
TAKEN_OVER_WITHIN_S = LEASE_S + 6.0
"""The goal: 15 s, of which the lease takes 9."""


def rounds(fault: str, count: int = ROUNDS) -> Iterator[random.Random]:
    """A random generator a round, each of its own seed, so that one round can be looked at alone."""
    for number in range(1, count + 1):
        print(f"{fault}: round {number} of {count}, CHAOS_SEED={SEED}", flush=True)
        yield random.Random(f"{SEED}/{fault}/{number}")


def fewer(share: int) -> int:
    """Rounds of what takes minutes: one in so many, and one at least."""
    return max(1, ROUNDS // share)
