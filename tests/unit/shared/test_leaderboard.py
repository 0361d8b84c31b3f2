"""Ranking and the CSV of the leaderboard."""

from __future__ import annotations

import csv
import io
import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import leaderboard
from shared.contracts.catalogue import HEADLINE, METRICS
from shared.contracts.results import LeaderboardRow, Uncertainty
from shared.contracts.states import CandidateStatus, TaskType

CLASSIFICATION = TaskType.CLASSIFICATION


def row(name: str, cv_mean: float | None = 0.5, **changes: object) -> LeaderboardRow:
    plain = LeaderboardRow(
        rank=None,
        model_name=name,
        label=name.title(),
        algorithm=f"{name} algorithm",
        metrics={"accuracy": 0.9},
        cv_mean=cv_mean,
        cv_std=0.01,
        fit_seconds=1.0,
        predict_ms_per_row=0.1,
        size_bytes=1000,
        status=CandidateStatus.DONE,
        reason=None,
    )
    return msgspec.structs.replace(plain, **changes)


def names(rows: list[LeaderboardRow]) -> list[str]:
    return [r.model_name for r in rows]


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_greater_is_better_and_smaller_is_better() -> None:
    rows = [row("a", 0.2), row("b", 0.9), row("c", 0.5)]
    assert names(leaderboard.rank(rows, "accuracy", CLASSIFICATION)) == ["b", "c", "a"]
    assert names(leaderboard.rank(rows, "log_loss", CLASSIFICATION)) == ["a", "c", "b"]
    assert names(leaderboard.rank(rows, "mase", TaskType.TIME_SERIES)) == ["a", "c", "b"]


def test_held_out_metrics_never_decide() -> None:
    rows = [row("honest", 0.8, metrics={"accuracy": 0.1}), row("lucky", 0.7, metrics={"accuracy": 1.0})]
    ranked = leaderboard.rank(rows, "accuracy", CLASSIFICATION)
    assert names(ranked) == ["honest", "lucky"]
    assert leaderboard.best(ranked) == ranked[0]


def test_ties_go_to_the_steadier_then_the_faster_then_the_slug() -> None:
    rows = [
        row("e", cv_std=None),
        row("d", cv_std=0.01, fit_seconds=None),
        row("c", cv_std=0.01, fit_seconds=2.0),
        row("b", cv_std=0.01, fit_seconds=2.0),
        row("a", cv_std=0.01, fit_seconds=1.0),
        row("z", cv_std=0.001, fit_seconds=99.0),
    ]
    assert names(leaderboard.rank(rows, "accuracy", CLASSIFICATION)) == ["z", "a", "b", "c", "d", "e"]


def test_a_model_goes_before_an_ensemble_that_is_no_better() -> None:
    rows = [row("weighted_ensemble", cv_std=0.001, fit_seconds=0.1), row("z", cv_std=0.2, fit_seconds=9.0)]
    assert names(leaderboard.rank(rows, "accuracy", CLASSIFICATION)) == ["z", "weighted_ensemble"]
    better = [row("weighted_ensemble", 0.51), row("z", 0.5)]
    assert names(leaderboard.rank(better, "accuracy", CLASSIFICATION)) == ["weighted_ensemble", "z"]


def test_what_is_not_done_comes_last_without_a_rank() -> None:
    rows = [
        row("running", None, status=CandidateStatus.RUNNING),
        row("skipped", None, status=CandidateStatus.SKIPPED, reason="out of time"),
        row("failed", 0.99, status=CandidateStatus.FAILED, reason="out of memory"),
        row("undefined", math.nan),
        row("worst", 0.0),
    ]
    ranked = leaderboard.rank(rows, "accuracy", CLASSIFICATION)
    assert names(ranked) == ["worst", "undefined", "failed", "skipped", "running"]
    assert [r.rank for r in ranked] == [1, 2, None, None, None]


def test_no_model_done_has_no_best() -> None:
    rows = [row("a", None, status=CandidateStatus.FAILED)]
    assert leaderboard.best(leaderboard.rank(rows, "accuracy", CLASSIFICATION)) is None
    assert leaderboard.best([]) is None


def test_unknown_metric_is_an_error() -> None:
    with pytest.raises(KeyError):
        leaderboard.rank([row("a")], "r2", CLASSIFICATION)


def test_undefined_metrics_are_null_in_json_and_empty_in_csv() -> None:
    ranked = leaderboard.rank(
        [row("a", metrics={"accuracy": math.nan, "brier": math.inf})], "f1_macro", CLASSIFICATION
    )
    assert ranked[0].metrics == dict.fromkeys(METRICS[CLASSIFICATION])
    flat = json.loads(msgspec.json.encode(ranked[0].flat()))
    assert flat["accuracy"] is None
    assert list(flat) == [
        *leaderboard.columns(CLASSIFICATION),
        "score_low",
        "score_high",
        "tied_with_best",
    ]
    [cell] = cells(leaderboard.to_csv(ranked, CLASSIFICATION))
    assert cell["accuracy"] == cell["brier"] == cell["roc_auc"] == cell["reason"] == ""


@pytest.mark.parametrize("task_type", list(TaskType))
def test_csv_has_the_contracts_columns_in_order(task_type: TaskType) -> None:
    ranked = leaderboard.rank([row("a")], HEADLINE[task_type], task_type)
    header = leaderboard.to_csv(ranked, task_type).split("\r\n")[0].split(",")
    assert header[:4] == ["rank", "model_name", "label", "algorithm"]
    assert header[4:-7] == list(METRICS[task_type])
    assert header[-7:] == [
        "cv_mean",
        "cv_std",
        "fit_seconds",
        "predict_ms_per_row",
        "size_bytes",
        "status",
        "reason",
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_text_a_spreadsheet_would_run_is_defused(start: str) -> None:
    reason = f"{start}HYPERLINK(1)"
    [cell] = cells(leaderboard.to_csv([row("a", reason=reason)], CLASSIFICATION))
    assert cell["reason"] == f"'{reason}"


def test_numbers_stay_numbers() -> None:
    ranked = leaderboard.rank([row("a", -0.25, metrics={"r2": -1.5e-07})], "r2", TaskType.REGRESSION)
    [cell] = cells(leaderboard.to_csv(ranked, TaskType.REGRESSION))
    assert float(cell["cv_mean"]) == -0.25
    assert float(cell["r2"]) == -1.5e-07
    assert cell["cv_mean"].startswith("-")
    assert cell["size_bytes"] == "1000"
    assert cell["status"] == "done"


def test_csv_quotes_commas_quotes_and_newlines() -> None:
    reason = 'said "no",\nthen stopped'
    text = leaderboard.to_csv([row("a", reason=reason)], CLASSIFICATION)
    assert text.endswith("\r\n")
    assert '"said ""no"",\nthen stopped"' in text
    assert cells(text)[0]["reason"] == reason


numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)
some_rows = st.lists(
    st.builds(
        row,
        st.sampled_from("abcdefghij"),
        numbers,
        cv_std=numbers,
        fit_seconds=numbers,
        status=st.sampled_from(CandidateStatus),
        reason=st.none() | st.text(),
    ),
    max_size=12,
    unique_by=lambda r: r.model_name,
)


@given(some_rows, st.sampled_from(["accuracy", "log_loss"]), st.randoms())
def test_rank_is_a_total_order_whatever_the_arrival(rows: list[LeaderboardRow], metric: str, random) -> None:
    ranked = leaderboard.rank(rows, metric, CLASSIFICATION)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert leaderboard.rank(shuffled, metric, CLASSIFICATION) == ranked
    assert leaderboard.rank(ranked, metric, CLASSIFICATION) == ranked

    done = [r for r in ranked if r.status is CandidateStatus.DONE]
    assert [r.rank for r in ranked] == [*range(1, len(done) + 1), *[None] * (len(ranked) - len(done))]
    scores = [r.cv_mean for r in done if r.cv_mean is not None]
    assert scores == sorted(scores, reverse=metric == "accuracy")
    assert all(r.cv_mean is None for r in done[len(scores) :])


@given(some_rows)
def test_csv_reads_back_with_one_line_a_row(rows: list[LeaderboardRow]) -> None:
    ranked = leaderboard.rank(rows, "accuracy", CLASSIFICATION)
    read = cells(leaderboard.to_csv(ranked, CLASSIFICATION))
    assert [c["model_name"] for c in read] == names(ranked)
    for cell, r in zip(read, ranked, strict=True):
        assert cell["cv_mean"] == ("" if r.cv_mean is None else repr(r.cv_mean))
        assert not cell["reason"].startswith(leaderboard._FORMULA)
        assert cell["reason"].removeprefix("'") == (r.reason or "").removeprefix("'")


def spread(deviations: list[float | None], digest: str = "same", low: float = 0.4) -> Uncertainty:
    return Uncertainty(
        level=0.95,
        rows=100,
        low=low,
        high=0.6,
        held_out_low=None,
        held_out_high=None,
        digest=digest,
        deviations=deviations,
    )


ALIKE = [(i - 50) / 1000 for i in range(101)]
"""Deviations of -0.05 to 0.05."""


def marked(metric: str = "accuracy", **scores: tuple[float, Uncertainty]) -> dict[str, LeaderboardRow]:
    task_type = CLASSIFICATION if metric in METRICS[CLASSIFICATION] else TaskType.REGRESSION
    board = leaderboard.rank([row(name, score) for name, (score, _) in scores.items()], metric, task_type)
    spreads = {name: told for name, (_, told) in scores.items()}
    return {r.model_name: r for r in leaderboard.marked(board, spreads, metric, task_type)}


def test_models_that_err_in_the_same_rows_are_told_apart_by_little() -> None:
    rows = marked(best=(0.9, spread(ALIKE)), near=(0.899, spread(ALIKE)))
    assert rows["near"].tied_with_best is False
    assert rows["best"].tied_with_best is None
    assert (rows["near"].score_low, rows["near"].score_high) == (0.4, 0.6)
    assert [rows[name].rank for name in ("best", "near")] == [1, 2]


def test_models_that_err_in_other_rows_need_more() -> None:
    other = ALIKE[::-1]
    rows = marked(best=(0.9, spread(ALIKE)), near=(0.85, spread(other)), far=(0.7, spread(other)))
    assert rows["near"].tied_with_best is True
    assert rows["far"].tied_with_best is False


def test_models_validated_on_other_rows_are_compared_as_independent() -> None:
    rows = marked(best=(0.9, spread(ALIKE)), near=(0.85, spread(ALIKE, digest="other")))
    assert rows["near"].tied_with_best is True


def test_the_same_answers_tie_and_smaller_is_better_is_heeded() -> None:
    assert marked(best=(0.9, spread(ALIKE)), same=(0.9, spread(ALIKE)))["same"].tied_with_best is True
    rows = marked("rmse", best=(1.0, spread(ALIKE)), worse=(1.2, spread(ALIKE[::-1])))
    assert rows["worse"].tied_with_best is False


def test_without_an_interval_nothing_is_said_to_tie() -> None:
    unknown = spread([], low=math.nan)
    rows = marked(best=(0.9, spread(ALIKE)), near=(0.9, unknown), gaps=(0.85, spread([None] * 101)))
    assert (rows["near"].tied_with_best, rows["near"].score_low) == (None, None)
    assert rows["gaps"].tied_with_best is None
    failed = row("failed", None, status=CandidateStatus.FAILED)
    [only] = leaderboard.marked([failed], {"failed": spread(ALIKE)}, "accuracy", CLASSIFICATION)
    assert only == failed


def test_uncertainties_are_read_from_outcomes_as_rows_have_them() -> None:
    told = msgspec.to_builtins(spread(ALIKE))
    outcomes = {"a": {"uncertainty": told}, "b": {"uncertainty": None}, "c": {}, "d": None}
    assert leaderboard.uncertainties(outcomes) == {"a": spread(ALIKE)}
