-- Artifacts carry a signature that only workers can make, and models can be had without a pickle.

-- Of rows from before nothing is known: they can be downloaded, and are never opened by us.
ALTER TABLE trainyard.candidates
    ADD COLUMN hmac bytea CHECK (octet_length(hmac) = 32),
    ADD COLUMN hmac_key_id text CHECK (hmac_key_id ~ '^[A-Za-z0-9_-]{1,32}$'),
    ADD CONSTRAINT candidates_signature CHECK ((hmac IS NULL) = (hmac_key_id IS NULL)),
    -- what follows names the owner too: foreign keys are checked without row level security
    ADD CONSTRAINT candidates_of_user UNIQUE (user_id, id);
COMMENT ON COLUMN trainyard.candidates.hmac IS
    'HMAC-SHA256 over sha256, user, task, slug and attempt (shared/signing.py)';
COMMENT ON COLUMN trainyard.candidates.hmac_key_id IS 'which key of ARTIFACT_HMAC_KEYS made it';

ALTER TABLE public.trained_models
    ADD COLUMN hmac bytea CHECK (octet_length(hmac) = 32),
    ADD COLUMN hmac_key_id text CHECK (hmac_key_id ~ '^[A-Za-z0-9_-]{1,32}$'),
    ADD CONSTRAINT trained_models_signature CHECK ((hmac IS NULL) = (hmac_key_id IS NULL));
COMMENT ON COLUMN public.trained_models.hmac IS 'its candidate''s: the copy has the same bytes';

-- Who can insert a model as a user may not say that it is signed.
REVOKE INSERT ON public.trained_models FROM trainyard_user;
GRANT INSERT (id, user_id, file_id, task_id, model_name, description, tags, task_type, algorithm, metrics,
        candidate_slug, candidate_attempt, file_size, status)
    ON public.trained_models TO trainyard_user;

-- A model as .skops, made from its pickle when it is first asked for; goes with its run.
CREATE TABLE trainyard.conversions (
    candidate_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'building' CHECK (status IN ('building', 'ready', 'failed')),
    attempt integer NOT NULL DEFAULT 0,
    size_bytes bigint,
    sha256 text,
    types text[],
    requires text[],
    error text,
    final boolean NOT NULL DEFAULT false,
    requested_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (user_id, candidate_id) REFERENCES trainyard.candidates (user_id, id) ON DELETE CASCADE,
    CHECK (status <> 'ready' OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND types IS NOT NULL))
);
COMMENT ON COLUMN trainyard.conversions.types IS 'what skops.io.load has to be told to trust';
COMMENT ON COLUMN trainyard.conversions.final IS 'it failed for a reason that asking again does not change';
CREATE INDEX conversions_user ON trainyard.conversions (user_id);

CREATE TRIGGER conversions_states BEFORE UPDATE OF status ON trainyard.conversions
    FOR EACH ROW EXECUTE FUNCTION trainyard.check_transition(
        'building > ready', 'building > failed', 'failed > building');
CREATE TRIGGER refuse_erased BEFORE INSERT ON trainyard.conversions FOR EACH ROW
    WHEN (trainyard.uid() IS NOT NULL) EXECUTE FUNCTION trainyard.refuse_erased();

REVOKE ALL ON trainyard.conversions FROM PUBLIC;
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('REVOKE ALL ON trainyard.conversions FROM %I', role_name);
        END IF;
    END LOOP;
END $$;
GRANT SELECT, INSERT (candidate_id, user_id), UPDATE (status, error, requested_at)
    ON trainyard.conversions TO trainyard_user;
GRANT SELECT, UPDATE ON trainyard.conversions TO trainyard_worker;

ALTER TABLE trainyard.conversions ENABLE ROW LEVEL SECURITY;
ALTER TABLE trainyard.conversions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON trainyard.conversions TO trainyard_user
    USING ((select trainyard.uid()) = user_id) WITH CHECK ((select trainyard.uid()) = user_id);
CREATE POLICY worker ON trainyard.conversions TO trainyard_worker USING (true) WITH CHECK (true);

ALTER TABLE trainyard.jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CONSTRAINT jobs_kind_check CHECK (kind IN (
        'profile', 'plan', 'fit', 'finish', 'bundle', 'save', 'purge', 'export', 'erase', 'convert'));
