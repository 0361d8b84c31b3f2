"""The audit trail, a partition a month: cut ahead, left by age, and whole to whoever asks."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from services.packager.sweep import MONTH_S, WHOLE_MONTHS_FROM_S, Sweep
from shared.backup import tables
from shared.contracts.accounts import AuditAction
from shared.contracts.states import uuid7
from shared.db import account, audit, migrate
from shared.db.audit import Deed
from shared.db.pool import Database, open_database
from shared.metrics import TRAIL_MONTHS, TRAIL_UNPLACED
from shared.resources import Resources
from shared.settings import Postgres, Retention, load
from tests.databases import execute, with_database

_counter = itertools.count()
BEFORE = 13
"""The last migration under which the trail was one table."""


def id_of(moment: dt.datetime) -> uuid.UUID:
    """As `uuid7`, of another moment."""
    made = uuid7()
    return uuid.UUID(int=int(moment.timestamp() * 1e3) << 80 | made.int & (1 << 80) - 1)


def months_from_now(count: int) -> dt.datetime:
    """The middle of a month."""
    now = dt.datetime.now(dt.UTC)
    year, month = divmod(now.year * 12 + now.month - 1 + count, 12)
    return dt.datetime(year, month + 1, 15, tzinfo=dt.UTC)


async def tell(owner: asyncpg.Connection, user: uuid.UUID, moment: dt.datetime) -> uuid.UUID:
    made = id_of(moment)
    await owner.execute(
        "INSERT INTO trainyard.audit (id, user_id, at, action, subject_kind, actor)"
        " VALUES ($1, $2, $3, 'run.started', 'run', 'user')",
        made,
        user,
        moment,
    )
    return made


async def places(owner: asyncpg.Connection, user: uuid.UUID) -> list[str]:
    """The partitions of a user's rows, oldest first."""
    rows = await owner.fetch(
        "SELECT tableoid::regclass::text AS place FROM trainyard.audit WHERE user_id = $1 ORDER BY id", user
    )
    return [row["place"].removeprefix("trainyard.") for row in rows]


def deed(user: uuid.UUID) -> Deed:
    return Deed(
        user_id=user, action=AuditAction.RUN_STARTED, subject_kind="run", subject_id=None, actor="user"
    )


@pytest.fixture
async def owner(env: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(env["DATABASE_URL"])
    yield connection
    await connection.close()


async def test_months_are_cut_ahead_and_a_row_is_where_its_id_says(
    owner: asyncpg.Connection, api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    async with worker_db.connection() as c:
        assert await audit.add_months(c) == []
        standing = await audit.standing(c)
    # from the 24th on a migration leaves the month to come to the rows of before, too
    assert standing.ahead in (audit.AHEAD, audit.AHEAD + 1)
    assert standing.unplaced == 0
    async with api_db.transaction(user_id) as c:
        await audit.insert(c, deed(user_id))
    for count in (-20, 2, 3):
        await tell(owner, user_id, months_from_now(count))
    named = [f"audit_{months_from_now(count):%Y_%m}" for count in (2, 3)]
    assert await places(owner, user_id) == ["audit_before", "audit_before", *named]


async def test_what_belongs_to_no_month_is_kept_said_and_put_where_it_belongs(
    owner: asyncpg.Connection, worker_db: Database, worker_resources: Resources, user_id: uuid.UUID
) -> None:
    sweep = Sweep(worker_resources, Retention())
    far = [await tell(owner, user_id, months_from_now(count)) for count in (6, 60)]
    assert await places(owner, user_id) == ["audit_unplaced"] * 2
    await sweep.turn_the_trail()
    assert (TRAIL_MONTHS._value.get() >= audit.AHEAD, TRAIL_UNPLACED._value.get()) == (True, 2)
    made = await owner.fetch("SELECT * FROM trainyard.add_audit_months(6)")  # as if it were later
    assert [row[0] for row in made][-1] == f"audit_{months_from_now(6):%Y_%m}"
    assert await places(owner, user_id) == [f"audit_{months_from_now(6):%Y_%m}", "audit_unplaced"]
    async with worker_db.transaction() as c:
        assert [entry.id for entry in await audit.page(c, user_id, limit=10)] == far[::-1]
    await sweep.turn_the_trail()
    assert TRAIL_UNPLACED._value.get() == 1


async def test_months_that_are_over_go_at_once_and_the_others_stay(
    owner: asyncpg.Connection, worker_db: Database, user_id: uuid.UUID
) -> None:
    for count in (-30, 2, 3):
        await tell(owner, user_id, months_from_now(count))
    over = (months_from_now(3).replace(day=2) - dt.datetime.now(dt.UTC)).total_seconds()
    async with worker_db.transaction() as c:
        assert await audit.drop_months(c, older_than_s=400 * 24 * 3600) == []
    reader = owner.transaction()
    await reader.start()
    await owner.fetch("SELECT FROM trainyard.audit")  # a backup, for minutes
    async with worker_db.transaction() as c:
        assert await audit.drop_months(c, older_than_s=-over) == []
    await reader.rollback()
    async with worker_db.transaction() as c:
        gone = await audit.drop_months(c, older_than_s=-over)
    assert gone[0] == "trainyard.audit_before"
    assert gone[-1] == f"trainyard.audit_{months_from_now(2):%Y_%m}"
    assert await places(owner, user_id) == [f"audit_{months_from_now(3):%Y_%m}"]
    assert await owner.fetchval("SELECT to_regclass('trainyard.audit_before')") is None


async def test_rows_that_no_month_takes_go_one_by_one(
    owner: asyncpg.Connection, worker_resources: Resources, user_id: uuid.UUID
) -> None:
    now = dt.datetime.now(dt.UTC)
    for days in (1, 100, 120, 140):
        await tell(owner, user_id, now - dt.timedelta(days=days))
    for keep_s, left in ((WHOLE_MONTHS_FROM_S, 3), (99 * 24 * 3600, 3), (80 * 24 * 3600, 1)):
        await Sweep(worker_resources, Retention(audit_ttl_s=keep_s)).forget_deeds()
        assert len(await places(owner, user_id)) == left, keep_s
    assert WHOLE_MONTHS_FROM_S + MONTH_S < 140 * 24 * 3600


async def test_an_account_that_ends_leaves_no_row_in_any_partition(
    owner: asyncpg.Connection, worker_db: Database, user_id: uuid.UUID
) -> None:
    other = uuid.uuid4()
    for whose, count in itertools.product((user_id, other), (-30, 0, 2, 3, 40)):
        await tell(owner, whose, months_from_now(count))
    theirs = await places(owner, other)
    assert len(set(theirs)) == 4
    async with worker_db.transaction() as c:
        while await account.delete_rows(c, user_id):
            pass
    assert await places(owner, user_id) == []
    assert await places(owner, other) == theirs


async def test_a_backup_holds_the_trail_once_and_gives_it_back(
    owner: asyncpg.Connection, user_id: uuid.UUID, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for count in (-30, 0, 3, 40):
        await tell(owner, user_id, months_from_now(count))
    before = await owner.fetch("SELECT *, tableoid::text FROM trainyard.audit ORDER BY id")
    found = {table.full_name: table for table in await tables.tables(owner)}
    assert [name for name in found if "audit" in name] == ["trainyard.audit"]
    stored = await tables.write(owner, found["trainyard.audit"], folder)
    await owner.execute("DELETE FROM trainyard.audit")
    await tables.read(owner, found["trainyard.audit"], stored, folder)
    assert stored.rows == 4
    assert await owner.fetch("SELECT *, tableoid::text FROM trainyard.audit ORDER BY id") == before


# --- from one table to many --------------------------------------------------------------------


@pytest.fixture
def old_env(servers: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """An installation of before, migrated by an owner who is no superuser: FORCE binds them too."""
    name = f"months_{next(_counter)}"
    root = servers["DATABASE_URL"]
    asyncio.run(
        execute(
            root, f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'x'", f"CREATE DATABASE {name} OWNER {name}"
        )
    )
    env = with_database(servers, name)
    parts = urlsplit(env["DATABASE_URL"])
    address = f"{name}:x@{parts.hostname}:{parts.port}"
    mine = urlunsplit(parts._replace(netloc=address))
    asyncio.run(migrate.migrate(load(Postgres, {"DATABASE_URL": mine}), up_to=BEFORE))
    yield env | {"OWNER_URL": mine}
    asyncio.run(
        execute(root, f"DROP DATABASE {name} WITH (FORCE)", f"DROP OWNED BY {name}", f"DROP ROLE {name}")
    )


async def to_now(env: Mapping[str, str]) -> list[str]:
    return await migrate.migrate(load(Postgres, {"DATABASE_URL": env["OWNER_URL"]}))


@pytest.fixture
async def old(old_env: dict[str, str], template: str) -> AsyncIterator[asyncpg.Connection]:
    """`template`: so that the logins are there."""
    connection = await asyncpg.connect(old_env["DATABASE_URL"])
    yield connection
    await connection.close()


async def test_rows_of_before_are_there_after_whatever_their_ids(
    old_env: dict[str, str], old: asyncpg.Connection
) -> None:
    user = uuid.uuid4()
    await old.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
    for count in (-40, -1, 0, 50):
        await tell(old, user, months_from_now(count))
    rows = await old.fetch("SELECT * FROM trainyard.audit ORDER BY id")
    settings = load(Postgres, old_env)
    async with (
        open_database(old_env["API_DATABASE_URL"], settings, application="test") as api,
        open_database(old_env["WORKER_DATABASE_URL"], settings, application="test") as worker,
        api.connection() as as_user,
        worker.connection() as as_worker,
    ):

        async def use() -> int:
            """Statements that this process prepared before."""
            await audit.insert_alone(as_user, deed(user))
            await audit.insert_by_worker(as_worker, user, AuditAction.ACCOUNT_EXPORTED, {})
            await audit.delete_expired(as_worker, older_than_s=10 * 366 * 24 * 3600)
            return len(await audit.page(as_worker, user, limit=200))

        seen = await use()
        assert (await to_now(old_env))[0] == "0014_ten_million_runs.sql"
        assert (
            await old.fetch(
                "SELECT * FROM trainyard.audit WHERE id = ANY($1) ORDER BY id", [r["id"] for r in rows]
            )
            == rows
        )
        assert await use() == seen + 2
    assert await places(old, user) == ["audit_before"] * (len(rows) + 3) + ["audit_unplaced"]
    assert await old.fetchval("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'audit_before'")


async def test_a_migration_that_was_interrupted_is_begun_anew_wherever_it_was(
    old_env: dict[str, str], old: asyncpg.Connection
) -> None:
    user = uuid.uuid4()
    for count in (-1, 50):
        await tell(old, user, months_from_now(count))
    [sql] = [sql for number, _, sql in migrate.migrations() if number == BEFORE + 1]
    steps = migrate.steps(sql)
    assert len(steps) > 10
    owner = await asyncpg.connect(old_env["OWNER_URL"])
    try:
        for last in range(len(steps)):
            for step in steps[: last + 1]:
                await migrate._step(owner, step, 5.0)
    finally:
        await owner.close()
    await to_now(old_env)
    assert await places(old, user) == ["audit_before", "audit_unplaced"]
    assert await to_now(old_env) == []


async def test_an_index_that_was_left_half_made_is_made_anew(
    old_env: dict[str, str], old: asyncpg.Connection
) -> None:
    await old.execute("CREATE INDEX tasks_open ON trainyard.tasks (id)")  # not of these rows alone
    await old.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'trainyard.tasks_open'::regclass"
    )
    await to_now(old_env)
    made = await old.fetchrow(
        "SELECT indisvalid, pg_get_expr(indpred, indrelid) AS rows FROM pg_index"
        " WHERE indexrelid = 'trainyard.tasks_open'::regclass"
    )
    assert made["indisvalid"]
    assert "queued" in made["rows"]


async def test_two_that_migrate_at_once_do_not_wait_for_each_other_for_ever(old_env: dict[str, str]) -> None:
    applied = await asyncio.gather(to_now(old_env), to_now(old_env))
    assert sorted(map(len, applied))[0] == 0
    assert "0014_ten_million_runs.sql" in max(applied, key=len)
