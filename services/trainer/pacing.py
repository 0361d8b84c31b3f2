"""How much effort a family can be given: trees, rounds or epochs for the seconds that one fit may take."""

from __future__ import annotations

import math
import time

import msgspec

from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings, boosting
from services.trainer.validation import Part, attempt

PROBES = {
    "random_forest": (2, 8),
    "extra_trees": (2, 8),
    "hist_gradient_boosting": (3, 10),
    "lightgbm": (3, 10),
    "xgboost": (3, 10),
    "catboost": (3, 10),
    "mlp": (1, 3),
}
"""Two small efforts by which the cost of one more is measured, on the rows themselves: the first fit's
fixed costs (bins, threads, codes) are in both."""

PROBE_ABOVE_ROWS = 2_000
"""Smaller tables are fitted faster than they are probed."""

LEAST = {"random_forest": 10, "extra_trees": 10, "mlp": 3}
"""What a fit is never given less than; of rounds `boosting.FEWEST_ROUNDS`."""


_UNITS = {"random_forest": "trees", "extra_trees": "trees", "mlp": "epochs"}


def unit(slug: str) -> str:
    """What the effort of a family is counted in."""
    return _UNITS.get(slug, "rounds of boosting")


def elastic(slug: str) -> bool:
    return slug in PROBES


def most_effort(candidate: Candidate, part: Part, seconds: float) -> int | None:
    """The effort that a fit on `part` has time for in `seconds`; None where its own is not too much."""
    slug = candidate.model_name
    if slug not in PROBES or len(part.learn) <= PROBE_ABOVE_ROWS:
        return None
    few, more = PROBES[slug]
    at_few, at_more = (_seconds(candidate, part, effort) for effort in (few, more))
    each = max((at_more - at_few) / (more - few), at_more / more / 10)
    fixed = max(at_more - each * more, 0.0)
    least = LEAST.get(slug, boosting.FEWEST_ROUNDS)
    fitting = max(least, math.floor((seconds - fixed) / each))
    return None if fitting >= _own(candidate, part) else fitting


def probing(slug: str) -> Settings:
    """The cheapest fit of an elastic family that is worth handing over."""
    return Settings(most_effort=2 * LEAST[slug] if slug in LEAST else 40)


def _seconds(candidate: Candidate, part: Part, effort: int) -> float:
    started = time.perf_counter()
    attempt(candidate, part, msgspec.structs.replace(candidate.settings, most_effort=effort), math.inf)
    return time.perf_counter() - started


def _own(candidate: Candidate, part: Part) -> int:
    """What the family takes where nothing holds it back."""
    plain = msgspec.structs.replace(candidate.situation(part.learn), settings=Settings())
    library = boosting.LIBRARIES.get(candidate.model_name)
    if library is not None:
        return boosting.rounds(plain, watched=True)
    from services.trainer.candidates import build

    model = build(candidate.model_name, candidate.plan.task_type, plain).steps[-1][1]
    model = getattr(model, "regressor", model)
    return int(getattr(model, "n_estimators", None) or model.max_iter)
