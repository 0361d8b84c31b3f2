"""Rows that know one another across the split: copies, and several rows of one patient or customer."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct
from scipy.linalg import qr
from scipy.stats import rankdata

from services.trainer import table, table_copies
from services.trainer.leakage_sample import LARGEST, as_feature, names_time, read, words
from shared.contracts.files import ColumnProfile
from shared.contracts.states import TaskType

HASHED_CELLS = 20_000_000
FEWEST_HASHED = 4
MOST_HASHED = 400
"""Whether rows are alike by chance is judged by the columns with most values, so many of them."""

COPIED_SHARE = 0.02
LEAST_COPIES = 5
"""Rows (share and number) with a copy below which scores hardly move, and pairs that prove anything."""

NOT_CHANCE = 2
"""How many times more pairs of rows have to agree in all columns than in all but one. Where rows of a few
values each meet by chance, about as many miss by one."""

OWN_VALUE = 0.5
MANY_HAVE = 0.01

DEPENDENCE_ROWS = 1_000
DEPENDENCE_COLUMNS = 100

ENTITY_WORDS = frozenset(
    {"patient", "customer", "client", "household", "subject", "person", "user", "member", "account", "player"}
    | {"student", "pupil", "employee", "worker", "driver", "animal", "subj", "participant", "respondent"}
    | {"id", "ids", "uuid", "guid", "key", "family", "device", "machine", "sensor", "session", "individual"}
    | {"donor", "case", "visitor", "child", "mother", "company", "firm", "vin", "serial", "nr", "no"}
)
_CODE = re.compile(r"^[A-Za-z]{0,6}[-_ #/]?\d{2,}[A-Za-z]?$|^[0-9a-fA-F]{8,}$|^[0-9a-fA-F-]{32,36}$")
"""Values such as P0123, C-17, #5512 or a UUID."""

ENTITIES_TRIED = 8
LEAST_ENTITIES = 10
ROWS_EACH = (1.5, 60)
"""Rows of one entity, on average, between which a column may name entities."""

ENTITY_ROWS = 6_000
CONSTANT = 0.1
"""Of the differences between two random rows, what is left between two of one entity where they agree."""

CONSTANT_TARGET = 0.02


class Copies(Struct, frozen=True):
    """`columns`: those in which rows were compared; `keys`: (n,) equal for copies; `rows`: how many have a
    copy; `lines`: two that are alike."""

    columns: list[str]
    keys: np.ndarray
    rows: int
    lines: tuple[int, int]


class Conflicts(Struct, frozen=True):
    """Training rows that are copies of one another but for the target; `lines`: two of them."""

    rows: int
    of: int
    lines: tuple[int, int]


class Entity(Struct, frozen=True):
    name: str
    values: int
    rows_each: float
    evidence: str


class Table(Struct, frozen=True):
    """What the row checks look at. `features`: profiles of the columns in use; `train`, `test`: row numbers
    in the table at `path`; `y`: the target of `train`."""

    path: Path
    features: Sequence[ColumnProfile]
    roles: Mapping[str, str]
    train: np.ndarray
    test: np.ndarray
    y: np.ndarray
    task_type: TaskType
    seed: int


def copies(path: Path, features: Sequence[ColumnProfile], lines: np.ndarray) -> Copies | None:
    """Those of the rows numbered `lines`, in the table at `path`, that agree in all `features`. Rows of few
    values, which agree by chance, are no copies."""
    named = [column.name for column in sorted(features, key=lambda column: -column.distinct)]
    if not named:
        return None
    keys = table_copies.keys(path, named)[lines]
    again = pd.Series(keys).duplicated(keep=False).to_numpy()
    if again.sum() < max(LEAST_COPIES, COPIED_SHARE * len(keys)):
        return None
    most = min(MOST_HASHED, max(FEWEST_HASHED, HASHED_CELLS // len(keys)))
    frame = table.load(path, named[:most]).iloc[lines]
    hashes = [
        table_copies.hashes(frame[name]) * table_copies.weight(i)
        for i, name in enumerate(_independent(frame))
    ]
    if not _more_than_chance(hashes):
        return None
    second = int(np.flatnonzero(pd.Series(keys).duplicated().to_numpy())[0])
    first = int(np.flatnonzero(keys == keys[second])[0])
    return Copies(named, keys, int(again.sum()), (int(lines[first]) + 2, int(lines[second]) + 2))


def conflicts(keys: np.ndarray, given: Table) -> Conflicts | None:
    """Copies with different classes, among the training rows, whose `keys` these are."""
    target = pd.factorize(given.y)[0]
    differ = pd.Series(target).groupby(keys).transform("nunique").to_numpy() > 1
    if given.task_type is not TaskType.CLASSIFICATION or differ.sum() < max(LEAST_COPIES, 0.01 * len(keys)):
        return None
    at = np.flatnonzero(differ)
    twin = at[(keys[at] == keys[at[0]]) & (target[at] != target[at[0]])][0]
    lines = (int(given.train[at[0]]) + 2, int(given.train[twin]) + 2)
    return Conflicts(int(differ.sum()), len(keys), lines)


def _more_than_chance(hashes: list[np.ndarray]) -> bool:
    """Whether rows agree because they are copies. `hashes`: of each column, (n,) uint64.

    Copies agree in all columns or in hardly any, so pairs that differ in one column only are few. A column in
    which nearly every row has a value of its own needs no such proof: its values come again in copies alone.
    """
    whole = functools.reduce(np.add, hashes)
    pairs = _pairs(whole)
    if pairs < LEAST_COPIES or len(hashes) < 2:
        return False
    near = 0
    for one in hashes:
        counts = np.unique(one, return_counts=True)[1]
        mostly_copies = pairs >= OWN_VALUE * (counts * (counts - 1) // 2).sum()
        # a value that many have, such as no money at all, says nothing of whose it is
        if len(counts) >= OWN_VALUE * len(one) and counts.max() <= MANY_HAVE * len(one) and mostly_copies:
            continue
        near += _pairs(whole - one) - pairs
        if pairs < NOT_CHANCE * near:
            return False
    return True


def _independent(frame: pd.DataFrame) -> list[str]:
    """The columns without those of numbers that follow from others by adding up, as a duration does from its
    begin and end: rows that agree by chance in two of them agree in the third."""
    rows = frame.sample(min(len(frame), DEPENDENCE_ROWS), random_state=0)
    numbers = rows.select_dtypes("number")
    numbers = numbers.loc[:, (numbers.abs() < LARGEST).all() & (numbers.std() > 0)].iloc[
        :, :DEPENDENCE_COLUMNS
    ]
    if not 2 < numbers.shape[1] < len(rows):
        return list(frame.columns)
    x = numbers.to_numpy(dtype=np.float64)
    _, r, order = qr((x - x.mean(axis=0)) / x.std(axis=0), mode="economic", pivoting=True)
    size = np.abs(np.diag(r))
    follows = {str(numbers.columns[i]) for i in order[size < 1e-7 * size[0]]}
    return [name for name in frame.columns if name not in follows]


def _pairs(keys: np.ndarray) -> int:
    counts = np.unique(keys, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


# --- groups -----------------------------------------------------------------------------------------


def entities(given: Table, rows: int) -> list[Entity]:
    """Columns that look like they name what several rows are of, with what those rows have in common."""
    found = []
    for column in _named(given, rows)[:ENTITIES_TRIED]:
        entity = _entity(column, given)
        if entity is not None:
            found.append(entity)
    return found


def _named(given: Table, rows: int) -> list[ColumnProfile]:
    chosen = []
    for column in given.features:
        each = (rows - column.missing) / max(1, column.distinct)
        if column.distinct < LEAST_ENTITIES or not ROWS_EACH[0] <= each <= ROWS_EACH[1]:
            continue
        whole = column.role == "numeric" and column.dtype.startswith(("int", "uint"))
        if not names_time(column.name) and (
            column.role == "categorical" or (whole and _entity_name(column.name))
        ):
            chosen.append(column)
    return sorted(chosen, key=lambda column: not _entity_like(column))


def _entity_like(column: ColumnProfile) -> bool:
    if _entity_name(column.name):
        return True
    shown = column.top or []
    return bool(shown) and all(_CODE.match(entry.value) for entry in shown)


def _entity_name(name: str) -> bool:
    return bool(ENTITY_WORDS & set(words(name)))


def _entity(column: ColumnProfile, given: Table) -> Entity | None:
    """Compares rows of one value with rows of any: on training rows of a random choice of values."""
    codes = pd.factorize(table.load(given.path, [column.name])[column.name].iloc[given.train])[0]
    counts = np.bincount(codes[codes >= 0])
    rng = np.random.default_rng(given.seed)
    several = rng.permutation(np.flatnonzero(counts >= 2))
    if len(several) < LEAST_ENTITIES:
        return None
    several = several[: max(LEAST_ENTITIES, int(np.searchsorted(counts[several].cumsum(), ENTITY_ROWS)))]
    # in random order within each, since rows in the table's order may follow each other in time
    rows = rng.permutation(np.flatnonzero(np.isin(codes, several)))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    same = codes[rows][1:] == codes[rows][:-1]
    regression = given.task_type is TaskType.REGRESSION
    by_target = _differing(
        given.y[rows] if regression else pd.factorize(given.y[rows])[0], same, not regression
    )
    others = [name for name in given.roles if name != column.name][:100]
    frame = read(given.path, others, given.train[rows])
    features = [as_feature(frame[name], given.roles[name]) for name in others]
    left = {f.name: share for f in features if (share := _differing(f.values, same, f.codes)) is not None}
    alike = [name for name, share in left.items() if share <= CONSTANT]
    constant = by_target is not None and by_target <= CONSTANT_TARGET
    near = len(alike) >= 2 and len(alike) >= 0.5 * len(left)
    if not ((constant and near) or (_entity_like(column) and (constant or near))):
        return None
    return Entity(
        column.name,
        column.distinct,
        len(given.train) / max(1, len(counts)),
        _said(constant, near, alike, left),
    )


def _said(constant: bool, near: bool, alike: list[str], left: Mapping[str, float]) -> str:
    said = []
    if constant:
        said.append("the target is the same in all rows of one value")
    if near:
        names = ", ".join(map(repr, alike[:3])) + (" …" if len(alike) > 3 else "")
        said.append(f"{len(alike)} of {len(left)} other columns hardly change within one value ({names})")
    return " and ".join(said)


def _differing(values: np.ndarray, same: np.ndarray, codes: bool) -> float | None:
    """How much neighbours of one entity differ, over how much any two rows do: 0 where they agree, about 1
    where the entity says nothing. None for a column that is nearly the same everywhere."""
    values = np.where(np.isnan(values), -1.0 if codes else np.nanmin(values, initial=0) - 1, values)
    if codes:
        shares = np.unique(values, return_counts=True)[1] / len(values)
        any_two = 1 - float(shares @ shares)
        within = float((np.diff(values) != 0)[same].mean())
    else:
        ranks = rankdata(values)
        any_two = 2 * float(ranks.var())
        within = float(np.square(np.diff(ranks))[same].mean())
        if any_two <= 0.02 * len(ranks) ** 2 / 6:
            return None
    return within / any_two if any_two > 0.02 else None
