"""Rows of a table that are copies of one another: found in its file, and kept on one side of every split.

The plan decides once what is done with them (`Rule`); each fit finds the same copies in the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from services.trainer import table
from services.trainer.leakage_sample import read

AT_A_TIME = 1_000_000
"""Cells that are hashed at a time: what bounds the memory."""

DETAIL = "copies"
"""Under which the plan's details keep the rule."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Odd multiplier (Knuth, TAOCP 3, section 6.4): equal values in different columns hash differently."""


class Rule(Struct):
    """`columns`: rows that agree in all of them are copies; `dropped`: whether those that agree in the target
    too are left out but for the first. What is left of copies is kept together."""

    columns: list[str]
    dropped: bool = False


def planned(details: Mapping[str, Any]) -> Rule | None:
    """What a plan's `details` say of copies, None where there are none."""
    return msgspec.convert(details[DETAIL], Rule) if DETAIL in details else None


def keys(path: Path, columns: Sequence[str]) -> np.ndarray:
    """One uint64 for each row of the decoded table, equal where rows agree in all `columns`.

    Columns whose values are mostly of their own come first at best: a row that has no like is not looked at
    any further. Of a million different rows two share a key with a probability of about 3e-8.
    """
    first = hashes(table.load(path, [columns[0]])[columns[0]])
    alive = np.flatnonzero(_again(first))
    done = 1
    while len(alive) and done < len(columns):
        block = columns[done : done + max(1, AT_A_TIME // len(alive))]
        frame = read(path, block, alive)
        for i, name in enumerate(block, start=done):
            first[alive] += hashes(frame[name]) * weight(i)
        alive = alive[_again(first[alive])]
        done += len(block)
    return first


def applied(
    keys: np.ndarray, y: np.ndarray, groups: np.ndarray | None, rule: Rule
) -> tuple[np.ndarray, np.ndarray | None]:
    """Sorted positions of the rows that stay, and of those the groups that every split keeps whole.

    `keys`, `y` and `groups` (where the user named a column of them): (n,), of the rows with a target. Copies
    in two groups make one of both.
    """
    kept = np.arange(len(y))
    if rule.dropped:
        codes = pd.factorize(y)[0]
        kept = np.flatnonzero(~pd.DataFrame({"key": keys, "y": codes}).duplicated().to_numpy())
    together = pd.factorize(keys[kept])[0]
    if groups is None:
        return kept, together if together.max(initial=0) + 1 < len(kept) else None
    return kept, _tied(pd.factorize(groups[kept], use_na_sentinel=False)[0], together)


def _tied(groups: np.ndarray, together: np.ndarray) -> np.ndarray:
    """Groups that share a copy become one."""
    ties = coo_array((np.ones(len(groups), dtype=np.int8), (groups, groups.max() + 1 + together)))
    size = max(ties.shape)
    ties.resize((size, size))
    return np.asarray(connected_components(ties, directed=False)[1][groups])


def hashes(values: pd.Series) -> np.ndarray:
    """One uint64 a row, equal for equal values; missing ones are equal to one another."""
    if values.dtype.kind in "iufb":
        # adding zero makes one of the two zeros
        numbers = values.to_numpy() + 0 if values.dtype.kind != "b" else values.to_numpy(dtype=np.uint8)
        return pd.util.hash_array(np.where(np.isnan(numbers), np.nan, numbers), categorize=False)
    codes, found = pd.factorize(values)
    uniques = pd.Series(found)
    uniques = uniques.astype(str) if uniques.dtype == object else uniques
    hashed = (
        pd.util.hash_array(uniques.to_numpy(), categorize=False) if len(uniques) else np.zeros(0, np.uint64)
    )
    return np.append(hashed, np.uint64(0))[codes]


def weight(i: int) -> np.uint64:
    """By which the hashes of column `i` are multiplied."""
    return np.uint64(pow(int(_GOLDEN), i, 2**64))


def _again(keys: np.ndarray) -> np.ndarray:
    return pd.Series(keys).duplicated(keep=False).to_numpy()
