"""What is said of one forecaster's fit: what was left out, what stood in, what it lost to."""

from __future__ import annotations

from services.trainer.candidates import series_models, time_series
from services.trainer.candidates.time_series import Forecaster
from shared.contracts.catalogue import METRICS
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.errors import CannotTrain

Scores = dict[str, float | None]
Compared = tuple[str, Scores, Scores]
"""The metric that ranks, a model's means over the backtests, and the seasonal naive's."""


def beats(metric: str, scores: Scores, naive: Scores) -> bool | None:
    """Whether a model is ahead of the seasonal naive on the same backtests; None where one has no score."""
    ours, theirs = scores[metric], naive[metric]
    if ours is None or theirs is None:
        return None
    return ours > theirs if METRICS[TaskType.TIME_SERIES][metric] else ours < theirs


def about(
    model_name: str,
    final: Forecaster,
    *,
    series: int,
    longest: int,
    history: int,
    kept: int,
    cut_offs: int,
    refit_skipped: bool,
    naive: Compared | None,
) -> list[Notice]:
    """`longest`: steps of the longest series, `history`: how many the model saw; `kept` of `cut_offs` were
    forecast with parameters of an earlier one; `naive`: where the seasonal naive was no worse.

    Raises CannotTrain where the model stands behind none of the forecasts.
    """
    said = []
    if naive is not None:
        said.append(loses(*naive))
    if kept:
        said.append(_parameters_kept(kept, cut_offs))
    if refit_skipped:
        said.append(_refit_skipped())
    if longest > history:
        said.append(_history_shortened(history, longest))
    if not time_series.is_lag_model(final):
        effort = _effort(model_name, final)
        if effort is not None:
            said.append(effort)
    replaced = time_series.replaced(final)
    if replaced and len(replaced) == series:
        raise CannotTrain("the model could not be fitted on any of the series")
    if replaced:
        said.append(_series_replaced(replaced, series))
    return said


def _effort(model_name: str, final: Forecaster) -> Notice | None:
    model = final.models[0]
    inner = getattr(model, "trend_forecaster", model)
    forms = str(getattr(inner, "model", "ZZZ"))
    if model_name not in series_models.SEARCHING or (
        forms[:1] != "A" and not getattr(inner, "approximation", 0)
    ):
        return None
    return Notice(
        code="search-shortened",
        message="Fewer forms of this model were tried: there was no time for all of them.",
        evidence=time_series.settings(final)[:200],
        action="Give a larger time_budget_s, or fewer models, for the full search.",
    )


def loses(metric: str, scores: Scores, naive: Scores) -> Notice:
    return Notice(
        code="loses-to-seasonal-naive",
        message="The seasonal naive, which repeats the last season, forecasts the backtests no worse.",
        evidence=f"{metric} {scores[metric]:.4g} against {naive[metric]:.4g}",
        action="Prefer a model that is ahead of it.",
    )


def _parameters_kept(kept: int, cut_offs: int) -> Notice:
    return Notice(
        code="validation-shortened",
        message=f"At {kept} of {cut_offs} cut-offs the model was not estimated anew: there was no time.",
        evidence=f"{kept} of {cut_offs}",
        action="It forecast the same steps as all models, with parameters of an earlier cut-off.",
    )


def _refit_skipped() -> Notice:
    return Notice(
        code="refit-skipped",
        message="There was no time to fit the model again on the whole series.",
        action="The model handed over has not seen the held-out steps: it forecasts from before them.",
    )


def _history_shortened(history: int, longest: int) -> Notice:
    return Notice(
        code="history-shortened",
        message=f"This model was fitted on the last {history:,} steps of each series.",
        action="Earlier steps were left out: its time grows with them, what it learns hardly does.",
        evidence=f"the longest series has {longest:,} steps",
    )


def _series_replaced(replaced: list[object], series: int) -> Notice:
    return Notice(
        code="series-replaced",
        message=f"This model could not be fitted on {len(replaced)} of {series} series.",
        action="A seasonal naive forecasts them in its place.",
        evidence=", ".join(repr(name) for name in replaced[:3]),
    )
