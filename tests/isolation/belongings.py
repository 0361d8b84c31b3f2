"""One user's rows in every table and every state, written past all services; what they hold is made up."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

import asyncpg
import msgspec

from shared.contracts.states import uuid7
from tests.integration.api_runs import PLAN

TASK_STATES = ("queued", "running", "completed", "failed", "cancelled", "deleted")
CANDIDATE_STATES = ("queued", "running", "done", "failed", "skipped")
MODEL_STATES = ("saving", "ready", "failed", "trashed")

PROFILE = (
    '{"rows": 2, "columns": [], "suggested_target": null, "suggested_task_type": null,'
    ' "reason": "victim\'s", "warnings": []}'
)
PREVIEW = '{"columns": ["victim\'s column"], "rows": [["victim\'s cell"]]}'

WITHOUT_ROWS = {
    "trainyard.migrations": "nobody's",
    "trainyard.erasures": "an account that is being deleted takes no rows, and these tests add some",
}
"""Tables in which the victim has nothing, and why."""

ALL_TABLES = """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relnamespace::regnamespace::text IN ('trainyard', 'public')
    ORDER BY 1
"""


class Belongings(msgspec.Struct, kw_only=True):
    """Ids by what they are of; each list has one for every state."""

    user: uuid.UUID
    files: list[uuid.UUID]
    tasks: list[uuid.UUID]
    candidates: list[uuid.UUID]
    models: list[uuid.UUID]
    jobs: list[dict[str, Any]]
    keys: list[uuid.UUID]
    key_digests: list[bytes]
    idempotency: list[tuple[str, str, uuid.UUID]]
    paths: list[str]


def _later(hours: int = 1) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def give(c: asyncpg.Connection, user: uuid.UUID) -> Belongings:
    """`c`: a superuser's. The user has its row in auth.users."""
    files = await _files(c, user)
    tasks = await _tasks(c, user, files[0])
    candidates = await _candidates(c, user, tasks[1], CANDIDATE_STATES)
    candidates += await _candidates(c, user, tasks[2], ("done", "done", "failed"))
    models, paths = await _models(c, user, tasks[2], files[0])
    await c.execute(
        "INSERT INTO trainyard.bundles (task_id, user_id, status, size_bytes, sha256, expires_at)"
        " VALUES ($1, $2, 'ready', 1, $3, $4), ($5, $2, 'building', NULL, NULL, NULL)",
        tasks[2],
        user,
        _sha("zip"),
        _later(),
        tasks[3],
    )
    await c.execute(
        "INSERT INTO trainyard.conversions (candidate_id, user_id, status, size_bytes, sha256, types)"
        " VALUES ($1, $2, 'ready', 1, $3, '{}'), ($4, $2, 'building', NULL, NULL, NULL)",
        candidates[5],
        user,
        _sha("skops"),
        candidates[6],
    )
    idempotency = [("POST /ml/train", "answered", uuid.uuid4()), ("POST /files", "held", uuid.uuid4())]
    await c.execute(
        "INSERT INTO trainyard.idempotency_keys"
        " (user_id, route, key, owner, fingerprint, status, headers, body, expires_at)"
        " VALUES ($1, 'POST /ml/train', 'answered', $2, 'f', 202, '{}', 'victim''s answer', $3)",
        user,
        idempotency[0][2],
        _later(),
    )
    await c.execute(
        "INSERT INTO trainyard.idempotency_keys (user_id, route, key, owner, locked_until, expires_at)"
        " VALUES ($1, 'POST /files', 'held', $2, $3, $3)",
        user,
        idempotency[1][2],
        _later(),
    )
    keys, digests = [uuid7(), uuid7()], [hashlib.sha256(user.bytes + end).digest() for end in (b"1", b"2")]
    await c.executemany(
        "INSERT INTO trainyard.api_keys (id, user_id, name, prefix, secret_sha256, scopes, expires_at)"
        " VALUES ($1, $2, 'victim''s key', 'ty_abcdefgh', $3, '{read}', $4)",
        [(keys[0], user, digests[0], None), (keys[1], user, digests[1], _later(-1))],
    )
    deeds = [("file.uploaded", "file", files[0])]
    deeds += [(action, "run", tasks[4]) for action in ("run.cancelled", "run.resumed", "run.cancelled")]
    await c.executemany(
        "INSERT INTO trainyard.audit (id, user_id, at, action, subject_kind, subject_id, actor, detail)"
        " VALUES ($1, $2, $3, $4, $5, $6, 'user', '{\"name\": \"victim.csv\"}')",
        [(uuid7(), user, _later(-10_000), *deed) for deed in deeds],
    )
    await c.execute(
        "INSERT INTO trainyard.exports (user_id, status, size_bytes, sha256, built_at, expires_at)"
        " VALUES ($1, 'ready', 1, $2, now(), $3)",
        user,
        _sha("export"),
        _later(),
    )
    await c.execute("INSERT INTO trainyard.turns (user_id, last_claim) VALUES ($1, now())", user)
    jobs = await _jobs(c, user, files, tasks, candidates, models)
    return Belongings(
        user=user,
        files=files,
        tasks=tasks,
        candidates=candidates,
        models=models,
        jobs=jobs,
        keys=keys,
        key_digests=digests,
        idempotency=idempotency,
        paths=paths,
    )


async def _files(c: asyncpg.Connection, user: uuid.UUID) -> list[uuid.UUID]:
    ids = [uuid7() for _ in range(4)]
    for number, (file_id, status) in enumerate(zip(ids, ("ready", "queued", "failed", "ready"), strict=True)):
        await c.execute(
            "INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256, deleted_at)"
            " VALUES ($1, $2, $3, 4711, $4, CASE WHEN $5 THEN now() END)",
            file_id,
            user,
            f"victim {number}.csv",
            _sha(f"table {number}"),
            number == 3,
        )
        await c.execute(
            "INSERT INTO trainyard.profiles"
            " (file_id, user_id, status, rows, columns, profile, preview, error)"
            " VALUES ($1, $2, $3, 4712, 7, $4, $5, 'victim''s error')",
            file_id,
            user,
            status,
            PROFILE,
            PREVIEW,
        )
    return ids


async def _tasks(c: asyncpg.Connection, user: uuid.UUID, file_id: uuid.UUID) -> list[uuid.UUID]:
    ids = []
    for state in TASK_STATES:
        ids.append(uuid7())
        status = "completed" if state == "deleted" else state
        await c.execute(
            "INSERT INTO trainyard.tasks (id, user_id, file_id, name, status, stage, request, plan, report,"
            " report_attempt, started_at, deleted_at)"
            " VALUES ($1, $2, $3, 'victim''s run', $4, $5, $6, $7, $8, 1, now() - interval '1 day',"
            " CASE WHEN $9 THEN now() END)",
            ids[-1],
            user,
            file_id,
            status,
            "fitting" if status == "running" else "queued" if status == "queued" else "done",
            json.dumps({"file_id": str(file_id), "target": "victim's column", "time_budget_s": 300}),
            None if status == "queued" else json.dumps(msgspec.to_builtins(PLAN)),
            json.dumps({"leaderboard.csv": {"size_bytes": 1, "sha256": _sha("board")}}),
            state == "deleted",
        )
    return ids


async def _candidates(
    c: asyncpg.Connection, user: uuid.UUID, task_id: uuid.UUID, states: tuple[str, ...]
) -> list[uuid.UUID]:
    ids = []
    for position, state in enumerate(states):
        ids.append(uuid7())
        await c.execute(
            "INSERT INTO trainyard.candidates (id, task_id, user_id, position, model_name, label, algorithm,"
            " status, attempt, cv_mean, metrics, size_bytes, sha256, outcome, reason)"
            " VALUES ($1, $2, $3, $4, $5, 'victim''s label', 'victim''s algorithm', $6, 1, 0.4711,"
            " '{\"accuracy\": 0.4711}', 4711, $7, '{\"plots\": []}', 'victim''s reason')",
            ids[-1],
            task_id,
            user,
            position,
            f"model_{position}",
            state,
            _sha(f"pickle {position}"),
        )
    return ids


async def _models(
    c: asyncpg.Connection, user: uuid.UUID, task_id: uuid.UUID, file_id: uuid.UUID
) -> tuple[list[uuid.UUID], list[str]]:
    ids, paths = [], []
    for state in MODEL_STATES:
        ids.append(uuid7())
        paths.append(f"{user}/victim_{state}.pkl")
        await c.execute(
            "INSERT INTO public.trained_models (id, user_id, file_id, model_name, algorithm, task_type,"
            " metrics, file_path, file_size, description, tags, status, deleted, deleted_at, task_id,"
            " candidate_slug, candidate_attempt, sha256, links_issued)"
            " VALUES ($1, $2, $3, 'victim''s model', 'victim''s', 'classification', '{\"a\": 0.4711}', $4,"
            " 4711, 'victim''s words', '{victim}', $5, $6, CASE WHEN $6 THEN now() - interval '1 year' END,"
            " $7, 'model_0', 1, $8, 17)",
            ids[-1],
            user,
            file_id,
            paths[-1],
            "ready" if state == "trashed" else state,
            state == "trashed",
            task_id,
            _sha(state),
        )
    return ids, paths


async def _jobs(
    c: asyncpg.Connection,
    user: uuid.UUID,
    files: list[uuid.UUID],
    tasks: list[uuid.UUID],
    candidates: list[uuid.UUID],
    models: list[uuid.UUID],
) -> list[dict[str, Any]]:
    """One held by a worker, one that has used up its tries, and some that wait."""
    asked = [
        ("profile", files[1], None, 0),
        ("plan", tasks[0], None, 0),
        ("fit", candidates[0], None, 0),
        ("fit", candidates[1], _later(), 1),
        ("bundle", tasks[3], _later(-1), 3),
        ("save", models[0], None, 0),
        ("purge", tasks[5], None, 0),
    ]
    made = []
    for kind, subject, lease_until, tries in asked:
        row = await c.fetchrow(
            "INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, attempt, tries, owner, lease_until,"
            " run_after, created_at) VALUES ($1, $2, $3, $4, $5, $5, 'victim''s worker', $6,"
            " now() - interval '1 hour', now() - interval '1 hour')"
            " RETURNING id, kind, subject_id, user_id, attempt, tries, created_at, queued_at",
            uuid7(),
            kind,
            subject,
            user,
            tries,
            lease_until,
        )
        made.append(dict(row))
    return made


async def dump(c: asyncpg.Connection, user: uuid.UUID) -> dict[str, list[str]]:
    """Every row of the user, by table, as JSON."""
    rows = {}
    for (table,) in await c.fetch(ALL_TABLES):
        if table != "trainyard.migrations":
            found = await c.fetch(
                f"SELECT to_json(t)::text AS row FROM {table} t WHERE user_id = $1 ORDER BY 1", user
            )
            rows[table] = [row["row"] for row in found]
    return rows


async def forget(c: asyncpg.Connection, user: uuid.UUID) -> None:
    """All rows of a user but the one in auth.users."""
    for (table,) in await c.fetch(ALL_TABLES):
        if table != "trainyard.migrations":
            await c.execute(f"DELETE FROM {table} WHERE user_id = $1", user)
