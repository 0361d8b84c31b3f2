"""What a task looked like at a version, as JSON: shown again as long as the row still has that version.

Whoever polls gets the same bytes many times before anything changes. Reading the version alone costs a
fraction of reading the whole task, and asks the database, as the user, whether they may see it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict

from msgspec import Struct

DERIVED_S = 1.0
"""How old the time left and the place in the queue may be, which change without a new version."""
REMEMBERED = 2_000
LONGEST = 64 * 1024
"""Bytes of a body that is worth remembering."""

Key = tuple[uuid.UUID, uuid.UUID]
"""(user, task)"""


class View(Struct, frozen=True):
    """`until`: the loop's time up to which it is shown; infinity for what has ended."""

    version: int
    ended: bool
    body: bytes
    until: float


class Views:
    """The latest of each task, the least recently shown forgotten first. Made inside the loop it is used
    in."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._views: OrderedDict[Key, View] = OrderedDict()

    def get(self, key: Key) -> View | None:
        """To be shown only where the row still has its version."""
        view = self._views.get(key)
        if view is None:
            return None
        if view.until < self._clock():
            del self._views[key]
            return None
        self._views.move_to_end(key)
        return view

    def keep(self, key: Key, version: int, ended: bool, body: bytes) -> None:
        if len(body) > LONGEST:
            return
        until = float("inf") if ended else self._clock() + DERIVED_S
        self._views[key] = View(version, ended, body, until)
        self._views.move_to_end(key)
        if len(self._views) > REMEMBERED:
            self._views.popitem(last=False)
