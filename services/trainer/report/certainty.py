"""What a model card says of how sure the scores and the predictions are."""

from __future__ import annotations

from shared.contracts.results import Intervals, LeaderboardRow, Uncertainty
from shared.contracts.states import CandidateStatus, TaskType
from shared.contracts.training import Plan


def of_score(
    plan: Plan, best: LeaderboardRow, spread: Uncertainty | None, board: list[LeaderboardRow]
) -> str:
    """How far the best model's score might move, and which models are no worse as far as that tells."""
    sentences = []
    if spread is not None:
        unit = "steps" if plan.task_type is TaskType.TIME_SERIES else "rows"
        level = f"{spread.level:.0%} bootstrap interval"
        if spread.low is not None and spread.high is not None:
            sentences.append(
                f"The {level} of its `{plan.metric}` in validation is {spread.low:.4g} to "
                f"{spread.high:.4g}: so far would it move had other rows been drawn."
            )
        if spread.held_out_low is not None and spread.held_out_high is not None:
            sentences.append(
                f"On the held-out {unit} it is {spread.held_out_low:.4g} to {spread.held_out_high:.4g}."
            )
    others = [
        row for row in board if row.status is CandidateStatus.DONE and row.model_name != best.model_name
    ]
    tied = [f"`{row.model_name}`" for row in others if row.tied_with_best]
    if tied:
        verb = "ties" if len(tied) == 1 else "tie"
        sentences.append(
            f"**{', '.join(tied)} {verb} with it**: the interval of the difference, on the same resamples, "
            "contains zero. The order among them may be chance; a faster or simpler one is as good a choice."
        )
    elif others and all(row.tied_with_best is False for row in others):
        sentences.append("No other model ties with it.")
    return " ".join(sentences)


def of_predictions(intervals: Intervals | None) -> tuple[str, list[list[str]]]:
    """A paragraph, and the rows of a table: level, share of held-out rows inside, mean width; nothing where
    there are no intervals."""
    if intervals is None:
        return "", []
    bins = len(intervals.edges) + 1
    apart = f", apart in {bins} bins by the size of the prediction" if bins > 1 else ""
    words = (
        "Prediction intervals: what lies around a prediction so that the truth is inside as often as the "
        f"level says. Conformal, from the residuals of {intervals.rows:,} rows that no fit had seen{apart}; "
        "`python predict.py table.csv --interval 80` gives them. Measured on the held-out rows:"
    )
    rows = [
        [f"{level} %", f"{intervals.coverage[level]:.1%}", f"{intervals.mean_width[level]:.4g}"]
        for level in intervals.lower
        if level in intervals.coverage
    ]
    return (words, rows) if rows else ("", [])
