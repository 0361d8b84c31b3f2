"""Plots of one model on its held-out rows: the numbers a frontend draws itself, and a drawn SVG.

The curves are scikit-learn's and so are the Displays that draw them, onto matplotlib's `Figure`s that pyplot
does not know of: nothing is shared between fits and no display is asked for. Numbers are rounded to what a
reader can see and thinned to at most `MAX_POINTS`, so that a plot stays some tens of kilobytes however long
the table is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from services.trainer import drawing_classes, drawing_numbers, drawing_series
from services.trainer.learning_curve import Points
from services.trainer.outcome import Importance
from shared.contracts.catalogue import METRICS, MODELS
from shared.contracts.results import Intervals, PlotData
from shared.contracts.states import PlotKind, TaskType

MAX_POINTS = 500
"""Points of a plot, over all its curves."""
MAX_CLASSES = 10
"""The most frequent classes are shown; a confusion matrix puts the others together."""
OTHERS = "(other classes)"
LIFT_AT = 0.1
"""The share of rows at which a lift is named."""
CALIBRATION_BINS = 10
CALIBRATION_ROWS_A_BIN = 10
MOST_IMPORTANT = 20
"""Columns of an importance plot."""
KEPT_EXTREMES = 20
"""The worst predictions stay in a thinned scatter: they are what it is looked at for."""
HISTORY_SHOWN = 4
"""Horizons of history before a forecast."""
HISTORY_LEAST = 60

DRAWABLE = 1e150
"""Beyond it (and below its inverse) the squares and quotients that drawing takes over- or underflow."""

Numbers = Sequence[float] | np.ndarray


def classification(
    model_name: str, y_true: np.ndarray, y_pred: np.ndarray, proba: np.ndarray | None, labels: Sequence[Any]
) -> list[PlotData]:
    """Confusion matrix and, where there is `proba`, ROC, precision-recall, calibration and lift curves.

    `y_true`, `y_pred`: (n,) in the table's own labels; `proba`: (n, k), a column for each of `labels` (k,).
    Two classes: one curve, of `labels[1]`. More: one-vs-rest, one curve a class. A curve that the rows
    leave undefined (a class that none, or all, of them have) is left out, and so is a plot without curves.
    """
    if len(y_true) == 0:
        return []
    names = [str(label) for label in labels]
    code = {name: i for i, name in enumerate(names)}
    true = np.array([code.get(str(y), -1) for y in np.asarray(y_true).tolist()])
    pred = np.array([code.get(str(y), -1) for y in np.asarray(y_pred).tolist()])
    shown = _most_frequent(true, len(names))
    made = [_confusion(model_name, true, pred, names, shown)]
    if proba is None:
        return made

    positives = [1] if len(names) == 2 else shown
    ok = np.isfinite(proba).all(axis=1)
    cases = [(names[i], true[ok] == i, np.asarray(proba)[ok, i]) for i in positives]
    cases = [case for case in cases if 0 < case[1].sum() < len(case[1])]
    if cases:
        made += [plot(model_name, cases) for plot in (_roc, _precision_recall, _calibration, _lift)]
    return made


def regression(
    model_name: str, y_true: Numbers, y_pred: Numbers, intervals: Intervals | None = None
) -> list[PlotData]:
    """The truth against predictions, within their `intervals`, and residuals (actual - predicted), of (n,)
    numbers each."""
    true, pred = np.asarray(y_true, dtype=float), np.asarray(y_pred, dtype=float)
    ok = (np.abs(true) < DRAWABLE) & (np.abs(pred) < DRAWABLE)
    true, pred = (np.where(np.abs(v[ok]) > 1 / DRAWABLE, v[ok], 0.0) for v in (true, pred))
    if len(true) == 0:
        return []
    residual = true - pred
    kept = _thinned_rows(np.abs(residual))
    counts, edges = _histogram(residual)
    of: dict[str, Any] = {"rows": len(true), "rows_shown": len(kept)}

    data = of | {"actual": _rounded(true[kept]), "predicted": _rounded(pred[kept])}
    if intervals is not None:
        data["intervals"] = {
            "edges": _rounded(np.array(intervals.edges)),
            "lower": {level: _rounded(np.array(sides)) for level, sides in intervals.lower.items()},
            "upper": {level: _rounded(np.array(sides)) for level, sides in intervals.upper.items()},
            "coverage": {level: _round(share) for level, share in intervals.coverage.items()},
        }
    error = _plot(model_name, "prediction_error", data, drawing_numbers.prediction_error)

    histogram = {"edges": _rounded(edges), "counts": counts.tolist()}
    data = of | {
        "predicted": _rounded(pred[kept]),
        "residual": _rounded(residual[kept]),
        "histogram": histogram,
    }
    return [error, _plot(model_name, "residuals", data, drawing_numbers.residuals)]


def forecast(
    model_name: str,
    times: Sequence[str],
    actual: Sequence[float | None] | np.ndarray | None,
    mean: Numbers,
    bands: Mapping[str, tuple[Numbers, Numbers]],
    history: tuple[Sequence[str], Numbers],
    *,
    series: str | None = None,
) -> list[PlotData]:
    """A forecast of one series after the end of its history, against what really came.

    `times`, `mean`, `actual` (None where unknown) and both sides of each of `bands` ("80" → lower, upper):
    (h,). `history`: times and values, of which the end is shown. Times are ISO 8601, or numbers as text.
    """
    h = len(times)
    if h == 0:
        return []
    # one step for both: a season would change its shape where history were thinned more than the forecast
    step = math.ceil(h / (MAX_POINTS // 2))
    points = min(MAX_POINTS - math.ceil(h / step), max(HISTORY_SHOWN * h, HISTORY_LEAST) // step)
    past_times, past = (
        list(history[0])[-points * step :],
        np.asarray(history[1], dtype=float)[-points * step :],
    )

    def thin(values: Numbers | Sequence[float | None]) -> list[float | None]:
        return _rounded(np.asarray(values, dtype=float)[::step])

    # from the end backwards, so that the last point before the forecast is always there
    back = slice(None, None, -step)
    data: dict[str, Any] = {
        "series": series,
        "history": {"time": past_times[back][::-1], "value": _rounded(past[back][::-1])},
        "time": list(times)[::step],
        "actual": [] if actual is None else thin(actual),
        "mean": thin(mean),
        "bands": {
            level: {"lower": thin(lower), "upper": thin(upper)} for level, (lower, upper) in bands.items()
        },
    }
    return [_plot(model_name, "forecast", data, drawing_series.forecast)]


def importance(model_name: str, metric: str, losses: Sequence[Importance]) -> list[PlotData]:
    """What `metric` loses on held-out rows when one column is shuffled: the columns with the greatest losses,
    each with the standard deviation over the shuffles. No plot of no columns."""
    ordered = sorted(losses, key=lambda loss: -loss.mean)
    ordered = [loss for loss in ordered if max(abs(loss.mean), loss.std) < DRAWABLE][:MOST_IMPORTANT]
    if not ordered:
        return []
    data = {
        "metric": metric,
        "columns": [
            {"feature": loss.feature, "mean": _round(loss.mean), "std": _round(loss.std)} for loss in ordered
        ],
        "columns_in_all": len(losses),
    }
    return [_plot(model_name, "importance", data, drawing_numbers.importance)]


def learning_curve(
    model_name: str, task_type: TaskType, metric: str, points: Points | None
) -> list[PlotData]:
    """The score in `metric` by the rows that were fitted on: `scores` are those of each fold, sizes first."""
    if points is None or np.nanmax(np.abs(points.validation), initial=0.0) > DRAWABLE:
        return []

    def part(scores: np.ndarray) -> dict[str, Any]:
        scores = np.where(np.abs(scores) < DRAWABLE, scores, np.nan)
        return {
            "scores": [_rounded(of_size) for of_size in scores],
            "mean": _rounded(scores.mean(axis=1)),
            "std": _rounded(scores.std(axis=1)),
        }

    data = {
        "metric": metric,
        "greater_is_better": METRICS[task_type][metric],
        "rows": points.rows,
        "training": part(points.training),
        "validation": part(points.validation),
    }
    return [_plot(model_name, "learning_curve", data, drawing_numbers.learning_curve)]


def members_learning_curve(model_name: str, member: str, data: Mapping[str, Any] | None) -> list[PlotData]:
    """The learning curve of the best model that an ensemble is made of, which says whose it is: an ensemble
    itself is not fitted on rows. `data`: as that model's own plot has it; `member`: its label."""
    if data is None:
        return []
    return [_plot(model_name, "learning_curve", {**data, "member": member}, drawing_numbers.learning_curve)]


# --- classification -----------------------------------------------------------------------------

Case = tuple[str, np.ndarray, np.ndarray]
"""A class's name, which rows are of it, and its probability in each row."""


def _confusion(
    model_name: str, true: np.ndarray, pred: np.ndarray, names: list[str], shown: list[int]
) -> PlotData:
    place = {i: at for at, i in enumerate(shown)}
    rest = len(shown)
    t = [place.get(i, rest) for i in true.tolist()]
    p = [place.get(i, rest) for i in pred.tolist()]
    labels = [names[i] for i in shown]
    if rest in t or rest in p:
        labels.append(OTHERS)
    matrix = confusion_matrix(t, p, labels=range(len(labels)))
    totals = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    data = {"labels": labels, "matrix": matrix.tolist(), "share_of_actual": [_rounded(row) for row in share]}
    return _plot(model_name, "confusion_matrix", data, drawing_classes.confusion_matrix)


def _roc(model_name: str, cases: list[Case]) -> PlotData:
    curves = []
    for name, is_class, score in cases:
        fpr, tpr, _ = roc_curve(is_class, score)
        kept = _along(fpr, tpr, MAX_POINTS // len(cases))
        curves.append(
            {
                "label": name,
                "fpr": _rounded(fpr[kept]),
                "tpr": _rounded(tpr[kept]),
                "auc": _round(auc(fpr, tpr)),
            }
        )
    return _plot(model_name, "roc_curve", {"curves": curves}, drawing_classes.roc_curve)


def _precision_recall(model_name: str, cases: list[Case]) -> PlotData:
    curves = []
    for name, is_class, score in cases:
        precision, recall, _ = precision_recall_curve(is_class, score)
        kept = _along(recall, precision, MAX_POINTS // len(cases))
        curves.append(
            {
                "label": name,
                "recall": _rounded(recall[kept]),
                "precision": _rounded(precision[kept]),
                "average_precision": _round(average_precision_score(is_class, score)),
                "share_of_rows": _round(is_class.mean()),
            }
        )
    return _plot(
        model_name, "precision_recall_curve", {"curves": curves}, drawing_classes.precision_recall_curve
    )


def _calibration(model_name: str, cases: list[Case]) -> PlotData:
    curves = []
    bins = min(CALIBRATION_BINS, max(3, len(cases[0][1]) // CALIBRATION_ROWS_A_BIN))
    for name, is_class, score in cases:
        # bins of equally many rows: with equal widths, most points of a sure model stand on two rows
        observed, predicted = calibration_curve(
            is_class, np.clip(score, 0, 1), n_bins=bins, strategy="quantile"
        )
        curves.append({"label": name, "predicted": _rounded(predicted), "observed": _rounded(observed)})
    data = {"curves": curves, "bins": bins}
    return _plot(model_name, "calibration_curve", data, drawing_classes.calibration_curve)


def _lift(model_name: str, cases: list[Case]) -> PlotData:
    """Cumulative gains: of the rows rated highest, `targeted` of all rows hold `found` of the class. Lift is
    their quotient: how many times as many rows of the class are found as among rows drawn at random."""
    curves = []
    for name, is_class, score in cases:
        share = is_class.mean()
        fpr, tpr, _ = roc_curve(is_class, score, drop_intermediate=False)
        targeted = tpr * share + fpr * (1 - share)
        kept = _along(targeted, tpr, MAX_POINTS // len(cases))
        curves.append(
            {
                "label": name,
                "targeted": _rounded(targeted[kept]),
                "found": _rounded(tpr[kept]),
                "share_of_rows": _round(share),
                "lift_at_10": _round(np.interp(LIFT_AT, targeted, tpr) / LIFT_AT),
            }
        )
    return _plot(model_name, "lift_curve", {"curves": curves}, drawing_classes.lift_curve)


def _most_frequent(codes: np.ndarray, classes: int) -> list[int]:
    """At most MAX_CLASSES classes, in the labels' order."""
    counts = np.bincount(codes[codes >= 0], minlength=classes)
    return sorted(np.argsort(-counts, kind="stable")[:MAX_CLASSES].tolist())


# --- thinning and rounding ----------------------------------------------------------------------


def _along(x: np.ndarray, y: np.ndarray, points: int) -> np.ndarray:
    """Indices of at most `points` points, evenly spaced along the curve's length; both ends stay."""
    if len(x) <= points:
        return np.arange(len(x))
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], points)).clip(0, len(x) - 1))


def _thinned_rows(badness: np.ndarray) -> np.ndarray:
    """Sorted indices of at most MAX_POINTS rows: the worst, and a fixed random sample of the others."""
    if len(badness) <= MAX_POINTS:
        return np.arange(len(badness))
    by_badness = np.argsort(badness)
    rest = np.random.default_rng(0).choice(
        by_badness[:-KEPT_EXTREMES], MAX_POINTS - KEPT_EXTREMES, replace=False
    )
    return np.sort(np.concatenate([rest, by_badness[-KEPT_EXTREMES:]]))


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts and edges, twice the bins of Sturges' rule; one bin where numpy could not tell edges apart."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.1 * max(abs(low), abs(high)) or 0.5
        return np.array([len(values)]), np.array([low - margin, high + margin])
    return np.histogram(values, bins=min(40, 2 * math.ceil(math.log2(len(values)) + 1)))


def _round(value: float) -> float | None:
    """Six significant digits; None where it isn't a finite number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _rounded(values: np.ndarray) -> list[float | None]:
    return [_round(value) for value in values.tolist()]


def _plot(
    model_name: str, kind: str, data: dict[str, Any], draw: Callable[[dict[str, Any], str], str]
) -> PlotData:
    drawn = draw(data, _label(model_name))
    return PlotData(model_name=model_name, kind=PlotKind(kind), data=data, svg=drawn)


def _label(model_name: str) -> str:
    return next(
        (MODELS[kind][model_name].label for kind in TaskType if model_name in MODELS[kind]), model_name
    )
