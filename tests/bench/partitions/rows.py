"""Rows of years of use, made by the server itself, the same in every layout.

Run `i` of `RUNS` began `i` steps into `MONTHS` months that end now; its id is a UUIDv7 of that moment, whose
random part is a digest of `i`, so that its candidates and deeds are made without looking it up. Its user is
drawn with a skew: one in a thousand users has a tenth of all runs. Plans and outcomes, which Postgres keeps
out of line, are short here: what a run really takes is in `bench_cost`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import asyncpg
from msgspec import Struct

MONTHS = 24
MONTH_S = 365.25 * 24 * 3600 / 12
OPEN = 6000
RUNNING = 1000
"""The last `OPEN` runs are under way; a candidate of `RUNNING` of them runs, of each other one waits.
None of them is late, however long this takes."""


class Volume(Struct, frozen=True, kw_only=True):
    """How much there is; `candidates` and `deeds` are of a run."""

    runs: int
    users: int
    candidates: int = 1
    deeds: int = 2
    began: float = 0.0

    @property
    def step_ms(self) -> float:
        return MONTHS * MONTH_S * 1e3 / self.runs

    def first(self, month: int) -> int:
        """The number of the first run of a month."""
        return -(-month * self.runs // MONTHS)

    def bound(self, month: int) -> uuid.UUID:
        """The least id of a month's runs."""
        ms = int(self.began * 1e3 + self.first(month) * self.step_ms)
        return uuid.UUID(int=ms << 80)


def volume(runs: int, users: int, candidates: int, deeds: int) -> Volume:
    began = time.time() - MONTHS * MONTH_S
    return Volume(runs=runs, users=users, candidates=candidates, deeds=deeds, began=began)


FUNCTIONS = """
CREATE SCHEMA IF NOT EXISTS bench;
CREATE OR REPLACE FUNCTION bench.id(ms float8, seed text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(ms::bigint), 12, '0') || '7' || substr(md5(seed), 1, 3) || '8'
        || substr(md5(seed), 4, 15))::uuid
$$;
CREATE OR REPLACE FUNCTION bench.usr(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT md5('user' || n)::uuid
$$;
CREATE OR REPLACE FUNCTION bench.owner_of(i bigint, users bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT bench.usr(floor(users * power((i * 7919 % 100003) / 100003.0::float8, 3))::bigint)
$$;
"""

USERS = """
INSERT INTO auth.users (id, email)
SELECT bench.usr(n), n || '@example.org' FROM generate_series(0, $1::bigint) n
"""

_REQUEST = """'{"file_id": "' || bench.usr(-i) || '", "target": "species", "task_type": "auto", '
    '"models": null, "metric": null, "time_budget_s": 300, "test_size": 0.2, "cv_folds": 5, "refit": true, '
    '"seed": 0, "exclude_columns": [], "group_column": null, "time_column": null, "series_column": null, '
    '"horizon": null, "name": null, "on_leakage": "warn"}'"""

RUNS = f"""
INSERT INTO trainyard.tasks (id, user_id, name, status, stage, message, request, plan, version, created_at,
    started_at, finished_at)
SELECT bench.id($3 + i * $4, 'run' || i), bench.owner_of(i, $5::bigint), 'iris.csv: species',
    CASE WHEN i < $6::bigint THEN 'completed' ELSE 'running' END,
    CASE WHEN i < $6::bigint THEN 'done' ELSE 'fitting' END, 'Done', ({_REQUEST})::json,
    '{{"task_type": "classification", "metric": "accuracy"}}', 30, at,
    CASE WHEN i < $6::bigint THEN at + interval '1 second' ELSE now() + interval '10 days' END,
    CASE WHEN i < $6::bigint THEN at + interval '5 minutes' END
FROM generate_series($1::bigint, $2::bigint) i, LATERAL (SELECT to_timestamp(($3 + i * $4) / 1e3) AS at) _
"""

CANDIDATES = f"""
INSERT INTO trainyard.candidates (id, task_id, user_id, position, model_name, label, algorithm, status,
    attempt, progress, cv_mean, cv_std, metrics, fit_seconds, predict_ms_per_row, size_bytes, sha256,
    started_at, finished_at, hmac, hmac_key_id, crc32, etag)
SELECT bench.id($3 + i * $4 + 1000, 'model' || n || ' ' || i), bench.id($3 + i * $4, 'run' || i),
    bench.owner_of(i, $5::bigint), n, (ARRAY['lightgbm', 'xgboost', 'random_forest'])[1 + n % 3] || n / 3,
    'LightGBM', 'LightGBM Classifier', CASE WHEN i < $6::bigint OR n > 0 THEN 'done'
        WHEN i % ({OPEN} / {RUNNING}) = 0 THEN 'running' ELSE 'queued' END, 1, 1,
    0.93, 0.02, '{{"accuracy": 0.93, "roc_auc": 0.97, "f1_macro": 0.92, "log_loss": 0.2}}', 3.5, 0.02, 123456,
    md5('model' || i) || md5('' || n), at, at + interval '5 seconds',
    decode(md5('' || i) || md5('h' || n), 'hex'),
    'k1', 4711, '"' || md5('etag' || i) || '"'
FROM generate_series($1::bigint, $2::bigint) i, generate_series(0, $7::int - 1) n,
    LATERAL (SELECT to_timestamp(($3 + i * $4) / 1e3) AS at) _
"""

DEEDS = """
INSERT INTO trainyard.audit (id, user_id, at, action, subject_kind, subject_id, actor, request_id, detail)
SELECT bench.id($3 + i * $4 + 60000 * n, 'deed' || n || ' ' || i), bench.owner_of(i, $5::bigint),
    at + n * interval '1 minute', CASE n WHEN 0 THEN 'run.started' ELSE 'model.link_issued' END, 'run',
    bench.id($3 + i * $4, 'run' || i), 'user', md5('request' || i || n), '{"name": "iris.csv: species"}'
FROM generate_series($1::bigint, $2::bigint) i, generate_series(0, $7::int - 1) n,
    LATERAL (SELECT to_timestamp(($3 + i * $4) / 1e3) AS at) _
WHERE $6::bigint > 0
"""

WAITING = """
INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, lease_until)
SELECT gen_random_uuid(), 'fit', c.id, c.user_id,
    CASE c.status WHEN 'running' THEN now() + interval '1 day' END
FROM trainyard.candidates c WHERE c.status IN ('queued', 'running')
UNION ALL
SELECT gen_random_uuid(), 'profile', gen_random_uuid(), bench.usr(n % 500), NULL
FROM generate_series(1, $1::bigint) n
"""
"""Jobs of the fits that run and wait, and of as many tables that were uploaded."""


async def fill(c: asyncpg.Connection, table: str, made: Volume, month: int) -> None:
    """A month's rows of `tasks`, `candidates` or `audit`. Triggers, checks of references included, sleep."""
    statement, each = {
        "tasks": (RUNS, None),
        "candidates": (CANDIDATES, made.candidates),
        "audit": (DEEDS, made.deeds),
    }[table]
    first, last = made.first(month), made.first(month + 1) - 1
    values = [first, last, made.began * 1e3, made.step_ms, made.users, made.runs - OPEN]
    await c.execute(statement, *values, *([] if each is None else [each]), timeout=3600)


async def run_ids(
    c: asyncpg.Connection, made: Volume, numbers: Sequence[int]
) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """The id and the user of runs."""
    rows = await c.fetch(
        "SELECT bench.id($2 + i * $3, 'run' || i) AS id, bench.owner_of(i, $4::bigint) AS usr"
        " FROM unnest($1::bigint[]) i",
        list(numbers),
        made.began * 1e3,
        made.step_ms,
        made.users,
    )
    return [(row["id"], row["usr"]) for row in rows]
