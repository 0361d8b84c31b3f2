"""What a card and a run's warnings say of how sure scores and predictions are."""

from __future__ import annotations

import msgspec

from services.trainer import finish
from services.trainer.report import certainty
from shared.contracts.results import Intervals, LeaderboardRow, Uncertainty
from shared.contracts.states import CandidateStatus, TaskType
from shared.contracts.training import Plan

PLAN = Plan(
    task_type=TaskType.CLASSIFICATION,
    target="species",
    metric="accuracy",
    roles={},
    models=[],
    rows=150,
    test_size=0.2,
    cv_folds=5,
    seed=0,
    refit=True,
    split_digest="",
    deadline_s=60,
)
SPREAD = Uncertainty(
    level=0.95, rows=120, low=0.91234, high=0.98, held_out_low=0.9, held_out_high=1.0, digest=""
)


def board(*tied: bool | None) -> list[LeaderboardRow]:
    return [
        LeaderboardRow(
            rank=place,
            model_name=f"model_{place}",
            label=f"Model {place}",
            algorithm="",
            metrics={},
            cv_mean=1 - place / 100,
            cv_std=0.0,
            fit_seconds=1.0,
            predict_ms_per_row=1.0,
            size_bytes=1,
            status=CandidateStatus.DONE,
            reason=None,
            tied_with_best=ties,
        )
        for place, ties in enumerate([None, *tied], start=1)
    ]


def said(rows: list[LeaderboardRow], spread: Uncertainty | None = SPREAD) -> str:
    return certainty.of_score(PLAN, rows[0], spread, rows)


def test_a_card_says_how_far_the_score_would_move() -> None:
    text = said(board())
    assert "The 95% bootstrap interval of its `accuracy` in validation is 0.9123 to 0.98" in text
    assert "On the held-out rows it is 0.9 to 1." in text
    assert said(board(), None) == ""
    unknown = msgspec.structs.replace(SPREAD, low=None, high=None, held_out_low=None, held_out_high=None)
    assert said(board(), unknown) == ""


def test_a_card_names_what_ties() -> None:
    assert "**`model_2`, `model_4` tie with it**" in said(board(True, False, True, None))
    assert "**`model_2` ties with it**" in said(board(True, False))
    assert "No other model ties with it." in said(board(False, False))
    # of some it is not known
    assert "tie" not in said(board(False, None))


def test_a_card_says_how_often_intervals_held() -> None:
    intervals = Intervals(
        rows=400,
        edges=[10.0],
        lower={"80": [-1, -2], "95": [-3, -4]},
        upper={"80": [1, 2], "95": [3, 4]},
        coverage={"80": 0.8125, "95": 0.95},
        mean_width={"80": 3.0, "95": 6.5},
    )
    words, rows = certainty.of_predictions(intervals)
    assert "residuals of 400 rows that no fit had seen, apart in 2 bins" in words
    assert rows == [["80 %", "81.2%", "3"], ["95 %", "95.0%", "6.5"]]
    assert certainty.of_predictions(None) == ("", [])
    unmeasured = msgspec.structs.replace(intervals, coverage={}, mean_width={})
    assert certainty.of_predictions(unmeasured) == ("", [])


def test_a_run_warns_where_many_models_tie() -> None:
    [notice] = finish.many_tie(board(True, False, True, None))
    assert notice.code == "models-tied"
    assert notice.message.startswith("2 of 3 other models are as good as Model 1")
    assert notice.evidence == "Model 2, Model 4"
    assert finish.many_tie(board(True)) == []
    assert finish.many_tie(board(True, True, False, False, False)) == []
    assert finish.many_tie(board(None, None)) == []
    assert finish.many_tie([]) == []
