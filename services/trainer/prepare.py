"""From a table's columns to numbers: one `ColumnTransformer` per kind of model.

The whole pipeline is pickled and opened where our code is not, so it is made only of importable
callables of pandas, numpy, scikit-learn and skrub. It takes the table as a user reads it: numbers
written as text, infinities, `None`, categories never seen, more columns than it was fitted on.
"""

from __future__ import annotations

import enum
import warnings
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from services.trainer.number_text import CLEANING, Style, style
from shared.errors import CannotTrain

SAMPLE_ROWS = 2_000
"""How many values of a column are looked at to learn how its dates or numbers are written."""

NATIVE_LIMIT = 250
"""Histogram boosting takes at most 255 distinct values in a category column."""

TFIDF_ROWS = 50_000
"""Above it, text is hashed: a vocabulary of n-grams grows with the rows and is pickled whole."""

WELL_READ = 0.95
"""Share of a column's dates that one format must read; below it each is read by its own."""

FLOAT32_SAFE = 1e37
"""Trees compare in float32; a larger magnitude would be an infinity there."""


class Encoding(enum.StrEnum):
    """What a family of models needs from its inputs.

    SCALED: no missing values, unit variance (linear models, distances, neural networks).
    SPLITS: order is enough, missing values stay (forests, boosting).
    NATIVE: as SPLITS, and categories as codes, first in the matrix (histogram boosting).
    """

    SCALED = "scaled"
    SPLITS = "splits"
    NATIVE = "native"


ONE_HOT_LIMIT = {Encoding.SCALED: 40, Encoding.SPLITS: 10, Encoding.NATIVE: NATIVE_LIMIT}
"""Columns with more distinct values than this are encoded by the target's mean in each."""


class Columns(Struct, kw_only=True):
    """The features by how they are prepared: `numbers` with the style in which they may be written,
    `categories` with their number of distinct values, `dates` with the arguments of
    `pandas.to_datetime` that read them."""

    numbers: dict[str, Style]
    categories: dict[str, int]
    dates: dict[str, dict[str, Any]]
    texts: list[str]

    def uses_skrub(self) -> bool:
        return bool(self.dates or self.texts)


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
    return Columns(
        numbers={name: _number_style(table[name]) for name in by_role.get("numeric", [])},
        categories={name: table[name].nunique() for name in by_role.get("categorical", [])},
        dates={name: _date_arguments(table[name]) for name in by_role.get("datetime", [])},
        texts=by_role.get("text", []),
    )


def preprocessor(
    columns: Columns, encoding: Encoding, *, regression: bool, rows: int, seed: int
) -> ColumnTransformer:
    """An unfitted transformer: raw table (n, any columns) in, float matrix (n, features) out.

    With `Encoding.NATIVE` its first `len(native_categories(columns))` outputs are category codes.
    """
    limit = ONE_HOT_LIMIT[encoding]
    few = [name for name, distinct in columns.categories.items() if distinct <= limit]
    many = [name for name, distinct in columns.categories.items() if distinct > limit]
    scaled = encoding is Encoding.SCALED
    parts: list[tuple[str, BaseEstimator, Any]] = []
    if few:
        codes = _codes() if encoding is Encoding.NATIVE else _one_hot(limit)
        parts.append(("categories", make_pipeline(*_as_categories(), codes), few))
    if many:
        by_target = TargetEncoder(
            target_type="continuous" if regression else "auto",
            cv=KFold(5, shuffle=True, random_state=seed),
        )
        tail = [StandardScaler()] if scaled else []
        parts.append(("many_categories", make_pipeline(*_as_categories(), by_target, *tail), many))
    for written in sorted(set(columns.numbers.values())):
        names = [name for name, way in columns.numbers.items() if way == written]
        parts.append((f"numbers_{written}", make_pipeline(*_as_numbers(written), *_filled(scaled)), names))
    # skrub's encoders take one column at a time, as a Series: a bare name selects one
    for name, arguments in columns.dates.items():
        parts.append((f"date {name}".replace("__", "_"), _date(arguments, scaled), name))
    for name in columns.texts:
        parts.append((f"text {name}".replace("__", "_"), _text(rows, seed), name))
    return ColumnTransformer(parts, sparse_threshold=0, verbose_feature_names_out=False)


def native_categories(columns: Columns) -> list[str]:
    """The columns that `Encoding.NATIVE` hands over as codes, in the matrix's order."""
    return [name for name, distinct in columns.categories.items() if distinct <= NATIVE_LIMIT]


def _number_style(values: pd.Series) -> Style:
    """How numbers are written in a column of text; a column of numbers takes later text as "1,200.5"."""
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return "point"
    known = values.dropna()
    return style(known.sample(min(SAMPLE_ROWS, len(known)), random_state=0).astype(str))[0]


def _as_numbers(written: Style) -> list[BaseEstimator]:
    """Text → numbers; what is no number, and what is not finite, is missing."""
    # one pattern at a time and never as a dict, on which pandas 2.3 fails where all cells are None
    replacements = [
        {"to_replace": pattern, "value": instead, "regex": True}
        for step in CLEANING[written]
        for pattern, instead in step.items()
    ]
    return [
        *(FunctionTransformer(pd.DataFrame.replace, kw_args=replacement) for replacement in replacements),
        FunctionTransformer(pd.DataFrame.apply, kw_args={"func": pd.to_numeric, "errors": "coerce"}),
        FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "float64"}),
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


def _as_categories() -> list[BaseEstimator]:
    """Every value as text, missing as "": a column of whole numbers reads as floats as soon as one
    is missing, and 3 and 3.0 must stay the same category."""
    # without convert_boolean a lone True would be read as the whole number 1
    whole = {"convert_string": False, "convert_floating": False}
    return [
        FunctionTransformer(pd.DataFrame.convert_dtypes, kw_args=whole),
        FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "string"}),
        FunctionTransformer(pd.DataFrame.fillna, kw_args={"value": ""}),
        FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": object}),
    ]


def _one_hot(limit: int) -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=limit + 1,
        sparse_output=False,
        dtype=np.float32,
    )


def _codes() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)


def _date(arguments: dict[str, Any], scaled: bool) -> Pipeline:
    from skrub import DatetimeEncoder

    return make_pipeline(
        FunctionTransformer(pd.to_datetime, kw_args=arguments),
        DatetimeEncoder(
            resolution="minute",
            add_weekday=True,
            add_day_of_year=True,
            periodic_encoding="circular" if scaled else None,
        ),
        *_filled(scaled),
    )


def _text(rows: int, seed: int) -> Pipeline:
    from skrub import StringEncoder

    return make_pipeline(
        FunctionTransformer(pd.Series.astype, kw_args={"dtype": "string"}),
        FunctionTransformer(pd.Series.fillna, kw_args={"value": ""}),
        # a word for what is empty: a column of nothing else would leave no vocabulary
        FunctionTransformer(
            pd.Series.replace, kw_args={"to_replace": r"^\s*$", "value": "missing", "regex": True}
        ),
        StringEncoder(
            n_components=30,
            vectorizer="tfidf" if rows <= TFIDF_ROWS else "hashing",
            random_state=seed,
        ),
    )


def _date_arguments(values: pd.Series) -> dict[str, Any]:
    """Arguments of `pandas.to_datetime` that read this column.

    One format for the whole column where there is one: it is a hundred times as fast, and "02/03"
    cannot mean February in one row and March in the next.
    """
    always = {"errors": "coerce", "utc": True}
    known = values.dropna()
    iso = always | {"format": "ISO8601"}
    if not (pd.api.types.is_object_dtype(known) or pd.api.types.is_string_dtype(known)) or known.empty:
        return iso
    words = known.sample(min(SAMPLE_ROWS, len(known)), random_state=0).astype(str)

    def share_read(arguments: dict[str, Any]) -> float:
        return float(pd.to_datetime(words, **arguments).notna().mean())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas says that it guesses; that is what is asked here
        # month first comes first, so it is what a column means that fits both orders
        formats = [
            pd.tseries.api.guess_datetime_format(word, dayfirst=day_first)
            for day_first in (False, True)
            for word in words.head(50)
        ]
        known_formats = dict.fromkeys(guess for guess in formats if guess)
        best = max([iso, *(always | {"format": guess} for guess in known_formats)], key=share_read)
        if share_read(best) >= WELL_READ:
            return best
        mixed = always | {"format": "mixed"}
        return mixed if share_read(mixed) > share_read(best) else best
