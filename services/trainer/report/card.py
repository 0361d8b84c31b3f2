"""README.md of a run: the model card. Markdown, with every word of a user's escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from services.trainer.report import advice, certainty, usage
from services.trainer.report.glossary import METRIC_MEANING
from services.trainer.report.markdown import code, fenced, plain, table
from shared.contracts.catalogue import METRICS
from shared.contracts.results import LeaderboardRow
from shared.contracts.states import CandidateStatus, TaskType
from shared.contracts.training import Plan

if TYPE_CHECKING:
    from services.trainer.report import ReportContext

SHOWN_METRICS: dict[TaskType, list[str]] = {
    TaskType.CLASSIFICATION: ["accuracy", "balanced_accuracy", "f1_macro", "roc_auc", "log_loss"],
    TaskType.REGRESSION: ["r2", "rmse", "mae", "mape"],
    TaskType.TIME_SERIES: ["mase", "smape", "rmse", "mae"],
}
"""Columns of the short leaderboard; `leaderboard.csv` has them all."""

KINDS = {
    TaskType.CLASSIFICATION: "classification",
    TaskType.REGRESSION: "regression",
    TaskType.TIME_SERIES: "time series forecasting",
}
MOST_LISTED = 40
"""Columns, labels and features that are named one by one."""
MOST_IMPORTANT = 15


def text(context: ReportContext) -> str:
    """The whole card."""
    sections = [_head(context)]
    if any(map(advice.is_leak, context.warnings)):  # before anybody reads a score
        sections.append(advice.warnings(context))
    if context.best is not None:
        sections.append(usage.text(context, context.best))
    sections.append(_leaderboard(context))
    if context.best is not None:
        sections.append(_best(context, context.best))
    sections += [_how_scored(context), _data(context)]
    if not any(map(advice.is_leak, context.warnings)):
        sections.append(advice.warnings(context))
    if context.best is not None:
        sections += [advice.limits(context), _safety()]
        scripts = ["predict.py"] + ["predict_onnx.py"] * (context.plan.task_type is not TaskType.TIME_SERIES)
        packages = [each.packages for each in context.outcomes.values()]
        sections.append(advice.licences(packages, scripts))
    sections.append(_reproduce(context))
    return "\n\n".join(section for section in sections if section) + "\n"


# --- sections -----------------------------------------------------------------------------------


def _head(context: ReportContext) -> str:
    plan = context.plan
    lines = [f"# {plain(context.name)}", ""]
    kind = KINDS[plan.task_type]
    lines.append(
        f"{kind[0].upper()}{kind[1:]} of {code(plan.target)} from the table {code(context.file_name)} "
        f"({context.rows:,} rows, {context.columns:,} columns). Made by Trainyard on "
        f"{context.created_at:%Y-%m-%d at %H:%M} UTC, run `{context.task_id}`."
    )
    best = _row(context, context.best)
    if best is None:
        lines += ["", "**No model could be trained.** The leaderboard says why."]
    else:
        lines += ["", f"**Best model: {plain(best.label)}** (`best_model.pkl`, the same as "
                  f"`{best.model_name}.pkl`). {_headline(context, best)}"]  # fmt: skip
    return "\n".join(lines)


def _headline(context: ReportContext, best: LeaderboardRow) -> str:
    plan = context.plan
    if best.cv_mean is None:
        return f"Its `{plan.metric}` could not be validated."
    held_out = best.metrics.get(plan.metric)
    also = "" if held_out is None else f", {_number(held_out)} on held-out {_unit(plan)}"
    return f"`{plan.metric}`: {_spread(context, best)} in validation{also}."


def _leaderboard(context: ReportContext) -> str:
    plan = context.plan
    metrics = [m for m in SHOWN_METRICS[plan.task_type] if m != plan.metric]
    header = ["rank", "model", f"{plan.metric} (validation)", f"{plan.metric} (held out)"]
    done = [row for row in context.leaderboard if row.status is CandidateStatus.DONE]
    lines = [
        [str(row.rank), f"{plain(row.label)} (`{row.model_name}`)", _spread(context, row)]
        + [_number(row.metrics.get(name)) for name in [plan.metric, *metrics]]
        + [_seconds(row.fit_seconds)]
        for row in done
    ]
    parts = ["## Leaderboard"]
    if done:
        better = "greater" if METRICS[plan.task_type][plan.metric] else "smaller"
        parts.append(
            f"Ranked by `{plan.metric}` in validation ({better} is better), never by the held-out "
            f"{_unit(plan)}. `leaderboard.csv` has every metric."
        )
        parts.append(table([*header, *metrics, "fit"], lines))
    rest = [row for row in context.leaderboard if row.status is not CandidateStatus.DONE]
    if rest:
        parts.append("Not on it:")
        parts.append(
            "\n".join(
                f"- {plain(row.label)} (`{row.model_name}`): {row.status}"
                + (f", {plain(row.reason)}" if row.reason else "")
                for row in rest
            )
        )
    return "\n\n".join(parts)


def _best(context: ReportContext, best: str) -> str:
    plan, outcome = context.plan, context.outcomes[best]
    row = _row(context, best)
    assert row is not None  # rank 1 is on the leaderboard
    metrics = table(
        ["metric", "held out", "better", "what it says"],
        [
            [
                f"`{name}`",
                _number(row.metrics.get(name)),
                "greater" if greater else "smaller",
                METRIC_MEANING[name],
            ]
            for name, greater in METRICS[plan.task_type].items()
        ],
    )
    sure = certainty.of_score(plan, row, outcome.uncertainty, context.leaderboard)
    parts = ["## The best model", f"{plain(row.label)}: {plain(row.algorithm)}.", metrics, sure]
    words, inside = certainty.of_predictions(outcome.intervals)
    if inside:
        parts += [words, table(["level", "held out inside", "mean width"], inside)]
    parts.append(_pictures(context, best))
    settings = outcome.details.get("settings")
    if isinstance(settings, str) and settings:
        parts.append(f"Settings: {code(_without_defaults(settings))}.")
    if outcome.importance:
        ranked = sorted(outcome.importance, key=lambda i: -i.mean)
        shown = [i for i in ranked if i.mean > 0][:MOST_IMPORTANT] or ranked[:MOST_IMPORTANT]
        parts.append(
            f"What it relies on: how much `{plan.metric}` gets worse on held-out rows when one column is "
            "shuffled."
        )
        lines = [[code(i.feature), f"{_number(i.mean)} ± {i.std:.2g}"] for i in shown]
        parts.append(table(["column", f"loss of {plan.metric}"], lines))
        if rest := [i.feature for i in ranked if i not in shown]:
            least = (
                "less" if shown[-1].mean > 0 and ranked[len(shown)].mean > 0 else "nothing that could be seen"
            )
            parts.append(
                f"The other {len(rest):,} lose {least}."
                if len(rest) > 1
                else f"{code(rest[0])} loses {least}."
            )
    parts.append(
        f"Written with Python {context.python_version} and "
        + ", ".join(map(code, sorted(outcome.packages)))
        + "."
    )
    return "\n\n".join(part for part in parts if part)


def _pictures(context: ReportContext, best: str) -> str:
    """The best model's plots, as Markdown shows them."""
    kinds = [plot.kind for plot in context.outcomes[best].plots]
    return "\n".join(f"![{kind.replace('_', ' ').capitalize()}](plots/{best}_{kind}.svg)" for kind in kinds)


def _without_defaults(settings: str) -> str:
    """Without what is not set: XGBoost's names all that there is."""
    return re.sub(r"\b\w+=None(, |(?=\)))", "", settings).replace(", )", ")")


def _how_scored(context: ReportContext) -> str:
    plan = context.plan
    scheme = _series_scheme(context) if plan.task_type is TaskType.TIME_SERIES else _table_scheme(context)
    facts = [
        f"Split digest (SHA-256 of what was held out): `{plan.split_digest}`",
        f"Seed: {plan.seed}",
    ]
    refit = _refit(context)
    return "\n\n".join(
        part for part in ["## How it was scored", scheme, refit, "\n".join(f"- {f}" for f in facts)] if part
    )


def _table_scheme(context: ReportContext) -> str:
    plan, details = context.plan, _details(context)
    held, train = details.get("rows_held_out"), details.get("rows_train")
    done = sorted({o.details.get("folds") or plan.cv_folds for o in context.outcomes.values()}) or [
        plan.cv_folds
    ]
    folds = str(done[0]) if len(done) == 1 else f"{done[0]} to {done[-1]}"
    times = "once" if folds == "1" else f"{folds} times"
    count = f"{held:,} rows" if isinstance(held, int) else f"{plan.test_size:.0%} of the rows"
    rest = f"the other {train:,} rows" if isinstance(train, int) else "the other rows"
    scheme = (
        f"Before anything was fitted, {count} were held out, drawn at random. Each model was validated on "
        f"{rest}: fitted {times}, on all of {plan.cv_folds} folds but one, and scored on that one. The mean "
        "and the standard deviation of those scores are `cv_mean` and `cv_std`, and `cv_mean` alone decides "
        f"the rank. Then each model was fitted on all of {rest}, and measured once on the held-out ones: "
        "these are the metrics."
    )
    if plan.group_column is not None:
        scheme += (
            f" Rows that share a value of {code(plan.group_column)} are always on the same side of a split."
        )
    elif plan.task_type is TaskType.CLASSIFICATION:
        scheme += " Every split keeps the shares of the classes."
    return scheme


def _series_scheme(context: ReportContext) -> str:
    plan, windows = context.plan, _details(context).get("windows")
    tests = f"{windows} backtests" if isinstance(windows, int) and windows != 1 else "one backtest"
    season = f", a season of {plan.season_length} steps" if (plan.season_length or 1) > 1 else ""
    return (
        f"The last {plan.horizon} steps of each series were held out (frequency "
        f"{code(plan.frequency or 'unknown')}{season}). Each model was validated on what comes before them "
        f"in {tests}: fitted on the past and scored on the {plan.horizon} steps that followed. The mean and "
        "the standard deviation of those scores are `cv_mean` and `cv_std`, and `cv_mean` alone decides the "
        "rank. Then each model was fitted on all that comes before the held-out steps, and measured once on "
        "those: these are the metrics."
    )


def _refit(context: ReportContext) -> str:
    if not context.outcomes:
        return ""
    plan = context.plan
    whole = f"all {plan.rows:,} rows" if plan.task_type is not TaskType.TIME_SERIES else "the whole series"
    part = (
        "the training rows"
        if plan.task_type is not TaskType.TIME_SERIES
        else "what comes before the held-out steps"
    )
    without = [s for s, o in sorted(context.outcomes.items()) if not o.details.get("refit", plan.refit)]
    if len(without) == len(context.outcomes):
        return f"The models handed over are those that were measured: fitted on {part} only."
    note = (
        f"**The models handed over were then fitted again on {whole}**, with the same configuration: the "
        "scores are those of the fits before, and the models themselves have seen the held-out part."
    )
    if without:
        note += f" Not so {_joined(without)}: fitted on {part} only."
    return note


def _data(context: ReportContext) -> str:
    plan = context.plan
    facts = [
        f"File: {code(context.file_name)}, SHA-256 `{context.sha256}`",
        f"Size: {context.rows:,} rows, {context.columns:,} columns",
        f"Target: {code(plan.target)}",
    ]
    if plan.task_type is not TaskType.TIME_SERIES and plan.rows != context.rows:
        facts.append(f"Rows with a target, which were used: {plan.rows:,}")
    if plan.labels is not None:
        facts.append(f"Classes ({len(plan.labels)}): {_listed(plan.labels)}")
    for role in sorted(set(plan.roles.values())):
        names = [name for name, has in plan.roles.items() if has == role]
        facts.append(f"{role.capitalize()} features ({len(names)}): {_listed(names)}")
    special = [("Group", plan.group_column), ("Time", plan.time_column), ("Series", plan.series_column)]
    facts += [f"{what} column: {code(name)}" for what, name in special if name is not None]
    closing = advice.what_is_inside(context)
    return "\n\n".join(
        ["## Data", "\n".join(f"- {fact}" for fact in facts), closing if context.best else ""]
    ).rstrip()


def _reproduce(context: ReportContext) -> str:
    body = msgspec.json.format(msgspec.json.encode(context.request), indent=2).decode()
    return f"## What was asked for\n\n`POST /ml/train` with\n\n{fenced(body, 'json')}"


def _safety() -> str:
    return """## Before you open a pickle

A pickle runs code when it is opened. Open only those whose origin you trust and whose checksum is right
(`sha256sum -c SHA256SUMS`; `predict.py` checks it for you), and with the packages of `requirements.txt`."""


# --- values -------------------------------------------------------------------------------------


def _row(context: ReportContext, slug: str | None) -> LeaderboardRow | None:
    return next((row for row in context.leaderboard if row.model_name == slug), None)


def _details(context: ReportContext) -> dict[str, Any]:
    return {} if context.best is None else context.outcomes[context.best].details


def _unit(plan: Plan) -> str:
    return "steps" if plan.task_type is TaskType.TIME_SERIES else "rows"


def _spread(context: ReportContext, row: LeaderboardRow) -> str:
    """The mean of the validation scores ± their standard deviation, which a single one has not."""
    details = context.outcomes[row.model_name].details if row.model_name in context.outcomes else {}
    alone = 1 in (details.get("folds"), details.get("windows"))
    spread = "" if alone or row.cv_mean is None or row.cv_std is None else f" ± {row.cv_std:.2g}"
    return _number(row.cv_mean) + spread


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} s"


def _joined(slugs: Sequence[str]) -> str:
    return ", ".join(f"`{slug}`" for slug in slugs)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(map(code, names[:MOST_LISTED])) + more
