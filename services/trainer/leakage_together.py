"""Copies of rows are kept on one side of every split, or all but the first left out where asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer import leakage_rows, table_copies
from services.trainer.leakage_finding import Finding
from shared.contracts.files import Profile
from shared.contracts.training import TrainRequest

FEWEST_UNITS = 20
"""Different rows below which there is too little to split by."""

LEAST_GROUPS_LEFT = 0.5
"""Of the user's groups, how many have to be left where copies tie some of them together."""


class Together(Struct):
    """The rows in use. `lines`: (n,) their numbers in the table; `y`: (n,) their target; `groups`: (n,) what
    every split keeps whole, None for nothing; `keys`: (n,) equal for copies, None where there are none;
    `rule`: what each fit has to do with copies; `found`: what there is to say."""

    lines: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None
    keys: np.ndarray | None = None
    rule: table_copies.Rule | None = None
    found: list[Finding] = []


def together(
    path: Path,
    request: TrainRequest,
    profile: Profile,
    roles: Mapping[str, str],
    lines: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None,
) -> Together:
    """Look for copies among the rows numbered `lines` of the table at `path`, whose features have `roles`;
    `y` and `groups` (of the request's `group_column`): (n,) of these rows."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = [column for column in profile.columns if column.name in roles]
        copied = leakage_rows.copies(path, features, lines)
    if copied is None:
        return Together(lines, y, groups)
    rule = table_copies.Rule(copied.columns, dropped=request.on_leakage == "drop")
    kept, tied = table_copies.applied(copied.keys, y, groups, rule)
    if _units(tied, len(kept)) < _enough(groups):
        left = _found(copied, len(lines), _left_alone(request, copied))
        return Together(lines, y, groups, copied.keys, found=[left])
    said = "Copies are kept together, on one side of the hold-out and of every fold."
    if rule.dropped:
        gone = len(lines) - len(kept)
        said = f"The first of each stays, {gone:,} copies are left out (`on_leakage: drop`)."
        if tied is not None and groups is None:
            said += " Rows that differ in the target alone stay, on one side of every split."
    return Together(lines[kept], y[kept], tied, copied.keys[kept], rule, [_found(copied, len(lines), said)])


def _enough(groups: np.ndarray | None) -> float:
    return FEWEST_UNITS if groups is None else LEAST_GROUPS_LEFT * _units(groups, len(groups))


def _units(groups: np.ndarray | None, rows: int) -> int:
    return rows if groups is None else len(pd.unique(groups))


def _found(copied: leakage_rows.Copies, of: int, action: str) -> Finding:
    return Finding(
        "duplicate-rows-across-split",
        f"{copied.rows:,} of {of:,} rows have the features of another: split at random, copies would be on "
        "both sides.",
        f"{copied.rows / of:.1%} of the rows; line {copied.lines[0]} is the same as line {copied.lines[1]}",
        kept=action,
    )


def _left_alone(request: TrainRequest, copied: leakage_rows.Copies) -> str:
    if request.group_column is not None:
        return (
            f"The split heeds {request.group_column!r} alone: copies tie so many of its values together that "
            "too few would be left to split by. What was learned by heart makes scores too good."
        )
    different = len(pd.unique(copied.keys))
    return (
        f"They are kept where they fall: {different} different rows are too few to split by. What was "
        "learned by heart makes scores too good."
    )
