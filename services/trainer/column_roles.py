"""What one column is: numbers, classes, text, dates, a row's name, or nothing to learn from."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct

from services.trainer.date_features import number_reading, reading
from services.trainer.number_text import GRAMMAR, parsed, style, to_numbers
from shared.contracts.problems import Notice

SAMPLE = 2_000
"""Distinct values looked at before all of them are."""

MIXED_DATES_READ = 10_000
"""Dates in mixed formats are parsed one by one, too slow for all of a large table."""

NEARLY_ALL = 0.95
PLACEHOLDERS = 5
"""Distinct words that may stand among numbers ("?", "unknown") without making the column text."""

LEAST_ROWS_FOR_ID = 20
"""In fewer rows every column may be without repetition."""

DATE_WORDS = frozenset(
    {"date", "dates", "day", "dt", "ds", "time", "timestamp", "ts", "datetime", "created", "updated", "when"}
)
ID_WORDS = frozenset(
    {"id", "ids", "uuid", "guid", "key", "index", "idx", "rowid", "rownum", "rownames", "serial"}
)
TIME_WORDS = frozenset(
    {"year", "month", "week", "day", "date", "time", "hour", "minute", "second", "period", "quarter", "step"}
    | {"age", "t"}
)

YES = ("yes", "y", "true", "t", "on", "1", "1.0", "ja", "oui", "si", "s\u00ed", "sim")
NO = ("no", "n", "false", "f", "off", "0", "0.0", "nein", "non", "n\u00e3o")
"""How tables say yes and no, without capitals."""

_DATE = re.compile(
    r"^\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ,].*)?$"
    r"|^\s*(\d{4}-\d{2}|\d{8}T\d{2,6}Z?|(1[89]|2[01])\d{2}[- ]?Q[1-4]|(0?[1-9]|1[0-2])/(19|20)\d{2})\s*$"
    r"|^(?=.*\d)(\w+,? )?(\d{1,2}(st|nd|rd|th)?[ -])?"
    r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?[ ,-]+\d{1,4}.*$",
    re.IGNORECASE,
)
"""What may be a date at all: pandas alone reads "1", "12:30" and many words as dates."""


class Column(Struct, kw_only=True):
    """One column, factorized: row i holds `uniques[codes[i]]`, or nothing where codes[i] is -1.

    `counts`: rows of each distinct value. `numbers`: each distinct value as float64 (numeric columns only).
    `first`, `last`: ISO 8601 (dates only).
    """

    name: str
    dtype: str
    role: str
    rows: int
    codes: np.ndarray
    uniques: pd.Series
    counts: np.ndarray
    numbers: np.ndarray | None = None
    first: str | None = None
    last: str | None = None
    warnings: list[Notice] = []

    @property
    def present(self) -> int:
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        return self.rows - self.present


def survey(values: pd.Series) -> Column:
    """Find the role of a column from its values and, for row numbers and identifiers, its name."""
    codes, found = pd.factorize(values)
    uniques = pd.Series(found)
    column = Column(
        name=str(values.name),
        dtype=str(values.dtype),
        role="categorical",
        rows=len(values),
        codes=codes,
        uniques=uniques,
        counts=np.bincount(codes[codes >= 0], minlength=len(uniques)),
        warnings=[],
    )
    if not len(uniques):
        column.role = "empty"
    elif pd.api.types.is_bool_dtype(uniques.infer_objects()):
        column.role = "boolean"
    elif pd.api.types.is_numeric_dtype(uniques):
        if not _are_dates(column):
            column.role = "identifier" if _counts_rows(column) else "numeric"
            column.numbers = uniques.to_numpy(dtype=np.float64)
    elif not (_as_dates(column) or _as_numbers(column)):
        column.role = _kind_of_text(column)
        if column.role in ("categorical", "boolean"):
            column.warnings += _several_spellings(column)
    if len(uniques) == 1 and not column.missing:
        column.role = "constant"
    return column


def words(name: str) -> list[str]:
    """ "PassengerId", "customer_id" → their words in lower case."""
    return [word.casefold() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _named_as_id(name: str) -> bool:
    said = words(name)
    return name.startswith("Unnamed: ") or (bool(said) and (said[-1] in ID_WORDS or said[0] == "id"))


def _counts_rows(column: Column) -> bool:
    """Whole numbers that only name their row: by the column's name, or because they count 1, 2, 3 …"""
    numbers = column.uniques.to_numpy()
    if len(numbers) < NEARLY_ALL * column.present or len(numbers) < 2:
        return False
    if not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        return False
    if _named_as_id(column.name):
        return True
    return (
        len(numbers) == column.rows >= LEAST_ROWS_FOR_ID
        and bool((np.diff(numbers) == 1).all())
        and not TIME_WORDS & set(words(column.name))
    )


def _as_dates(column: Column) -> bool:
    """Make the column `datetime` where it holds dates, of whatever type."""
    values = column.uniques
    if pd.api.types.is_datetime64_any_dtype(values):
        column.role = "datetime"
        column.first, column.last = values.min().isoformat(), values.max().isoformat()
        return True
    texts = values.astype(str)
    sample = texts.sample(min(SAMPLE, len(texts)), random_state=0)
    if sample.str.match(_DATE).mean() < NEARLY_ALL:
        return False
    arguments, share = reading(sample)
    if share < NEARLY_ALL:
        return False
    read = texts
    if arguments["format"] == "mixed":
        # what has no format that pandas knows ("2020Q1") may be written in one way all the same
        alike = sample.str.replace(r"\d", "9", regex=True).str.replace(r"[^\W\d_]+", "a", regex=True)
        one_way = alike.nunique() == 1
        read = texts.sample(min(MIXED_DATES_READ, len(texts)), random_state=0)
        rest = f" (looked for in {len(read):,} of {len(texts):,} dates)" if len(read) < len(texts) else ""
        notice = Notice(
            code="mixed-dates",
            column=column.name,
            message=f"The dates in {column.name!r} are written in several formats.",
            evidence=f"such as {_examples(sample)}{rest}",
            action="Each is read by itself; where the first number may be day or month, it is the month.",
        )
        column.warnings += [] if one_way else [notice]
    _span(column, read, arguments)
    return True


def _are_dates(column: Column) -> bool:
    """Make the column `datetime` where its whole numbers are dates by their digits and by its name."""
    of_time = bool(DATE_WORDS.intersection(words(column.name)))
    arguments = number_reading(of_time, column.uniques.astype("float64"))
    if arguments is None:
        return False
    _span(column, column.uniques, arguments)
    return True


def _span(column: Column, values: pd.Series, arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        # pandas warns of what it guesses; what was guessed is said in a notice
        warnings.simplefilter("ignore")
        dates = pd.to_datetime(values, **arguments).dropna()
    column.role = "datetime"
    column.first, column.last = dates.min().isoformat(), dates.max().isoformat()


def _as_numbers(column: Column) -> bool:
    """Make the column `numeric` where its text is numbers but for a few placeholders."""
    texts = column.uniques.astype(str)
    sample = texts.sample(min(SAMPLE, len(texts)), random_state=0)
    if style(sample)[1] < 0.5 and len(texts) > 2 * PLACEHOLDERS:
        return False
    written, _ = style(texts)
    fits = texts.str.match(GRAMMAR[written]).to_numpy()
    readable = column.counts[fits].sum() / column.present
    if readable < NEARLY_ALL or (~fits).sum() > PLACEHOLDERS:
        return False
    column.role = "numeric"
    column.numbers = to_numbers(texts).to_numpy()
    odd = int(column.counts[~fits].sum())
    if odd:
        column.warnings.append(
            Notice(
                code="not-numbers",
                column=column.name,
                message=f"{odd:,} values of {column.name!r} are not numbers, the others are.",
                evidence=_examples(texts[~fits]),
                action="They count as missing.",
            )
        )
    if fits.any() and parsed(texts[fits]).isna().any():
        column.warnings.append(
            Notice(
                code="numbers-as-text",
                column=column.name,
                message=f"The numbers in {column.name!r} are written as text.",
                evidence=f"such as {_examples(sample)}",
                action="They are read as numbers; a percent or currency sign is left out.",
            )
        )
    return True


def _kind_of_text(column: Column) -> str:
    texts = column.uniques.astype(str)
    share = len(texts) / column.present
    spoken = set(texts.str.strip().str.casefold()) if len(texts) <= 4 * len(YES) else set()
    if spoken & set(YES) and spoken & set(NO) and spoken <= {*YES, *NO}:
        return "boolean"
    sample = texts.sample(min(SAMPLE, len(texts)), random_state=0)
    length = sample.str.split().str.len()
    if float(length.mean()) < 1.05 and len(texts) > 1:
        if share >= NEARLY_ALL and _named_as_id(column.name):
            return "identifier"
        if share > 0.99 and column.present >= LEAST_ROWS_FOR_ID:
            return "identifier"
    if share > 0.5 and length.mean() >= 2 and column.present >= LEAST_ROWS_FOR_ID:
        return "text"
    if share > 0.2 and length.mean() >= 4 and len(texts) > LEAST_ROWS_FOR_ID:
        return "text"
    return "categorical"


def _several_spellings(column: Column) -> list[Notice]:
    """A notice where values differ by capitals and blanks alone, or say yes and no in several words."""
    texts = column.uniques.astype(str)
    folded = texts.str.strip().str.casefold()
    if column.role == "boolean":
        folded = folded.isin(YES)
    copies = folded.duplicated(keep=False)
    if not copies.any():
        return []
    alike = texts[copies][folded[copies] == folded[copies].iloc[0]]
    return [
        Notice(
            code="mixed-spellings",
            column=column.name,
            message=f"{column.name!r} writes the same value in several ways.",
            evidence=f"such as {_examples(alike)}",
            action="As a feature they are one value; as a target they are classes of their own.",
        )
    ]


def _examples(texts: pd.Series) -> str:
    return ", ".join(repr(text[:40]) for text in texts.iloc[:3])
