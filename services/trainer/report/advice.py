"""What a model card says beside its figures: what was warned of, how far to trust it, whose work is in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET

from services.trainer.report.markdown import code, plain, table
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType

if TYPE_CHECKING:
    from services.trainer.report import ReportContext

LEAKS = frozenset(
    {
        "future-information",
        "groups-split-apart",
        "informative-row-number",
        "leaked-target",
        "suspiciously-strong",
        "time-ordered-rows",
    }
)
"""Codes of warnings that make every score doubtful."""

LICENCES = {
    "catboost": "Apache-2.0",
    "coreforecast": "Apache-2.0",
    "joblib": "BSD-3-Clause",
    "lightgbm": "MIT",
    "mlforecast": "Apache-2.0",
    "numba": "BSD-2-Clause",
    "numpy": "BSD-3-Clause",
    "pandas": "BSD-3-Clause",
    "scikit-learn": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "skrub": "BSD-3-Clause",
    "statsforecast": "Apache-2.0",
    "statsmodels": "BSD-3-Clause",
    "threadpoolctl": "BSD-3-Clause",
    "utilsforecast": "Apache-2.0",
    "xgboost": "Apache-2.0",
    "xgboost-cpu": "Apache-2.0",
}
"""Of the packages that models import, as each declares it (SPDX)."""

KEEPS_ROWS = "k_nearest_neighbors"
"""Answers by looking up the rows that it was fitted on."""


def is_leak(notice: Notice) -> bool:
    return notice.code in LEAKS


def warnings(context: ReportContext) -> str:
    """Leaks first: with one of them the scores are of something else."""
    of_run = sorted(context.warnings, key=lambda notice: not is_leak(notice))
    lines = [_line(notice) for notice in of_run]
    for slug, outcome in sorted(context.outcomes.items()):
        own = [notice for notice in outcome.warnings if notice not in context.warnings]
        lines += [f"{_line(notice)} (`{slug}`)" for notice in own if not _said(notice, context.warnings)]
    if not lines:
        return "## Warnings\n\nNone."
    leaks = sum(map(is_leak, of_run))
    first = (
        "**The first of these may mean that the scores are too good to be true**: a column or a row tells "
        "what will not be known when the model is used.\n\n"
        if leaks
        else ""
    )
    return "## Warnings\n\n" + first + "\n".join(f"- {line}" for line in lines)


def _said(notice: Notice, of_run: Iterable[Notice]) -> bool:
    """Whether the run's warnings have it already, with the model's name before the message."""
    return any(each.code == notice.code and each.message.endswith(notice.message) for each in of_run)


def _line(notice: Notice) -> str:
    column = "" if notice.column is UNSET else f"{code(notice.column)}: "
    evidence = "" if notice.evidence is UNSET else f" ({plain(notice.evidence)})"
    return f"**{plain(notice.code)}** {column}{plain(notice.message)}{evidence} {plain(notice.action)}"


def limits(context: ReportContext) -> str:
    """What the models do not know, and what is in them."""
    plan = context.plan
    if plan.task_type is TaskType.TIME_SERIES:
        facts = [
            "A forecast goes on from the last step that the model has seen: of what happened since it knows "
            "nothing. Train again when there are new values.",
            f"The scores are of {plan.horizon} steps ahead. Further ahead they are worse, and not measured.",
            "A series that was not in the table cannot be forecast.",
        ]
    else:
        facts = [
            "The scores hold for rows that come about as those of the table did. Where these change (other "
            "customers, other machines, another year), measure again.",
            "A category never seen before is taken for none or for a rare one, a missing value as missing: "
            "there is an answer, and nothing says how good it is.",
        ]
        facts.append(
            "A prediction beyond the range of the targets in the table is a guess."
            if plan.task_type is TaskType.REGRESSION
            else f"Only the {len(plan.labels or [])} classes of the table are ever answered."
        )
    facts.append(
        "Nothing was checked for fairness: whether some groups are served worse than others is yours to see."
    )
    return "\n\n".join(["## Limits", "\n".join(f"- {fact}" for fact in facts)])


def what_is_inside(context: ReportContext) -> str:
    """Of the table's own cells, which of these files hold any."""
    said = "No rows of the table are in these files but those of `example.json`"
    keepers = [slug for slug in context.outcomes if _keeps_rows(slug, context)]
    if keepers:
        named = ", ".join(f"`{slug}`" for slug in sorted(keepers))
        said += f", save what {named} {'keep' if len(keepers) > 1 else 'keeps'}"
        said += (
            ": nearest neighbors are found among the rows they were fitted on, as numbers and without names"
        )
    if context.plan.task_type is TaskType.TIME_SERIES:
        return said + ". Forecasters keep the series that they go on from."
    return (
        said
        + ". Encoders hold the categories of each column, and trees the thresholds that they compare by and "
        "the targets' means in their leaves."
    )


def _keeps_rows(slug: str, context: ReportContext) -> bool:
    members = context.outcomes[slug].details.get("members")
    return slug == KEEPS_ROWS or (isinstance(members, dict) and KEEPS_ROWS in members)


def licences(packages: Iterable[Sequence[str]], scripts: Sequence[str]) -> str:
    """What the models import, by whose leave: `packages` are exact requirements, a list for each model;
    `scripts`, the files of ours."""
    pins = sorted({pin for of_model in packages for pin in of_model})
    rows = []
    for pin in pins:
        name, _, version = pin.partition("==")
        rows.append([code(name), version, LICENCES.get(name, "see the package")])
    named = " and ".join(f"`{name}`" for name in scripts)
    closing = (
        f"{named} {'are' if len(scripts) > 1 else 'is'} part of Trainyard (Apache-2.0). The models are made "
        "of your table and are yours."
    )
    return "\n\n".join(
        ["## Packages and their licences", table(["package", "version", "licence"], rows), closing]
    )
