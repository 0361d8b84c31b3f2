"""Every query of shared/db as the wrong user, with the query's own filter on user_id taken out: what is
left is the database's word alone. And the other way round: the filters alone, with the policies opened.

"Nothing learned" means that the answer is the one that the same call gets in a database in which the victim
has no rows at all.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest

from shared.db.pool import Database, open_database
from shared.errors import DatabaseUnavailable
from shared.settings import Postgres, load
from tests.databases import with_database
from tests.isolation.belongings import ALL_TABLES, WITHOUT_ROWS, Belongings, dump, forget, give
from tests.isolation.calls import Query, arguments, queries
from tests.isolation.unfiltered import NotUnderstood, Unfiltered, without_filters

DENIED = (asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError)


class Place(NamedTuple):
    """A database, as the API's login and as a superuser."""

    db: Database
    root: asyncpg.Connection


class Pair(NamedTuple):
    """Two that are the same but for the rows of the victim."""

    full: Place
    empty: Place
    its: Belongings
    attacker: uuid.UUID


@contextlib.asynccontextmanager
async def place(
    servers: Mapping[str, str], template: str, users: Iterable[uuid.UUID]
) -> AsyncIterator[Place]:
    name = f"isolation_{uuid.uuid4().hex}"
    env = with_database(servers, name)
    server = await asyncpg.connect(servers["DATABASE_URL"])
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    root = await asyncpg.connect(env["DATABASE_URL"])
    await root.executemany("INSERT INTO auth.users (id) VALUES ($1)", [(user,) for user in users])
    async with open_database(env["API_DATABASE_URL"], load(Postgres, env), application="test") as db:
        yield Place(db, root)
    await root.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
async def pair(servers: Mapping[str, str], template: str) -> AsyncIterator[Pair]:
    victim, attacker = uuid.uuid4(), uuid.uuid4()
    async with (
        place(servers, template, [victim, attacker]) as full,
        place(servers, template, [victim, attacker]) as empty,
    ):
        yield Pair(full, empty, await give(full.root, victim), attacker)


def told(value: Any, known: set[str]) -> Any:
    """An answer made comparable: ids that were not in the question, times and tokens lose their value."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Mapping | asyncpg.Record):
        return {str(key): told(item, known) for key, item in dict(value).items()}
    if isinstance(value, list | tuple):
        return [told(item, known) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(told(item, known)) for item in value)
    if isinstance(value, uuid.UUID):
        return str(value) if str(value) in known else "an id"
    if isinstance(value, dt.datetime):
        return "a time"
    if isinstance(value, int) and value > 10**9:
        return "a time"  # attempts of what was never tried begin with the second
    return value


async def call(
    at: Place, query: Query, given: dict[str, Any], identity: uuid.UUID, *, alone: bool, strip: bool = True
) -> tuple[str, Any, int]:
    """How it ended, with what, and how many filters were taken out. `alone`: outside of any transaction,
    so that only what a statement says itself is an identity."""
    used = 0
    try:
        async with at.db.connection() if alone else at.db.transaction(identity) as c:
            through = Unfiltered(c, identity, strip=strip)
            answer = await query.run(through, **given)
            used = through.taken_out
    except DENIED as error:
        return "denied", type(error).__name__, used
    except (asyncpg.PostgresError, DatabaseUnavailable) as error:
        return "failed", repr(error), used
    return "answered", told(answer, set(_ids(given.values()))), used


def _ids(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, uuid.UUID):
            yield str(value)
        elif isinstance(value, list):
            yield from _ids(value)
        elif isinstance(value, msgspec.Struct):
            yield from _ids(msgspec.structs.astuple(value))


class Tally(NamedTuple):
    leaks: list[str]
    calls: int
    denied: int
    filters: int


async def attack(pair: Pair, query: Query, asked_as: uuid.UUID, *, alone: bool, strip: bool = True) -> Tally:
    """All calls of one query; a leak is an answer that an empty database does not give, or a row of the
    victim's that is not what it was."""
    before = await dump(pair.full.root, pair.its.user)
    leaks: list[str] = []
    calls = denied = filters = 0
    for given in arguments(query, pair.its, asked_as):
        how, answer, used = await call(pair.full, query, given, pair.attacker, alone=alone, strip=strip)
        if how == "failed":
            leaks.append(f"{query.name} cannot be tried: {answer}")
        elif how == "answered":
            other = await call(pair.empty, query, given, pair.attacker, alone=alone, strip=strip)
            if other[0] == "failed" or (other[0] == "answered" and other[1] != answer):
                leaks.append(f"{query.name} answers {answer!r:.300}, an empty database {other[1]!r:.300}")
        calls, denied, filters = calls + 1, denied + (how == "denied"), filters + used
    after = await dump(pair.full.root, pair.its.user)
    leaks += [f"{query.name} changed {table}" for table in before if before[table] != after[table]]
    for at in (pair.full, pair.empty):
        await forget(at.root, pair.attacker)
    return Tally(leaks, calls, denied, filters)


async def test_the_victim_has_rows_in_every_table(pair: Pair) -> None:
    have = {table for table, rows in (await dump(pair.full.root, pair.its.user)).items() if rows}
    tables = {row[0] for row in await pair.full.root.fetch(ALL_TABLES)}
    assert tables - have == set(WITHOUT_ROWS)


@pytest.mark.parametrize("who", ["the attacker", "the victim", "nobody"])
async def test_without_its_filters_no_query_reaches_another_users_rows(pair: Pair, who: str) -> None:
    """`who` is named as the user; the identity of the transaction is the attacker's, or nobody's."""
    leaks, calls, denied, filters = [], 0, 0, 0
    found = queries()
    for query in found:
        asked_as = pair.its.user if who == "the victim" else pair.attacker
        tally = await attack(pair, query, asked_as, alone=who == "nobody")
        leaks += tally.leaks
        calls, denied, filters = calls + tally.calls, denied + tally.denied, filters + tally.filters
    print(f"\nas {who}: {len(found)} queries, {calls} calls, {denied} denied, {filters} filters taken out")
    assert leaks == []
    assert len(found) > 100
    assert filters > 200


async def open_policies(root: asyncpg.Connection) -> None:
    """As if there were no row level security: the policies of users let everything through."""
    for (table,) in await root.fetch(ALL_TABLES):
        if table != "trainyard.migrations":
            await root.execute(f"ALTER POLICY own_rows ON {table} USING (true) WITH CHECK (true)")


async def test_without_policies_the_same_calls_reach_them(pair: Pair) -> None:
    """The attack works: it is the policies that stop it."""
    await open_policies(pair.full.root)
    reached = set()
    for query in queries():
        tally = await attack(pair, query, pair.attacker, alone=False)
        if any("cannot be tried" not in leak for leak in tally.leaks):
            reached.add(query.name)
            await forget(pair.full.root, pair.its.user)
            its = await give(pair.full.root, pair.its.user)
            pair = pair._replace(its=its)
    print(f"\n{len(reached)} queries reach another's rows")
    assert reached >= {
        "api_keys.delete",
        "audit.page",
        "account.runs",
        "bundles.get",
        "candidates.board",
        "files.get",
        "files.mark_deleted",
        "files.page",
        "files.profile",
        "idempotency.find",
        "models.get",
        "models.page",
        "models.update",
        "quotas.stored_bytes",
        "tasks.get",
        "tasks.mark_deleted",
        "tasks.page",
        "tasks.request_cancel",
        "tasks.request_resume",
        "tasks.results",
        "tasks.version",
    }


async def test_without_policies_the_filters_hold_alone(pair: Pair) -> None:
    """Two locks, not one: a query that takes a user asks for that user's rows itself."""
    await open_policies(pair.full.root)
    leaks = []
    for query in queries():
        if query.names_a_user:
            leaks += (await attack(pair, query, pair.attacker, alone=False, strip=False)).leaks
    assert leaks == []


@pytest.mark.parametrize(
    ("sql", "bare"),
    [
        ("WHERE user_id = $1", "WHERE ($1::uuid IS NOT NULL OR true)"),
        ("WHERE f.user_id=$12 AND x", "WHERE ($12::uuid IS NOT NULL OR true) AND x"),
        ("WHERE user_id = ANY($1)", "WHERE ($1::uuid[] IS NOT NULL OR true)"),
        ("JOIN b ON b.user_id = c.user_id AND b.user_id = $2", None),
    ],
)
def test_filters_are_taken_out(sql: str, bare: str | None) -> None:
    found, count = without_filters(sql)
    assert count == 1
    assert found == bare or (bare is None and "b.user_id = c.user_id" in found and "= $2" not in found)


@pytest.mark.parametrize(
    "sql",
    [
        "WHERE user_id = ANY(ARRAY[$1])",
        "WHERE $1 = user_id",
        "WHERE user_id IN ($1, $2)",
        "WHERE user_id IS NOT DISTINCT FROM $1",
        "WHERE $1::uuid = f.user_id",
        "WHERE user_id = trainyard.uid()",
    ],
)
def test_a_filter_of_another_form_is_not_overlooked(sql: str) -> None:
    with pytest.raises(NotUnderstood):
        without_filters(sql)
