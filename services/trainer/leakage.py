"""What gives the target away: found on the training rows, said in notices, and kept or left out as asked.

A notice names the column, the evidence and what was done. Two levels for a column: `leaked-target` is an
exact relation or a recoding of the target; `suspiciously-strong` predicts it alone as all other columns
together cannot, which is a leak more often than a discovery, and for its owner to judge.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import (
    leakage_copies,
    leakage_rows,
    leakage_sample,
    leakage_strength,
    leakage_sums,
    leakage_time,
)
from services.trainer.leakage_finding import Copy, Finding
from services.trainer.leakage_together import Together
from services.trainer.number_text import to_numbers
from shared.contracts.files import Profile
from shared.contracts.problems import Notice
from shared.contracts.states import TaskType
from shared.contracts.training import TrainRequest
from shared.errors import CannotTrain

DATES_TRIED = 3
LISTED = 20
"""Columns of one kind that are told one by one."""

LEAKS = frozenset(
    {"leaked-target", "suspiciously-strong", "future-information", "informative-row-number"}
    | {"groups-split-apart", "duplicate-rows-across-split", "conflicting-labels"}
)
"""What `on_leakage: fail` refuses to train with; other notices of the guard are advice."""


class Verdict(Struct, frozen=True):
    """`roles`: the columns still in use; `warnings`: the guard's; `settled`: (code, column) of the profile's
    warnings that the guard's replace."""

    roles: dict[str, str]
    warnings: list[Notice]
    settled: set[tuple[str, str | None]]


def guard(
    path: Path,
    request: TrainRequest,
    profile: Profile,
    roles: Mapping[str, str],
    rows: Together,
    train: np.ndarray,
    test: np.ndarray,
    task_type: TaskType,
) -> Verdict:
    """Look for leaks in the table at `path`, whose features have `roles`.

    `rows`: those in use, with what was found of copies among them; `train`, `test`: as `split` has them,
    counted in these. Nothing is learned from held-out rows; their features are only compared with the
    training rows' in search of copies. Raises CannotTrain naming everything found where the request says so
    (`on_leakage: fail`), and where no column would be left.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # magnitudes at the edge of floats, and dates that pandas guesses the format of
        warnings.simplefilter("ignore")
        found = _found(path, request, profile, roles, rows, train, test, task_type)
    return settle(found, request, roles)


def _found(
    path: Path,
    request: TrainRequest,
    profile: Profile,
    roles: Mapping[str, str],
    rows: Together,
    train: np.ndarray,
    test: np.ndarray,
    task_type: TaskType,
) -> list[Finding]:
    lines, y = rows.lines, rows.y
    sample = leakage_sample.draw(path, roles, y[train], lines[train], task_type, request.seed)
    described = [column for column in profile.columns if column.name in roles]
    given = leakage_rows.Table(
        path, described, roles, lines[train], lines[test], y[train], task_type, request.seed
    )
    groups = [] if request.group_column else leakage_rows.entities(given, profile.rows)
    found = _columns(sample, {group.name for group in groups})
    found += [_group(group) for group in groups]
    found += rows.found
    if rows.keys is not None:
        found += _conflicting(given, rows.keys[train])
    return [*found, *_in_time(sample, given)]


def guard_series(
    frame: pd.DataFrame, request: TrainRequest, used: Collection[str], horizon: int
) -> tuple[list[str], list[Notice]]:
    """Which of the columns `used` to forecast are left out for holding the target of the same or of a later
    step, and what there is to say; of other columns too, which are not used.

    The last `horizon` targets of each series are held out and not looked at. Raises CannotTrain as `guard`
    does.
    """
    assert request.time_column is not None
    codes = (
        np.zeros(len(frame))
        if request.series_column is None
        else pd.factorize(frame[request.series_column])[0]
    )
    order = leakage_time.sorted_rows(leakage_sample.moments(frame[request.time_column]), codes)
    series = codes[order]
    y = leakage_time.without_last(to_numbers(frame[request.target]).to_numpy()[order], series, horizon)
    taken = {request.target, request.time_column, request.series_column}
    numbers = {name: to_numbers(frame[name]).to_numpy()[order] for name in frame.columns if name not in taken}
    steps = max(leakage_time.STEPS_AHEAD, min(horizon, 5 * leakage_time.STEPS_AHEAD))
    with np.errstate(all="ignore"):
        found = [future(one, used=one.name in used) for one in leakage_time.ahead(numbers, y, series, steps)]
    roles = dict.fromkeys(used, "")
    verdict = settle(found, request, {**roles, request.time_column: ""})
    return [name for name in used if name not in verdict.roles], verdict.warnings


def settle(found: list[Finding], request: TrainRequest, roles: Mapping[str, str]) -> Verdict:
    """What comes of the findings under the request's `on_leakage`."""
    leaks = [finding for finding in found if finding.code in LEAKS and finding.used]
    if request.on_leakage == "fail" and leaks:
        said = "; ".join(f"{finding.message} ({finding.evidence})" for finding in leaks[:LISTED])
        more = f"; and {len(leaks) - LISTED} more" if len(leaks) > LISTED else ""
        raise CannotTrain(f"on_leakage is 'fail', and {said}{more}")
    gone = {name for finding in found for name in finding.columns} if request.on_leakage == "drop" else set()
    left = {name: role for name, role in roles.items() if name not in gone}
    if roles and not left:
        raise CannotTrain(
            "no feature column is left: on_leakage is 'drop', and all give the target away: "
            + "; ".join(finding.message for finding in leaks[:LISTED])
        )
    settled: set[tuple[str, str | None]] = {
        ("duplicate-column", name) for finding in leaks for name in (*finding.columns, request.target)
    }
    if any(finding.code == "duplicate-rows-across-split" for finding in found):
        settled.add(("duplicate-rows", None))
    return Verdict(left, [finding.notice(request.on_leakage) for finding in found], settled)


def _columns(sample: leakage_sample.Sample, groups: set[str]) -> list[Finding]:
    """Copies, sums and suspiciously strong columns; one finding a column."""
    found = [
        Finding("leaked-target", f"{copy.name!r} is {copy.how}.", _with_score(copy, sample), (copy.name,))
        for copy in leakage_copies.find(sample)
    ]
    known = {name for finding in found for name in finding.columns} | groups
    if (adds_up := leakage_sums.find(sample, known)) is not None:
        message = f"The target is {adds_up.formula()}."
        found.append(Finding("leaked-target", message, adds_up.evidence, tuple(adds_up.parts)))
        known |= set(adds_up.parts)
    if (numbered := _row_number(sample, known)) is not None:
        found.append(numbered)
        known |= set(numbered.columns)
    for strong in leakage_strength.find(sample, known):
        message = f"{strong.name!r} alone predicts the target almost perfectly."
        found.append(Finding("suspiciously-strong", message, strong.evidence, (strong.name,)))
    return found


def _with_score(copy: Copy, sample: leakage_sample.Sample) -> str:
    if not copy.whole:
        return copy.evidence
    return f"{copy.evidence}; {leakage_strength.evidence(copy.name, sample)}"


def _row_number(sample: leakage_sample.Sample, known: set[str]) -> Finding | None:
    """A column of whole numbers that counts the rows, with gaps, in a table whose order tells the target."""
    in_order = np.argsort(sample.rows, kind="stable")
    if any(_counts_time(feature, in_order) for feature in sample.features):
        return None
    for feature in sample.features:
        x = feature.values
        if feature.name in known or feature.codes or feature.role != "numeric" or not feature.present.all():
            continue
        if feature.distinct < 0.95 * len(x) or len(x) < 50 or (x != np.floor(x)).any():
            continue
        steps = np.diff(x[in_order])
        left = leakage_strength.unexplained(feature, sample)
        if max((steps > 0).mean(), (steps < 0).mean()) < 0.999 or left > 0.5:
            continue
        return Finding(
            "informative-row-number",
            f"{feature.name!r} counts the rows, and the table is in an order that tells the target.",
            f"{feature.distinct:,} distinct whole numbers in the table's order; between neighbours "
            f"{left:.0%} of the target's differences are left",
            (feature.name,),
        )
    return None


def _counts_time(feature: leakage_sample.Feature, in_order: np.ndarray) -> bool:
    """Whether the table's order is that of time."""
    if feature.codes or not (feature.role == "datetime" or leakage_sample.names_time(feature.name)):
        return False
    steps = np.diff(feature.values[in_order])
    return bool((steps >= 0).mean() > 0.99 or (steps <= 0).mean() > 0.99)


def _group(group: leakage_rows.Entity) -> Finding:
    return Finding(
        "groups-split-apart",
        f"{group.name!r} names what several rows are of, and they are on both sides of the split.",
        f"{group.values:,} values, {group.rows_each:.1f} training rows each; {group.evidence}",
        (group.name,),
        f"The split does not heed it: give `group_column: {group.name}`, or scores are too good for new "
        "ones.",
        f"It is left out of training (`on_leakage: drop`); to be scored on new ones give `group_column: "
        f"{group.name}`.",
    )


def _conflicting(given: leakage_rows.Table, keys: np.ndarray) -> list[Finding]:
    conflicts = leakage_rows.conflicts(keys, given)
    if conflicts is None:
        return []
    return [
        Finding(
            "conflicting-labels",
            f"{conflicts.rows:,} of {conflicts.of:,} training rows have the features of rows of another "
            "class.",
            f"such as line {conflicts.lines[0]} and line {conflicts.lines[1]}",
            kept="They are kept. No model can be right about both: look at how they were labelled.",
        )
    ]


def _in_time(sample: leakage_sample.Sample, given: leakage_rows.Table) -> list[Finding]:
    """For each column of dates: targets of later rows, and a random split against time."""
    dates = [f for f in sample.features if f.role == "datetime" and f.present.mean() > 0.9]
    found: dict[tuple[str, ...], Finding] = {}
    for date in dates[:DATES_TRIED]:
        for finding in _in_its_order(sample, given, date):
            found.setdefault((finding.code, *finding.columns), finding)
    return list(found.values())


def _in_its_order(
    sample: leakage_sample.Sample, given: leakage_rows.Table, date: leakage_sample.Feature
) -> list[Finding]:
    found = []
    left = leakage_time.order(date.values, sample.y.astype(np.float64), classes=sample.labels is not None)
    if left is not None and left <= leakage_time.NEXT_TO:
        found.append(
            Finding(
                "time-ordered-rows",
                f"Rows close in {date.name!r} have similar targets, and the split is random.",
                f"between neighbours in time {left:.0%} of the difference between two random rows is left",
                kept="Scores are of filling gaps, not of the time to come: for that train a time series "
                "(`time_column`) or give a `group_column` such as the month.",
            )
        )
    if sample.labels is None and sample.of == len(sample.y):
        found += _later_targets(sample, given, date)
    return found


def _later_targets(
    sample: leakage_sample.Sample, given: leakage_rows.Table, date: leakage_sample.Feature
) -> list[Finding]:
    """Columns that hold the target of a later row. The order is that of all rows; of those held out only the
    dates are looked at."""
    held = leakage_sample.seconds(leakage_sample.read(given.path, [date.name], given.test)[date.name])
    times = np.concatenate([date.values, held])
    order = leakage_time.sorted_rows(times)
    if len(np.unique(times[order])) < 0.95 * len(order):
        return []
    unseen = np.full(len(held), np.nan)
    columns = {
        f.name: np.concatenate([f.values, unseen])[order] for f in sample.features if f.role == "numeric"
    }
    y = np.concatenate([sample.y, unseen])[order]
    found = leakage_time.ahead(columns, y, np.zeros(len(order)), same_row=False)
    return [future(one) for one in found]


def future(one: leakage_time.Ahead, *, used: bool = True) -> Finding:
    what = "the target" if one.exact else "nearly the target"
    when = f"{one.steps} row{'s' if one.steps != 1 else ''} later" if one.steps else "of the same row"
    message = f"{one.name!r} is {what} {when}: it is known only afterwards."
    if not used:
        left_out = "It is left out, as is whatever is not known for the time to come."
        return Finding(
            "future-information", message, one.evidence, (one.name,), left_out, left_out, used=False
        )
    return Finding("future-information", message, one.evidence, (one.name,))
