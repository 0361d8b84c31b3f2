"""Drawn plots of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from services.trainer.drawing import (
    ACCENT,
    BLUES,
    INK,
    PALETTE,
    REFERENCE,
    SOFT,
    axes,
    beside,
    count,
    figure,
    legend,
    name,
    ratio,
    shown,
    style,
    svg,
)

LIFT_FROM = 0.01
"""Of the share of rows: before it a lift hangs on single rows."""
CHARACTER = 0.08
"""Inches that one takes in the name of a class."""


def confusion_matrix(data: dict[str, Any], model: str) -> str:
    """Counts, coloured by their share of the actual class (recall on the diagonal).

    Not ConfusionMatrixDisplay's, which draws an image: a picture within a picture is not shown where an
    SVG may load nothing.
    """
    labels = [shown(label) for label in data["labels"]]
    matrix, share = np.array(data["matrix"]), np.array(data["share_of_actual"], dtype=float)
    k = len(labels)
    side = max(3.2, 1.4 + 0.52 * k)
    slanted = max(map(len, labels)) * k > 45
    # what the names take, which is not to be taken from the matrix and its title
    beside_it = CHARACTER * max(map(len, labels))
    with style():
        size = side + 1.5 + beside_it, side + 0.9 + (0.6 * beside_it if slanted else 0)
        whole, ax = axes("Confusion matrix", model, size)
        mesh = ax.pcolormesh(share, cmap=BLUES, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
        ax.set(xlabel="Predicted", ylabel="Actual", aspect="equal")
        ax.invert_yaxis()
        middle = np.arange(k) + 0.5
        ax.set_xticks(middle, labels, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        ax.set_yticks(middle, labels)
        ax.tick_params(length=0, colors=INK)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        font = 11 if k <= 4 else 9 if k <= 7 else 7.5
        for i, j in np.ndindex(k, k):
            colour = "white" if share[i, j] > 0.5 else INK if matrix[i, j] else "#9ca3af"
            percent = f"\n{share[i, j]:.0%}" if k <= 4 and matrix[i, j] else ""
            text = count(int(matrix[i, j])) + percent
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=font)
        scale = ax.inset_axes((1.04, 0, 0.035, 1))
        bar = whole.colorbar(mesh, cax=scale, format=PercentFormatter(1, decimals=0))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        bar.set_label("Share of the actual class", color=SOFT, fontsize=9)
        return svg(whole)


def roc_curve(data: dict[str, Any], model: str) -> str:
    curves = data["curves"]
    with style():
        whole, ax = _unit_square("ROC curve", model, curves)
        drawn = RocCurveDisplay(fpr=[c["fpr"] for c in curves], tpr=[c["tpr"] for c in curves])
        drawn.plot(ax, curve_kwargs=_colours(curves), plot_chance_level=True, chance_level_kw=REFERENCE)
        if len(curves) == 1:
            ax.fill_between(curves[0]["fpr"], curves[0]["tpr"], color=ACCENT, alpha=0.08, linewidth=0)
        _within(ax, "False positive rate", "True positive rate")
        names = [beside(shown(c["label"]), f"AUC {ratio(c['auc'])}") for c in curves]
        legend(whole, ax, [*_lines(drawn), drawn.chance_level_], [*names, "chance"], "lower right")
        return svg(whole)


def precision_recall_curve(data: dict[str, Any], model: str) -> str:
    curves = data["curves"]
    with style():
        # where there are several curves, no corner is free of them
        whole, ax = _unit_square("Precision-recall curve", model, curves, roomy=len(curves) > 1)
        drawn = PrecisionRecallDisplay(
            precision=[c["precision"] for c in curves],
            recall=[c["recall"] for c in curves],
            prevalence_pos_label=[c["share_of_rows"] for c in curves],
        )
        drawn.plot(
            ax,
            curve_kwargs=_colours(curves, drawstyle="steps-post"),
            plot_chance_level=len(curves) == 1,
            chance_level_kw=REFERENCE,
        )
        _within(ax, "Recall", "Precision")
        lines = _lines(drawn)
        names = [beside(shown(c["label"]), f"AP {ratio(c['average_precision'])}") for c in curves]
        if len(curves) == 1:
            lines.append(drawn.chance_level_)
            names.append(f"chance ({ratio(curves[0]['share_of_rows'])})")
        legend(whole, ax, lines, names, "lower left" if len(curves) == 1 else None)
        return svg(whole)


def calibration_curve(data: dict[str, Any], model: str) -> str:
    curves = data["curves"]
    with style():
        whole, ax = _unit_square("Calibration", model, curves)
        lines = [ax.plot([0, 1], [0, 1], **REFERENCE)[0]]
        for curve, look in zip(curves, _colours(curves, marker="o", markersize=4.5), strict=True):
            points = CalibrationDisplay(curve["observed"], curve["predicted"], y_prob=None)
            lines.append(points.plot(ax=ax, ref_line=False, **look).line_)
        _within(ax, "Predicted probability", "Share of rows that are of the class")
        names = ["perfect", *(beside(shown(c["label"]), "") for c in curves)]
        legend(whole, ax, lines, names, "upper left")
        return svg(whole)


def lift_curve(data: dict[str, Any], model: str) -> str:
    """Left, the share of a class that is found among the rows rated highest; right, how many times as many
    that is as among as many rows at random."""
    curves = data["curves"]
    with style():
        whole = figure((9.4 if len(curves) <= 3 else 11.2, 4.4))
        gains, lift = whole.subplots(1, 2)
        name(gains, "Cumulative gains", "")
        name(lift, "Lift", model)
        lines = []
        for curve, look in zip(curves, _colours(curves), strict=True):
            targeted, found = np.array(curve["targeted"]), np.array(curve["found"])
            lines += gains.plot(targeted, found, **look)
            shown_from = targeted >= min(LIFT_FROM, targeted.max())
            lift.plot(targeted[shown_from], found[shown_from] / targeted[shown_from], **look)
        names = [beside(shown(c["label"]), f"{_times(c['lift_at_10'])} in the first 10%") for c in curves]
        if len(curves) == 1:
            share = curves[0]["share_of_rows"]
            lines += gains.plot([0, share, 1], [0, 1, 1], color="#9ca3af", linewidth=1, linestyle=(0, (1, 2)))
            names.append("perfect")
        lines += gains.plot([0, 1], [0, 1], **REFERENCE)
        lift.axhline(1, **REFERENCE)
        names.append("at random")
        gains.set(xlabel="Share of rows, highest rated first", ylabel="Share of the class found")
        lift.set(
            xlabel="Share of rows, highest rated first", ylabel="Times as many as at random", ylim=(0, None)
        )
        for ax in (gains, lift):
            ax.set_xlim(-0.015, 1.015)
            ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        gains.set_ylim(-0.015, 1.015)
        gains.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        legend(whole, gains, lines, names, "lower right")
        return svg(whole)


def _unit_square(
    title: str, model: str, curves: list[dict[str, Any]], *, roomy: bool = False
) -> tuple[Figure, Axes]:
    return axes(title, model, (7.2 if roomy or len(curves) > 3 else 5.2, 5.0))


def _within(ax: Axes, x: str, y: str) -> None:
    ax.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal", xlabel=x, ylabel=y)


def _colours(curves: Sequence[Any], **more: Any) -> list[dict[str, Any]]:
    # Displays draw several curves dashed and pale where they are not told
    look = {"linestyle": "-", "alpha": 1.0, **more}
    return [{"color": colour, **look} for _, colour in zip(curves, PALETTE, strict=False)]


def _lines(display: Any) -> list[Any]:
    """A Display keeps one line as it is, and several in a list."""
    return list(display.line_) if isinstance(display.line_, list) else [display.line_]


def _times(lift: float | None) -> str:
    return "-" if lift is None else f"{lift:.1f}×"
