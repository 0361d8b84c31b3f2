"""A candidate that learns from all rows of a table that no machine holds, on the cluster.

Its settings are chosen on the rows that were drawn, as those of every other model (`fit`). Then it is
validated on the plan's folds of the drawn rows, scored on the held-out ones and fitted again; each of these
fits learns from the drawn rows that it may, and from all others that are tied to nothing else
(`cluster_rows`). So its scores compare with those of models that saw the drawn rows alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import dask
import dask.array as da
import joblib
import msgspec
import numpy as np
from distributed import Client
from msgspec import Struct
from sklearn.pipeline import Pipeline

from services.trainer import (
    candidates,
    cluster_boost,
    cluster_client,
    cluster_rows,
    side_by_side,
    table_rows,
)
from services.trainer.budget import Clock
from services.trainer.candidate import Candidate
from services.trainer.candidates import Settings, Situation
from services.trainer.candidates.boosting import rounds as rounds_of
from services.trainer.cluster import FREE, TEST, Asked, Link
from services.trainer.outcome import Progress
from services.trainer.table_rows import sample
from services.trainer.validation import Validated
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType

SETTLING_SHARE = 0.3
"""Of the time given, what choosing the settings on the drawn rows may take."""

STUB_ROWS = 500
"""Rows that the estimator is fitted on whose booster is then replaced."""

CHUNK_ROWS = 20_000
"""Drawn rows are sent to the workers so many at a time."""

FEWEST_ROUNDS = 20
OVERHEAD = 2.0
"""By how much longer a round takes than its share of the cells would, since workers wait for one another."""


class Spread(Struct):
    """The rows that were not drawn, and who learns from them. `folds`: positions (learn, held) of the drawn
    ones; `sides`: positions of drawn rows by the number that rows tied to them have."""

    client: Client
    links: list[Link]
    folds: list[tuple[np.ndarray, np.ndarray]]
    sides: dict[int, np.ndarray]

    def allowed(self, positions: np.ndarray) -> list[int]:
        """What rows may be tied to that are learned from beside these drawn ones."""
        return [FREE, *(kind for kind, side in self.sides.items() if np.isin(side, positions).all())]

    def count(self, positions: np.ndarray) -> int:
        """How many of the other rows are learned from beside these drawn ones."""
        allowed = self.allowed(positions)
        return sum(cluster_rows.counted(link, allowed) for link in self.links)

    def settling(self, clock: Clock) -> Clock:
        """Of a fit's time, what it has to choose its settings on the drawn rows."""
        return Clock(SETTLING_SHARE * clock.left())

    def validated(
        self,
        candidate: Candidate,
        found: Validated,
        clock: Clock,
        progress: Progress,
        notices: list[Notice],
    ) -> tuple[Candidate, Validated]:
        """The candidate whose fits learn from all rows, with the settings that were found, and how they do on
        the plan's folds. `found`: how they did on the drawn rows alone."""
        fields = {name: getattr(candidate, name) for name in candidate.__struct_fields__}
        wider = SpreadCandidate(**fields, spread=self)
        return wider, _validated(wider, found, self.folds, clock, progress, notices)

    def details(self, positions: np.ndarray) -> dict[str, Any]:
        """Of the model that is handed over, for the report; `positions`: its drawn rows."""
        return {"rows_fitted": len(positions) + self.count(positions), "cluster": True}


@contextlib.contextmanager
def session(asked: Asked, candidate: Candidate) -> Iterator[tuple[Candidate, Spread | None]]:
    """The candidate with the cluster at hand: for its pieces, or for the table's other rows."""
    with cluster_client.opened(asked.scheduler) as client:
        if asked.links:
            cluster_client.at_rest(client)  # it is to be had whole
            folds = table_rows.folds(candidate.rows, candidate.plan)
            sides = {TEST: candidate.rows.test}
            sides |= {number: held for number, (_, held) in enumerate(folds, start=TEST + 1)}
            yield candidate, Spread(client, asked.links, folds, sides)
            return
        wide = sum(client.ncores().values())
        if wide == 1:  # nothing would be side by side
            yield candidate, None
            return
        scatter = side_by_side.scattered(candidate.rows)
        with joblib.parallel_config(backend="dask", client=client, scatter=scatter) as config:
            backend = config["backend"]  # which has them now, and is used for pieces alone
        with side_by_side.over(backend):
            yield msgspec.structs.replace(candidate, wide=wide), None


class SpreadCandidate(Candidate):
    """Fitted on the cluster, on these drawn rows and the others that go with them."""

    spread: Spread | None = None

    def fitted(self, positions: np.ndarray, given: candidates.Situation | None = None) -> Pipeline:
        assert self.spread is not None
        learned = len(positions) + self.spread.count(positions)
        given = msgspec.structs.replace(given or self.situation(positions), rows=learned)
        features, y = self.rows.features, self.rows.y
        before = Pipeline(self._built(given).steps[:-1])
        x = np.asarray(before.fit_transform(features.iloc[positions], y[positions]), dtype=np.float32)
        transformer = self._transformer(given, y[positions])
        rounds = rounds_of(given, watched=False)
        x_all, y_all = self._laid_out(
            before, x, self._numbers(positions, transformer), positions, transformer
        )
        bare = msgspec.structs.replace(
            given, classes=0 if self.rows.labels is None else len(self.rows.labels)
        )
        client = self.spread.client
        booster = cluster_client.while_all_work(
            client, lambda: cluster_boost.trained(client, self.model_name, bare, x_all, y_all, rounds)
        )
        return Pipeline([*before.steps, ("model", self._model(given, before, transformer, booster, rounds))])

    def _built(self, given: Situation) -> Pipeline:
        return candidates.build(self.model_name, self.plan.task_type, given)

    def _transformer(self, given: Situation, y: np.ndarray) -> Any:
        if self.plan.task_type is not TaskType.REGRESSION:
            return None
        from services.trainer.candidates.regression import target_transformer

        made = target_transformer(self.model_name, given)
        return None if made is None else made.fit(y[:, None])

    def _numbers(self, positions: np.ndarray, transformer: Any) -> np.ndarray:
        y = self.rows.y[positions]
        if self.rows.labels is not None:
            return np.searchsorted(self.rows.labels, y).astype(np.float64)
        return np.asarray(y if transformer is None else transformer.transform(y[:, None])[:, 0], np.float64)

    def _laid_out(
        self, before: Pipeline, x: np.ndarray, y: np.ndarray, positions: np.ndarray, transformer: Any
    ) -> tuple[da.Array, da.Array]:
        """All rows as arrays whose chunks are on the workers: the drawn ones are sent, the others read."""
        assert self.spread is not None
        client, width = self.spread.client, x.shape[1]
        allowed = self.spread.allowed(positions)
        preparing = client.scatter(before, broadcast=True, hash=False)
        pairs, sizes = [], []
        for start in range(0, len(x), CHUNK_ROWS):
            part = (x[start : start + CHUNK_ROWS], y[start : start + CHUNK_ROWS])
            pairs.append(dask.delayed(client.scatter([part], hash=False)[0]))
            sizes.append(len(part[1]))
        for link in self.spread.links:
            if count := cluster_rows.counted(link, allowed):
                read = dask.delayed(cluster_rows.learned, nout=2, pure=False)
                pairs.append(read(link, allowed, preparing, width, transformer))
                sizes.append(count)
        x_parts = [
            da.from_delayed(pair[0], shape=(size, width), dtype=np.float32)
            for pair, size in zip(pairs, sizes, strict=True)
        ]
        y_parts = [
            da.from_delayed(pair[1], shape=(size,), dtype=np.float64)
            for pair, size in zip(pairs, sizes, strict=True)
        ]
        x_all, y_all = client.persist([da.concatenate(x_parts), da.concatenate(y_parts)])
        cluster_client.there(x_all, y_all)
        return x_all, y_all

    def _model(
        self, given: Situation, before: Pipeline, transformer: Any, booster: str | bytearray, rounds: int
    ) -> Any:
        """The estimator as it would be handed over, every label known to it, with the cluster's booster."""
        settings = msgspec.structs.replace(given.settings, effort=1)
        model = self._built(msgspec.structs.replace(given, settings=settings)).steps[-1][1]
        drawn = np.concatenate([self.rows.train, self.rows.test])
        few = sample(drawn, self.rows, STUB_ROWS, self.plan.seed)
        model.fit(before.transform(self.rows.features.iloc[few]), self.rows.y[few])
        if transformer is not None:
            model.transformer_ = transformer
        cluster_boost.put_into(model, booster, rounds)
        return model


def _validated(
    candidate: SpreadCandidate,
    found: Validated,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    clock: Clock,
    progress: Progress,
    notices: list[Notice],
) -> Validated:
    """Fold after fold while there is time for one more, the scored fit and the refit. `found`: how the same
    settings did on the drawn rows alone, which also says what a round takes."""
    notices[:] = [notice for notice in notices if notice.code not in ("rows-sampled", "validation-shortened")]
    candidate.row_limit = len(candidate.rows.y)
    to_follow = 1 + candidate.plan.refit
    _limit_rounds(candidate, found, clock.share_of(1 / (1 + to_follow)), notices)
    rows = candidate.rows
    answers: list[np.ndarray] = []
    spent: list[float] = []
    for number, (learn, held) in enumerate(folds):
        if spent and not clock.fits(float(np.mean(spent)) * (1 + to_follow)):
            break
        progress(0.45 + 0.25 * number / len(folds), f"On the cluster: fold {number + 1} of {len(folds)}")
        started = time.perf_counter()
        answers.append(candidate.answers(candidate.fitted(learn), rows.features.iloc[held]))
        spent.append(time.perf_counter() - started)
    parts = [held for _, held in folds[: len(answers)]]
    if len(parts) < len(folds):
        notices.append(_folds_left_out(len(parts), len(folds)))
    scores = [candidate.score(rows.y[held], told) for held, told in zip(parts, answers, strict=True)]
    return Validated(
        scores=[score for score in scores if score is not None],
        train=np.concatenate(parts),
        oof=np.concatenate(answers),
        fold=np.repeat(np.arange(len(parts)), [len(held) for held in parts]),
        rounds=None,
        seconds=float(np.mean(spent)),
        folds=len(parts),
    )


def _limit_rounds(
    candidate: SpreadCandidate, found: Validated, seconds: float, notices: list[Notice]
) -> None:
    """Fewer rounds where a fit on all rows would not be done in its time, by what the drawn ones took."""
    assert candidate.spread is not None
    rows, settings = candidate.rows, candidate.settings
    rounds = settings.effort or rounds_of(candidate.situation(rows.train), watched=False)
    cores = max(1, sum(candidate.spread.client.ncores().values()))
    larger = (len(rows.train) + candidate.spread.count(rows.train)) / len(rows.train)
    each = found.seconds / rounds * larger * candidate.threads / cores * OVERHEAD
    most = max(FEWEST_ROUNDS, int(seconds / max(each, 1e-9)))
    if most >= rounds:
        candidate.settings = _with(settings, rounds)
        return
    candidate.settings = _with(settings, most)
    notices.append(
        Notice(
            code="effort-limited",
            message=f"Each fit was given {most:,} rounds of boosting on all rows: on the drawn ones "
            f"{rounds:,} did best, and there was no time for as many.",
            action="A larger time budget or a larger cluster lets it have them.",
            evidence=str(most),
        )
    )


def _with(settings: Settings, rounds: int) -> Settings:
    return msgspec.structs.replace(settings, effort=rounds)


def _folds_left_out(done: int, planned: int) -> Notice:
    return Notice(
        code="validation-shortened",
        message=f"Validated on {done} of {planned} folds on the cluster: there was no time for more.",
        action="The validation score is the mean of the folds that were done.",
        evidence=f"{done} of {planned}",
    )
