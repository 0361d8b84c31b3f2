"""One thing that the leakage guard has found, and what is said of it."""

from __future__ import annotations

from msgspec import Struct

from shared.contracts import Notice

KEPT = "It is used: unless it is known beforehand, leave it out (`exclude_columns`, or `on_leakage: drop`)."
DROPPED = "It is left out of training (`on_leakage: drop`)."


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
