"""A row that a user may write must not make us sign, copy, load or withhold what is another's.

Each statement is tried with one's own ids, where it does what it says or is not granted at all, and then with
another's, where it must be refused, whatever the statement claims.
"""

from __future__ import annotations

import uuid

import asyncpg
import pytest

from shared.contracts.states import JobKind, uuid7
from shared.db import models
from shared.db.pool import Database
from tests.isolation.belongings import Belongings, dump, give

REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.CheckViolationError,
    asyncpg.UniqueViolationError,
)

_MODEL = (
    "INSERT INTO public.trained_models (id, user_id, file_id, task_id, model_name, algorithm, task_type,"
    " candidate_slug, candidate_attempt, status{more}) VALUES ($1, $2, {file}, {task}, 'x', 'x',"
    " 'classification', '{slug}', 1, '{status}'{values})"
)

SAME_AS_ONES_OWN = {
    "a run on a file": (
        "INSERT INTO trainyard.tasks (id, user_id, file_id, name, request)"
        " VALUES ($1, $2, {file}, 'x', '{{}}')"
    ),
    "a profile of a file": "INSERT INTO trainyard.profiles (user_id, file_id) VALUES ($2, {file_without})",
    "a ZIP of a run": "INSERT INTO trainyard.bundles (user_id, task_id) VALUES ($2, {task_without})",
    "a model of a run": _MODEL.format(
        more="", values="", file="NULL", task="{task}", slug="model_0", status="saving"
    ),
    "a conversion of a candidate": (
        "INSERT INTO trainyard.conversions (user_id, candidate_id) VALUES ($2, {candidate})"
    ),
    "a job for a file": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'profile', {file})"
    ),
    "a job to purge a file": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'purge', {file})"
    ),
    "a job for a run": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'plan', {task})"
    ),
    "a job that ends a run": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'finish', {task})"
    ),
    "a job that packs a run": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'bundle', {task})"
    ),
    "a job to purge a run": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'purge', {task})"
    ),
    "a job that saves a model": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'save', {model})"
    ),
    "a job that converts a model": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'convert', {candidate})"
    ),
    "a job that makes a graph of a model": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id)"
        " VALUES ($1, $2, 'convert_onnx', {candidate})"
    ),
    "a job that exports an account": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'export', {user})"
    ),
    "a job that erases an account": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'erase', {user})"
    ),
}
"""What a user may write of their own. `$1` is a new id, `$2` the one who writes."""

NOBODY = {
    "a model that is ready": _MODEL.format(
        more="", values="", file="NULL", task="{task}", slug="model_0", status="ready"
    ),
    "a model at a path": _MODEL.format(
        more=", file_path",
        values=", '{bare}/x.pkl'",
        file="NULL",
        task="{task}",
        slug="model_0",
        status="saving",
    ),
    "a model with a digest": _MODEL.format(
        more=", sha256", values=", ''", file="NULL", task="{task}", slug="model_0", status="saving"
    ),
    "a model that is signed": _MODEL.format(
        more=", hmac_key_id", values=", 'k'", file="NULL", task="{task}", slug="model_0", status="saving"
    ),
    "a model of a candidate that is not done": _MODEL.format(
        more="", values="", file="NULL", task="{task}", slug="model_2", status="saving"
    ),
    "a model's path": "UPDATE public.trained_models SET file_path = '{bare}/x.pkl' WHERE id = {model}",
    "a model's digest": "UPDATE public.trained_models SET sha256 = 'x' WHERE id = {model}",
    "a model's candidate": "UPDATE public.trained_models SET candidate_slug = 'x' WHERE id = {model}",
    "a model's state": "UPDATE public.trained_models SET status = 'ready' WHERE id = {model}",
    "a model's owner": "UPDATE public.trained_models SET user_id = $2 WHERE id = {model}",
    "a file's owner": "UPDATE trainyard.files SET user_id = $2 WHERE id = {file}",
    "a file's digest": "UPDATE trainyard.files SET sha256 = 'x' WHERE id = {file}",
    "a run's report": "UPDATE trainyard.tasks SET report = '{{}}' WHERE id = {task}",
    "a run's plan": "UPDATE trainyard.tasks SET plan = '{{}}' WHERE id = {task}",
    "a run's file": "UPDATE trainyard.tasks SET file_id = {file} WHERE id = {task}",
    "a run with a report": (
        "INSERT INTO trainyard.tasks (id, user_id, name, request, report)"
        " VALUES ($1, $2, 'x', '{{}}', '{{}}')"
    ),
    "a profile that is made": (
        "INSERT INTO trainyard.profiles (user_id, file_id, status) VALUES ($2, {file_without}, 'ready')"
    ),
    "a ZIP that is built": (
        "INSERT INTO trainyard.bundles (user_id, task_id, status) VALUES ($2, {task_without}, 'ready')"
    ),
    "a candidate": (
        "INSERT INTO trainyard.candidates (id, user_id, task_id, position, model_name, label, algorithm)"
        " VALUES ($1, $2, {task}, 0, 'x', 'x', 'x')"
    ),
    "a candidate's artifact": "UPDATE trainyard.candidates SET attempt = 9 WHERE id = {candidate}",
    "a job that fits": (
        "INSERT INTO trainyard.jobs (id, user_id, kind, subject_id) VALUES ($1, $2, 'fit', {candidate})"
    ),
    "a job that is held": "UPDATE trainyard.jobs SET lease_until = now() WHERE user_id = $2",
    "a job's subject": "UPDATE trainyard.jobs SET subject_id = {task} WHERE user_id = $2",
    "a line of the audit trail": "UPDATE trainyard.audit SET action = 'x.y' WHERE user_id = $2",
    "the audit trail": "DELETE FROM trainyard.audit WHERE user_id = $2",
    "an API key's scopes": "UPDATE trainyard.api_keys SET scopes = '{{admin}}' WHERE user_id = $2",
    "an API key's hash": "SELECT secret_sha256 FROM trainyard.api_keys WHERE user_id = $2",
}
"""What nobody may write, be it their own: it is for workers to say."""


def statement(sql: str, its: Belongings) -> str:
    """With `its` ids as literals; `{bare}` is its user's without quotes."""
    named = {
        "user": its.user,
        "file": its.files[0],
        "file_without": its.files[2],
        "task": its.tasks[2],
        "task_without": its.tasks[4],
        "candidate": its.candidates[2],
        "model": its.models[1],
    }
    return sql.format(bare=its.user, **{name: f"'{value}'" for name, value in named.items()})


async def refused(api_db: Database, user: uuid.UUID, sql: str, *, named: uuid.UUID | None = None) -> bool:
    """Run it as `user`, with `named` (else the same) as the one who writes."""
    text = sql.replace("$1", f"'{uuid7()}'").replace("$2", f"'{named or user}'")
    try:
        async with api_db.transaction(user) as c:
            changed = await c.execute(text)
    except REFUSED:
        return True
    return changed.endswith(" 0")  # there was no such row for this user


@pytest.fixture
async def mine(owner: asyncpg.Connection, attacker: uuid.UUID) -> Belongings:
    return await prepared(owner, attacker)


@pytest.fixture
async def theirs(owner: asyncpg.Connection, victim: uuid.UUID) -> Belongings:
    return await prepared(owner, victim)


async def prepared(owner: asyncpg.Connection, user: uuid.UUID) -> Belongings:
    """Rows of every kind, and nothing yet of what the statements add."""
    its = await give(owner, user)
    await owner.execute("DELETE FROM trainyard.jobs WHERE user_id = $1", user)
    await owner.execute("DELETE FROM trainyard.profiles WHERE file_id = $1", its.files[2])
    return its


async def test_of_ones_own_but_not_of_anothers(
    api_db: Database, owner: asyncpg.Connection, mine: Belongings, theirs: Belongings
) -> None:
    before = await dump(owner, theirs.user)
    taken = []
    for what, sql in SAME_AS_ONES_OWN.items():
        of_theirs, of_mine = statement(sql, theirs), statement(sql, mine)
        if not await refused(api_db, mine.user, of_theirs):
            taken.append(f"{what} of another's")
        if not await refused(api_db, mine.user, of_theirs, named=theirs.user):
            taken.append(f"{what} of another's in their name")
        if not await refused(api_db, mine.user, of_mine, named=theirs.user):
            taken.append(f"{what} of one's own in another's name")
        assert await dump(owner, theirs.user) == before, what
        assert not await refused(api_db, mine.user, of_mine), what
    assert taken == []


async def test_what_workers_say_is_not_a_users_to_say(
    api_db: Database, owner: asyncpg.Connection, mine: Belongings, theirs: Belongings
) -> None:
    before = await dump(owner, theirs.user), await dump(owner, mine.user)
    taken = [
        f"{what} of {'another' if its is theirs else 'oneself'}"
        for what, sql in NOBODY.items()
        for its in (theirs, mine)
        if not await refused(api_db, mine.user, statement(sql, its))
    ]
    assert taken == []
    assert (await dump(owner, theirs.user), await dump(owner, mine.user)) == before


@pytest.mark.parametrize(
    "path", ["{victim}/x.pkl", "{me}/../{victim}/x.pkl", "{me}x/y", "{me}", "{me}//x", ""]
)
async def test_not_even_a_worker_gives_a_model_anothers_path(
    worker_db: Database, mine: Belongings, theirs: Belongings, path: str
) -> None:
    where = path.format(me=mine.user, victim=theirs.user)
    with pytest.raises(asyncpg.CheckViolationError):
        async with worker_db.transaction() as c:
            await c.execute(
                "UPDATE public.trained_models SET file_path = $2 WHERE id = $1", mine.models[0], where
            )


async def test_the_saving_worker_finds_only_its_owners_artifact(
    owner: asyncpg.Connection, worker_db: Database, mine: Belongings, theirs: Belongings
) -> None:
    """Were there a model of another's run all the same: there is nothing to copy."""
    forged = mine.models[0]
    await owner.execute(
        "UPDATE public.trained_models SET task_id = $2 WHERE id = $1", forged, theirs.tasks[2]
    )
    async with worker_db.transaction() as c:
        row = await models.for_work(c, forged, mine.user)
        assert row["artifact_sha256"] is None
        assert await models.for_work(c, theirs.models[0], mine.user) is None


def test_every_kind_of_job_is_tried() -> None:
    tried = " ".join([*SAME_AS_ONES_OWN.values(), *NOBODY.values()])
    assert [kind for kind in JobKind if f"'{kind}', {{" not in tried] == []
