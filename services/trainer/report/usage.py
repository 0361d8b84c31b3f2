"""What a model card says of how the models are used: what to type, what to give, and which file is what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.trainer.report.markdown import code, fenced, table
from shared.contracts.catalogue import ENSEMBLES
from shared.contracts.states import TaskType
from shared.contracts.training import Plan

if TYPE_CHECKING:
    from services.trainer.report import ReportContext

SHOWN_ROWS = 2
"""Of a table of the steps to come."""


def text(context: ReportContext, best: str) -> str:
    series = context.plan.task_type is TaskType.TIME_SERIES
    commands, python, words = _series(context, best) if series else _table(context, best)
    files = [
        ("best_model.pkl", "the best model"),
        ("*.pkl", "every model that was trained, by name: " + _joined(sorted(context.outcomes))),
        *([] if series else GRAPHS),
        ("leaderboard.csv", "every model with every metric"),
        ("predict.py", "predicts from the command line; `python predict.py --help`"),
        ("requirements.txt", "the exact packages that the models need"),
        ("schema.json", "the columns that the models expect, and what they answer"),
        ("example.json", "a few rows in, and the predictions that came out"),
        ("plots/*.svg", f"pictures of every model on held-out {'steps' if series else 'rows'}"),
        ("SHA256SUMS", "checksums of all files; `sha256sum -c SHA256SUMS`"),
    ]
    commands = ["python -m pip install -r requirements.txt", "python predict.py example.json", *commands]
    checks = "The second line predicts the example and checks that this machine gives the recorded answers."
    return "\n\n".join(
        [
            "## How to use it",
            fenced("\n".join(commands), "sh"),
            checks + (" In Python:" if python else ""),
            *([fenced(python, "python")] if python else []),
            *words,
            table(["file", "what it is"], [[f"`{name}`", what] for name, what in files]),
        ]
    )


GRAPHS = [
    (
        "*.onnx",
        "the same models as graphs for ONNX Runtime, where they could be converted and predict the same",
    ),
    ("onnx.json", "what goes into each graph and how near it is to its pickle, or why there is none"),
    (
        "predict_onnx.py",
        "runs a graph, with the packages `onnxruntime` and `pandas` alone: `python predict.py table.csv "
        "--model best_model.onnx`",
    ),
]


def _table(context: ReportContext, best: str) -> tuple[list[str], str, list[str]]:
    """Commands, Python, and what is to be said."""
    commands = ["python predict.py table.csv --out predictions.csv"]
    words = (
        "`predict` takes the table as it was uploaded, without the target: unscaled, its columns in any "
        "order, with missing values and with categories never seen before."
    )
    if context.plan.task_type is TaskType.CLASSIFICATION:
        commands.append("python predict.py table.csv --proba")
        words += " It answers in the table's own labels; `predict_proba` has the probabilities."
    elif context.outcomes[best].intervals is not None:
        commands.append("python predict.py table.csv --interval 80")
    python = (
        'import joblib\nimport pandas\n\nmodel = joblib.load("best_model.pkl")\n'
        'print(model.predict(pandas.read_csv("table.csv")))'
    )
    return commands, python, [words]


def _series(context: ReportContext, best: str) -> tuple[list[str], str, list[str]]:
    plan, outcome = context.plan, context.outcomes[best]
    horizon = plan.horizon or 1
    needing = {slug for slug, each in context.outcomes.items() if asks_ahead(each.example.rows)}
    ahead = best in needing
    given = "steps_to_come.csv" if ahead else f"--horizon {horizon}"
    commands = [f"python predict.py {given} --out forecast.csv"]
    if outcome.details.get("intervals") is not None:
        commands.append(f"python predict.py {given} --interval 80")
    python = ""
    words = [
        f"A forecast is of the next steps of {'every series' if plan.series_column else 'the series'}, after "
        f"the last one that the model has seen: a row for each, with {_names(plan)}."
    ]
    if best in ENSEMBLES:
        words.append(
            "The best model is an average: its pickle is a dict of the `members`, objects of their own "
            "libraries, with their `weights`. `average` in `predict.py` adds their forecasts up."
        )
    elif not ahead:
        python = f'import joblib\n\nmodel = joblib.load("best_model.pkl")\nprint(model.predict(h={horizon}))'
    if needing:
        words += _of_steps_to_come(context, needing)
    return commands, python, words


def asks_ahead(rows: list[dict[str, Any]]) -> bool:
    """Whether a forecaster's example is a table of the steps to come, and not their number."""
    return bool(rows) and set(rows[0]) != {"h"}


def _names(plan: Plan) -> str:
    named = [f"its {what} {code(name)}" for what, name in _keys(plan)]
    return f"{', '.join(named)} and the forecast, in a column called as the model"


def _keys(plan: Plan) -> list[tuple[str, str]]:
    columns = (("series", plan.series_column), ("time", plan.time_column))
    return [(what, name) for what, name in columns if name is not None]


def _of_steps_to_come(context: ReportContext, needing: set[str]) -> list[str]:
    """What a table of them has to hold, with the first rows of one."""
    plan = context.plan
    slug = context.best if context.best in needing else min(needing)
    rows = context.outcomes[slug or ""].example.rows
    keys = [name for _, name in _keys(plan)]
    known = [name for name in plan.details.get("known", []) if name in rows[0]]
    everyone = needing == set(context.outcomes)
    which = "All models go" if everyone else f"{_joined(sorted(needing))} go{'es' * (len(needing) == 1)}"
    columns = ", ".join(map(code, [*keys, *known]))
    of_each = " of each series" if plan.series_column else ""
    of_fewest = " of the series that has the fewest" if plan.series_column else ""
    words = (
        f"**{which} by what is known of the steps to come** ({', '.join(map(code, known))}), and must be "
        f"given it: a table (CSV, Parquet or JSON) with a row for each step{of_each}, from the step after "
        f"the last that the model has seen, without a gap, in the columns {columns}. As many steps are "
        f"forecast as it has rows{of_fewest}. `example.json` is such a table; its first rows:"
    )
    shown = [[code(str(row.get(name))) for name in [*keys, *known]] for row in rows[:SHOWN_ROWS]]
    return [words, table(map(code, [*keys, *known]), shown)]


def _joined(slugs: list[str]) -> str:
    return ", ".join(f"`{slug}`" for slug in slugs)
