-- Who did what to an account, everything of an account as one ZIP, and the end of an account.

ALTER TABLE trainyard.jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE trainyard.jobs ADD CONSTRAINT jobs_kind_check CHECK (kind IN (
    'profile', 'plan', 'fit', 'finish', 'bundle', 'save', 'purge', 'export', 'erase'));

-- A link that was signed and bytes that went through the API are counted apart.
ALTER TABLE public.trained_models ADD COLUMN transfers bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN public.trained_models.links_issued IS 'signed links; what becomes of one, only the store knows';
COMMENT ON COLUMN public.trained_models.transfers IS 'times that its last byte left through the API';
GRANT UPDATE (transfers) ON public.trained_models TO trainyard_user;

-- No reference to auth.users: that an account was deleted is still known when the account is not.
CREATE TABLE trainyard.audit (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    action text NOT NULL CHECK (action ~ '^[a-z]+\.[a-z_]+$'),
    subject_kind text NOT NULL CHECK (subject_kind IN ('file', 'run', 'model', 'key', 'session', 'account')),
    subject_id uuid,
    actor text NOT NULL CHECK (actor IN ('user', 'service', 'key', 'system')),
    key_id uuid,
    request_id text,
    detail jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE trainyard.audit IS 'What was done in an account and who did it; rows are only ever added';
COMMENT ON COLUMN trainyard.audit.user_id IS 'whose account';
COMMENT ON COLUMN trainyard.audit.actor IS
    'user: a signed-in person; service: another service in their name; key: their API key; system: a worker';
CREATE INDEX audit_user ON trainyard.audit (user_id, id DESC);
CREATE INDEX audit_age ON trainyard.audit (at);

CREATE TABLE trainyard.exports (
    user_id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'building' CHECK (status IN ('building', 'ready', 'failed')),
    attempt integer NOT NULL DEFAULT 0,
    progress double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    size_bytes bigint,
    sha256 text,
    error text,
    requested_at timestamptz NOT NULL DEFAULT now(),
    built_at timestamptz,
    expires_at timestamptz
);
COMMENT ON COLUMN trainyard.exports.built_at IS 'it holds what there was then';
CREATE INDEX exports_expiry ON trainyard.exports (expires_at);
CREATE TRIGGER exports_states BEFORE UPDATE OF status ON trainyard.exports
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition(
        'building > ready', 'building > failed', 'failed > building', 'ready > building');

-- An account that is being deleted; the row goes in the transaction that ends the deletion.
CREATE TABLE trainyard.erasures (
    user_id uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT (id, user_id, action, subject_kind, subject_id, actor, key_id, request_id, detail)
    ON trainyard.audit TO trainyard_user;
GRANT SELECT, INSERT (user_id, attempt), UPDATE (status, progress, error, requested_at, expires_at)
    ON trainyard.exports TO trainyard_user;
GRANT SELECT, INSERT (user_id) ON trainyard.erasures TO trainyard_user;
GRANT SELECT, DELETE, INSERT (id, user_id, action, subject_kind, subject_id, actor, detail)
    ON trainyard.audit TO trainyard_worker;
GRANT SELECT, UPDATE, DELETE ON trainyard.exports TO trainyard_worker;
GRANT SELECT, DELETE ON trainyard.erasures TO trainyard_worker;
GRANT DELETE ON trainyard.turns TO trainyard_worker;

DO $$
DECLARE
    t regclass;
    role_name text;
BEGIN
    FOREACH t IN ARRAY ARRAY['trainyard.audit', 'trainyard.exports', 'trainyard.erasures']::regclass[] LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', t);
        FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated'] LOOP
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
                EXECUTE format('REVOKE ALL ON %s FROM %I', t, role_name);
            END IF;
        END LOOP;
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY own_rows ON %s TO trainyard_user
             USING ((select trainyard.uid()) = user_id) WITH CHECK ((select trainyard.uid()) = user_id)', t);
        EXECUTE format('CREATE POLICY worker ON %s TO trainyard_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;

-- Nothing is added to an account that is being deleted. A request that was under way when the deletion was
-- asked for is waited for by whoever asks (shared/db/account.py, `begin_erasure`, has the lock alone), so what
-- it added is there to be found; one that comes later finds the row. Workers are stopped by their jobs.
CREATE FUNCTION trainyard.refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('account ' || NEW.user_id, 0));
    IF EXISTS (SELECT FROM trainyard.erasures e WHERE e.user_id = NEW.user_id) THEN
        RAISE EXCEPTION 'the account is being deleted' USING ERRCODE = 'TY409';
    END IF;
    RETURN NEW;
END $$;
GRANT EXECUTE ON FUNCTION trainyard.uid() TO trainyard_user, trainyard_worker;
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'trainyard.files', 'trainyard.profiles', 'trainyard.tasks', 'trainyard.bundles', 'trainyard.jobs',
        'trainyard.idempotency_keys', 'trainyard.api_keys', 'trainyard.exports', 'trainyard.audit',
        'public.trained_models']
    LOOP
        EXECUTE format(
            'CREATE TRIGGER refuse_erased BEFORE INSERT ON %s FOR EACH ROW
             WHEN (trainyard.uid() IS NOT NULL) EXECUTE FUNCTION trainyard.refuse_erased()', t);
    END LOOP;
END $$;

-- FORCE binds the owner too, as whom the function below looks.
CREATE POLICY counted ON trainyard.erasures FOR SELECT TO CURRENT_USER USING (true);

-- The last of an account: its row in auth.users, and by its references whatever is left. Only of an account
-- whose deletion was asked for, and only where auth.users is the table that 0001 makes: Supabase's is
-- Supabase's, and another application's is that application's.
CREATE FUNCTION trainyard.forget_user(erased uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    IF EXISTS (SELECT FROM trainyard.erasures e WHERE e.user_id = erased)
        AND EXISTS (
            SELECT FROM pg_catalog.pg_class t JOIN pg_catalog.pg_roles r ON r.oid = t.relowner
            WHERE t.oid = 'auth.users'::pg_catalog.regclass AND r.rolname = current_user)
        AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = 'auth.users'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped)
            = ARRAY['created_at', 'email', 'id']
    THEN
        DELETE FROM auth.users u WHERE u.id = erased;
    END IF;
END $$;
REVOKE ALL ON FUNCTION trainyard.forget_user(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trainyard.forget_user(uuid) TO trainyard_worker;
