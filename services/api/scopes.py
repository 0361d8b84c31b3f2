"""What a caller may do: `read`, `train`, `admin`, each with those before it.

The rule is one for all routes, so that a new one is covered before anybody thinks of it: GET and HEAD
read; every other method makes or changes something and needs `train`; a route that says so in its `opt`
(`opt={SCOPE: Scope.ADMIN}`), as those for keys, the account and the audit do, needs what it says. People
and services with a token of their own have every scope; an API key has those it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.contracts.accounts import Scope
from shared.errors import MissingScope

SCOPE = "scope"
"""`opt={SCOPE: Scope.ADMIN}`: what a handler, or all of a router's, needs instead of its method's."""

EVERYTHING: frozenset[str] = frozenset(Scope)

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_RISING = (Scope.READ, Scope.TRAIN, Scope.ADMIN)


def granted(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes given, and those that are part of them."""
    highest = max((_RISING.index(Scope(scope)) for scope in scopes), default=-1)
    return frozenset(_RISING[: highest + 1])


def needed(method: str, opt: Mapping[str, Any]) -> Scope:
    """What a call of this method needs on a route with this `opt`."""
    told: Scope | None = opt.get(SCOPE)
    if told is not None:
        return told
    return Scope.READ if method in _READING else Scope.TRAIN


def require_scope(held: frozenset[str], method: str, opt: Mapping[str, Any]) -> None:
    """Raises MissingScope."""
    scope = needed(method, opt)
    if scope not in held:
        given = ", ".join(f"`{known}`" for known in _RISING if known in held)
        raise MissingScope(f"This call needs the scope `{scope}`; this API key has {given}")
