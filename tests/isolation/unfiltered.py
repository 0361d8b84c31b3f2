"""A connection that takes the queries' own `user_id` filters out on their way to the server."""

from __future__ import annotations

import re
import uuid
from typing import Any

from shared.db.pool import Connection, claims

_FILTER = re.compile(r"(?:\b\w+\.)?\buser_id\s*=\s*\$(\d+)")
_FILTER_ANY = re.compile(r"(?:\b\w+\.)?\buser_id\s*=\s*ANY\(\$(\d+)\)")
_COMPARED = re.compile(r"\buser_id\s*(=|<>|!=|<|>|\bIS\b|\bIN\b|\bBETWEEN\b|\bLIKE\b)\s*(\S+)", re.IGNORECASE)
_REVERSED = re.compile(r"\$\d+(?:::\w+)?\s*=\s*(?:\w+\.)?user_id\b|ANY\s*\(\s*(?:\w+\.)?user_id")
_JOIN = re.compile(r"(?:\w+\.)?user_id\b")


class NotUnderstood(Exception):
    """A filter on user_id of a form that these tests cannot take out: teach them."""


def without_filters(sql: str) -> tuple[str, int]:
    """The statement with `user_id = $n` always true, and how many of them there were.

    The parameter is still used, so that the server knows its type. What compares two columns is a join."""
    bare, one = _FILTER.subn(r"($\1::uuid IS NOT NULL OR true)", sql)
    bare, many = _FILTER_ANY.subn(r"($\1::uuid[] IS NOT NULL OR true)", bare)
    for operator, operand in _COMPARED.findall(bare):
        join = operator == "=" and _JOIN.match(operand)
        batch = operator.upper() == "IN" and (operand.startswith("(SELECT") or operand == "(")
        if not (join or batch):
            raise NotUnderstood(f"user_id {operator} {operand} in: {sql}")
    if found := _REVERSED.search(bare):
        raise NotUnderstood(f"{found[0]} in: {sql}")
    return bare, one + many


class Unfiltered:
    """Stands for an asyncpg connection. `strip=False` lets statements through as they are.

    Where a statement carries an identity in itself, that is `identity`'s whatever the caller gave: a caller
    who could choose it would need no query."""

    def __init__(self, connection: Connection, identity: uuid.UUID, *, strip: bool = True) -> None:
        self._connection = connection
        self._identity = identity
        self._strip = strip
        self.taken_out = 0

    def _rewritten(self, sql: str, values: tuple[Any, ...]) -> tuple[str, list[Any]]:
        if self._strip:
            sql, count = without_filters(sql)
            self.taken_out += count
        mine = claims(self._identity)
        return sql, [mine if isinstance(v, str) and v.startswith('{"sub":"') else v for v in values]

    async def fetch(self, sql: str, *values: Any) -> Any:
        text, given = self._rewritten(sql, values)
        return await self._connection.fetch(text, *given)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        text, given = self._rewritten(sql, values)
        return await self._connection.fetchrow(text, *given)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        text, given = self._rewritten(sql, values)
        return await self._connection.fetchval(text, *given)

    async def execute(self, sql: str, *values: Any) -> Any:
        text, given = self._rewritten(sql, values)
        return await self._connection.execute(text, *given)

    def __getattr__(self, name: str) -> Any:
        raise NotUnderstood(f"a query uses {name}() of its connection")
