"""Plot data and SVGs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from sklearn.metrics import roc_auc_score

from services.trainer import conformal, drawing, plots
from services.trainer.drawing import LABEL_LENGTH, shown
from services.trainer.learning_curve import Points
from services.trainer.outcome import Importance
from shared.contracts.results import PlotData
from shared.contracts.states import TaskType

CURVES = ["roc_curve", "precision_recall_curve", "calibration_curve", "lift_curve"]


def by_kind(made: list[PlotData]) -> dict[str, PlotData]:
    return {plot.kind: plot for plot in made}


def text_of(svg: str) -> str:
    """All text of the drawing; raises where it isn't well-formed XML."""
    return " ".join(ET.fromstring(svg).itertext())


def check(made: list[PlotData]) -> None:
    for plot in made:
        json.dumps(plot.data, allow_nan=False)
        assert len(plot.svg) < 120_000
        assert text_of(plot.svg).strip()


def scored(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    proba = rng.dirichlet(np.ones(classes), rows)
    proba[np.arange(rows), y] += 0.3
    return y, proba / proba.sum(axis=1, keepdims=True)


def test_two_classes_give_one_curve_of_the_second_label() -> None:
    y, proba = scored(3000, 2)
    labels = np.array(["no", "yes"], dtype=object)
    made = by_kind(plots.classification("xgboost", labels[y], labels[proba.argmax(1)], proba, ["no", "yes"]))
    assert list(made) == ["confusion_matrix", *CURVES]
    check(list(made.values()))
    [curve] = made["roc_curve"].data["curves"]
    assert curve["label"] == "yes"
    assert curve["auc"] == pytest.approx(roc_auc_score(y, proba[:, 1]), abs=1e-6)
    assert (curve["fpr"][0], curve["tpr"][0]) == (0, 0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1, 1)
    assert len(curve["fpr"]) == len(curve["tpr"]) <= plots.MAX_POINTS
    # the thinned curve is still the curve
    assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(curve["auc"], abs=2e-3)
    assert "XGBoost" in text_of(made["roc_curve"].svg)


def test_confusion_matrix_counts_rows_of_actual_by_columns_of_predicted() -> None:
    true = np.array(["a", "a", "a", "b"], dtype=object)
    pred = np.array(["a", "b", "b", "b"], dtype=object)
    [plot] = plots.classification("random_forest", true, pred, None, ["a", "b"])
    assert plot.data["matrix"] == [[1, 2], [0, 1]]
    assert plot.data["share_of_actual"] == [[0.333333, 0.666667], [0, 1]]
    assert plot.data["labels"] == ["a", "b"]


@pytest.mark.parametrize("labels", [[0, 1, 2], [0.0, 1.0, 2.0], ["0", "1", "2"]])
def test_labels_are_matched_whatever_type_they_have(labels: list[object]) -> None:
    y = np.array(labels)
    [plot] = plots.classification("mlp", y, y, None, labels)
    assert np.array_equal(plot.data["matrix"], np.eye(3))


def test_boolean_labels() -> None:
    y, proba = scored(50, 2)
    made = by_kind(plots.classification("mlp", y.astype(bool), y.astype(bool), proba, [False, True]))
    assert made["confusion_matrix"].data["labels"] == ["False", "True"]
    assert made["roc_curve"].data["curves"][0]["label"] == "True"


def test_at_most_ten_classes_and_the_rest_together() -> None:
    y, proba = scored(5000, 14)
    rare = y == 0
    y[rare] = 13
    y[np.flatnonzero(rare)[:2]] = 0
    made = by_kind(plots.classification("lightgbm", y, proba.argmax(1), proba, list(range(14))))
    check(list(made.values()))
    matrix = made["confusion_matrix"].data
    assert len(matrix["labels"]) == 11
    assert matrix["labels"][-1] == plots.OTHERS
    assert "0" not in matrix["labels"]
    assert "13" in matrix["labels"]
    assert np.sum(matrix["matrix"]) == 5000
    for kind in CURVES:
        curves = made[kind].data["curves"]
        assert [curve["label"] for curve in curves] == matrix["labels"][:10]
        key = {
            "roc_curve": "fpr",
            "precision_recall_curve": "recall",
            "calibration_curve": "predicted",
            "lift_curve": "found",
        }[kind]
        assert sum(len(curve[key]) for curve in curves) <= plots.MAX_POINTS


def test_curves_that_the_rows_leave_undefined_are_left_out() -> None:
    _, proba = scored(20, 3)
    only_a_and_b = np.array([0, 1] * 10)
    made = by_kind(plots.classification("mlp", only_a_and_b, only_a_and_b, proba, [0, 1, 2]))
    assert [curve["label"] for curve in made["roc_curve"].data["curves"]] == ["0", "1"]

    only_a = np.zeros(20, dtype=int)
    made = by_kind(plots.classification("mlp", only_a, only_a, proba, [0, 1, 2]))
    assert list(made) == ["confusion_matrix"]
    assert plots.classification("mlp", only_a[:0], only_a[:0], proba[:0], [0, 1, 2]) == []


def test_rows_without_finite_probabilities_are_no_part_of_the_curves() -> None:
    y, proba = scored(200, 2)
    proba[::7] = np.nan
    made = by_kind(plots.classification("mlp", y, y, proba, [0, 1]))
    check(list(made.values()))
    assert set(CURVES) < set(made)


def test_hostile_labels_are_drawn_as_they_are() -> None:
    labels = ["$x^$ <script>&", "_under\x00score\n", "", "漢字" * 40]
    y, proba = scored(80, 4)
    names = np.array(labels, dtype=object)
    made = by_kind(plots.classification("extra_trees", names[y], names[y], proba, labels))
    check(list(made.values()))
    drawn = text_of(made["roc_curve"].svg)
    assert "$x^$ <script>&" in drawn
    assert "_under score" in drawn
    assert "(empty)" in drawn
    assert "漢字" in drawn
    assert "<script>" not in made["roc_curve"].svg
    assert made["confusion_matrix"].data["labels"] == labels


@given(st.text())
def test_a_shown_label_is_one_short_line(text: str) -> None:
    label = shown(text)
    assert 0 < len(label) <= LABEL_LENGTH
    assert label.isprintable() or "\u200d" in label or not label.isascii()
    assert len(label.splitlines()) == 1


def test_regression_plots_keep_the_worst_rows_when_thinned() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(1e6, 1e5, 20_000)
    predicted = y + rng.normal(0, 1e4, 20_000)
    predicted[17] = y[17] + 9e5
    made = by_kind(plots.regression("ridge", y, predicted))
    assert list(made) == ["prediction_error", "residuals"]
    check(list(made.values()))
    error, residual = made["prediction_error"].data, made["residuals"].data
    assert len(error["actual"]) == len(error["predicted"]) == len(residual["residual"]) == plots.MAX_POINTS
    assert (error["rows"], error["rows_shown"]) == (20_000, plots.MAX_POINTS)
    assert min(residual["residual"]) == pytest.approx(-9e5, rel=1e-4)
    assert sum(residual["histogram"]["counts"]) == 20_000
    assert len(residual["histogram"]["edges"]) == len(residual["histogram"]["counts"]) + 1
    assert "500 of 20,000 rows drawn" in text_of(made["residuals"].svg)


@pytest.mark.parametrize(
    ("y", "predicted"),
    [
        ([3.0], [3.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([1e-9, 2e-9, 3e-9], [1e-9, 1e-9, 1e-9]),
        ([1e12, 1e12 + 1], [1e12, 1e12]),
        ([0.0], [4503599627370498.0]),
        ([5e-324, 0.0], [0.0, 0.0]),
        ([math.nan, 1.0, 2.0, 1e308], [1.0, math.inf, 2.5, -1e308]),
    ],
)
def test_regression_of_few_equal_tiny_or_broken_numbers(y: list[float], predicted: list[float]) -> None:
    made = plots.regression("ridge", y, predicted)
    assert [plot.kind for plot in made] == ["prediction_error", "residuals"]
    check(made)


def test_regression_without_a_finite_pair_has_no_plot() -> None:
    assert plots.regression("ridge", [math.nan], [1.0]) == []
    assert plots.regression("ridge", [], []) == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=8))
def test_regression_never_fails(pairs: list[tuple[float, float]]) -> None:
    check(plots.regression("ridge", *map(list, zip(*pairs, strict=True))))


def months(n: int, start: int = 0) -> list[str]:
    return [f"{2000 + i // 12}-{i % 12 + 1:02}-01T00:00:00" for i in range(start, start + n)]


def test_forecast_shows_the_end_of_history() -> None:
    mean = np.arange(12.0)
    bands = {"80": (mean - 1, mean + 1), "95": (mean - 2, mean + 2)}
    history = (months(200), np.arange(200.0))
    [plot] = plots.forecast("auto_ets", months(12, 200), mean + 0.5, mean, bands, history, series="shop 1")
    check([plot])
    assert plot.kind == "forecast"
    assert plot.data["time"] == months(12, 200)
    assert plot.data["mean"] == mean.tolist()
    assert plot.data["actual"] == (mean + 0.5).tolist()
    assert plot.data["bands"]["95"] == {"lower": (mean - 2).tolist(), "upper": (mean + 2).tolist()}
    assert plot.data["history"]["time"] == months(60, 140)
    assert plot.data["history"]["value"][-1] == 199
    drawn = text_of(plot.svg)
    for words in ("Forecast of shop 1", "AutoETS", "95% interval", "80% interval", "history", "actual"):
        assert words in drawn


def test_a_long_forecast_is_thinned_together_with_its_history() -> None:
    mean = np.sin(np.arange(3000.0))
    times = [str(i) for i in range(5000, 8000)]
    history = ([str(i) for i in range(5000)], np.cos(np.arange(5000.0)))
    [plot] = plots.forecast("auto_ets", times, [None] * 3000, mean, {"80": (mean, mean)}, history)
    check([plot])
    data = plot.data
    points = len(data["time"]) + len(data["history"]["time"])
    assert plots.MAX_POINTS // 2 < points <= plots.MAX_POINTS
    assert data["history"]["time"][-1] == "4999"
    assert data["time"][0] == "5000"
    assert set(data["actual"]) == {None}
    steps = np.diff([int(t) for t in data["history"]["time"] + data["time"][1:]])
    assert set(steps[:10]) == set(steps[-10:]) == {12}


@pytest.mark.parametrize(
    "times",
    [["2024-01-01"], ["2024-01-01T00:00:00+02:00"], ["7"], ["Q1"], ["-3.5"], ["2024"]],
)
def test_a_forecast_of_one_step_without_history(times: list[str]) -> None:
    made = plots.forecast("seasonal_naive", times, None, [1.5], {"80": ([1.0], [math.nan])}, ([], []))
    check(made)
    assert made[0].data["bands"]["80"] == {"lower": [1.0], "upper": [None]}
    assert made[0].data["actual"] == []


def test_no_steps_no_plot() -> None:
    assert plots.forecast("auto_ets", [], None, [], {}, (months(3), [1.0, 2.0, 3.0])) == []


def test_the_same_rows_give_the_same_bytes() -> None:
    y, proba = scored(100, 3)
    first = plots.classification("mlp", y, y, proba, [0, 1, 2])
    assert plots.classification("mlp", y, y, proba, [0, 1, 2]) == first


def test_drawing_leaves_nothing_to_pyplot_and_the_global_style_alone() -> None:
    code = (
        "import sys, matplotlib, numpy as np\n"
        # asking for `backend` looks for a display
        "style = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = style()\n"
        "from services.trainer import plots\n"
        "y = np.array([0, 1] * 20); p = np.linspace(0, 1, 40)\n"
        "plots.classification('mlp', y, y, np.c_[1 - p, p], [0, 1]); plots.regression('mlp', y, p)\n"
        "assert sys.modules['matplotlib.pyplot'].get_fignums() == []\n"
        "assert style() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_lift_is_how_many_times_as_many_are_found_as_at_random() -> None:
    y = np.array([1] * 10 + [0] * 90)
    perfect = np.linspace(1, 0, 100)
    made = by_kind(plots.classification("mlp", y, y, np.c_[1 - perfect, perfect], [0, 1]))
    [curve] = made["lift_curve"].data["curves"]
    assert curve["share_of_rows"] == 0.1
    assert curve["lift_at_10"] == 10
    assert (curve["targeted"][0], curve["found"][0]) == (0, 0)
    assert (curve["targeted"][-1], curve["found"][-1]) == (1, 1)
    assert curve["found"][curve["targeted"].index(0.05)] == 0.5
    drawn = text_of(made["lift_curve"].svg)
    for words in ("Cumulative gains", "Lift", "1 (10.0× in the first 10%)", "at random", "perfect"):
        assert words in drawn


def test_a_label_from_right_to_left_leaves_what_follows_where_it_is() -> None:
    labels = ["\u05e9\u05dc\u05d5\u05dd", "a\u202egnp.exe", "c"]
    y, proba = scored(60, 3)
    names = np.array(labels, dtype=object)[y]
    drawn = by_kind(plots.classification("mlp", names, names, proba, labels))["roc_curve"].svg
    assert "\u2068\u05e9\u05dc\u05d5\u05dd\u2069 (AUC" in drawn
    assert "agnp.exe (AUC" in drawn
    assert "\u202e" not in drawn


def test_long_names_are_shortened_where_they_do_not_differ() -> None:
    names = [f"address_of_the_customer_for_the_delivery_{part}" for part in ("street", "postcode")]
    short = [drawing.shown_beside(name) for name in names]
    assert len(set(short)) == 2
    assert all(len(name) <= drawing.LONGEST_BESIDE for name in short)
    assert short[1].endswith("postcode")
    assert drawing.shown_beside("size") == "size"


def test_importance_shows_the_greatest_losses_with_their_spread() -> None:
    losses = [Importance(f"column {i}", i / 100, 0.005) for i in range(-2, 25)]
    [plot] = plots.importance("ridge", "r2", losses)
    check([plot])
    assert plot.kind == "importance"
    shown_columns = plot.data["columns"]
    assert shown_columns[0] == {"feature": "column 24", "mean": 0.24, "std": 0.005}
    assert len(shown_columns) == plots.MOST_IMPORTANT
    assert plot.data["columns_in_all"] == 27
    drawn = text_of(plot.svg)
    assert "Loss of r2 when the column is shuffled" in drawn
    assert "the 7 least important are not shown" in drawn
    assert plots.importance("ridge", "r2", []) == []


@pytest.mark.parametrize("mean", [0.0, 1e-300, 1e12, -5.0])
def test_importance_of_one_column(mean: float) -> None:
    check(plots.importance("ridge", "rmse", [Importance("size", mean, 0.0)]))


def test_learning_curve_has_a_band_for_each_known_score() -> None:
    points = Points(
        rows=[50, 100, 200],
        training=np.array([[0.9, 0.8], [0.85, 0.8], [math.nan, math.nan]]),
        validation=np.array([[0.5, 0.6], [0.6, 0.65], [0.7, 0.7]]),
    )
    [plot] = plots.learning_curve("ridge", TaskType.REGRESSION, "r2", points)
    check([plot])
    assert plot.kind == "learning_curve"
    assert plot.data["rows"] == [50, 100, 200]
    assert plot.data["validation"]["mean"] == [0.55, 0.625, 0.7]
    assert plot.data["validation"]["std"] == [0.05, 0.025, 0]
    assert plot.data["training"]["mean"] == [0.85, 0.825, None]
    assert plot.data["greater_is_better"] is True
    drawn = text_of(plot.svg)
    for words in ("Learning curve", "r2 (greater is better)", "training", "validation", "200"):
        assert words in drawn
    assert plots.learning_curve("ridge", TaskType.REGRESSION, "r2", None) == []
    points.validation[0, 0] = 1e200
    assert plots.learning_curve("ridge", TaskType.REGRESSION, "r2", points) == []
    [plot] = plots.members_learning_curve("weighted_ensemble", "Ridge", plot.data)
    check([plot])
    assert plot.data["member"] == "Ridge" and plot.data["rows"] == [50, 100, 200]
    assert "Learning curve of Ridge" in text_of(plot.svg) and "Weighted Ensemble" in text_of(plot.svg)
    assert plots.members_learning_curve("weighted_ensemble", "Ridge", None) == []


HINTING = 9
"""Points by which letters are drawn wider than an SVG's reader may draw them."""

LONG = [f"{word} voters of the northern districts" for word in ("Undecided", "Decided", "Absent", "Other")]


def long_classes() -> list[PlotData]:
    y, proba = scored(200, 4)
    truth, said = (np.array([LONG[i] for i in codes]) for codes in (y, proba.argmax(axis=1)))
    return plots.classification("hist_gradient_boosting", truth, said, proba, LONG)


def long_columns() -> list[PlotData]:
    losses = [Importance(f"{i}_a_column_of_a_name_without_an_end_{i}", 1 / (i + 1), 0.1) for i in range(30)]
    return plots.importance("hist_gradient_boosting", "median_absolute_error", losses)


@pytest.mark.parametrize("made", [long_classes, long_columns])
def test_no_text_is_cut_off_and_no_title_is_written_over(
    made: Callable[[], list[PlotData]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Looked(FigureCanvasSVG):
        def print_svg(self, filename: Any, **options: Any) -> None:
            super().print_svg(filename, **options)
            renderer = FigureCanvasAgg(self.figure).get_renderer()
            page = self.figure.bbox.padded(HINTING)
            for ax in self.figure.axes:
                left, right = (
                    title.get_window_extent(renderer) for title in (ax._left_title, ax._right_title)
                )
                assert left.x1 < right.x0 + HINTING or not left.width or not right.width
                for label in (ax.xaxis.label, ax.yaxis.label):
                    box = label.get_window_extent(renderer)
                    assert page.x0 < box.x0 and box.x1 < page.x1, label.get_text()
                    assert page.y0 < box.y0 and box.y1 < page.y1, label.get_text()
                seen.append(ax.xaxis.label.get_text())

    monkeypatch.setattr(drawing, "FigureCanvasSVG", Looked)
    drawn = made()
    assert len(seen) >= len(drawn)


def test_intervals_are_drawn_around_predictions() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0, 100, 800)
    truth = predicted + rng.normal(0, 1, 800) * predicted / 10
    intervals = conformal.calibrated(truth, predicted, (truth, predicted))
    made = by_kind(plots.regression("ridge", truth, predicted, intervals))
    check(list(made.values()))
    data = made["prediction_error"].data["intervals"]
    assert list(data["lower"]) == list(data["coverage"]) == ["80", "95"]
    assert len(data["lower"]["80"]) == len(data["edges"]) + 1 > 2
    drawn = text_of(made["prediction_error"].svg)
    assert "80% interval (held 8" in drawn
    assert "95% interval (held 9" in drawn
    assert "intervals" not in by_kind(plots.regression("ridge", truth, predicted))["prediction_error"].data
