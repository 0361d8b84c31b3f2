-- For whoever decides how many workers run, and for workers that wait for their schema (deploy/k8s).

-- A login that may ask how much there is to do and nothing else: an autoscaler's.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'trainyard_scaler') THEN
        CREATE ROLE trainyard_scaler NOLOGIN;
    END IF;
END $$;
GRANT USAGE ON SCHEMA trainyard TO trainyard_scaler;

-- Work of these kinds that runs or could run now, and how long the oldest that nobody has taken up could have
-- been done. What a user may not run yet (USER_CAP, as in shared.db.jobs.claim) is no reason for another
-- worker: it would find nothing to claim.
CREATE FUNCTION trainyard.demand(kinds text[], user_cap integer)
RETURNS TABLE (work bigint, oldest_s double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    WITH users AS (
        SELECT count(*) FILTER (WHERE j.held) AS busy,
            count(*) FILTER (WHERE j.held AND j.asked) AS running,
            count(*) FILTER (WHERE j.waits AND j.asked) AS waiting,
            max(now() - greatest(j.created_at, j.run_after)) FILTER (WHERE j.waits AND j.asked) AS oldest
        FROM (
            SELECT jobs.user_id, jobs.created_at, jobs.run_after, jobs.kind = ANY (kinds) AS asked,
                coalesce(jobs.lease_until >= now(), false) AS held,
                NOT coalesce(jobs.lease_until >= now(), false) AND jobs.run_after <= now() AS waits
            FROM trainyard.jobs
        ) j
        GROUP BY j.user_id
    )
    SELECT coalesce(sum(running + least(waiting, greatest(user_cap - busy, 0))), 0)::bigint,
        coalesce(extract(epoch FROM max(oldest) FILTER (WHERE busy < user_cap)), 0)::double precision
    FROM users
$$;
REVOKE ALL ON FUNCTION trainyard.demand(text[], integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trainyard.demand(text[], integer) TO trainyard_scaler;

-- Which migrations ran, for services that are not to start before theirs have.
CREATE FUNCTION trainyard.migrated() RETURNS SETOF integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT number FROM trainyard.migrations
$$;
REVOKE ALL ON FUNCTION trainyard.migrated() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trainyard.migrated() TO trainyard_user, trainyard_worker;
