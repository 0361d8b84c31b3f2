-- What a worker has to know for a job (shared/needs.py): while an update is rolled out, a trainer of before
-- leaves what is new to one that knows it. Rows that name nothing are for everyone.

ALTER TABLE trainyard.jobs ADD COLUMN needs text;
COMMENT ON COLUMN trainyard.jobs.needs IS
    'what a worker has to know of to claim it: words of shared/needs.py, with commas between';
GRANT INSERT (needs) ON trainyard.jobs TO trainyard_user;
