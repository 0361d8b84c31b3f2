-- What the API needs to answer the same POST twice with one answer, to keep users within bounds, and to
-- say how long a queue is.

CREATE TABLE trainyard.idempotency_keys (
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    route text NOT NULL,
    key text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    owner uuid NOT NULL,
    locked_until timestamptz,
    fingerprint bytea,
    status integer,
    headers jsonb,
    body bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, route, key)
);
COMMENT ON COLUMN trainyard.idempotency_keys.status IS 'of the answer that is kept; NULL while it is worked on';
COMMENT ON COLUMN trainyard.idempotency_keys.locked_until IS
    'an upload under way: renewed as it streams, so that a process that dies leaves the key free';
CREATE INDEX idempotency_keys_expiry ON trainyard.idempotency_keys (expires_at);

GRANT SELECT, INSERT, DELETE,
    UPDATE (owner, locked_until, fingerprint, status, headers, body, created_at, expires_at)
    ON trainyard.idempotency_keys TO trainyard_user;
GRANT SELECT, DELETE ON trainyard.idempotency_keys TO trainyard_worker;
REVOKE ALL ON trainyard.idempotency_keys FROM PUBLIC;
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('REVOKE ALL ON trainyard.idempotency_keys FROM %I', role_name);
        END IF;
    END LOOP;
END $$;
ALTER TABLE trainyard.idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE trainyard.idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON trainyard.idempotency_keys TO trainyard_user
    USING ((select trainyard.uid()) = user_id) WITH CHECK ((select trainyard.uid()) = user_id);
CREATE POLICY worker ON trainyard.idempotency_keys TO trainyard_worker USING (true) WITH CHECK (true);

-- What every poll of a status shows, without reading whole requests and plans for it.
ALTER TABLE trainyard.tasks
    ADD COLUMN target text GENERATED ALWAYS AS (request ->> 'target') STORED,
    ADD COLUMN task_type text GENERATED ALWAYS AS (plan ->> 'task_type') STORED,
    ADD COLUMN metric text GENERATED ALWAYS AS (plan ->> 'metric') STORED;

-- What a resume clears.
GRANT UPDATE (error, started_at) ON trainyard.tasks TO trainyard_user;

-- A user's queued runs are counted by every POST that adds one.
CREATE INDEX tasks_queued ON trainyard.tasks (user_id) WHERE status = 'queued' AND deleted_at IS NULL;

-- How many runs begin before one that waits, of all users: a number, and nothing else of anybody's.
-- The order is that of shared/db/jobs.py, claim(): whoever has least running, then whoever was served
-- longest ago; a user's own first come first. So of another user with r running, min(w, max(0, l - r)) of
-- w waiting runs go first, where l is what the asking user will have running when it is the run's turn.
CREATE INDEX jobs_waiting_plans ON trainyard.jobs (user_id, queued_at) INCLUDE (lease_until)
    WHERE kind = 'plan';
CREATE INDEX jobs_held ON trainyard.jobs (user_id) WHERE lease_until IS NOT NULL;

-- FORCE binds the owner too, as whom the function below looks at everybody's queue.
CREATE POLICY counted ON trainyard.jobs FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY counted ON trainyard.turns FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION trainyard.queue_position(task uuid) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = ''
AS $$
    WITH mine AS (
        SELECT j.user_id, j.queued_at, j.created_at FROM trainyard.jobs j
        WHERE j.kind = 'plan' AND j.subject_id = task AND j.user_id = trainyard.uid()
          AND (j.lease_until IS NULL OR j.lease_until < now())
    ), busy AS (
        SELECT j.user_id, count(*) AS running FROM trainyard.jobs j
        WHERE j.lease_until IS NOT NULL AND j.lease_until > now() GROUP BY j.user_id
    ), own AS (
        SELECT count(*) AS earlier,
            count(*) + coalesce((SELECT b.running FROM busy b, mine m WHERE b.user_id = m.user_id), 0) AS level
        FROM mine m JOIN trainyard.jobs j ON j.kind = 'plan' AND j.user_id = m.user_id
          AND (j.lease_until IS NULL OR j.lease_until < now())
          AND (j.queued_at, j.created_at) < (m.queued_at, m.created_at)
    ), waiting AS (
        SELECT j.user_id, count(*) AS waiting, min(j.queued_at) AS first FROM trainyard.jobs j
        WHERE j.kind = 'plan' AND (j.lease_until IS NULL OR j.lease_until < now())
        GROUP BY j.user_id
    ), me AS (
        SELECT m.user_id, o.earlier, o.level, t.last_claim, w.first
        FROM mine m CROSS JOIN own o
        JOIN waiting w ON w.user_id = m.user_id LEFT JOIN trainyard.turns t ON t.user_id = m.user_id
    )
    SELECT 1 + me.earlier + coalesce((
        SELECT sum(
            least(w.waiting, greatest(0, me.level - coalesce(b.running, 0)))
            + CASE WHEN w.waiting > me.level - coalesce(b.running, 0) AND coalesce(b.running, 0) <= me.level
                AND (coalesce(t.last_claim, '-infinity'), w.first, w.user_id)
                    < (coalesce(me.last_claim, '-infinity'), me.first, me.user_id)
              THEN 1 ELSE 0 END)
        FROM waiting w LEFT JOIN busy b USING (user_id) LEFT JOIN trainyard.turns t USING (user_id)
        WHERE w.user_id <> me.user_id
    ), 0)::bigint
    FROM me
$$;
REVOKE ALL ON FUNCTION trainyard.queue_position(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trainyard.queue_position(uuid) TO trainyard_user;
