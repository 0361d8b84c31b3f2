-- Everything Trainyard keeps, with row level security from the first day.
-- Plain SQL for PostgreSQL 15 and later; runs as the owner, inside one transaction.

CREATE SCHEMA IF NOT EXISTS trainyard;

-- On Supabase auth.users is there; elsewhere a minimal one of the same shape.
CREATE SCHEMA IF NOT EXISTS auth;
CREATE TABLE IF NOT EXISTS auth.users (
    id uuid PRIMARY KEY,
    email text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The identity of the current transaction. After a transaction the setting reads '' and not NULL.
CREATE FUNCTION trainyard.uid() RETURNS uuid
LANGUAGE sql STABLE
AS $$
    SELECT nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid
$$;

-- A user seen for the first time gets its row in auth.users. The API may not write there itself:
-- this function adds the caller's own id and nothing else.
CREATE FUNCTION trainyard.ensure_user(user_email text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = ''
AS $$
    INSERT INTO auth.users (id, email) SELECT trainyard.uid(), user_email
    WHERE trainyard.uid() IS NOT NULL
    ON CONFLICT (id) DO NOTHING
$$;
REVOKE ALL ON FUNCTION trainyard.ensure_user(text) FROM PUBLIC;

CREATE TABLE trainyard.files (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    name text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256 text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX files_user ON trainyard.files (user_id, id DESC) WHERE deleted_at IS NULL;

-- json keeps the order of a table's columns, which jsonb does not; jsonb is where we look inside.
CREATE TABLE trainyard.profiles (
    file_id uuid PRIMARY KEY REFERENCES trainyard.files (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'ready', 'failed')),
    rows bigint,
    columns integer,
    profile json,
    error text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX profiles_user ON trainyard.profiles (user_id);

CREATE TABLE trainyard.tasks (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    file_id uuid REFERENCES trainyard.files (id) ON DELETE SET NULL,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    stage text NOT NULL DEFAULT 'queued'
        CHECK (stage IN ('queued', 'profiling', 'fitting', 'ensembling', 'finishing', 'done')),
    message text NOT NULL DEFAULT 'Waiting for a trainer',
    request json NOT NULL,
    plan json,
    warnings jsonb NOT NULL DEFAULT '[]',
    error jsonb,
    report_attempt integer,
    report json,
    cancel_requested boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    deleted_at timestamptz
);
COMMENT ON COLUMN trainyard.tasks.report IS
    'file name → {size_bytes, sha256} of what finish stored under report_attempt';
CREATE INDEX tasks_user ON trainyard.tasks (user_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX tasks_file ON trainyard.tasks (file_id);

CREATE TABLE trainyard.candidates (
    id uuid PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES trainyard.tasks (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    position integer NOT NULL,
    model_name text NOT NULL,
    label text NOT NULL,
    algorithm text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'done', 'failed', 'skipped')),
    attempt integer NOT NULL DEFAULT 0,
    progress double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    cv_mean double precision,
    cv_std double precision,
    metrics jsonb,
    fit_seconds double precision,
    predict_ms_per_row double precision,
    size_bytes bigint,
    sha256 text,
    outcome json,
    reason text,
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (task_id, model_name)
);
COMMENT ON COLUMN trainyard.candidates.attempt IS
    'the attempt that runs or that stored the artifact: part of its object key, and the fencing token';
CREATE INDEX candidates_user ON trainyard.candidates (user_id);

CREATE TABLE trainyard.bundles (
    task_id uuid PRIMARY KEY REFERENCES trainyard.tasks (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'building' CHECK (status IN ('building', 'ready', 'failed')),
    attempt integer NOT NULL DEFAULT 0,
    progress double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    size_bytes bigint,
    sha256 text,
    error text,
    requested_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX bundles_user ON trainyard.bundles (user_id);
CREATE INDEX bundles_expiry ON trainyard.bundles (expires_at);

-- The guide's columns by the guide's names, and what saving needs beside them.
CREATE TABLE public.trained_models (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    file_id uuid REFERENCES trainyard.files (id) ON DELETE SET NULL,
    model_name text NOT NULL CHECK (char_length(model_name) BETWEEN 1 AND 120),
    algorithm text NOT NULL,
    task_type text NOT NULL CHECK (task_type IN ('classification', 'regression', 'time_series')),
    metrics jsonb NOT NULL DEFAULT '{}',
    file_path text UNIQUE,
    file_size bigint,
    description text,
    tags text[] NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'ready' CHECK (status IN ('saving', 'ready', 'failed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted boolean NOT NULL DEFAULT false,
    deleted_at timestamptz,
    task_id uuid NOT NULL,
    candidate_slug text NOT NULL,
    candidate_attempt integer NOT NULL,
    sha256 text,
    error text,
    links_issued bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE public.trained_models IS 'Models that users saved; their runs may be gone';
CREATE INDEX trained_models_user ON public.trained_models (user_id, id DESC);
CREATE INDEX trained_models_trash ON public.trained_models (deleted_at) WHERE deleted;

-- Work to be done, one row a piece: outbox, schedule and lease in one. The row is written in the
-- transaction of the request, and goes away in the transaction that records the result.
CREATE TABLE trainyard.jobs (
    id uuid PRIMARY KEY,
    kind text NOT NULL
        CHECK (kind IN ('profile', 'plan', 'fit', 'finish', 'bundle', 'save', 'purge')),
    subject_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    -- not now(): the jobs of one transaction keep the order in which they were asked for
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_after timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    attempt integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamptz,
    last_error text,
    UNIQUE (kind, subject_id)
);
COMMENT ON COLUMN trainyard.jobs.queued_at IS
    'its place among the same user''s work: the fits of a task have the place of the task';
COMMENT ON COLUMN trainyard.jobs.attempt IS 'grows with every claim: the fencing token';
COMMENT ON COLUMN trainyard.jobs.tries IS 'claims that count against the limit; a drain gives its own back';
CREATE INDEX jobs_user ON trainyard.jobs (user_id);
CREATE INDEX jobs_claim ON trainyard.jobs (kind, run_after);

-- When a user was last served: whose turn it is among those with equally much running.
CREATE TABLE trainyard.turns (
    user_id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
    last_claim timestamptz NOT NULL
);

-- `version` grows with every change that a reader of the task can see.
CREATE FUNCTION trainyard.bump_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER tasks_version BEFORE UPDATE ON trainyard.tasks
    FOR EACH ROW EXECUTE FUNCTION trainyard.bump_version();

CREATE FUNCTION trainyard.touch_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE trainyard.tasks SET version = version WHERE id = NEW.task_id;
    RETURN NULL;
END $$;
CREATE TRIGGER candidates_version AFTER UPDATE ON trainyard.candidates
    FOR EACH ROW EXECUTE FUNCTION trainyard.touch_task();

-- A status changes along the arrows of docs/states.md and no other way, whoever writes.
CREATE FUNCTION trainyard.check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND NOT (OLD.status || ' > ' || NEW.status) = ANY (TG_ARGV) THEN
        RAISE EXCEPTION '% cannot go from % to %', TG_TABLE_NAME, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER profiles_states BEFORE UPDATE OF status ON trainyard.profiles
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition('queued > ready', 'queued > failed');
CREATE TRIGGER tasks_states BEFORE UPDATE OF status ON trainyard.tasks
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition(
        'queued > running', 'queued > failed', 'queued > cancelled',
        'running > completed', 'running > failed', 'running > cancelled',
        'failed > queued', 'cancelled > queued');
CREATE TRIGGER candidates_states BEFORE UPDATE OF status ON trainyard.candidates
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition(
        'queued > running', 'queued > done', 'queued > failed', 'queued > skipped',
        'running > queued', 'running > done', 'running > failed', 'running > skipped',
        'failed > queued', 'skipped > queued');
CREATE TRIGGER bundles_states BEFORE UPDATE OF status ON trainyard.bundles
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition(
        'building > ready', 'building > failed', 'failed > building', 'ready > building');
CREATE TRIGGER trained_models_states BEFORE UPDATE OF status ON public.trained_models
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition('saving > ready', 'saving > failed');

-- Our own roles. Supabase's anon and authenticated, which any browser can be, get nothing.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['trainyard_user', 'trainyard_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('REVOKE ALL ON SCHEMA trainyard FROM %I', role_name);
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA trainyard FROM %I', role_name);
            EXECUTE format('REVOKE ALL ON public.trained_models FROM %I', role_name);
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON SCHEMA trainyard FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA trainyard FROM PUBLIC;
REVOKE ALL ON public.trained_models FROM PUBLIC;
GRANT USAGE ON SCHEMA trainyard, public TO trainyard_user, trainyard_worker;
GRANT EXECUTE ON FUNCTION trainyard.ensure_user(text) TO trainyard_user;

-- What the API does as a user.
GRANT SELECT, INSERT, UPDATE (deleted_at) ON trainyard.files TO trainyard_user;
GRANT SELECT, INSERT ON trainyard.profiles TO trainyard_user;
GRANT SELECT, INSERT, UPDATE (name, status, stage, message, cancel_requested, finished_at, deleted_at)
    ON trainyard.tasks TO trainyard_user;
GRANT SELECT ON trainyard.candidates TO trainyard_user;
GRANT SELECT, INSERT, UPDATE (status, progress, error, requested_at, expires_at)
    ON trainyard.bundles TO trainyard_user;
GRANT SELECT, INSERT, UPDATE (model_name, description, tags, updated_at, deleted, deleted_at, links_issued)
    ON public.trained_models TO trainyard_user;
GRANT SELECT, INSERT (id, kind, subject_id, user_id, attempt, queued_at), UPDATE (sent_at)
    ON trainyard.jobs TO trainyard_user;

-- What the workers do for everyone.
GRANT SELECT, DELETE ON trainyard.files TO trainyard_worker;
GRANT SELECT, UPDATE ON trainyard.profiles TO trainyard_worker;
GRANT SELECT, UPDATE, DELETE ON trainyard.tasks TO trainyard_worker;
GRANT SELECT, INSERT, UPDATE ON trainyard.candidates TO trainyard_worker;
GRANT SELECT, UPDATE, DELETE ON trainyard.bundles TO trainyard_worker;
GRANT SELECT, UPDATE, DELETE ON public.trained_models TO trainyard_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON trainyard.jobs TO trainyard_worker;
GRANT SELECT, INSERT, UPDATE ON trainyard.turns TO trainyard_worker;

DO $$
DECLARE
    t regclass;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'trainyard.files', 'trainyard.profiles', 'trainyard.tasks', 'trainyard.candidates',
        'trainyard.bundles', 'trainyard.jobs', 'trainyard.turns', 'public.trained_models']::regclass[]
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
        -- (select …) is evaluated once a statement instead of once a row
        EXECUTE format(
            'CREATE POLICY own_rows ON %s TO trainyard_user
             USING ((select trainyard.uid()) = user_id) WITH CHECK ((select trainyard.uid()) = user_id)', t);
        EXECUTE format('CREATE POLICY worker ON %s TO trainyard_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
