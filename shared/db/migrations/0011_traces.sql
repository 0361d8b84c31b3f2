-- Where a job comes from: the request that asked for it, for the logs of whoever does it, and the trace that
-- it is part of (shared/tracing.py). Both come from outside, so the table takes nothing but what they may be.

ALTER TABLE trainyard.jobs
    ADD COLUMN request_id text CHECK (request_id ~ '^[A-Za-z0-9._:-]{1,100}$'),
    ADD COLUMN traceparent text CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
COMMENT ON COLUMN trainyard.jobs.request_id IS 'X-Request-Id of the request that it goes back to';
COMMENT ON COLUMN trainyard.jobs.traceparent IS
    'the span that asked for it, as W3C Trace Context writes it; NULL where nothing is traced';
GRANT INSERT (request_id, traceparent) ON trainyard.jobs TO trainyard_user;

-- How much there is to do, for the metrics of every service: numbers, and nothing else of anybody's. The
-- owner may look at all jobs since 0002.
CREATE FUNCTION trainyard.backlog()
RETURNS TABLE (kind text, waiting bigint, delayed bigint, running bigint, oldest_s double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT j.kind,
        count(*) FILTER (WHERE NOT j.held AND j.run_after <= now()),
        count(*) FILTER (WHERE NOT j.held AND j.run_after > now()),
        count(*) FILTER (WHERE j.held),
        coalesce(extract(epoch FROM max(now() - greatest(j.created_at, j.run_after))
            FILTER (WHERE NOT j.held AND j.run_after <= now())), 0)::double precision
    FROM (SELECT jobs.*, coalesce(jobs.lease_until >= now(), false) AS held FROM trainyard.jobs) j
    GROUP BY j.kind
$$;
REVOKE ALL ON FUNCTION trainyard.backlog() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trainyard.backlog() TO trainyard_user, trainyard_worker;
