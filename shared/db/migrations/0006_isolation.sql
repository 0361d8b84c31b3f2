-- A row of one user refers to nothing of another's, whoever writes it, and what is not granted to our own
-- roles is granted to nobody.

-- Foreign keys are checked without row level security, so one that names an id alone lets a user who knows
-- another's id attach a row to it: a profile, a run, a ZIP. They name the owner too.
ALTER TABLE trainyard.files ADD CONSTRAINT files_of_user UNIQUE (user_id, id);
ALTER TABLE trainyard.tasks ADD CONSTRAINT tasks_of_user UNIQUE (user_id, id);

ALTER TABLE trainyard.profiles
    DROP CONSTRAINT profiles_file_id_fkey,
    ADD CONSTRAINT profiles_file FOREIGN KEY (user_id, file_id)
        REFERENCES trainyard.files (user_id, id) ON DELETE CASCADE;
ALTER TABLE trainyard.tasks
    DROP CONSTRAINT tasks_file_id_fkey,
    ADD CONSTRAINT tasks_file FOREIGN KEY (user_id, file_id)
        REFERENCES trainyard.files (user_id, id) ON DELETE SET NULL (file_id);
ALTER TABLE trainyard.candidates
    DROP CONSTRAINT candidates_task_id_fkey,
    ADD CONSTRAINT candidates_task FOREIGN KEY (user_id, task_id)
        REFERENCES trainyard.tasks (user_id, id) ON DELETE CASCADE;
ALTER TABLE trainyard.bundles
    DROP CONSTRAINT bundles_task_id_fkey,
    ADD CONSTRAINT bundles_task FOREIGN KEY (user_id, task_id)
        REFERENCES trainyard.tasks (user_id, id) ON DELETE CASCADE;
ALTER TABLE public.trained_models
    DROP CONSTRAINT trained_models_file_id_fkey,
    ADD CONSTRAINT trained_models_file FOREIGN KEY (user_id, file_id)
        REFERENCES trainyard.files (user_id, id) ON DELETE SET NULL (file_id),
    -- the same as shared/storage/keys.py, belongs_to(), which is asked again before anything is signed
    ADD CONSTRAINT trained_models_path CHECK (
        starts_with(file_path, user_id::text || '/') AND file_path !~ '(^|/)\.{0,2}(/|$)');

-- What a user writes into a new row; everything else of it is the workers' to say.
REVOKE INSERT ON trainyard.files, trainyard.profiles, trainyard.tasks, trainyard.bundles, public.trained_models
    FROM trainyard_user;
GRANT INSERT (id, user_id, name, size_bytes, sha256) ON trainyard.files TO trainyard_user;
GRANT INSERT (file_id, user_id) ON trainyard.profiles TO trainyard_user;
GRANT INSERT (id, user_id, file_id, name, request) ON trainyard.tasks TO trainyard_user;
GRANT INSERT (task_id, user_id, attempt) ON trainyard.bundles TO trainyard_user;
GRANT INSERT (id, user_id, file_id, task_id, model_name, description, tags, task_type, algorithm, metrics,
        candidate_slug, candidate_attempt, file_size, status)
    ON public.trained_models TO trainyard_user;

-- A model is saved of a candidate of one's own that is done: what a worker copies is decided here. The
-- policies of the tables that are asked hold in here too, so a user sees only their own.
CREATE POLICY own_candidate ON public.trained_models AS RESTRICTIVE FOR INSERT TO trainyard_user
    WITH CHECK (status = 'saving' AND file_path IS NULL AND EXISTS (
        SELECT FROM trainyard.candidates c
        WHERE c.task_id = trained_models.task_id AND c.user_id = trained_models.user_id
          AND c.model_name = candidate_slug AND c.attempt = candidate_attempt AND c.status = 'done'));

-- One piece of work of a kind stands for a subject. A job for another's subject would keep its owner's from
-- being asked for, and tell workers that nobody holds what somebody does.
CREATE POLICY own_subject ON trainyard.jobs AS RESTRICTIVE FOR INSERT TO trainyard_user
    WITH CHECK (CASE
        WHEN kind = 'profile' THEN EXISTS (
            SELECT FROM trainyard.files f WHERE f.id = subject_id AND f.user_id = jobs.user_id)
        WHEN kind IN ('plan', 'finish', 'bundle') THEN EXISTS (
            SELECT FROM trainyard.tasks t WHERE t.id = subject_id AND t.user_id = jobs.user_id)
        WHEN kind = 'convert' THEN EXISTS (
            SELECT FROM trainyard.candidates c
            WHERE c.id = subject_id AND c.user_id = jobs.user_id AND c.status = 'done')
        WHEN kind = 'save' THEN EXISTS (
            SELECT FROM public.trained_models m WHERE m.id = subject_id AND m.user_id = jobs.user_id)
        WHEN kind = 'purge' THEN EXISTS (
            SELECT FROM trainyard.tasks t WHERE t.id = subject_id AND t.user_id = jobs.user_id
            UNION ALL
            SELECT FROM trainyard.files f WHERE f.id = subject_id AND f.user_id = jobs.user_id)
        -- 'fit' is asked for by workers alone; other work is on the user's own account
        ELSE kind <> 'fit' AND subject_id = jobs.user_id
    END);

-- Functions may be called by everyone unless that is taken back, which no default of a schema can do:
-- shared/db/migrate.py, _SEAL, does it after every migration. What our roles need is said here.
GRANT EXECUTE ON FUNCTION trainyard.uid() TO trainyard_user;

-- Where somebody lets Supabase's API show this schema, its recipe grants everything to be made here later.
DO $$
DECLARE
    role_name text;
    kind text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        FOREACH kind IN ARRAY ARRAY['TABLES', 'SEQUENCES', 'FUNCTIONS'] LOOP
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA trainyard REVOKE ALL ON %s FROM %I',
                kind, role_name);
        END LOOP;
    END LOOP;
END $$;
