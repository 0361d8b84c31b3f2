"""Times written as years and a fraction, as R writes them: 1949.083 is February, 1959.75 a fourth quarter."""

from __future__ import annotations

import numpy as np
import pandas as pd

_SPAN = (1678, 2261)
"""Years that times in nanoseconds can have."""
_PARTS = {2: "half-years", 4: "quarters", 12: "months"}
_NEAR = 0.06
"""Of a month: what rounding to two decimals may take away."""


def read(numbers: pd.Series) -> tuple[pd.Series, str] | None:
    """The starts of the parts of a year that `numbers` (NaN where missing) mean, and what they are; None
    where they are whole, out of range, or no such fractions."""
    given = numbers.dropna()
    if given.empty or not given.between(*_SPAN).all() or (given % 1 == 0).all():
        return None
    for parts, called in _PARTS.items():
        counted = given * parts
        whole = counted.round()
        if ((counted - whole).abs() <= _NEAR * parts / 12).all():
            year, part = np.divmod(whole.to_numpy().astype("int64"), parts)
            starts = {"year": year, "month": part * (12 // parts) + 1, "day": 1}
            return pd.to_datetime(pd.DataFrame(starts, index=given.index)), called
    return None
