"""The packager's work on a real store and database; runs are made without fitting anything."""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest

from services.packager.jobs import PackagerJobs, RunGoesOn
from services.packager.orphans import remove_orphans
from services.packager.sweep import Sweep
from shared.contracts.states import JobKind, Stage, TaskStatus, TaskType, uuid7
from shared.db import audit, bundles, candidates, files, jobs, models, tasks
from shared.db.jobs import Job
from shared.db.pool import Database
from shared.errors import LeaseLost
from shared.resources import Resources, open_resources
from shared.settings import S3, Postgres, Redis, Retention, load
from shared.storage import (
    Assembled,
    Store,
    bundle_key,
    dataset_key,
    model_key,
    plot_key,
    report_key,
    saved_model_path,
    task_prefix,
)
from tests.integration.signatures import KEYS, signed
from tests.integration.test_db import add_file, add_task, plan_task

PICKLES = {"logistic_regression": b"lr" * 500, "random_forest": b"rf" * 70_000}
REPORT = {"README.md": b"# card\n", "leaderboard.csv": b"rank,model_name\r\n"}


@pytest.fixture
async def resources(env: dict[str, str]) -> AsyncIterator[Resources]:
    async with open_resources(
        env["WORKER_DATABASE_URL"],
        postgres=load(Postgres, env),
        redis=load(Redis, env),
        s3=load(S3, env),
        application="test",
    ) as opened:
        await opened.store.ensure_buckets()
        yield opened


@pytest.fixture
def packager(resources: Resources, env: dict[str, str]) -> PackagerJobs:
    return PackagerJobs(resources, load(S3, env), Retention(), KEYS)


async def finished_run(
    resources: Resources, api_db: Database, user: uuid.UUID, status: TaskStatus = TaskStatus.COMPLETED
) -> uuid.UUID:
    """A task of two models that has ended, with everything in the store."""
    store, db = resources.store, resources.db
    task_id = await add_task(api_db, user, await add_file(api_db, user))
    for candidate, (slug, pickle) in zip(await plan_task(db, user, task_id), PICKLES.items(), strict=True):
        put = await store.put_bytes(
            store.artifacts,
            model_key(user, task_id, slug, 1),
            pickle,
            content_type="application/octet-stream",
        )
        svg = await store.put_bytes(
            store.artifacts,
            plot_key(user, task_id, slug, 1, "residuals"),
            b"<svg/>",
            content_type="image/svg+xml",
        )
        plot = {"model_name": slug, "kind": "residuals", "data": {}}
        async with db.transaction() as c:
            await candidates.begin(c, candidate, user, 1)
            await candidates.done(
                c,
                candidate,
                1,
                cv_mean=0.9 if slug == "random_forest" else 0.8,
                cv_std=0.0,
                metrics={"accuracy": 0.9},
                fit_seconds=0.1,
                predict_ms_per_row=0.1,
                size_bytes=put.size_bytes,
                sha256=put.sha256,
                signature=signed(user, task_id, slug, put.sha256),
                crc32=put.crc32,
                etag=put.etag,
                outcome={"plots": [plot | {"size_bytes": svg.size_bytes, "sha256": svg.sha256}]},
            )
    report = {}
    for name, content in REPORT.items():
        put = await store.put_bytes(
            store.artifacts, report_key(user, task_id, 1, name), content, content_type="text/csv"
        )
        report[name] = {"size_bytes": put.size_bytes, "sha256": put.sha256}
    async with db.transaction() as c:
        await tasks.finished(
            c,
            task_id,
            status=status,
            message="done",
            warnings=[],
            report=report,
            report_attempt=1,
        )
        await c.execute("DELETE FROM trainyard.jobs")
    return task_id


async def asked(api_db: Database, db: Database, kind: JobKind, subject: uuid.UUID, user: uuid.UUID) -> Job:
    async with api_db.transaction(user) as c:
        await jobs.insert(c, kind, subject, user)
    async with db.transaction() as c:
        job = await jobs.claim(c, [kind], "test", 60)
    assert job is not None
    assert job.subject_id == subject
    return job


async def zip_of(resources: Resources, user: uuid.UUID, task_id: uuid.UUID, attempt: int) -> zipfile.ZipFile:
    store = resources.store
    chunks = [c async for c in store.stream(store.bundles, bundle_key(user, task_id, attempt))]
    return zipfile.ZipFile(io.BytesIO(b"".join(chunks)))


async def keys(resources: Resources, bucket: str, prefix: str) -> list[str]:
    return [item.key async for item in resources.store.list(bucket, prefix)]


async def ask_bundle(api_db: Database, task_id: uuid.UUID, user: uuid.UUID) -> None:
    async with api_db.transaction(user) as c:
        await bundles.ask(c, task_id, user, 60)


async def bundle_row(api_db: Database, task_id: uuid.UUID, user: uuid.UUID) -> dict[str, object]:
    async with api_db.transaction(user) as c:
        return dict(await bundles.get(c, task_id, user))


async def test_a_bundle_holds_everything_once_and_best_twice(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await ask_bundle(api_db, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)
    await packager.bundle(job)
    packed = await zip_of(resources, user_id, task_id, job.attempt)
    assert packed.testzip() is None
    assert sorted(packed.namelist()) == sorted(
        ["best_model.pkl", "logistic_regression.pkl", "random_forest.pkl", *REPORT]
        + [f"plots/{slug}_residuals.svg" for slug in PICKLES]
        + ["SHA256SUMS"]
    )
    assert packed.read("best_model.pkl") == PICKLES["random_forest"]
    row = await bundle_row(api_db, task_id, user_id)
    assert (row["status"], row["attempt"], row["progress"]) == ("ready", job.attempt, 1.0)


async def test_a_member_that_is_not_what_was_stored_fails_the_bundle(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    store = resources.store
    key = model_key(user_id, task_id, "random_forest", 1)
    other = b"x" * len(PICKLES["random_forest"])
    await store.put_bytes(store.artifacts, key, other, content_type="application/octet-stream")
    await ask_bundle(api_db, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)
    with pytest.raises(Exception, match="does not hold") as raised:
        await packager.bundle(job)
    await packager.bundle_given_up(job, raised.value)
    assert (await bundle_row(api_db, task_id, user_id))["status"] == "failed"
    assert await keys(resources, store.bundles, task_prefix(user_id, task_id)) == []


async def test_a_stale_attempt_records_nothing(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await ask_bundle(api_db, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)
    async with resources.db.transaction() as c:
        await c.execute("UPDATE trainyard.jobs SET attempt = attempt + 1 WHERE id = $1", job.id)
    with pytest.raises(LeaseLost):
        await packager.bundle(job)
    assert (await bundle_row(api_db, task_id, user_id))["status"] == "building"


async def resume(api_db: Database, task_id: uuid.UUID, user: uuid.UUID) -> None:
    async with api_db.transaction(user) as c:
        assert await tasks.request_resume(c, user, task_id)


async def resume_and_end(api_db: Database, db: Database, task_id: uuid.UUID, user: uuid.UUID) -> None:
    await resume(api_db, task_id, user)
    async with db.transaction() as c:
        assert await tasks.begin(c, task_id, Stage.FITTING, "")
        report = (await tasks.for_work(c, task_id, user))["report"]
        await tasks.finished(
            c,
            task_id,
            status=TaskStatus.COMPLETED,
            message="done",
            warnings=[],
            report=report,
            report_attempt=2,
        )


class InTheMiddle(Store):
    """A store that lets something happen once a ZIP is stored and before that is recorded."""

    def __init__(self, store: Store, happens: Awaitable[None]) -> None:
        self.__dict__.update(store.__dict__)
        self._happens = happens

    async def put_contents(self, *args: Any, **kwargs: Any) -> Assembled:
        stored = await super().put_contents(*args, **kwargs)
        await self._happens
        return stored


async def test_a_zip_begun_before_a_resume_does_not_become_ready_after_it(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id, TaskStatus.CANCELLED)
    await ask_bundle(api_db, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)
    packager.store = InTheMiddle(resources.store, resume(api_db, task_id, user_id))
    with pytest.raises(RunGoesOn) as raised:
        await packager.bundle(job)
    await packager.bundle_given_up(job, raised.value)
    row = await bundle_row(api_db, task_id, user_id)
    assert (row["status"], row["error"]) == ("failed", RunGoesOn.title())


async def test_a_zip_of_a_run_that_was_resumed_and_ended_meanwhile_is_built_again(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id, TaskStatus.CANCELLED)
    await ask_bundle(api_db, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id)
    packager.store = InTheMiddle(resources.store, resume_and_end(api_db, resources.db, task_id, user_id))
    await packager.bundle(job)
    assert (await bundle_row(api_db, task_id, user_id))["status"] == "building"
    async with resources.db.transaction() as c:
        again = await jobs.claim(c, [JobKind.BUNDLE], "test", 60)
    assert again is not None
    assert (again.id, again.attempt, again.tries) == (job.id, job.attempt + 1, 1)


async def saved(api_db: Database, task_id: uuid.UUID, user: uuid.UUID, name: str) -> uuid.UUID:
    model_id = uuid7()
    async with api_db.transaction(user) as c:
        assert await models.insert(
            c,
            model_id=model_id,
            user_id=user,
            task_id=task_id,
            file_id=None,
            model_name=name,
            description=None,
            tags=[],
            slug="random_forest",
            task_type=TaskType.CLASSIFICATION,
        )
    return model_id


async def test_saving_copies_to_the_guides_path(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    model_id = await saved(api_db, task_id, user_id, "Churn / v2")
    await packager.save(await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id))
    async with api_db.transaction(user_id) as c:
        model = await models.get(c, user_id, model_id)
    assert model is not None
    assert (model.status, model.file_size) == ("ready", len(PICKLES["random_forest"]))
    assert model.file_path is not None
    assert model.file_path.startswith(f"{user_id}/Churn")
    assert model.file_path.endswith(".pkl")
    assert await keys(resources, resources.store.models, f"{user_id}/") == [model.file_path]


async def test_an_attempt_after_one_that_died_saves_over_what_that_left(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    store = resources.store
    task_id = await finished_run(resources, api_db, user_id)
    model_id = await saved(api_db, task_id, user_id, "m")
    dead = await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id)
    async with resources.db.transaction() as c:
        row = await models.for_work(c, model_id, user_id)
        path = saved_model_path(user_id, "m", row["created_at"])
        await store.put_bytes(store.models, path, b"half", content_type="application/octet-stream")
        await jobs.retry(c, dead, delay_s=0, error="died")
        again = await jobs.claim(c, [JobKind.SAVE], "test", 60)
    assert again is not None
    await packager.save(again)
    assert await keys(resources, store.models, f"{user_id}/") == [path]
    head = await store.head(store.models, path)
    assert head is not None
    assert head.size_bytes == len(PICKLES["random_forest"])


async def test_saving_from_a_run_that_is_gone_says_so(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    model_id = await saved(api_db, task_id, user_id, "m")
    async with resources.db.transaction() as c:
        await c.execute("UPDATE trainyard.tasks SET deleted_at = now()")
        await tasks.delete_row(c, task_id, user_id)
    job = await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id)
    with pytest.raises(Exception, match="deleted before it had been saved") as raised:
        await packager.save(job)
    await packager.save_given_up(job, raised.value)
    async with api_db.transaction(user_id) as c:
        model = await models.get(c, user_id, model_id)
    assert model is not None
    assert model.status == "failed"


async def test_purging_a_run_removes_objects_and_rows_and_keeps_saved_models(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await ask_bundle(api_db, task_id, user_id)
    await packager.bundle(await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id))
    model_id = await saved(api_db, task_id, user_id, "kept")
    await packager.save(await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id))
    async with api_db.transaction(user_id) as c:
        assert await tasks.mark_deleted(c, user_id, task_id)
    await packager.purge(await asked(api_db, resources.db, JobKind.PURGE, task_id, user_id))
    prefix = task_prefix(user_id, task_id)
    assert await keys(resources, resources.store.artifacts, prefix) == []
    assert await keys(resources, resources.store.bundles, prefix) == []
    async with resources.db.connection() as c:
        assert await c.fetchval("SELECT count(*) FROM trainyard.tasks") == 0
        assert await c.fetchval("SELECT count(*) FROM trainyard.candidates") == 0
    assert len(await keys(resources, resources.store.models, f"{user_id}/")) == 1


async def test_a_purge_waits_for_work_that_is_still_held(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await add_task(api_db, user_id, await add_file(api_db, user_id))
    await plan_task(resources.db, user_id, task_id)
    async with resources.db.transaction() as c:
        fit = await jobs.claim(c, [JobKind.FIT], "trainer", 60)
    assert fit is not None
    async with api_db.transaction(user_id) as c:
        assert await tasks.mark_deleted(c, user_id, task_id)
    job = await asked(api_db, resources.db, JobKind.PURGE, task_id, user_id)
    await packager.purge(job)
    async with resources.db.transaction() as c:
        assert await c.fetchval("SELECT count(*) FROM trainyard.tasks") == 1
        await jobs.done(c, fit)
        await c.execute("UPDATE trainyard.jobs SET run_after = now() WHERE kind = 'purge'")
        again = await jobs.claim(c, [JobKind.PURGE], "test", 60)
    assert again is not None
    await packager.purge(again)
    async with resources.db.connection() as c:
        assert await c.fetchval("SELECT count(*) FROM trainyard.tasks") == 0
        kinds = await c.fetch("SELECT kind FROM trainyard.jobs")
    assert [row["kind"] for row in kinds] == ["profile"]  # its file is another story


async def test_purging_a_file_removes_it_and_tasks_stay(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    async with api_db.transaction(user_id) as c:
        [file] = await files.page(c, user_id, limit=5)
        assert await files.mark_deleted(c, user_id, file.file_id)
    store = resources.store
    await store.put_bytes(
        store.datasets, dataset_key(user_id, file.file_id), b"a\n1\n", content_type="text/csv"
    )
    await packager.purge(await asked(api_db, resources.db, JobKind.PURGE, file.file_id, user_id))
    assert await keys(resources, store.datasets, f"{user_id}/") == []
    async with api_db.connection() as c:
        assert await tasks.get(c, user_id, task_id) is not None


async def test_the_sweep_removes_expired_bundles_and_old_trash(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    await ask_bundle(api_db, task_id, user_id)
    await packager.bundle(await asked(api_db, resources.db, JobKind.BUNDLE, task_id, user_id))
    model_id = await saved(api_db, task_id, user_id, "old")
    await packager.save(await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id))
    async with api_db.transaction(user_id) as c:
        assert await models.mark_deleted(c, user_id, model_id)
    sweep = Sweep(resources, Retention(trash_ttl_s=60))
    assert (await sweep.expire_bundles(), await sweep.empty_trash()) == (0, 0)
    async with resources.db.transaction() as c:
        await c.execute("UPDATE trainyard.bundles SET expires_at = now() - interval '1 second'")
        await c.execute("UPDATE public.trained_models SET deleted_at = now() - interval '61 seconds'")
    assert (await sweep.expire_bundles(), await sweep.empty_trash()) == (1, 1)
    assert await keys(resources, resources.store.bundles, task_prefix(user_id, task_id)) == []
    assert await keys(resources, resources.store.models, f"{user_id}/") == []
    async with resources.db.connection() as c:
        assert await c.fetchval("SELECT count(*) FROM public.trained_models") == 0


async def test_a_sweep_goes_on_until_nothing_is_left(
    resources: Resources, env: dict[str, str], user_id: uuid.UUID
) -> None:
    """More of each than a batch holds: a million runs a day leave more in thirty seconds."""
    owner = await asyncpg.connect(env["DATABASE_URL"])
    await owner.execute(
        "INSERT INTO trainyard.idempotency_keys (user_id, route, key, owner, expires_at)"
        " SELECT $1, 'POST /ml/train', i::text, $1, now() - interval '1 minute'"
        " FROM generate_series(1, 2500) i",
        user_id,
    )
    await owner.execute(
        "INSERT INTO public.trained_models (id, user_id, model_name, algorithm, task_type, task_id,"
        " candidate_slug, candidate_attempt, deleted, deleted_at)"
        " SELECT gen_random_uuid(), $1, 'x', 'x', 'regression', $1, 'x', 1, true, now() - interval '1 year'"
        " FROM generate_series(1, 250) i",
        user_id,
    )
    await Sweep(resources, Retention())()
    for table in ("trainyard.idempotency_keys", "public.trained_models"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    await owner.close()


async def test_runs_that_ended_long_ago_go_where_that_is_asked_for(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    under_way = await add_task(api_db, user_id, await add_file(api_db, user_id))
    assert await keys(resources, resources.store.artifacts, task_prefix(user_id, task_id))
    assert await Sweep(resources, Retention()).expire_runs() == 0
    assert await Sweep(resources, Retention(run_ttl_s=60)).expire_runs() == 0
    young = Sweep(resources, Retention(run_ttl_s=-60))  # as if it were a minute later
    assert (await young.expire_runs(), await young.expire_runs()) == (1, 0)
    async with api_db.connection() as c:
        assert await tasks.get(c, user_id, task_id) is None
    async with resources.db.transaction() as c:
        job = await jobs.claim(c, [JobKind.PURGE], "test", 60)
    assert job is not None
    assert job.subject_id == task_id
    await packager.purge(job)
    assert await keys(resources, resources.store.artifacts, task_prefix(user_id, task_id)) == []
    async with resources.db.connection() as c:
        assert await c.fetchval("SELECT array_agg(id) FROM trainyard.tasks") == [under_way]
        [deed] = await audit.page(c, user_id, limit=5)
    assert (deed.action, deed.subject_kind, deed.subject_id) == ("run.deleted", "run", task_id)
    assert (deed.actor, deed.detail) == ("system", {"after_s": -60})


async def test_objects_without_a_row_go_and_all_others_stay(
    resources: Resources, packager: PackagerJobs, api_db: Database, user_id: uuid.UUID
) -> None:
    task_id = await finished_run(resources, api_db, user_id)
    model_id = await saved(api_db, task_id, user_id, "kept")
    await packager.save(await asked(api_db, resources.db, JobKind.SAVE, model_id, user_id))
    store = resources.store
    lost = [
        (store.datasets, dataset_key(user_id, uuid7())),
        (store.artifacts, model_key(user_id, uuid7(), "mlp", 1)),
        (store.bundles, bundle_key(user_id, uuid7(), 1)),
        (store.models, f"{user_id}/lost_20260101T000000000000Z.pkl"),
    ]
    for bucket, key in lost:
        await store.put_bytes(bucket, key, b"x", content_type="application/octet-stream")
    buckets = (store.datasets, store.artifacts, store.bundles, store.models)
    before = {bucket: await keys(resources, bucket, f"{user_id}/") for bucket in buckets}
    assert await remove_orphans(resources.db, store, older_than_s=3600) == 0
    await remove_orphans(resources.db, store, older_than_s=-60)
    after = {bucket: await keys(resources, bucket, f"{user_id}/") for bucket in buckets}
    assert after == {
        bucket: [key for key in found if (bucket, key) not in lost] for bucket, found in before.items()
    }
    assert len(after[store.artifacts]) > 0
    assert len(after[store.models]) == 1
