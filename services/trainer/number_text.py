"""Numbers written as text: "$1,200", "12%", "(3.50)", "1.200,50 €".

A column is written in one style, "point" or "comma" after its decimal sign. Percent signs are dropped
("12%" is 12), brackets are an accountant's minus. `CLEANING` is plain data for `DataFrame.replace`, so that
an exported pipeline can do the same without any code of ours.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

Style = Literal["point", "comma"]

_FAR = r"(?s:^[^eE]*[eE]\D*(?:\d\D*){4}.*$)"
"""Four digits or more after an e, whatever stands between: nothing of use is written so, and of an exponent
from 2³¹ on pandas (2.3, `to_numeric` and `read_csv` alike) reads memory that is not its own, and crashes."""

_SIGN = r"[-+\u2212]?"
_UNIT = r"[$\u20ac\u00a3\u00a5\u20b9]?"
_HEAD = rf"^\s*\(?\s*{_SIGN}\s*{_UNIT}\s*{_SIGN}"
_TAIL = r"\s*[%$\u20ac\u00a3\u00a5\u20b9]?\s*\)?\s*$"

GRAMMAR: dict[Style, str] = {
    "point": rf"{_HEAD}(\d{{1,3}}(,\d{{3}})+(\.\d*)?|\d+(\.\d*)?([eE][-+]?\d{{1,3}})?|\.\d+){_TAIL}",
    "comma": rf"{_HEAD}(\d{{1,3}}([. \u00a0\u202f]\d{{3}})+(,\d*)?|\d+(,\d*)?|,\d+){_TAIL}",
}
"""What counts as a number, as a regular expression a style."""

CLEANING: dict[Style, list[dict[str, str]]] = {
    "point": [
        {r"^\s*\((.*)\)\s*$": r"-\1", "\u2212": "-"},
        {_FAR + r"|[\s$\u20ac\u00a3\u00a5\u20b9%]|(?<=\d),(?=\d{3}(?:\D|$))": ""},
    ],
    "comma": [
        {r"^\s*\((.*)\)\s*$": r"-\1", "\u2212": "-"},
        {_FAR + r"|[\s$\u20ac\u00a3\u00a5\u20b9%]|\.(?=\d{3}(?:\D|$))": ""},
        {",": "."},
    ],
}
"""Steps for `DataFrame.replace(regex=step)`, one after another; `pandas.to_numeric` reads what is left."""


def style(texts: pd.Series) -> tuple[Style, float]:
    """The style that reads more of `texts` (str, no missing ones), and the share it reads, 0..1.

    "1,200" alone fits both and counts as thousands.
    """
    point = float(texts.str.match(GRAMMAR["point"]).mean()) if len(texts) else 0.0
    if point == 1.0:
        return "point", point
    comma = float(texts.str.match(GRAMMAR["comma"]).mean()) if len(texts) else 0.0
    return ("comma", comma) if comma > point else ("point", point)


def _is_text(values: pd.Series) -> bool:
    return pd.api.types.is_object_dtype(values) or isinstance(values.dtype, pd.StringDtype)


def parsed(values: pd.Series) -> pd.Series:
    """`pandas.to_numeric` that no text crashes; what is no number is NaN."""
    if _is_text(values):
        values = values.where(~values.astype(str).str.match(_FAR))
    return pd.to_numeric(values, errors="coerce")


def to_numbers(values: pd.Series) -> pd.Series:
    """`values` as float64; what is no number is NaN. Text is read in the style that fits more of it."""
    if not (_is_text(values) or isinstance(values.dtype, pd.CategoricalDtype)):
        if pd.api.types.is_datetime64_any_dtype(values):
            return pd.Series(float("nan"), index=values.index)
        return values.astype("float64")
    texts = values.astype("object")
    is_text = texts.map(lambda value: isinstance(value, str))
    if is_text.any():
        written = texts[is_text]
        cleaned = written
        for step in CLEANING[style(written)[0]]:
            cleaned = cleaned.replace(regex=step)
        texts = texts.copy()
        texts[is_text] = cleaned
    return pd.to_numeric(texts, errors="coerce").astype("float64")
