"""Fits of known lengths: the same for a simulated fleet and for a real one that is given the same seeds."""

from __future__ import annotations

import hashlib
import math

MEAN_S = 3.0
LONGEST = 5.0
"""Times the mean, so that no single fit decides how long a benchmark lasts."""


def of(seed: int, model_name: str) -> float:
    """Seconds that this model of a run of this seed takes: exponential, cut at `LONGEST`."""
    digest = hashlib.blake2b(f"{seed}/{model_name}".encode(), digest_size=8).digest()
    share = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return MEAN_S * min(-math.log1p(-share), LONGEST)
