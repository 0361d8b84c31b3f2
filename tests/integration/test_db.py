"""The queries against a real Postgres, as the logins that the services use."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import msgspec
import pytest
import structlog

from shared import needs
from shared.contracts.catalogue import MODELS
from shared.contracts.problems import Problem
from shared.contracts.registry import ModelPatch
from shared.contracts.states import JobKind, Stage, TaskStatus, TaskType, uuid7
from shared.contracts.training import Plan, TrainRequest
from shared.db import bundles, candidates, files, jobs, migrate, models, tasks
from shared.db.pool import Database
from shared.errors import ConfigurationError, DatabaseUnavailable
from shared.settings import Postgres, load
from tests.databases import new_user
from tests.integration.signatures import signed

PLAN = Plan(
    task_type=TaskType.CLASSIFICATION,
    target="species",
    metric="accuracy",
    roles={"a": "numeric"},
    models=["logistic_regression", "random_forest"],
    rows=150,
    test_size=0.2,
    cv_folds=5,
    seed=0,
    refit=True,
    split_digest="0" * 64,
    deadline_s=300,
)


async def test_a_frozen_transaction_is_ended_by_the_server(worker_db: Database) -> None:
    async with worker_db.connection() as c:
        assert await c.fetchval("SHOW idle_in_transaction_session_timeout") == migrate.IDLE_LIMIT

    async def freeze() -> None:
        async with worker_db.transaction() as c:
            await c.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            pid = c.get_server_pid()
            async with worker_db.transaction() as other, asyncio.timeout(10):
                while await other.fetchval("SELECT true FROM pg_stat_activity WHERE pid = $1", pid):
                    await asyncio.sleep(0.01)
            await c.fetchval("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await freeze()


async def test_a_transaction_frozen_within_a_statement_is_ended_by_the_server(worker_db: Database) -> None:
    """Between two messages of a statement the server counts the transaction as active, and waits. Before
    Postgres 17 it waits for ever, which migrating says (below)."""
    async with worker_db.connection() as c:
        if not await migrate.knows_transaction_limit(c):
            with pytest.raises(asyncpg.UndefinedObjectError):
                await c.fetchval("SHOW transaction_timeout")
            return
    ended = False

    async def freeze() -> None:
        nonlocal ended
        async with worker_db.connection() as c:
            assert await c.fetchval("SHOW transaction_timeout") == migrate.TRANSACTION_LIMIT
            await c.execute("SET transaction_timeout = '1s'")  # a running transaction's would go on
            pid = c.get_server_pid()
            async with c.transaction(), worker_db.connection() as other:
                await c.prepare("SELECT 2")  # Parse, Describe and Flush: the server waits for the Bind
                look = "SELECT state, wait_event FROM pg_stat_activity WHERE pid = $1"
                assert tuple(await other.fetchrow(look, pid)) == ("active", "ClientRead")
                while await other.fetchrow(look, pid) is not None:
                    await asyncio.sleep(0.01)
                ended = True
                await c.fetchval("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(20):
            await freeze()
    assert ended


async def add_file(db: Database, user: uuid.UUID) -> uuid.UUID:
    file_id = uuid7()
    async with db.transaction(user) as c:
        await files.insert(c, file_id=file_id, user_id=user, name="t.csv", size_bytes=3, sha256="ab")
        await jobs.insert(c, JobKind.PROFILE, file_id, user)
    return file_id


async def add_task(db: Database, user: uuid.UUID, file_id: uuid.UUID) -> uuid.UUID:
    task_id = uuid7()
    async with db.transaction(user) as c:
        request = TrainRequest(file_id=file_id, target="species")
        assert await tasks.insert(c, task_id=task_id, user_id=user, request=request, name="n")
        await jobs.insert(c, JobKind.PLAN, task_id, user)
    return task_id


async def plan_task(db: Database, user: uuid.UUID, task_id: uuid.UUID) -> list[uuid.UUID]:
    async with db.transaction() as c:
        assert await tasks.begin(c, task_id, Stage.PROFILING, "reading")
        choices = [MODELS[PLAN.task_type][slug] for slug in PLAN.models]
        ids = await candidates.insert_all(c, task_id, user, choices)
        await tasks.planned(c, task_id, PLAN, [])
        for candidate in ids:
            await jobs.insert(c, JobKind.FIT, candidate, user)
    return ids


async def finish_candidate(db: Database, candidate: uuid.UUID, user: uuid.UUID, score: float) -> None:
    async with db.transaction() as c:
        assert await candidates.begin(c, candidate, user, 1)
        assert await candidates.done(
            c,
            candidate,
            1,
            cv_mean=score,
            cv_std=0.01,
            metrics={"accuracy": score, "roc_auc": None},
            fit_seconds=0.5,
            predict_ms_per_row=0.01,
            size_bytes=1234,
            sha256="cd" * 32,
            signature=signed(user, uuid7(), "of_no_run", "cd" * 32),
            outcome={"plots": []},
        )


async def test_what_the_server_lacks_is_said_when_it_is_migrated(
    env: dict[str, str], worker_db: Database
) -> None:
    with structlog.testing.capture_logs() as logs:
        await migrate.migrate(load(Postgres, env))
    async with worker_db.connection() as c:
        known = await migrate.knows_transaction_limit(c)
    said = [line for line in logs if line["event"] == "database.lacks"]
    assert ["transaction_timeout" in line for line in said] == ([] if known else [True])


async def test_migrating_again_does_nothing(env: dict[str, str]) -> None:
    assert await migrate.migrate(load(Postgres, env)) == []


async def test_an_owner_login_for_the_api_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="row level security"):
        await migrate.migrate(load(Postgres, env | {"API_DATABASE_URL": env["DATABASE_URL"]}))


async def test_a_changed_migration_is_refused(env: dict[str, str]) -> None:
    connection = await asyncpg.connect(env["DATABASE_URL"])
    await connection.execute("UPDATE trainyard.migrations SET sha256 = 'other'")
    await connection.close()
    with pytest.raises(ConfigurationError, match=r"0001_schema\.sql was changed"):
        await migrate.migrate(load(Postgres, env))


async def test_status_of_a_task_from_queued_to_completed(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))

    async def status() -> object:
        async with api_db.connection() as c:
            return await tasks.get(c, user_id, task_id)

    queued = await status()
    assert (queued.status, queued.stage, queued.progress, queued.version) == ("queued", "queued", 0.0, 1)
    assert queued.task_type is msgspec.UNSET
    first, second = await plan_task(worker_db, user_id, task_id)
    planned = await status()
    assert (planned.status, planned.metric, len(planned.candidates)) == ("running", "accuracy", 2)
    assert planned.version > queued.version
    await finish_candidate(worker_db, first, user_id, 0.9)
    await finish_candidate(worker_db, second, user_id, 0.95)
    fitted = await status()
    assert fitted.best.model_name == "random_forest"
    assert fitted.progress > planned.progress
    async with worker_db.transaction() as c:
        await tasks.finished(
            c, task_id, status=TaskStatus.COMPLETED, message="ok", warnings=[], report={}, report_attempt=1
        )
    done = await status()
    assert (done.status, done.progress, done.stage) == ("completed", 1.0, "done")
    assert done.version > fitted.version
    assert done.finished_at >= done.started_at


async def test_a_failed_task_shows_its_problem(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    async with worker_db.transaction() as c:
        await tasks.failed(c, task_id, Problem(type="cannot-train", title="t", status=422, detail="why"))
    async with api_db.connection() as c:
        task = await tasks.get(c, user_id, task_id)
    assert task.status == "failed"
    assert task.error.detail == "why"


async def test_a_task_on_someone_elses_file_is_not_inserted(api_db: Database, user_id: uuid.UUID) -> None:
    other = await new_user(api_db)
    file_id = await add_file(api_db, other)
    async with api_db.transaction(user_id) as c:
        request = TrainRequest(file_id=file_id, target="species")
        assert not await tasks.insert(c, task_id=uuid7(), user_id=user_id, request=request, name="n")


async def test_rows_are_invisible_to_others_even_without_our_filter(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    await plan_task(worker_db, user_id, task_id)
    tables = (
        "trainyard.files",
        "trainyard.profiles",
        "trainyard.tasks",
        "trainyard.candidates",
        "trainyard.jobs",
    )
    async with api_db.transaction(user_id) as c:
        for table in tables:
            assert await c.fetchval(f"SELECT count(*) FROM {table}") > 0, table
    async with api_db.transaction(await new_user(api_db)) as c:
        for table in tables:
            assert await c.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    async with api_db.connection() as c:  # and a connection that came back carries no identity
        for table in tables:
            assert await c.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_a_user_cannot_write_as_another_or_what_workers_write(
    api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    other = await new_user(api_db)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with api_db.transaction(other) as c:
            await jobs.insert(c, JobKind.PURGE, task_id, user_id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with api_db.transaction(user_id) as c:
            await c.execute("UPDATE trainyard.tasks SET report = '{}' WHERE id = $1", task_id)


async def test_claims_are_exclusive_fenced_and_taken_over(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    await add_file(api_db, user_id)
    kinds = [JobKind.PROFILE, JobKind.PLAN]
    async with worker_db.transaction() as c:
        first = await jobs.claim(c, kinds, "a", 60)
        assert await jobs.claim(c, kinds, "b", 60) is None
        await c.execute("UPDATE trainyard.jobs SET lease_until = now() - interval '1 s'")
    async with worker_db.transaction() as c:
        second = await jobs.claim(c, kinds, "b", 60)
        assert (second.id, second.attempt) == (first.id, first.attempt + 1)
        assert not await jobs.holds(c, first)
        assert await jobs.renew(c, [first], "a", 60) == set()
        assert await jobs.renew(c, [second], "b", 60) == {second.id}
        await jobs.done(c, first)
        assert await jobs.holds(c, second)
        await jobs.done(c, second)
        assert not await jobs.holds(c, second)


async def test_candidates_are_fitted_in_the_order_of_the_plan(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    ids = await plan_task(worker_db, user_id, task_id)
    async with worker_db.transaction() as c:
        claimed = [(await jobs.claim(c, [JobKind.FIT], "w", 60)).subject_id for _ in ids]
    assert claimed == ids


async def test_two_claims_at_once_take_two_jobs(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    for _ in range(6):
        await add_file(api_db, user_id)

    async def one(owner: str) -> uuid.UUID:
        async with worker_db.transaction() as c:
            return (await jobs.claim(c, [JobKind.PROFILE], owner, 60)).id

    assert len(set(await asyncio.gather(*(one(f"w{i}") for i in range(6))))) == 6


async def test_the_user_with_least_running_is_served_first(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    for _ in range(4):
        await add_file(api_db, user_id)
    late = await new_user(api_db)
    await add_file(api_db, late)
    async with worker_db.transaction() as c:
        served = [(await jobs.claim(c, [JobKind.PROFILE], "w", 60)).user_id for _ in range(3)]
    assert served == [user_id, late, user_id]


async def test_users_take_turns_even_where_one_slot_serves_all(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    for _ in range(4):
        await add_file(api_db, user_id)
    other = await new_user(api_db)
    for _ in range(2):
        await add_file(api_db, other)
    served = []
    async with worker_db.transaction() as c:
        while (job := await jobs.claim(c, [JobKind.PROFILE], "w", 60)) is not None:
            served.append(job.user_id)
            await jobs.done(c, job)
    assert served == [user_id, other, user_id, other, user_id, user_id]


async def test_nobody_runs_more_than_the_cap(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    for _ in range(3):
        await add_file(api_db, user_id)
    async with worker_db.transaction() as c:
        first = await jobs.claim(c, [JobKind.PROFILE], "w", 60, user_cap=2)
        assert await jobs.claim(c, [JobKind.PROFILE], "w", 60, user_cap=2) is not None
        assert await jobs.claim(c, [JobKind.PROFILE], "w", 60, user_cap=2) is None
        await jobs.done(c, first)
        assert await jobs.claim(c, [JobKind.PROFILE], "w", 60, user_cap=2) is not None


async def test_what_needs_something_unknown_is_left_to_others(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    fits = [JobKind.FIT]
    old, new = uuid7(), uuid7()
    async with worker_db.transaction() as c:
        await jobs.insert(c, JobKind.FIT, new, user_id, needs=["classification novelty"])
        await jobs.insert(c, JobKind.FIT, old, user_id, needs=["classification random_forest"])
        assert (await jobs.claim(c, fits, "w", 60, knows=needs.known())).subject_id == old
        assert await jobs.claim(c, fits, "w", 60, knows=needs.known()) is None
        knows = [*needs.known(), "classification novelty"]
        assert (await jobs.claim(c, fits, "w", 60, knows=knows)).subject_id == new
        await jobs.insert(c, JobKind.PLAN, new, user_id, needs=["field models", "novelty"])
        await jobs.insert(c, JobKind.PLAN, old, user_id, needs=["field models", "ridge"])
        plans = [JobKind.PLAN]
        assert (await jobs.claim(c, plans, "w", 60, knows=needs.known())).subject_id == old
        assert await jobs.claim(c, plans, "w", 60, knows=needs.known()) is None
        assert (await jobs.claim(c, plans, "w", 60)).subject_id == new


async def test_a_job_that_was_lost_needs_what_it_did(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    ids = await plan_task(worker_db, user_id, task_id)
    async with worker_db.transaction() as c:
        await c.execute("DELETE FROM trainyard.jobs")
        await jobs.restore_missing(c)
        rows = await c.fetch("SELECT subject_id, needs FROM trainyard.jobs WHERE kind = 'fit'")
    restored = {row["subject_id"]: row["needs"] for row in rows}
    assert [restored[one] for one in ids] == [f"classification {slug}" for slug in PLAN.models]


async def test_a_users_first_task_is_fitted_before_its_second_is_planned(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    file_id = await add_file(api_db, user_id)
    first = await add_task(api_db, user_id, file_id)
    second = await add_task(api_db, user_id, file_id)
    kinds = [JobKind.PLAN, JobKind.FIT]
    async with worker_db.transaction() as c:
        plan = await jobs.claim(c, kinds, "w", 60)
        assert plan.subject_id == first
        await jobs.insert(c, JobKind.FIT, uuid7(), user_id, queued_at=plan.queued_at)
        await jobs.done(c, plan)
        assert (await jobs.claim(c, kinds, "w", 60)).kind == "fit"
        assert (await jobs.claim(c, kinds, "w", 60)).subject_id == second


async def test_a_drain_gives_its_try_back_and_a_failure_does_not(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    await add_file(api_db, user_id)
    async with worker_db.transaction() as c:
        for _ in range(jobs.MAX_TRIES + 2):
            await jobs.hand_over(c, await jobs.claim(c, [JobKind.PROFILE], "w", 60))
        for _ in range(jobs.MAX_TRIES):
            await jobs.retry(c, await jobs.claim(c, [JobKind.PROFILE], "w", 60), delay_s=0, error="boom")
        assert await jobs.claim(c, [JobKind.PROFILE], "w", 60) is None
        [(job, reason)] = await jobs.exhausted(c, [JobKind.PROFILE], "w", 60)
        assert (job.tries, reason) == (jobs.MAX_TRIES, "boom")
        assert await jobs.exhausted(c, [JobKind.PROFILE], "w", 60) == []


async def test_a_file_that_a_task_reads_is_not_deleted(api_db: Database, user_id: uuid.UUID) -> None:
    file_id = await add_file(api_db, user_id)
    await add_task(api_db, user_id, file_id)
    async with api_db.transaction(user_id) as c:
        assert not await files.mark_deleted(c, user_id, file_id)
        free = await add_file(api_db, user_id)
        assert await files.mark_deleted(c, user_id, free)
        assert await files.get(c, user_id, free) is None


async def test_bundle_is_asked_for_built_ready_and_expires(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    async with api_db.transaction(user_id) as c:
        first = await bundles.ask(c, task_id, user_id, 60)
        assert (first["status"], first["build"]) == ("building", True)
    async with worker_db.transaction() as c:
        await bundles.progress(c, task_id, 0.5)
    async with api_db.transaction(user_id) as c:
        assert (await bundles.ask(c, task_id, user_id, 60))["progress"] == 0.5
    async with worker_db.transaction() as c:
        await bundles.ready(c, task_id, 1, 10, "ab", 60)
        assert await bundles.expired(c) == []
    async with api_db.transaction(user_id) as c:
        ready = await bundles.ask(c, task_id, user_id, 60)
        assert (ready["status"], ready["build"], ready["size_bytes"]) == ("ready", False, 10)
    async with worker_db.transaction() as c:
        await c.execute("UPDATE trainyard.bundles SET expires_at = now() - interval '1 s'")
        [gone] = await bundles.expired(c)
        assert (gone["task_id"], gone["attempt"]) == (task_id, 1)


async def test_saved_models_are_listed_patched_trashed_and_restored(
    api_db: Database, worker_db: Database, user_id: uuid.UUID
) -> None:
    file_id = await add_file(api_db, user_id)
    task_id = await add_task(api_db, user_id, file_id)
    first, _ = await plan_task(worker_db, user_id, task_id)
    model_id = uuid7()

    async def save(slug: str) -> object:
        async with api_db.transaction(user_id) as c:
            return await models.insert(
                c,
                model_id=model_id,
                user_id=user_id,
                task_id=task_id,
                file_id=file_id,
                model_name="100% churn",
                description=None,
                tags=["a", "b"],
                slug=slug,
                task_type=TaskType.CLASSIFICATION,
            )

    assert await save("logistic_regression") is None  # not done yet
    await finish_candidate(worker_db, first, user_id, 0.9)
    saved = await save("logistic_regression")
    assert (saved.status, saved.file_path, saved.metrics["accuracy"]) == ("saving", None, 0.9)
    async with worker_db.transaction() as c:
        assert (await models.for_work(c, model_id, user_id))["artifact_sha256"] == "cd" * 32
        await models.ready(
            c,
            model_id,
            file_path=f"{user_id}/p.pkl",
            file_size=1234,
            sha256="cd" * 32,
            signature=signed(user_id, task_id, "of_no_run", "cd" * 32),
        )
    async with api_db.transaction(user_id) as c:
        assert [m.id for m in await models.page(c, user_id, limit=5, q="100%")] == [model_id]
        assert await models.page(c, user_id, limit=5, q="1%n") == []
        assert await models.page(c, user_id, limit=5, tag="c") == []
        patched = await models.update(c, user_id, model_id, ModelPatch(description="d"))
        assert (patched.description, patched.tags, patched.model_name) == ("d", ["a", "b"], "100% churn")
        await models.count_link(c, user_id, model_id)
        stats = await models.stats(c, user_id)
        assert (stats.count, stats.bytes, stats.links_issued) == (1, 1234, 1)
        assert stats.by_task_type == {"classification": 1}
        assert await models.mark_deleted(c, user_id, model_id)
        assert await models.get(c, user_id, model_id) is None
        assert [m.id for m in await models.page(c, user_id, limit=5, deleted=True)] == [model_id]
        assert (await models.restore(c, user_id, model_id)).deleted is False


async def test_a_server_that_is_away_is_one_error(env: dict[str, str]) -> None:
    from shared.db.pool import open_database

    url = "postgresql://nobody:x@127.0.0.1:1/none"
    async with open_database(url, load(Postgres, env), application="t") as db:
        with pytest.raises(DatabaseUnavailable):
            await db.check()
