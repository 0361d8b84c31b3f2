"""How much effort a family can be given: trees, rounds or epochs for the seconds that one fit may take."""

from __future__ import annotations

import math
import time

import msgspec
from sklearn.pipeline import Pipeline

from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings, boosting
from services.trainer.validation import Part, attempt

PROBES = {
    "random_forest": (0, 1),
    "extra_trees": (0, 1),
    "mlp": (0, 1),
    "hist_gradient_boosting": (2, 8),
    "lightgbm": (2, 8),
    "xgboost": (2, 8),
    "catboost": (2, 8),
}
"""Efforts by which the cost of one more is measured, on the rows themselves. Two of them where the first
fit's fixed costs (bins, codes) are to be told from what each round adds."""

PROBE_ABOVE_ROWS = 2_000
"""Smaller tables are fitted faster than they are probed."""

ANSWERED_ROWS = (100, 1_000)
"""Held-out rows that are answered to learn what a row takes. The first few also tell what a call costs."""

WORTHWHILE = {"random_forest": 16, "extra_trees": 16, "mlp": 6}
"""Of less than this more rows make nothing good: then rows are given up for it."""

WORTHWHILE_ROUNDS = 40

_UNITS = {"random_forest": "trees", "extra_trees": "trees", "mlp": "epochs"}


def unit(slug: str) -> str:
    """What the effort of a family is counted in."""
    return _UNITS.get(slug, "rounds of boosting")


def elastic(slug: str) -> bool:
    return slug in PROBES


def most_effort(candidate: Candidate, part: Part, seconds: float) -> float:
    """The effort that a fit on `part` has time for in `seconds`; infinite where its own is not too much."""
    slug = candidate.model_name
    if slug not in PROBES or len(part.learn) <= PROBE_ABOVE_ROWS:
        return math.inf
    few, more = PROBES[slug]
    at_few = _seconds(candidate, part, few) if few else 0.0
    at_more = _seconds(candidate, part, more)
    each = max((at_more - at_few) / (more - few), at_more / more / 10, 1e-9)
    fitting = max((seconds - max(at_more - each * more, 0.0)) / each, 0.0)
    return math.inf if fitting >= _own(candidate, part) else fitting


def worthwhile(slug: str) -> int:
    return WORTHWHILE.get(slug, WORTHWHILE_ROUNDS)


def probing(slug: str) -> Settings:
    """The cheapest fit of an elastic family: of all that it does, how many rows it can be given."""
    return Settings(most_effort=PROBES[slug][1])


def answering(candidate: Candidate, model: Pipeline) -> float:
    """Seconds that each further row of a batch takes to be answered."""
    rows = candidate.rows
    took = []
    for positions in (rows.test[: ANSWERED_ROWS[0]], rows.test[: ANSWERED_ROWS[1]]):
        started = time.perf_counter()
        candidate.answers(model, rows.features.iloc[positions])
        took.append((time.perf_counter() - started, len(positions)))
    (few_s, few), (more_s, more) = took
    return max(more_s - few_s, 0.0) / max(more - few, 1)


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
