"""What a query in PromQL asks for: the series it selects and the labels it goes by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser as promql

GRAFANAS = {"$__rate_interval": "1m", "$__range": "1h"}
"""Durations that Grafana puts in: what they are replaced with by whoever is not Grafana."""


class Selector(NamedTuple):
    """`name{label op "value", …}`; op is one of = != =~ !~."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, labels: dict[str, str]) -> bool:
        """Whether a series of this name with these labels is one of them. A label that is not there is empty;
        expressions match whole values."""
        return all(_MATCHES[op](labels.get(label, ""), value) for label, op, value in self.matchers)


_MATCHES = {
    "=": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
    "=~": lambda found, wanted: re.fullmatch(wanted, found) is not None,
    "!~": lambda found, wanted: re.fullmatch(wanted, found) is None,
}
_OPERATORS = (
    (promql.MatchOp.Equal, "="),
    (promql.MatchOp.NotEqual, "!="),
    (promql.MatchOp.Re, "=~"),
    (promql.MatchOp.NotRe, "!~"),
)


def plain(query: str, **durations: str) -> str:
    """The query with Grafana's durations put in: `rate_interval` and `range`, if not those above."""
    for name, usual in GRAFANAS.items():
        query = query.replace(name, durations.get(name.removeprefix("$__"), usual))
    return query


def selectors(query: str) -> list[Selector]:
    """Raises ValueError where it is no PromQL."""
    return [
        Selector(node.name, tuple((m.name, _operator(m.op), m.value) for m in node.matchers.matchers))
        for node in _nodes(promql.parse(plain(query)))
        if isinstance(node, promql.VectorSelector)
    ]


def labels(query: str) -> set[str]:
    """Those that it groups or joins by."""
    found: set[str] = set()
    for node in _nodes(promql.parse(plain(query))):
        modifier = getattr(node, "modifier", None)
        named = getattr(modifier, "matching", None) or (modifier if hasattr(modifier, "labels") else None)
        found |= set(named.labels) if named is not None else set()
    return found


def _operator(op: promql.MatchOp) -> str:
    return next(text for known, text in _OPERATORS if known == op)


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        below = getattr(node, part, None)
        if isinstance(below, promql.Expr):
            yield from _nodes(below)
    for below in getattr(node, "args", ()) or ():
        yield from _nodes(below)
