-- online: step by step, each by itself, while services run (shared/db/migrate.py)
--
-- What tables of ten million runs need (docs/decisions/0033): what is open is found by an index of that alone,
-- and the audit trail, the one table that only grows and is left by age, is cut by month.

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS tasks_open
    ON trainyard.tasks (id) WHERE status IN ('queued', 'running');

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS candidates_open
    ON trainyard.candidates (task_id) WHERE status IN ('queued', 'running');

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS candidates_running
    ON trainyard.candidates (id) WHERE status = 'running';

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS profiles_queued
    ON trainyard.profiles (file_id) WHERE status = 'queued';

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS bundles_building
    ON trainyard.bundles (task_id) WHERE status = 'building';

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversions_building
    ON trainyard.conversions (candidate_id) WHERE status = 'building';

-- step
CREATE INDEX CONCURRENTLY IF NOT EXISTS trained_models_saving
    ON public.trained_models (id) WHERE status = 'saving';

-- step
-- By default two million rows change until such a table is vacuumed; a hundred thousand are plenty.
ALTER TABLE trainyard.tasks SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

-- step
ALTER TABLE trainyard.candidates
    SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.01);

-- step
-- Ids are UUIDv7: they begin with the milliseconds since 1970 (RFC 9562, section 5.7). So the id tells the
-- month, and the table is cut by it: the key stays the id, and a page of the trail looks at one month.
CREATE OR REPLACE FUNCTION trainyard.first_id(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT SET search_path = ''
AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
COMMENT ON FUNCTION trainyard.first_id(timestamptz) IS 'the least UUIDv7 of a moment';

-- step
CREATE OR REPLACE FUNCTION trainyard.moment_of(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT SET search_path = ''
AS $$
    SELECT to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;
COMMENT ON FUNCTION trainyard.moment_of(uuid) IS 'when a UUIDv7 was made';

-- step
-- The months of the trail, oldest first. `before`: ids of it are less; NULL of the one that holds what belongs
-- to no month, because its id was made by a clock that is wrong, or because nobody cut months for so long.
CREATE OR REPLACE FUNCTION trainyard.audit_partitions() RETURNS TABLE (partition regclass, before uuid)
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT c.oid::regclass, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([0-9a-f-]{36})''\)')::uuid
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'trainyard.audit'::regclass ORDER BY 2 NULLS LAST
$$;

-- step
-- Cut what is missing of the months to come; what of them is there already without its month moves into it.
-- Nobody waits for it longer than the lock's limit, nor it for anybody: the next sweep tries again. A table is
-- made by itself and then attached, which lets the trail be read and written meanwhile.
CREATE OR REPLACE FUNCTION trainyard.add_audit_months(ahead integer) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '200ms'
AS $$
DECLARE
    least uuid;
    month timestamp;
    below uuid;
    name text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('months of the audit trail', 0)) THEN
        RETURN;
    END IF;
    SELECT max(p.before::text)::uuid INTO least FROM trainyard.audit_partitions() p;
    month := trainyard.moment_of(least) AT TIME ZONE 'UTC';
    WHILE month <= date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead) LOOP
        below := trainyard.first_id((month + interval '1 month') AT TIME ZONE 'UTC');
        name := 'audit_' || to_char(month, 'YYYY_MM');
        EXECUTE format('CREATE TABLE trainyard.%I (LIKE trainyard.audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            name);
        PERFORM trainyard.close_partition(name);
        IF EXISTS (SELECT FROM trainyard.audit_unplaced u WHERE u.id >= least AND u.id < below) THEN
            ALTER TABLE trainyard.audit_unplaced NO FORCE ROW LEVEL SECURITY;
            EXECUTE format('WITH placed AS (DELETE FROM trainyard.audit_unplaced WHERE id >= $1 AND id < $2'
                ' RETURNING *) INSERT INTO trainyard.%I SELECT * FROM placed', name) USING least, below;
            ALTER TABLE trainyard.audit_unplaced FORCE ROW LEVEL SECURITY;
        END IF;
        EXECUTE format('ALTER TABLE trainyard.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE trainyard.audit ATTACH PARTITION trainyard.%I FOR VALUES FROM (%L) TO (%L)',
            name, least, below);
        RETURN NEXT name;
        least := below;
        month := month + interval '1 month';
    END LOOP;
EXCEPTION WHEN lock_not_available THEN
    RETURN;
END $$;

-- step
-- A partition is reached through its table alone: by its table's policies and grants. It has none itself.
CREATE OR REPLACE FUNCTION trainyard.close_partition(name text) RETURNS void
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    grantee text;
BEGIN
    EXECUTE format('ALTER TABLE trainyard.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('REVOKE ALL ON trainyard.%I FROM PUBLIC', name);
    FOR grantee IN SELECT rolname FROM pg_catalog.pg_roles
        WHERE rolname IN ('anon', 'authenticated', 'trainyard_user', 'trainyard_worker')
    LOOP
        EXECUTE format('REVOKE ALL ON trainyard.%I FROM %I', name, grantee);
    END LOOP;
END $$;

-- step
-- Months of which every row is older: taken off and gone, in milliseconds whatever they hold.
CREATE OR REPLACE FUNCTION trainyard.drop_audit_months(older_than_s double precision) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '200ms'
AS $$
DECLARE
    over text;
BEGIN
    FOR over IN SELECT p.partition::text FROM trainyard.audit_partitions() p
        WHERE p.before <= trainyard.first_id(now() - make_interval(secs => older_than_s))
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE trainyard.audit DETACH PARTITION %s', over);
            EXECUTE format('DROP TABLE %s', over);
            RETURN NEXT over;
        EXCEPTION WHEN lock_not_available THEN
            RETURN;
        END;
    END LOOP;
END $$;

-- step
-- Rows from now on are to fall into a month that has not begun or into this: until the end of this month, or of
-- the next where that is near. What is beyond (a clock that is wrong) is put aside. FORCE binds the owner too.
DO $$
DECLARE
    below uuid := trainyard.first_id(
        (date_trunc('month', now() AT TIME ZONE 'UTC' + interval '7 days') + interval '1 month')
        AT TIME ZONE 'UTC');
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'trainyard.audit'::regclass) = 'p' THEN
        RETURN;
    END IF;
    ALTER TABLE trainyard.audit DROP CONSTRAINT IF EXISTS audit_of_before;
    CREATE TABLE IF NOT EXISTS trainyard.audit_unplaced
        (LIKE trainyard.audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    PERFORM trainyard.close_partition('audit_unplaced');
    EXECUTE format('ALTER TABLE trainyard.audit ADD CONSTRAINT audit_of_before CHECK (id < %L) NOT VALID', below);
    ALTER TABLE trainyard.audit NO FORCE ROW LEVEL SECURITY;
    WITH beyond AS (DELETE FROM trainyard.audit WHERE id >= below RETURNING *)
        INSERT INTO trainyard.audit_unplaced SELECT * FROM beyond;
    ALTER TABLE trainyard.audit FORCE ROW LEVEL SECURITY;
END $$;

-- step
-- Reads every row once, while others read and write: so that attaching it below reads none.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'trainyard.audit'::regclass
        AND conname = 'audit_of_before' AND NOT convalidated)
    THEN
        ALTER TABLE trainyard.audit VALIDATE CONSTRAINT audit_of_before;
    END IF;
END $$;

-- step
-- The table takes the place of the one there was, which becomes its first part. Milliseconds.
DO $$
DECLARE
    below uuid;
    old_name text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'trainyard.audit'::regclass) = 'p' THEN
        RETURN;
    END IF;
    LOCK TABLE trainyard.audit IN ACCESS EXCLUSIVE MODE;
    SELECT substring(pg_get_constraintdef(oid) FROM '[0-9a-f-]{36}')::uuid INTO STRICT below
        FROM pg_constraint WHERE conrelid = 'trainyard.audit'::regclass AND conname = 'audit_of_before';

    ALTER TABLE trainyard.audit RENAME TO audit_before;
    FOREACH old_name IN ARRAY ARRAY['audit_pkey', 'audit_user', 'audit_age', 'audit_of_a_run'] LOOP
        EXECUTE format('ALTER INDEX trainyard.%I RENAME TO %I', old_name,
            replace(old_name, 'audit_', 'audit_before_'));
    END LOOP;
    DROP TRIGGER refuse_erased ON trainyard.audit_before;
    DROP POLICY own_rows ON trainyard.audit_before;
    DROP POLICY worker ON trainyard.audit_before;
    PERFORM trainyard.close_partition('audit_before');

    CREATE TABLE trainyard.audit (
        LIKE trainyard.audit_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS
    ) PARTITION BY RANGE (id);
    ALTER TABLE trainyard.audit DROP CONSTRAINT audit_of_before;
    ALTER TABLE trainyard.audit ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
    CREATE INDEX audit_user ON trainyard.audit (user_id, id DESC);
    CREATE INDEX audit_age ON trainyard.audit (at);
    CREATE INDEX audit_of_a_run ON trainyard.audit (user_id, subject_id)
        WHERE action IN ('run.cancelled', 'run.resumed');
    COMMENT ON TABLE trainyard.audit IS
        'What was done in an account and who did it, a partition a month; rows are only ever added';

    REVOKE ALL ON trainyard.audit FROM PUBLIC;
    GRANT SELECT, INSERT (id, user_id, action, subject_kind, subject_id, actor, key_id, request_id, detail)
        ON trainyard.audit TO trainyard_user;
    GRANT SELECT, DELETE, INSERT (id, user_id, action, subject_kind, subject_id, actor, detail)
        ON trainyard.audit TO trainyard_worker;
    ALTER TABLE trainyard.audit ENABLE ROW LEVEL SECURITY;
    ALTER TABLE trainyard.audit FORCE ROW LEVEL SECURITY;
    CREATE POLICY own_rows ON trainyard.audit TO trainyard_user
        USING ((select trainyard.uid()) = user_id) WITH CHECK ((select trainyard.uid()) = user_id);
    CREATE POLICY worker ON trainyard.audit TO trainyard_worker USING (true) WITH CHECK (true);
    CREATE TRIGGER refuse_erased BEFORE INSERT ON trainyard.audit FOR EACH ROW
        WHEN (trainyard.uid() IS NOT NULL) EXECUTE FUNCTION trainyard.refuse_erased();

    -- put aside by an attempt of an earlier month
    ALTER TABLE trainyard.audit_before NO FORCE ROW LEVEL SECURITY;
    WITH placed AS (DELETE FROM trainyard.audit_unplaced WHERE id < below RETURNING *)
        INSERT INTO trainyard.audit_before SELECT * FROM placed;
    ALTER TABLE trainyard.audit_before FORCE ROW LEVEL SECURITY;
    EXECUTE format('ALTER TABLE trainyard.audit ATTACH PARTITION trainyard.audit_before
        FOR VALUES FROM (MINVALUE) TO (%L)', below);
    ALTER TABLE trainyard.audit_before DROP CONSTRAINT audit_of_before;
    ALTER TABLE trainyard.audit ATTACH PARTITION trainyard.audit_unplaced DEFAULT;
    ALTER TABLE trainyard.audit_unplaced FORCE ROW LEVEL SECURITY;
    -- as whom the functions above look
    CREATE POLICY counted ON trainyard.audit_unplaced FOR SELECT TO CURRENT_USER USING (true);
    PERFORM trainyard.add_audit_months(3);
END $$;

-- step
-- How the cutting stands: how many months to come have their place, and how many rows have none.
CREATE OR REPLACE FUNCTION trainyard.audit_standing() RETURNS TABLE (ahead integer, unplaced bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT (SELECT count(*) FROM trainyard.audit_partitions() p WHERE p.before > trainyard.first_id(
            (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'))::integer,
        (SELECT count(*) FROM trainyard.audit_unplaced)
$$;

-- step
DO $$
BEGIN
    REVOKE ALL ON FUNCTION trainyard.add_audit_months(integer), trainyard.audit_standing(),
        trainyard.drop_audit_months(double precision), trainyard.close_partition(text),
        trainyard.audit_partitions(), trainyard.first_id(timestamptz), trainyard.moment_of(uuid) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION trainyard.add_audit_months(integer), trainyard.audit_standing(),
        trainyard.drop_audit_months(double precision) TO trainyard_worker;
END $$;
