"""No connection carries anybody's identity back into the pool, however its last user left it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import httpx
import pytest

from shared.contracts.states import uuid7
from shared.db import files, quotas, tasks
from shared.db.pool import Database, open_database
from shared.errors import DatabaseUnavailable
from shared.settings import Postgres, load
from tests.databases import new_user
from tests.integration import api_client
from tests.integration.api_client import Api

CONNECTIONS, USERS, ROUNDS = 4, 12, 600


class Refused(Exception):
    """What a handler raises in the middle of a transaction."""


@pytest.fixture
async def small(env: dict[str, str]) -> AsyncIterator[Database]:
    """The API's login with so few connections that everybody gets what another has just left."""
    settings = load(Postgres, env | {"DB_POOL_SIZE": str(CONNECTIONS)})
    async with open_database(env["API_DATABASE_URL"], settings, application="small", deadline_s=30) as db:
        yield db


async def left_over(db: Database, connections: int) -> list[str]:
    """What the pool's connections carry while nobody uses them: all of them are taken at once."""
    found = []
    async with contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(db.connection()) for _ in range(connections)]
        for c in held:
            row = await c.fetchrow(
                "SELECT nullif(current_setting('request.jwt.claims', true), '') AS claims,"
                " (SELECT count(*) FROM trainyard.files) AS rows,"
                " (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')"
                " AS locks, current_setting('role') AS role"
            )
            if tuple(row) != (None, 0, 0, "none") or c.is_in_transaction():
                found.append(f"{dict(row)}, in a transaction: {c.is_in_transaction()}")
    return found


async def own_file(db: Database, user: uuid.UUID) -> None:
    async with db.transaction(user) as c:
        await files.insert(c, file_id=uuid7(), user_id=user, name=str(user), size_bytes=1, sha256="")


class Caller:
    """One user who does one thing, of many kinds, and notes whose rows there were."""

    def __init__(self, db: Database, user: uuid.UUID, dice: random.Random, seen: collections.Counter[str]):
        self.db, self.user, self.dice, self.seen = db, user, dice, seen

    async def look(self, c: object, expected: set[str]) -> None:
        rows = await c.fetch("SELECT name FROM trainyard.files")  # type: ignore[attr-defined]
        assert {row["name"] for row in rows} == expected

    async def read(self) -> None:
        async with self.db.transaction(self.user) as c:
            await self.look(c, {str(self.user)})

    async def fail(self) -> None:
        with contextlib.suppress(Refused):
            async with self.db.transaction(self.user) as c:
                await self.look(c, {str(self.user)})
                raise Refused

    async def be_refused(self) -> None:
        with contextlib.suppress(asyncpg.DivisionByZeroError):
            async with self.db.transaction(self.user) as c:
                await self.look(c, {str(self.user)})
                await c.execute("SELECT 1 / 0")

    async def be_cancelled(self, *, again: bool = False) -> None:
        """Somewhere in a transaction: before it, in a statement, in its end; `again` in the clean-up too."""

        async def work() -> None:
            async with self.db.transaction(self.user) as c:
                await self.look(c, {str(self.user)})
                await c.execute("SELECT pg_sleep(0.02)")

        task = asyncio.create_task(work())
        await asyncio.wait({task}, timeout=self.dice.uniform(0, 0.03))
        task.cancel()
        if again:
            await asyncio.wait({task}, timeout=self.dice.uniform(0, 0.002))
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, DatabaseUnavailable):
            await task

    async def be_cancelled_again(self) -> None:
        await self.be_cancelled(again=True)

    async def run_out_of_time(self) -> None:
        with contextlib.suppress(TimeoutError, DatabaseUnavailable):
            async with asyncio.timeout(self.dice.uniform(0, 0.02)), self.db.transaction(self.user) as c:
                await c.execute("SELECT pg_sleep(0.05)")

    async def run_out_of_the_commands_time(self) -> None:
        with pytest.raises(DatabaseUnavailable):
            async with self.db.transaction(self.user) as c:
                await c.fetch("SELECT pg_sleep(0.5)", timeout=0.01)

    async def be_cut_off(self) -> None:
        with contextlib.suppress(DatabaseUnavailable, asyncpg.PostgresError):
            async with self.db.transaction(self.user) as c:
                await c.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def be_terminated(self) -> None:
        with contextlib.suppress(DatabaseUnavailable, asyncpg.PostgresError):
            async with self.db.transaction(self.user) as c:
                c.terminate()

    async def ask_in_a_statement(self) -> None:
        async with self.db.connection() as c:
            assert await tasks.get(c, self.user, uuid7()) is None
            await self.look(c, set())  # the identity ended with the statement

    async def fail_in_a_statement(self) -> None:
        with contextlib.suppress(asyncpg.DivisionByZeroError):
            async with self.db.connection() as c:
                await c.fetchval(
                    "SELECT 1 / (length(set_config('request.jwt.claims', $1, true)) - 46)",
                    f'{{"sub":"{self.user}"}}',
                )
        async with self.db.connection() as c:
            await self.look(c, set())

    async def count(self) -> None:
        async with self.db.transaction(self.user) as c:
            await quotas.lock(c, self.user)
            assert await quotas.stored_bytes(c, self.user) == 1

    async def ask_as_nobody(self) -> None:
        async with self.db.connection() as c:
            await self.look(c, set())

    def deeds(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.read,
            self.fail,
            self.be_refused,
            self.be_cancelled,
            self.be_cancelled_again,
            self.run_out_of_time,
            self.run_out_of_the_commands_time,
            self.be_cut_off,
            self.be_terminated,
            self.ask_in_a_statement,
            self.fail_in_a_statement,
            self.count,
            self.ask_as_nobody,
        ]

    async def act(self) -> None:
        deed = self.dice.choice(self.deeds())
        await deed()
        self.seen[deed.__name__] += 1


async def test_a_pool_that_everybody_uses_carries_nobodys_identity(small: Database) -> None:
    dice = random.Random(4)
    seen: collections.Counter[str] = collections.Counter()
    users = [await new_user(small) for _ in range(USERS)]
    for user in users:
        await own_file(small, user)
    crowd = asyncio.Semaphore(3 * CONNECTIONS)

    async def act(user: uuid.UUID) -> None:
        async with crowd:
            await Caller(small, user, dice, seen).act()

    async with asyncio.TaskGroup() as group:
        for _ in range(ROUNDS):
            group.create_task(act(dice.choice(users)))
    print(f"\n{ROUNDS} uses by {USERS} users of {CONNECTIONS} connections: {dict(seen)}")
    assert seen.total() == ROUNDS
    assert len(seen) == len(Caller(small, users[0], dice, seen).deeds())
    assert await left_over(small, CONNECTIONS) == []


@pytest.mark.parametrize(
    "left",
    [
        "SELECT set_config('request.jwt.claims', '{\"sub\": \"%s\"}', false)",
        "SELECT pg_advisory_lock(1)",
        "SET role trainyard_user",
    ],
)
async def test_what_is_left_over_is_found(small: Database, left: str) -> None:
    user = await new_user(small)
    await own_file(small, user)
    async with small.connection() as c:
        await c.execute(left.replace("%s", str(user)))
    assert len(await left_over(small, CONNECTIONS)) == 1


async def test_callers_who_hang_up_leave_nothing_behind(env: dict[str, str], buckets: None) -> None:
    """Over the API: many users at once, a part of whom go away before they are answered."""
    dice = random.Random(5)
    async with api_client.running(env, DB_POOL_SIZE=str(CONNECTIONS)) as api:
        users = [uuid.uuid4() for _ in range(USERS)]
        clients = {user: api.user(user) for user in users}
        mine = {user: (await api_client.upload(clients[user]))["file_id"] for user in users}
        answered = hung_up = 0

        async def ask(user: uuid.UUID, patience_s: float) -> None:
            nonlocal answered, hung_up
            url = dice.choice(
                ["/files", f"/files/{mine[user]}", f"/files/{mine[dice.choice(users)]}", "/ml/tasks"]
            )
            asking = asyncio.create_task(clients[user].get(url))
            await asyncio.wait({asking}, timeout=patience_s)
            if not asking.done():
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asking
                hung_up += 1
                return
            others = set(mine.values()) - {mine[user]}
            answer: httpx.Response = asking.result()
            assert answer.status_code in (200, 404), answer.text
            if answer.status_code == 200:
                assert not any(file_id in answer.text for file_id in others)
            answered += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(300):
                patience_s = dice.choice([dice.uniform(0, 0.05), 20.0])
                group.create_task(ask(dice.choice(users), patience_s))
        print(f"\n{answered} answered, {hung_up} hung up")
        assert answered > 50
        assert hung_up > 20
        assert await left_over(api.context.db, CONNECTIONS) == []


async def test_the_api_and_its_tests_share_one_kind_of_pool(api: Api, small: Database) -> None:
    """What is tried above is what the API uses: no reset between users, since nothing is left to reset."""
    assert api.context.db.pool._reset is small.pool._reset
