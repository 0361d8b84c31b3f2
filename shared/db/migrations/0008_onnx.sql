-- A model as ONNX, beside the same model as .skops: one conversion a format.

ALTER TABLE trainyard.conversions
    ADD COLUMN format text NOT NULL DEFAULT 'skops' CHECK (format IN ('skops', 'onnx')),
    ADD COLUMN facts jsonb,
    DROP CONSTRAINT conversions_pkey,
    DROP CONSTRAINT conversions_check,
    ADD PRIMARY KEY (candidate_id, format),
    ADD CONSTRAINT conversions_whole CHECK (status <> 'ready' OR (
        size_bytes IS NOT NULL AND sha256 IS NOT NULL AND (types IS NOT NULL OR facts IS NOT NULL)));
COMMENT ON COLUMN trainyard.conversions.facts IS 'what running a graph needs to know (contracts.OnnxFacts)';
GRANT INSERT (format) ON trainyard.conversions TO trainyard_user;

ALTER TABLE trainyard.jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('profile', 'plan', 'fit', 'finish', 'bundle', 'save', 'purge',
        'export', 'erase', 'convert', 'convert_onnx'));

-- As in 0006, and a graph is made of a candidate of one's own too.
DROP POLICY own_subject ON trainyard.jobs;
CREATE POLICY own_subject ON trainyard.jobs AS RESTRICTIVE FOR INSERT TO trainyard_user
    WITH CHECK (CASE
        WHEN kind = 'profile' THEN EXISTS (
            SELECT FROM trainyard.files f WHERE f.id = subject_id AND f.user_id = jobs.user_id)
        WHEN kind IN ('plan', 'finish', 'bundle') THEN EXISTS (
            SELECT FROM trainyard.tasks t WHERE t.id = subject_id AND t.user_id = jobs.user_id)
        WHEN kind IN ('convert', 'convert_onnx') THEN EXISTS (
            SELECT FROM trainyard.candidates c
            WHERE c.id = subject_id AND c.user_id = jobs.user_id AND c.status = 'done')
        WHEN kind = 'save' THEN EXISTS (
            SELECT FROM public.trained_models m WHERE m.id = subject_id AND m.user_id = jobs.user_id)
        WHEN kind = 'purge' THEN EXISTS (
            SELECT FROM trainyard.tasks t WHERE t.id = subject_id AND t.user_id = jobs.user_id
            UNION ALL
            SELECT FROM trainyard.files f WHERE f.id = subject_id AND f.user_id = jobs.user_id)
        ELSE kind <> 'fit' AND subject_id = jobs.user_id
    END);
