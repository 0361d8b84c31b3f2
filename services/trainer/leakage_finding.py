"""One thing that the leakage guard has found, and what is said of it."""

from __future__ import annotations

from msgspec import Struct

from shared.contracts.problems import Notice

KEPT = "It is used: unless it is known beforehand, leave it out (`exclude_columns`, or `on_leakage: drop`)."
DROPPED = "It is left out of training (`on_leakage: drop`)."

LEAST_ROWS = 30
"""Rows below which an exact relation may be chance, or a small physical table."""

SAME = 1e-9
"""1 - r² of two columns that are linear in one another: rounding errors of float64, with room to spare."""

FEW_VALUES = 50
"""Distinct values up to which each is compared with each class."""

LEAST_FLAGGED = 10
"""Rows of a class, or with a mark, from which on that the two agree is no chance."""


class Finding(Struct, frozen=True):
    """One thing found. `columns`: those that `on_leakage: drop` leaves out; none for what is about rows, of
    which `kept` is what is said. `used`: whether models would see it; what they do not see fails nothing."""

    code: str
    message: str
    evidence: str
    columns: tuple[str, ...] = ()
    kept: str = KEPT
    dropped: str = DROPPED
    used: bool = True

    def notice(self, on_leakage: str) -> Notice:
        action = self.dropped if on_leakage == "drop" and self.columns else self.kept
        made = Notice(code=self.code, message=self.message, evidence=self.evidence, action=action)
        if self.columns:
            made.column = self.columns[0]
        return made


class Copy(Struct, frozen=True):
    """What relation was found: `how` completes "it is …". `exact`: not one row speaks against it. `whole`: it
    tells all of the target rather than one class or side of it, so that what it predicts alone says more.
    `blurred`: numbers in heaps."""

    name: str
    how: str
    evidence: str
    exact: bool
    whole: bool = True
    blurred: bool = False
