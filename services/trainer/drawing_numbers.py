"""Drawn plots of a regression, and of what any model relies on and learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import AutoLocator, MaxNLocator
from sklearn.metrics import PredictionErrorDisplay
from sklearn.model_selection import LearningCurveDisplay

from services.trainer.drawing import (
    ACCENT,
    REFERENCE,
    SOFT,
    WARM,
    axes,
    figure,
    floats,
    legend,
    magnitudes,
    name,
    shown,
    shown_beside,
    style,
    svg,
)

BAND = {"80": 0.16, "95": 0.08}
"""How dark an interval is, by its level."""


def prediction_error(data: dict[str, Any], model: str) -> str:
    with style():
        whole, ax = axes("Actual against predicted", model, (5.4, 5.2))
        actual, predicted = floats(data["actual"]), floats(data["predicted"])
        drawn = PredictionErrorDisplay(y_true=actual, y_pred=predicted)
        drawn.plot(ax, kind="actual_vs_predicted", scatter_kwargs=_dots(predicted), line_kwargs=REFERENCE)
        low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
        margin = (high - low) * 0.04 or abs(high) * 0.04 or 1.0
        ends = (low - margin, high + margin)
        drawn.line_.set_data(ends, ends)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(AutoLocator())
        handles, names = _bands(ax, data.get("intervals"), ends)
        ax.set_aspect("equal", adjustable="box")
        ax.set(xlim=ends, ylim=ends, xlabel=f"Predicted{_of_rows(data)}", ylabel="Actual")
        magnitudes(ax.xaxis, ax.yaxis, biggest=max(map(abs, ends)))
        legend(whole, ax, [drawn.line_, *handles], ["perfect", *names], "upper left")
        return svg(whole)


def residuals(data: dict[str, Any], model: str) -> str:
    with style():
        whole = figure((6.6, 4.2))
        ax, side = whole.subplots(1, 2, sharey=True, width_ratios=[4, 1])
        name(ax, "Residuals", "")
        name(side, "", model)
        predicted, residual = floats(data["predicted"]), floats(data["residual"])
        drawn = PredictionErrorDisplay(y_true=predicted + residual, y_pred=predicted)
        drawn.plot(ax, scatter_kwargs=_dots(predicted), line_kwargs=REFERENCE)
        # what is tiny beside the prediction is lost in their sum
        drawn.scatter_.set_offsets(np.column_stack([predicted, residual]))
        edges, counts = data["histogram"]["edges"], data["histogram"]["counts"]
        side.stairs(counts, edges, orientation="horizontal", fill=True, color=ACCENT, alpha=0.55)
        for panel in (ax, side):
            panel.axhline(0, **REFERENCE)
        margin = (edges[-1] - edges[0]) * 0.04
        ax.set(
            xlabel=f"Predicted{_of_rows(data)}",
            ylabel="Residual (actual − predicted)",
            ylim=(min(edges[0], 0) - margin, max(edges[-1], 0) + margin),
        )
        side.set_xlabel("Rows")
        side.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        side.tick_params(axis="y", length=0)
        magnitudes(ax.xaxis, biggest=np.abs(predicted).max())
        magnitudes(ax.yaxis, biggest=np.abs(residual).max())
        magnitudes(side.xaxis, biggest=max(counts))
        return svg(whole)


def importance(data: dict[str, Any], model: str) -> str:
    """A bar a column with its standard deviation over the shuffles, the greatest on top."""
    columns = data["columns"]
    mean, std = floats([c["mean"] for c in columns]), floats([c["std"] for c in columns])
    with style():
        whole, ax = axes("Permutation importance", model, (6.6, 1.5 + 0.27 * len(columns)))
        places = np.arange(len(columns))
        look: dict[str, Any] = {"ecolor": SOFT, "elinewidth": 1.2, "capsize": 2.5}
        ax.barh(places, mean, xerr=std, height=0.62, color=ACCENT, alpha=0.75, error_kw=look)
        ax.set_yticks(places, [shown_beside(c["feature"]) for c in columns], color="#1f2937")
        ax.set_ylim(len(columns) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
        ax.axvline(0, color="#9ca3af", linewidth=1)
        rest = data["columns_in_all"] - len(columns)
        more = f"\n(the {rest:,} least important are not shown)" if rest else ""
        # ends where the axes end: beside long names they are narrower than what is said of them
        ax.set_xlabel(f"Loss of {data['metric']} when the column is shuffled{more}", loc="right")
        magnitudes(ax.xaxis, biggest=np.nanmax(np.abs(mean) + std))
        return svg(whole)


def learning_curve(data: dict[str, Any], model: str) -> str:
    """Mean and standard deviation over the folds, by the rows fitted on. `member`: whose it is, where the
    model is made of others."""
    rows = np.array(data["rows"])
    of = f" of {shown(data['member'])}" if data.get("member") else ""
    with style():
        whole, ax = axes(f"Learning curve{of}", model, (6.2, 4.4))
        handles, names = [], []
        for part, colour in (("training", WARM), ("validation", ACCENT)):
            scores = np.array([floats(of_size) for of_size in data[part]["scores"]])
            known = np.isfinite(scores).all(axis=1)
            if not known.any():
                continue
            drawn = LearningCurveDisplay(
                train_sizes=rows[known],
                train_scores=scores[known],
                test_scores=scores[known],
                score_name=data["metric"],
            )
            drawn.plot(
                ax,
                score_type="test",
                line_kw={"color": colour, "marker": "o", "markersize": 4.5},
                fill_between_kw={"color": colour, "alpha": 0.15, "linewidth": 0},
            )
            handles += drawn.lines_
            names.append(part)
        magnitudes(ax.yaxis, biggest=max(map(abs, ax.get_ylim())))
        ax.set_xscale("log")
        ax.set_xticks(rows, [f"{n:,}" for n in rows.tolist()])
        ax.minorticks_off()
        ax.set(xlabel="Rows fitted on", ylabel=f"{data['metric']} ({_better(data)} is better)")
        legend(whole, ax, handles, names, "best")
        return svg(whole)


def _bands(ax: Axes, intervals: Any, ends: tuple[float, float]) -> tuple[list[Any], list[str]]:
    """The intervals around predictions between `ends`, in steps where they are calibrated in bins."""
    handles, names = [], []
    if not intervals:
        return [], []
    edges = [edge for edge in intervals["edges"] if ends[0] < edge < ends[1]]
    skipped = sum(edge <= ends[0] for edge in intervals["edges"])
    for level in sorted(intervals["lower"], key=float):
        x, lower, upper = [], [], []
        for i, (left, right) in enumerate(zip([ends[0], *edges], [*edges, ends[1]], strict=True)):
            x += [left, right]
            lower += [end + intervals["lower"][level][skipped + i] for end in (left, right)]
            upper += [end + intervals["upper"][level][skipped + i] for end in (left, right)]
        look: dict[str, Any] = {"color": ACCENT, "alpha": BAND.get(level, 0.1), "linewidth": 0, "zorder": 1}
        handles.append(ax.fill_between(x, lower, upper, **look))
        covered = intervals["coverage"].get(level)
        names.append(f"{shown(level)}% interval" + ("" if covered is None else f" (held {covered:.0%})"))
    return handles, names


def _dots(x: np.ndarray) -> dict[str, Any]:
    size = 30 if len(x) <= 100 else 16
    return {"s": size, "color": ACCENT, "alpha": 0.45, "linewidths": 0, "zorder": 2}


def _of_rows(data: dict[str, Any]) -> str:
    all_shown = data["rows_shown"] == data["rows"]
    return "" if all_shown else f" ({data['rows_shown']:,} of {data['rows']:,} rows drawn)"


def _better(data: dict[str, Any]) -> str:
    return "greater" if data["greater_is_better"] else "less"
