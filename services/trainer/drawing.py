"""Draws plot data as SVG text: one function a kind of plot, `(data, model's label) -> svg`.

Text stays text (small files, any script, searchable); labels are the user's and are never read as
mathematical notation. The same data gives the same bytes.
"""

from __future__ import annotations

import datetime as dt
import io
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

INK, SOFT, GRID, ACCENT, WARM = "#1f2937", "#6b7280", "#e5e7eb", "#2563eb", "#dc2626"
PALETTE = (
    "#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626",
    "#0891b2", "#db2777", "#65a30d", "#92400e", "#475569",
)  # fmt: skip
BLUES = LinearSegmentedColormap.from_list("blues", ["#f8fafc", "#bfdbfe", "#60a5fa", "#2563eb", "#1e3a8a"])
LABEL_LENGTH = 22

# Any: matplotlib types the keys as one long Literal
STYLE: Any = {
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "trainyard",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "path.simplify": True,
}


# --- classification -----------------------------------------------------------------------------


def confusion_matrix(data: dict[str, Any], model: str) -> str:
    """Counts, coloured by their share of the actual class (recall on the diagonal)."""
    labels = [shown(label) for label in data["labels"]]
    matrix, share = np.array(data["matrix"]), np.array(data["share_of_actual"], dtype=float)
    k = len(labels)
    side = max(3.2, 1.4 + 0.52 * k)
    with matplotlib.rc_context(STYLE):
        figure, ax = _axes("Confusion matrix", model, (side + 1.9, side + 0.9))
        mesh = ax.pcolormesh(share, cmap=BLUES, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
        ax.set(xlabel="Predicted", ylabel="Actual", aspect="equal")
        ax.invert_yaxis()
        middle = np.arange(k) + 0.5
        slanted = max(map(len, labels)) * k > 45
        ax.set_xticks(middle, labels, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        ax.set_yticks(middle, labels)
        ax.tick_params(length=0, colors=INK)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        size = 11 if k <= 4 else 9 if k <= 7 else 7.5
        for i, j in np.ndindex(k, k):
            colour = "white" if share[i, j] > 0.5 else INK if matrix[i, j] else "#9ca3af"
            percent = f"\n{share[i, j]:.0%}" if k <= 4 and matrix[i, j] else ""
            text = _count(int(matrix[i, j])) + percent
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=size)
        beside = ax.inset_axes((1.04, 0, 0.035, 1))
        bar = figure.colorbar(mesh, cax=beside, format=PercentFormatter(1, decimals=0))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        bar.set_label("Share of the actual class", color=SOFT, fontsize=9)
        return _svg(figure)


def roc_curve(data: dict[str, Any], model: str) -> str:
    curves = data["curves"]
    with matplotlib.rc_context(STYLE):
        figure, ax = _unit_square("ROC curve", model, curves)
        ax.set(xlabel="False positive rate", ylabel="True positive rate")
        lines = [
            ax.plot(curve["fpr"], curve["tpr"], color=colour)[0]
            for curve, colour in zip(curves, PALETTE, strict=False)
        ]
        if len(curves) == 1:
            ax.fill_between(curves[0]["fpr"], curves[0]["tpr"], color=ACCENT, alpha=0.08, linewidth=0)
        lines.append(ax.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (4, 4)), linewidth=1)[0])
        names = [f"{shown(c['label'])} (AUC {_ratio(c['auc'])})" for c in curves]
        _legend(figure, ax, lines, [*names, "chance"], "lower right")
        return _svg(figure)


def precision_recall_curve(data: dict[str, Any], model: str) -> str:
    curves = data["curves"]
    with matplotlib.rc_context(STYLE):
        figure, ax = _unit_square("Precision-recall curve", model, curves)
        ax.set(xlabel="Recall", ylabel="Precision")
        lines = [
            ax.plot(curve["recall"], curve["precision"], color=colour, drawstyle="steps-post")[0]
            for curve, colour in zip(curves, PALETTE, strict=False)
        ]
        names = [f"{shown(c['label'])} (AP {_ratio(c['average_precision'])})" for c in curves]
        if len(curves) == 1:
            chance = curves[0]["share_of_rows"]
            lines.append(ax.axhline(chance, color=SOFT, linestyle=(0, (4, 4)), linewidth=1))
            names.append(f"chance ({_ratio(chance)})")
        _legend(figure, ax, lines, names, "lower left")
        return _svg(figure)


def calibration_curve(data: dict[str, Any], model: str) -> str:
    curves = data["curves"]
    with matplotlib.rc_context(STYLE):
        figure, ax = _unit_square("Calibration", model, curves)
        ax.set(xlabel="Predicted probability", ylabel="Share of rows that are of the class")
        lines = [ax.plot([0, 1], [0, 1], color=SOFT, linestyle=(0, (4, 4)), linewidth=1)[0]]
        lines += [
            ax.plot(curve["predicted"], curve["observed"], color=colour, marker="o", markersize=4.5)[0]
            for curve, colour in zip(curves, PALETTE, strict=False)
        ]
        _legend(figure, ax, lines, ["perfect", *(shown(c["label"]) for c in curves)], "upper left")
        return _svg(figure)


# --- regression ---------------------------------------------------------------------------------


def prediction_error(data: dict[str, Any], model: str) -> str:
    with matplotlib.rc_context(STYLE):
        figure, ax = _axes("Predicted against actual", model, (5.2, 5.0))
        actual, predicted = np.array(data["actual"]), np.array(data["predicted"])
        _dots(ax, actual, predicted)
        low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
        margin = (high - low) * 0.04 or abs(high) * 0.04 or 1.0
        ends = (low - margin, high + margin)
        [line] = ax.plot(ends, ends, color=SOFT, linestyle=(0, (4, 4)), linewidth=1.2)
        ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"Actual{_of_rows(data)}", ylabel="Predicted")
        _magnitudes(ax.xaxis, ax.yaxis, biggest=max(map(abs, ends)))
        _legend(figure, ax, [line], ["perfect"], "upper left")
        return _svg(figure)


def residuals(data: dict[str, Any], model: str) -> str:
    with matplotlib.rc_context(STYLE):
        figure = _figure((6.6, 4.2))
        ax, side = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
        _title(ax, "Residuals", "")
        side.set_title(shown(model), loc="right", fontsize=9, color=SOFT, fontweight="normal")
        predicted, residual = np.array(data["predicted"]), np.array(data["residual"])
        _dots(ax, predicted, residual)
        ax.axhline(0, color=SOFT, linestyle=(0, (4, 4)), linewidth=1.2)
        ax.set(xlabel=f"Predicted{_of_rows(data)}", ylabel="Residual (actual − predicted)")
        edges, counts = data["histogram"]["edges"], data["histogram"]["counts"]
        side.stairs(counts, edges, orientation="horizontal", fill=True, color=ACCENT, alpha=0.55)
        side.axhline(0, color=SOFT, linestyle=(0, (4, 4)), linewidth=1.2)
        side.set_xlabel("Rows")
        side.xaxis.set_major_locator(MaxNLocator(2, integer=True))
        side.tick_params(axis="y", length=0)
        _magnitudes(ax.xaxis, biggest=np.abs(predicted).max())
        _magnitudes(ax.yaxis, biggest=np.abs(residual).max())
        _magnitudes(side.xaxis, biggest=max(counts))
        return _svg(figure)


# --- time series --------------------------------------------------------------------------------


def forecast(data: dict[str, Any], model: str) -> str:
    past_times, times = data["history"]["time"], data["time"]
    x = _positions([*past_times, *times])
    past_x, x = x[: len(past_times)], x[len(past_times) :]
    past, mean = _floats(data["history"]["value"]), _floats(data["mean"])
    with matplotlib.rc_context(STYLE):
        title = "Forecast" if data["series"] is None else f"Forecast of {shown(str(data['series']))}"
        figure, ax = _axes(title, model, (7.6, 4.2))
        handles, names = [], []

        def add(handle: Any, name: str) -> None:
            handles.append(handle)
            names.append(name)

        add(ax.plot(past_x, past, color=SOFT, linewidth=1.4)[0], "history")
        if data["actual"]:
            few = len(x) <= 60
            # what really came goes on from the history
            truth_x, truth = [*past_x[-1:], *x], [*past[-1:], *_floats(data["actual"])]
            dots: dict[str, Any] = {
                "marker": "o" if few else None,
                "markersize": 3.2,
                "markevery": slice(len(past[-1:]), None),
            }
            add(ax.plot(truth_x, truth, color=INK, linewidth=1.4, **dots)[0], "actual")
        marker = "o" if len(x) == 1 else None
        add(ax.plot(x, mean, color=ACCENT, linewidth=2.2, marker=marker)[0], "forecast")
        for level in sorted(data["bands"], key=float, reverse=True):
            lower, upper = _floats(data["bands"][level]["lower"]), _floats(data["bands"][level]["upper"])
            alpha = 0.13 if float(level) >= 90 else 0.2
            if len(x) == 1:
                band: Any = ax.vlines(x, lower, upper, color=ACCENT, alpha=alpha * 2, linewidth=10)
            else:
                band = ax.fill_between(x, lower, upper, color=ACCENT, alpha=alpha, linewidth=0)
            add(band, f"{shown(level)}% interval")
        ax.axvline(x[0], color=SOFT, linestyle=(0, (2, 3)), linewidth=1)
        ax.margins(x=0.01)
        if isinstance(x[0], dt.datetime):
            locator = AutoDateLocator(maxticks=8)
            ax.xaxis.set_major_locator(locator)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        ax.set_xlabel("Time")
        ax.set_ylabel("Value")
        _magnitudes(ax.yaxis, biggest=np.nanmax(np.abs([*past, *mean, 0.0])))
        ax.grid(visible=False, axis="x")
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
        return _svg(figure)


def _positions(times: Sequence[str]) -> list[Any]:
    """Times as dates, else as numbers, else as 0, 1, 2 …"""
    for read in (_date, float):
        try:
            return [read(time) for time in times]
        except (ValueError, OverflowError):
            continue
    return list(range(len(times)))


def _date(time: str) -> dt.datetime:
    # "2024" and "202401" are ISO dates too, but a series numbered so is drawn better by number
    if "-" not in time[1:]:
        raise ValueError(time)
    return dt.datetime.fromisoformat(time).replace(tzinfo=None)


# --- parts --------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """A user's label as it can be drawn: one line, no control characters, not too long."""
    clean = "".join(
        " " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp", "Cn", "Co") else c for c in text
    )
    clean = " ".join(clean.split()) or "(empty)"
    return clean if len(clean) <= LABEL_LENGTH else clean[: LABEL_LENGTH - 1].rstrip() + "…"


def _axes(title: str, model: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = _figure(size)
    ax = figure.subplots()
    _title(ax, title, model)
    return figure, ax


def _figure(size: tuple[float, float]) -> Figure:
    """`size` in inches of 72 points."""
    return Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1), facecolor="white")


def _title(ax: Axes, title: str, model: str) -> None:
    ax.set_title(title, loc="left")
    ax.set_title(shown(model) if model else "", loc="right", fontsize=9, color=SOFT, fontweight="normal")


def _unit_square(title: str, model: str, curves: list[dict[str, Any]]) -> tuple[Figure, Axes]:
    width = 5.2 if len(curves) <= 3 else 7.2
    figure, ax = _axes(title, model, (width, 5.0))
    ax.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    return figure, ax


def _legend(figure: Figure, ax: Axes, handles: list[Any], names: list[str], corner: Any) -> None:
    """In a corner while it is small, else beside the plot."""
    if len(handles) <= 4:
        box = ax.legend(handles, names, loc=corner, frameon=True, framealpha=0.9, edgecolor="none")
        box.set_zorder(5)
    else:
        figure.legend(handles, names, loc="outside right center")


def _dots(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    size = 30 if len(x) <= 100 else 16
    ax.scatter(x, y, s=size, color=ACCENT, alpha=0.45, linewidths=0, zorder=2)


def _of_rows(data: dict[str, Any]) -> str:
    all_shown = data["rows_shown"] == data["rows"]
    return "" if all_shown else f" ({data['rows_shown']:,} of {data['rows']:,} rows drawn)"


def _magnitudes(*axes: Any, biggest: float) -> None:
    """1200000 reads worse than 1.2M; what is smaller or beyond the prefixes stays as matplotlib has it."""
    if 1e4 <= biggest < 1e15:
        for axis in axes:
            axis.set_major_formatter(EngFormatter(sep=""))


def _count(n: int) -> str:
    return f"{n:,}" if n < 10_000 else EngFormatter(places=0 if n >= 100_000 else 1, sep="")(n)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return out.getvalue()
