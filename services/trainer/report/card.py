"""README.md of a run: the model card. Markdown, with every word of a user's escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from services.trainer.report import certainty
from services.trainer.report.glossary import METRIC_MEANING
from shared.contracts import METRICS, UNSET, CandidateStatus, LeaderboardRow, Notice, Plan, TaskType

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
    sections = [_head(context), _leaderboard(context)]
    if context.best is not None:
        sections.insert(1, _use(context))
        sections += [_best(context, context.best)]
    sections += [_how_scored(context), _data(context), _warnings(context), _reproduce(context)]
    if context.best is not None:
        sections.append(_safety())
    return "\n\n".join(section for section in sections if section) + "\n"


# --- sections -----------------------------------------------------------------------------------


def _head(context: ReportContext) -> str:
    plan = context.plan
    lines = [f"# {_plain(context.name)}", ""]
    kind = KINDS[plan.task_type]
    lines.append(
        f"{kind[0].upper()}{kind[1:]} of {_code(plan.target)} from the table {_code(context.file_name)} "
        f"({context.rows:,} rows, {context.columns:,} columns). Made by Trainyard on "
        f"{context.created_at:%Y-%m-%d at %H:%M} UTC, run `{context.task_id}`."
    )
    best = _row(context, context.best)
    if best is None:
        lines += ["", "**No model could be trained.** The leaderboard says why."]
    else:
        lines += ["", f"**Best model: {_plain(best.label)}** (`best_model.pkl`, the same as "
                  f"`{best.model_name}.pkl`). {_headline(best, plan)}"]  # fmt: skip
    return "\n".join(lines)


def _headline(best: LeaderboardRow, plan: Plan) -> str:
    if best.cv_mean is None:
        return f"Its `{plan.metric}` could not be validated."
    held_out = best.metrics.get(plan.metric)
    also = "" if held_out is None else f", {_number(held_out)} on held-out {_unit(plan)}"
    return f"`{plan.metric}`: {_spread(best)} in validation{also}."


def _use(context: ReportContext) -> str:
    if context.plan.task_type is TaskType.TIME_SERIES:
        horizon = context.plan.horizon or 1
        command, call = f"python predict.py --horizon {horizon}", f"print(model.predict(h={horizon}))"
        what = "`predict(h=…)` answers the next steps of every series, after the last one the model has seen."
        imports = "import joblib"
    else:
        command = "python predict.py table.csv --out predictions.csv"
        call = 'print(model.predict(pandas.read_csv("table.csv")))'
        what = (
            "`predict` takes the table as it was uploaded, without the target: unscaled, its columns in any "
            "order, with missing values and with categories never seen before."
        )
        if context.plan.task_type is TaskType.CLASSIFICATION:
            what += " It answers in the table's own labels; `predict_proba` has the probabilities."
        imports = "import joblib\nimport pandas"
    files = [
        ("best_model.pkl", "the best model"),
        ("*.pkl", "every model that was trained, by name: " + _joined(sorted(context.outcomes))),
        ("leaderboard.csv", "every model with every metric"),
        ("predict.py", "predicts from the command line; `python predict.py --help`"),
        ("requirements.txt", "the exact packages that the models need"),
        ("schema.json", "the columns that the models expect, and what they answer"),
        ("example.json", "a few rows in, and the predictions that came out"),
        ("plots/*.svg", "pictures of every model on held-out data"),
        ("SHA256SUMS", "checksums of all files; `sha256sum -c SHA256SUMS`"),
    ]
    table = _table(["file", "what it is"], [[f"`{name}`", what_] for name, what_ in files])
    return f"""## How to use it

```sh
python -m pip install -r requirements.txt
python predict.py example.json
{command}
```

The second line predicts the example and checks that this machine gives the recorded answers. In Python:

```python
{imports}

model = joblib.load("best_model.pkl")
{call}
```

{what}

{table}"""


def _leaderboard(context: ReportContext) -> str:
    plan = context.plan
    metrics = [m for m in SHOWN_METRICS[plan.task_type] if m != plan.metric]
    header = ["rank", "model", f"{plan.metric} (validation)", f"{plan.metric} (held out)"]
    done = [row for row in context.leaderboard if row.status is CandidateStatus.DONE]
    lines = [
        [str(row.rank), f"{_plain(row.label)} (`{row.model_name}`)", _spread(row)]
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
        parts.append(_table([*header, *metrics, "fit"], lines))
    rest = [row for row in context.leaderboard if row.status is not CandidateStatus.DONE]
    if rest:
        parts.append("Not on it:")
        parts.append(
            "\n".join(
                f"- {_plain(row.label)} (`{row.model_name}`): {row.status}"
                + (f", {_plain(row.reason)}" if row.reason else "")
                for row in rest
            )
        )
    return "\n\n".join(parts)


def _best(context: ReportContext, best: str) -> str:
    plan, outcome = context.plan, context.outcomes[best]
    row = _row(context, best)
    assert row is not None  # rank 1 is on the leaderboard
    metrics = _table(
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
    parts = ["## The best model", f"{_plain(row.label)}: {_plain(row.algorithm)}.", metrics, sure]
    words, inside = certainty.of_predictions(outcome.intervals)
    if inside:
        parts += [words, _table(["level", "held out inside", "mean width"], inside)]
    settings = outcome.details.get("settings")
    if isinstance(settings, str) and settings:
        parts.append(f"Settings: {_code(settings)}.")
    if outcome.importance:
        ranked = sorted(outcome.importance, key=lambda i: -i.mean)[:MOST_IMPORTANT]
        parts.append(
            f"What it relies on: how much `{plan.metric}` gets worse on held-out rows when one column is "
            "shuffled."
        )
        lines = [[_code(i.feature), f"{_number(i.mean)} ± {i.std:.2g}"] for i in ranked]
        parts.append(_table(["column", f"loss of {plan.metric}"], lines))
    parts.append(
        f"Written with Python {context.python_version} and "
        + ", ".join(map(_code, sorted(outcome.packages)))
        + "."
    )
    return "\n\n".join(part for part in parts if part)


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
    folds = details.get("folds") or plan.cv_folds
    count = f"{held:,} rows" if isinstance(held, int) else f"{plan.test_size:.0%} of the rows"
    rest = f"the other {train:,} rows" if isinstance(train, int) else "the other rows"
    scheme = (
        f"Before anything was fitted, {count} were held out, drawn at random. Each model was validated on "
        f"{rest}: fitted {folds} times, on all folds but one, and scored on that one. The mean and the "
        "standard deviation of those scores are `cv_mean` and `cv_std`, and `cv_mean` alone decides the "
        f"rank. Then each model was fitted on all of {rest}, and measured once on the held-out ones: these "
        "are the metrics."
    )
    if plan.group_column is not None:
        scheme += (
            f" Rows that share a value of {_code(plan.group_column)} are always on the same side of a split."
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
        f"{_code(plan.frequency or 'unknown')}{season}). Each model was validated on what comes before them "
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
        f"File: {_code(context.file_name)}, SHA-256 `{context.sha256}`",
        f"Size: {context.rows:,} rows, {context.columns:,} columns",
        f"Target: {_code(plan.target)}",
    ]
    if plan.task_type is not TaskType.TIME_SERIES and plan.rows != context.rows:
        facts.append(f"Rows with a target, which were used: {plan.rows:,}")
    if plan.labels is not None:
        facts.append(f"Classes ({len(plan.labels)}): {_listed(plan.labels)}")
    for role in sorted(set(plan.roles.values())):
        names = [name for name, has in plan.roles.items() if has == role]
        facts.append(f"{role.capitalize()} features ({len(names)}): {_listed(names)}")
    special = [("Group", plan.group_column), ("Time", plan.time_column), ("Series", plan.series_column)]
    facts += [f"{what} column: {_code(name)}" for what, name in special if name is not None]
    closing = "No rows of the table are in these files but those of `example.json`."
    return "\n\n".join(
        ["## Data", "\n".join(f"- {fact}" for fact in facts), closing if context.best else ""]
    ).rstrip()


def _warnings(context: ReportContext) -> str:
    seen = list(context.warnings)
    lines = [_notice(notice) for notice in context.warnings]
    for slug, outcome in sorted(context.outcomes.items()):
        lines += [f"{_notice(notice)} (`{slug}`)" for notice in outcome.warnings if notice not in seen]
    body = "\n".join(f"- {line}" for line in lines) if lines else "None."
    return f"## Warnings\n\n{body}"


def _notice(notice: Notice) -> str:
    column = "" if notice.column is UNSET else f"{_code(notice.column)}: "
    evidence = "" if notice.evidence is UNSET else f" ({_plain(notice.evidence)})"
    return f"**{_plain(notice.code)}** {column}{_plain(notice.message)}{evidence} {_plain(notice.action)}"


def _reproduce(context: ReportContext) -> str:
    body = msgspec.json.format(msgspec.json.encode(context.request), indent=2).decode()
    return f"## What was asked for\n\n`POST /ml/train` with\n\n{_fenced(body, 'json')}"


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


def _spread(row: LeaderboardRow) -> str:
    spread = "" if row.cv_mean is None or row.cv_std is None else f" ± {row.cv_std:.2g}"
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
    return ", ".join(map(_code, names[:MOST_LISTED])) + more


# --- Markdown -----------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is: no markup, no HTML, no link, one line."""
    return re.sub(r"([\\`*_\[\]<>|&#~])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A code span of one line; its fence is longer than any run of backticks within (CommonMark 6.1)."""
    line = " ".join(text.split()) or " "
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    # a bar would end the cell of a table even within code
    return f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|")


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
