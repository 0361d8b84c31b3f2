"""From a table's columns to numbers: one `ColumnTransformer` per kind of model.

The whole pipeline is pickled and opened where our code is not, so it is made only of importable
callables of pandas, numpy, scikit-learn and skrub. It takes the table as a user reads it: numbers
written as text, infinities, `None`, categories never seen, more columns than it was fitted on.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from services.trainer import text_encoding
from services.trainer.column_roles import NO, YES
from services.trainer.date_features import date_steps, number_reading, reading, with_clock
from services.trainer.number_text import CLEANING, Style, style
from services.trainer.text_encoding import Remembered
from shared.errors import CannotTrain

SAMPLE_ROWS = 2_000
"""How many values of a column are looked at to learn how its dates or numbers are written."""

NATIVE_LIMIT = 250
"""Histogram boosting takes at most 255 distinct values in a category column."""

FLOAT32_ROWS = 100_000
"""Above it trees get their matrix in float32, in which most of them compare: it is most of a fit's memory."""

MOST_CODES = 31
"""Whole numbers of no more distinct values may be codes (a month, a day, a class of ticket): to models that
only weigh and add, each of them is also shown as a column of its own. As many as a month has days."""
ROWS_A_CODE = 20
"""Rows that there have to be for each of them on average."""

FLOAT32_SAFE = 1e37
"""Trees compare in float32; a larger magnitude would be an infinity there."""


class Encoding(enum.StrEnum):
    """What a family of models needs from its inputs.

    SCALED: no missing values, unit variance (distances, neural networks).
    LINEAR: as SCALED, and numbers that may be codes also as a column each (linear models).
    SPLITS: order is enough, missing values stay (forests, boosting).
    NATIVE: as SPLITS, and categories as codes, first in the matrix (histogram boosting).
    """

    SCALED = "scaled"
    LINEAR = "linear"
    SPLITS = "splits"
    NATIVE = "native"


ONE_HOT_LIMIT = {Encoding.SCALED: 40, Encoding.LINEAR: 40, Encoding.SPLITS: 10, Encoding.NATIVE: NATIVE_LIMIT}
"""Columns with more distinct values than this are encoded by the target's mean in each."""


class Columns(Struct, kw_only=True):
    """The features by how they are prepared: `numbers` with the style in which they may be written,
    `categories` with their number of distinct values, `dates` with the arguments of
    `pandas.to_datetime` that read them."""

    numbers: dict[str, Style]
    categories: dict[str, int]
    dates: dict[str, dict[str, Any]]
    texts: list[str]
    clocks: list[str] = []
    """Those of `dates` that hold a time of day."""
    codes: list[str] = []
    """Those of `numbers` that are few whole numbers."""
    folded: list[str] = []
    """Those of `categories` that write one value in several ways ("Yes", "yes ")."""
    flags: list[str] = []
    """Those of `categories` that say yes and no in several words."""
    encoders: dict[str, Remembered] = {}
    """Of `texts`, where they are fitted once for all that is fitted."""

    def uses_skrub(self) -> bool:
        return bool(self.texts)


def survey(table: pd.DataFrame, roles: dict[str, str]) -> Columns:
    """Look once at the training rows: distinct values of categories, the way dates are written.

    Raises CannotTrain where no feature is left or the table lacks one of them.
    """
    if not roles:
        raise CannotTrain("no usable feature column is left in the table")
    absent = [name for name in roles if name not in table.columns]
    if absent:
        raise CannotTrain(f"the table has no column {absent[0]!r}")
    by_role: dict[str, list[str]] = {}
    for name, role in roles.items():
        by_role.setdefault("categorical" if role == "boolean" else role, []).append(name)
    unknown = set(by_role) - {"numeric", "categorical", "datetime", "text"}
    if unknown:
        raise CannotTrain(f"columns of role {min(unknown)!r} cannot be features")
    dates = {name: _date_arguments(table[name]) for name in by_role.get("datetime", [])}
    numbers, categories = by_role.get("numeric", []), by_role.get("categorical", [])
    words = {name: _words(table[name]) for name in categories}
    flags = [name for name in categories if roles[name] == "boolean" and len(words[name]) > 2]
    folded = [name for name in categories if name not in flags and words[name].nunique() < len(words[name])]
    distinct = {name: words[name].nunique() if name in folded else len(words[name]) for name in categories}
    return Columns(
        numbers={name: _number_style(table[name]) for name in numbers},
        categories=distinct | dict.fromkeys(flags, 2),
        dates=dates,
        texts=by_role.get("text", []),
        clocks=[name for name, arguments in dates.items() if with_clock(_some(table[name]), arguments)],
        codes=[name for name in numbers if _are_codes(table[name])],
        folded=folded,
        flags=flags,
    )


def _words(values: pd.Series) -> pd.Series:
    """The distinct values, those of text with blanks around them and capitals taken away."""
    distinct = values.drop_duplicates().dropna()
    is_text = pd.api.types.is_object_dtype(distinct) or pd.api.types.is_string_dtype(distinct)
    return distinct.astype(str).str.strip().str.casefold() if is_text else distinct


def _are_codes(values: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    distinct = values.dropna().unique()
    few = 2 < len(distinct) <= min(MOST_CODES, len(values) // ROWS_A_CODE)
    return few and bool((np.isfinite(distinct) & (distinct == np.floor(distinct))).all())


def with_encoders(columns: Columns, table: pd.DataFrame, rows: int, seed: int, seconds: float) -> Columns:
    """The same, its texts' encoders fitted on `table` (the training rows) for a candidate that has `seconds`
    in all and is to encode `rows` rows."""
    made = {name: text_encoding.remembered(table[name], rows, seed, seconds) for name in columns.texts}
    return msgspec.structs.replace(columns, encoders=made)


def preprocessor(
    columns: Columns, encoding: Encoding, *, regression: bool, rows: int, seed: int
) -> ColumnTransformer:
    """An unfitted transformer: raw table (n, any columns) in, float matrix (n, features) out.

    With `Encoding.NATIVE` its first `len(native_categories(columns))` outputs are category codes.
    """
    limit = ONE_HOT_LIMIT[encoding]
    few, many = _spellings(columns, at_most=limit), _spellings(columns, over=limit)
    scaled = encoding in (Encoding.SCALED, Encoding.LINEAR)
    small = encoding is Encoding.SPLITS and rows > FLOAT32_ROWS
    narrowed = [FunctionTransformer(np.asarray, kw_args={"dtype": "float32"})] if small else []
    parts: list[tuple[str, BaseEstimator, Any]] = []
    for spelling, names in few.items():
        codes = _codes() if encoding is Encoding.NATIVE else _one_hot(limit)
        parts.append((spelling, make_pipeline(*_as_categories(spelling), codes), names))
    for spelling, names in many.items():
        by_target = TargetEncoder(
            target_type="continuous" if regression else "auto",
            cv=KFold(5, shuffle=True, random_state=seed),
        )
        tail = [StandardScaler()] if scaled else narrowed
        made = make_pipeline(*_as_categories(spelling), by_target, *tail)
        parts.append((f"many_{spelling}", made, names))
    if encoding is Encoding.LINEAR and columns.codes:
        made = make_pipeline(*_as_categories("categories"), _one_hot(MOST_CODES))
        parts.append(("codes", made, columns.codes))
    for written in sorted(set(columns.numbers.values())):
        names = [name for name, way in columns.numbers.items() if way == written]
        made = make_pipeline(*_as_numbers(written, len(names)), *_filled(scaled), *narrowed)
        parts.append((f"numbers_{written}", made, names))
    # dates and text are read one column at a time, as a Series: a bare name selects one
    for name, arguments in columns.dates.items():
        made = make_pipeline(*date_steps(arguments, clock=name in columns.clocks, scaled=scaled), *narrowed)
        parts.append((f"date {name}".replace("__", "_"), made, name))
    for name in columns.texts:
        encoder = columns.encoders.get(name)
        if encoder is None:
            encoder = text_encoding.unfitted(rows, seed)
        parts.append((f"text {name}".replace("__", "_"), encoder, name))
    return ColumnTransformer(parts, sparse_threshold=0, verbose_feature_names_out=False)


def native_categories(columns: Columns) -> list[str]:
    """The columns that `Encoding.NATIVE` hands over as codes, in the matrix's order."""
    return [name for names in _spellings(columns, at_most=NATIVE_LIMIT).values() for name in names]


def _spellings(
    columns: Columns, *, over: float = -math.inf, at_most: float = math.inf
) -> dict[str, list[str]]:
    """Categories of so many distinct values, by how they are written: categories | folded | flags."""
    chosen = [name for name, distinct in columns.categories.items() if over < distinct <= at_most]
    groups: dict[str, list[str]] = {"categories": [], "folded": [], "flags": []}
    for name in chosen:
        kind = "folded" if name in columns.folded else "flags" if name in columns.flags else "categories"
        groups[kind].append(name)
    return {kind: names for kind, names in groups.items() if names}


def _some(values: pd.Series) -> pd.Series:
    known = values.dropna()
    return known.sample(min(SAMPLE_ROWS, len(known)), random_state=0)


def _number_style(values: pd.Series) -> Style:
    """How numbers are written in a column of text; a column of numbers takes later text as "1,200.5"."""
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return "point"
    return style(_some(values).astype(str))[0]


def _as_numbers(written: Style, width: int) -> list[BaseEstimator]:
    """Text → numbers, `width` columns; what is no number, and what is not finite, is missing.

    All cells are read in one go: a call for each column would cost a lone row more than its model does.
    """
    # one pattern at a time and never as a dict, on which pandas 2.3 fails where all cells are None
    replacements = [
        {"to_replace": pattern, "value": instead, "regex": True}
        for step in CLEANING[written]
        for pattern, instead in step.items()
    ]
    return [
        # columns of objects that are no text are typed first: pandas 2 warns where replace does that
        FunctionTransformer(pd.DataFrame.infer_objects),
        *(FunctionTransformer(pd.DataFrame.replace, kw_args=replacement) for replacement in replacements),
        FunctionTransformer(pd.DataFrame.to_numpy),
        FunctionTransformer(np.ravel, kw_args={"order": "F"}),
        FunctionTransformer(pd.to_numeric, kw_args={"errors": "coerce"}),
        FunctionTransformer(np.asarray, kw_args={"dtype": "float64"}),
        FunctionTransformer(np.reshape, kw_args={"shape": (-1, width), "order": "F"}),
        FunctionTransformer(np.nan_to_num, kw_args={"nan": np.nan, "posinf": np.nan, "neginf": np.nan}),
        FunctionTransformer(np.clip, kw_args={"a_min": -FLOAT32_SAFE, "a_max": FLOAT32_SAFE}),
    ]


def _filled(scaled: bool) -> list[BaseEstimator]:
    if not scaled:
        return []
    return [
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    ]


def _as_categories(spelling: str) -> list[BaseEstimator]:
    """Every value as text, missing as "": a column of whole numbers reads as floats as soon as one
    is missing, and 3 and 3.0 must stay the same category."""
    steps = [
        FunctionTransformer(pd.DataFrame.convert_dtypes),
        FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "string"}),
    ]
    if spelling != "categories":
        steps += [
            FunctionTransformer(pd.DataFrame.map, kw_args={"func": change, "na_action": "ignore"})
            for change in (str.strip, str.casefold)
        ]
    if spelling == "flags":
        meant = {"to_replace": [*YES, *NO], "value": ["yes"] * len(YES) + ["no"] * len(NO)}
        steps.append(FunctionTransformer(pd.DataFrame.replace, kw_args=meant))
    return [*steps, FunctionTransformer(pd.DataFrame.to_numpy, kw_args={"dtype": object, "na_value": ""})]


def _one_hot(limit: int) -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=limit + 1,
        sparse_output=False,
        dtype=np.float32,
    )


def _codes() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)


def _date_arguments(values: pd.Series) -> dict[str, Any]:
    """Arguments of `pandas.to_datetime` that read this column."""
    known = values.dropna()
    if pd.api.types.is_numeric_dtype(values):
        # by its role it holds dates, so its name has been looked at
        found = number_reading(True, known.astype("float64"))
        if found is not None:
            return found
    if not (pd.api.types.is_object_dtype(known) or pd.api.types.is_string_dtype(known)):
        known = known.head(0)
    return reading(known.sample(min(SAMPLE_ROWS, len(known)), random_state=0).astype(str))[0]
