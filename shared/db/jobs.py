"""`trainyard.jobs`: work to be done. Outbox, schedule and lease in one row (docs/decisions/0002).

A row is written in the transaction of the request and removed in the transaction that records the
result. Messages in Redis only say "look here"; what runs next is decided by `claim`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.contracts.catalogue import ENSEMBLES
from shared.contracts.states import JobKind, uuid7
from shared.db.pool import Connection
from shared.logging import request_id
from shared.tracing import traceparent

MAX_TRIES = 3
"""Claims after which a job that never ended is given up."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed job: `attempt` is the fencing token of every write made for it."""

    id: uuid.UUID
    kind: JobKind
    subject_id: uuid.UUID
    user_id: uuid.UUID
    attempt: int
    tries: int
    created_at: dt.datetime
    queued_at: dt.datetime
    task_id: uuid.UUID | None = None
    """The run that a candidate's job belongs to."""
    request_id: str | None = None
    """Of the request that it goes back to."""
    traceparent: str | None = None
    """The span that asked for it."""
    waited_s: float = 0.0
    """From when it could have been done to its claim."""

    @property
    def ids(self) -> dict[str, str]:
        """What it is known by in logs and traces: of its subject, its user, its request."""
        found = {
            _SUBJECTS.get(self.kind, "subject_id"): self.subject_id,
            "task_id": self.subject_id if self.kind in _OF_A_RUN else self.task_id,
            "user_id": self.user_id,
            "request_id": self.request_id,
        }
        return {name: str(value) for name, value in found.items() if value is not None}


_OF_A_RUN = frozenset({JobKind.PLAN, JobKind.FINISH, JobKind.BUNDLE})
_SUBJECTS = {
    JobKind.PROFILE: "file_id",
    JobKind.FIT: "candidate_id",
    JobKind.CONVERT: "candidate_id",
    JobKind.CONVERT_ONNX: "candidate_id",
    JobKind.SAVE: "model_id",
    JobKind.EXPORT: "user_id",
    JobKind.ERASE: "user_id",
} | dict.fromkeys(_OF_A_RUN, "task_id")
"""What a job's subject is an id of. A purge's is a run's or a file's."""


async def insert(
    c: Connection,
    kind: JobKind,
    subject_id: uuid.UUID,
    user_id: uuid.UUID,
    *,
    attempt: int = 0,
    queued_at: dt.datetime | None = None,
    needs: Sequence[str] = (),
) -> uuid.UUID:
    """Ask for work, in the transaction of what it is for. The same work asked for twice is one row, whose
    id is answered; a row that a worker has locked is not waited for, so nobody deadlocks with it.

    `attempt`: where the subject has been worked on before, its last attempt, so that tokens grow.
    `queued_at`: its place in the user's queue, where that is another's (default: now).
    `needs`: what a worker has to know of to claim it, words of `shared.needs`.

    It goes back to the request that is bound to the log here, and its trace goes on from the span around.
    """
    job_id: uuid.UUID = await c.fetchval(
        """
        WITH added AS (
            INSERT INTO trainyard.jobs
                (id, kind, subject_id, user_id, attempt, queued_at, needs, request_id, traceparent)
            VALUES ($1, $2, $3, $4, $5, coalesce($6, clock_timestamp()), $7, $8, $9)
            ON CONFLICT (kind, subject_id) DO NOTHING RETURNING id
        )
        SELECT id FROM added
        UNION ALL SELECT id FROM trainyard.jobs WHERE kind = $2 AND subject_id = $3
        LIMIT 1
        """,
        uuid7(),
        kind,
        subject_id,
        user_id,
        attempt,
        queued_at,
        ", ".join(needs) or None,
        request_id(),
        traceparent(),
    )
    return job_id


async def insert_or_lock(
    c: Connection, kind: JobKind, subject_id: uuid.UUID, user_id: uuid.UUID, *, needs: Sequence[str] = ()
) -> uuid.UUID:
    """As `insert`, but waits for whoever has the row locked: after this it is there until the commit."""
    job_id: uuid.UUID = await c.fetchval(
        """
        INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, needs, request_id, traceparent)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (kind, subject_id) DO UPDATE SET sent_at = NULL
        RETURNING id
        """,
        uuid7(),
        kind,
        subject_id,
        user_id,
        ", ".join(needs) or None,
        request_id(),
        traceparent(),
    )
    return job_id


async def restore_missing(c: Connection) -> list[Any]:
    """A net below everything else: work that a row waits for and no job stands for is asked for again.

    Jobs come and go in the transactions that change those rows, so one snapshot never shows such a row;
    `kind, subject_id` of what was found all the same.
    """
    return await c.fetch(
        """
        INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, attempt, needs)
        SELECT gen_random_uuid(), w.kind, w.subject_id, w.user_id, w.attempt,
            -- as shared.needs.of_model; a plan that is found here may be anybody's
            (SELECT t.task_type || ' ' || c.model_name
             FROM trainyard.candidates c JOIN trainyard.tasks t ON t.id = c.task_id
             WHERE c.id = w.subject_id)
        FROM (
            SELECT 'profile' AS kind, file_id AS subject_id, p.user_id, 0 AS attempt
            FROM trainyard.profiles p JOIN trainyard.files f ON f.id = p.file_id
            WHERE p.status = 'queued' AND f.deleted_at IS NULL
            UNION ALL
            SELECT 'plan', id, user_id, 0 FROM trainyard.tasks
            WHERE deleted_at IS NULL AND (status = 'queued' OR status = 'running' AND plan IS NULL)
            UNION ALL
            SELECT 'fit', c.id, c.user_id, c.attempt
            FROM trainyard.candidates c JOIN trainyard.tasks t ON t.id = c.task_id
            WHERE c.status IN ('queued', 'running') AND t.status = 'running' AND t.deleted_at IS NULL
              -- an ensemble waits for the others without a job
              AND (c.model_name <> ALL ($1) OR NOT EXISTS (SELECT FROM trainyard.candidates other
                  WHERE other.task_id = c.task_id AND other.status IN ('queued', 'running')
                    AND other.model_name <> ALL ($1)))
            UNION ALL
            SELECT 'finish', t.id, t.user_id, 0 FROM trainyard.tasks t
            WHERE t.status = 'running' AND t.stage <> 'profiling' AND t.plan IS NOT NULL
              AND t.deleted_at IS NULL AND NOT EXISTS (SELECT FROM trainyard.candidates c
                  WHERE c.task_id = t.id AND c.status IN ('queued', 'running'))
            UNION ALL
            SELECT 'bundle', task_id, user_id, attempt FROM trainyard.bundles WHERE status = 'building'
            UNION ALL
            SELECT 'save', id, user_id, 0 FROM public.trained_models WHERE status = 'saving'
            UNION ALL
            SELECT CASE v.format WHEN 'onnx' THEN 'convert_onnx' ELSE 'convert' END, v.candidate_id,
                v.user_id, v.attempt
            FROM trainyard.conversions v JOIN trainyard.candidates c ON c.id = v.candidate_id
            JOIN trainyard.tasks t ON t.id = c.task_id
            WHERE v.status = 'building' AND t.deleted_at IS NULL
            UNION ALL
            SELECT 'export', user_id, user_id, attempt FROM trainyard.exports WHERE status = 'building'
            UNION ALL
            SELECT 'erase', user_id, user_id, 0 FROM trainyard.erasures
        ) w
        WHERE NOT EXISTS (
            SELECT FROM trainyard.jobs j WHERE j.kind = w.kind AND j.subject_id = w.subject_id)
          AND (w.kind = 'erase' OR NOT EXISTS (
            SELECT FROM trainyard.erasures e WHERE e.user_id = w.user_id))
        ON CONFLICT (kind, subject_id) DO NOTHING
        RETURNING kind, subject_id
        """,
        ENSEMBLES,
    )


async def unsent(c: Connection, *, resend_after_s: float, limit: int = 500) -> list[Any]:
    """Jobs that wait, and whose message was never sent (its sender had a second for it) or was sent so
    long ago that it may be lost."""
    return await c.fetch(
        """
        SELECT id, kind, attempt FROM trainyard.jobs
        WHERE run_after <= now() AND (lease_until IS NULL OR lease_until < now())
          AND coalesce(sent_at + make_interval(secs => $1),
                       greatest(created_at, run_after) + interval '1 second') <= now()
        ORDER BY created_at LIMIT $2
        """,
        resend_after_s,
        limit,
    )


async def mark_sent(c: Connection, ids: Sequence[uuid.UUID]) -> None:
    await c.execute("UPDATE trainyard.jobs SET sent_at = now() WHERE id = ANY($1)", ids)


async def claim(
    c: Connection,
    kinds: Sequence[JobKind],
    owner: str,
    lease_s: float,
    *,
    user_cap: int = 1000,
    knows: Sequence[str] | None = None,
) -> Job | None:
    """Take the next piece of work of these kinds; work whose lease ran out is free again.

    Reports first, for they end a task. Then users take turns: whoever has least running, then whoever
    was served longest ago; nobody runs more than `user_cap` at once, save that an account's deletion, which
    stops the rest, waits for none of it. Within a user profiles go first, then tasks in the order in which
    they were asked for.

    `knows`: words of `shared.needs`; a job that needs another is left to others. None: whatever it needs.
    """
    row = await c.fetchrow(
        """
        WITH busy AS (
            SELECT user_id, count(*) AS running FROM trainyard.jobs WHERE lease_until > now() GROUP BY user_id
        ), next AS (
            SELECT j.id FROM trainyard.jobs j
            LEFT JOIN busy USING (user_id) LEFT JOIN trainyard.turns USING (user_id)
            WHERE j.kind = ANY($1) AND j.run_after <= now() AND j.tries < $4
              -- the second is what is meant; the first is as true of a single word, and ten times as fast
              AND (j.needs IS NULL OR j.needs = ANY($6) OR string_to_array(j.needs, ', ') <@ $6
                   OR $6::text[] IS NULL)
              AND (j.lease_until IS NULL OR j.lease_until < now())
              AND (coalesce(busy.running, 0) < $5 OR j.kind = 'erase')
            ORDER BY j.kind <> 'finish', coalesce(busy.running, 0), turns.last_claim NULLS FIRST,
                j.kind <> 'profile', j.queued_at, j.created_at
            LIMIT 1 FOR UPDATE OF j SKIP LOCKED
        ), claimed AS (
            UPDATE trainyard.jobs j
            SET attempt = attempt + 1, tries = tries + 1, owner = $2,
                lease_until = now() + make_interval(secs => $3)
            FROM next WHERE j.id = next.id
            RETURNING j.id, j.kind, j.subject_id, j.user_id, j.attempt, j.tries, j.created_at, j.queued_at,
                j.request_id, j.traceparent,
                extract(epoch FROM clock_timestamp() - greatest(j.created_at, j.run_after))::float8
                    AS waited_s
        ), turn AS (
            INSERT INTO trainyard.turns (user_id, last_claim) SELECT user_id, clock_timestamp() FROM claimed
            ON CONFLICT (user_id) DO UPDATE SET last_claim = excluded.last_claim
        )
        SELECT claimed.*,
            (SELECT c.task_id FROM trainyard.candidates c WHERE c.id = claimed.subject_id) AS task_id
        FROM claimed
        """,
        [str(k) for k in kinds],
        owner,
        lease_s,
        MAX_TRIES,
        user_cap,
        knows,
    )
    return msgspec.convert(dict(row), Job) if row else None


async def renew(c: Connection, held: Sequence[Job], owner: str, lease_s: float) -> set[uuid.UUID]:
    """Prolong the leases of `held`; the ids of those that are still ours."""
    rows = await c.fetch(
        """
        UPDATE trainyard.jobs j SET lease_until = now() + make_interval(secs => $3)
        FROM unnest($1::uuid[], $2::int[]) AS mine (id, attempt)
        WHERE j.id = mine.id AND j.attempt = mine.attempt AND j.owner = $4
        RETURNING j.id
        """,
        [job.id for job in held],
        [job.attempt for job in held],
        lease_s,
        owner,
    )
    return {row["id"] for row in rows}


async def holds(c: Connection, job: Job) -> bool:
    """Whether `job` is still this attempt's, locking its row: the fence of the writes that follow."""
    return bool(
        await c.fetchval(
            "SELECT true FROM trainyard.jobs WHERE id = $1 AND attempt = $2 FOR UPDATE", job.id, job.attempt
        )
    )


async def done(c: Connection, job: Job) -> None:
    """Remove it, in the transaction that recorded its result."""
    await c.execute("DELETE FROM trainyard.jobs WHERE id = $1 AND attempt = $2", job.id, job.attempt)


async def retry(c: Connection, job: Job, *, delay_s: float, error: str) -> None:
    """Free it for a later try that counts, keeping the reason."""
    await c.execute(
        """
        UPDATE trainyard.jobs
        SET lease_until = NULL, owner = NULL, sent_at = NULL, last_error = $4,
            run_after = now() + make_interval(secs => $3)
        WHERE id = $1 AND attempt = $2
        """,
        job.id,
        job.attempt,
        delay_s,
        error,
    )


async def wait(c: Connection, job: Job, *, delay_s: float, error: str) -> None:
    """Free it for later without costing a try: what it needs is away, and will be back."""
    await c.execute(
        """
        UPDATE trainyard.jobs
        SET lease_until = NULL, owner = NULL, sent_at = NULL, last_error = $4, tries = tries - 1,
            run_after = now() + make_interval(secs => $3)
        WHERE id = $1 AND attempt = $2
        """,
        job.id,
        job.attempt,
        delay_s,
        error,
    )


async def hand_over(c: Connection, job: Job) -> None:
    """Free it at once for another worker, without costing a try: a drain, not a failure."""
    await c.execute(
        """
        UPDATE trainyard.jobs SET lease_until = NULL, owner = NULL, sent_at = NULL, tries = tries - 1
        WHERE id = $1 AND attempt = $2
        """,
        job.id,
        job.attempt,
    )


async def exhausted(
    c: Connection, kinds: Sequence[JobKind], owner: str, lease_s: float
) -> list[tuple[Job, str]]:
    """Claim what has used up its tries and is held by nobody, with its last reason, to end it."""
    rows = await c.fetch(
        """
        UPDATE trainyard.jobs j SET attempt = attempt + 1, owner = $2,
            lease_until = now() + make_interval(secs => $3)
        WHERE j.id IN (
            SELECT id FROM trainyard.jobs
            WHERE kind = ANY($1) AND tries >= $4 AND (lease_until IS NULL OR lease_until < now())
            LIMIT 20 FOR UPDATE SKIP LOCKED)
        RETURNING j.id, j.kind, j.subject_id, j.user_id, j.attempt, j.tries, j.created_at, j.queued_at,
            j.request_id, j.traceparent,
            (SELECT c.task_id FROM trainyard.candidates c WHERE c.id = j.subject_id) AS task_id,
            coalesce(j.last_error, 'its worker died ' || j.tries || ' times') AS last_error
        """,
        [str(k) for k in kinds],
        owner,
        lease_s,
        MAX_TRIES,
    )
    jobs = []
    for row in rows:
        fields = dict(row)
        reason = fields.pop("last_error")
        jobs.append((msgspec.convert(fields, Job), reason))
    return jobs


async def stop_task(c: Connection, task_id: uuid.UUID) -> int:
    """Forget the work of a task that is being deleted; how much of it a worker still holds."""
    rows = await c.fetch(
        """
        WITH its AS (
            SELECT id FROM trainyard.candidates WHERE task_id = $1 UNION ALL SELECT $1::uuid
        ), dropped AS (
            DELETE FROM trainyard.jobs j USING its
            WHERE j.subject_id = its.id AND j.kind <> 'purge'
              AND (j.lease_until IS NULL OR j.lease_until < now())
        )
        SELECT j.id FROM trainyard.jobs j JOIN its ON j.subject_id = its.id
        WHERE j.kind <> 'purge' AND j.lease_until >= now()
        """,
        task_id,
    )
    return len(rows)


async def start_over(c: Connection, job: Job, *, delay_s: float, error: str) -> None:
    """Free it with all its tries again: work that may be late but is never given up."""
    await c.execute(
        """
        UPDATE trainyard.jobs
        SET lease_until = NULL, owner = NULL, sent_at = NULL, tries = 0, last_error = $4,
            run_after = now() + make_interval(secs => $3)
        WHERE id = $1 AND attempt = $2
        """,
        job.id,
        job.attempt,
        delay_s,
        error,
    )
