-- What a person sees of a table and of a run: its first rows as they were read, and what was asked of it.

ALTER TABLE trainyard.profiles ADD COLUMN preview json;
COMMENT ON COLUMN trainyard.profiles.preview IS
    'the first rows (contracts.Preview); NULL of a table that was read before they were kept';

-- Of a run's history, what only the audit knows.
CREATE INDEX audit_of_a_run ON trainyard.audit (user_id, subject_id)
    WHERE action IN ('run.cancelled', 'run.resumed');
