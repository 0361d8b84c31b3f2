-- Keys for other services: they act as the user who made them, within the scopes they were given.
--
-- Of the key itself only the SHA-256 is kept. A password needs salt and a slow hash because people choose
-- from few; a key is 256 random bits of our own making, of which no list can be tried, so that a plain
-- hash gives nothing away, and can be looked up by itself.

CREATE TABLE trainyard.api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    prefix text NOT NULL CHECK (prefix ~ '^ty_[a-z0-9]{8}$'),
    secret_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(secret_sha256) = 32),
    scopes text[] NOT NULL
        CHECK (scopes <@ ARRAY['read', 'train', 'admin'] AND cardinality(scopes) BETWEEN 1 AND 3),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz
);
COMMENT ON TABLE trainyard.api_keys IS 'revoked keys are gone; expired ones go when their owner makes the next';
COMMENT ON COLUMN trainyard.api_keys.secret_sha256 IS 'of the whole key as it is sent; granted to nobody to read';
CREATE INDEX api_keys_user ON trainyard.api_keys (user_id, id DESC);

REVOKE ALL ON trainyard.api_keys FROM PUBLIC;
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('REVOKE ALL ON trainyard.api_keys FROM %I', role_name);
        END IF;
    END LOOP;
END $$;
GRANT SELECT (id, user_id, name, prefix, scopes, created_at, expires_at, last_used_at),
    INSERT (id, user_id, name, prefix, secret_sha256, scopes, expires_at), UPDATE (last_used_at), DELETE
    ON trainyard.api_keys TO trainyard_user;
-- to hand an account's data to its owner, and to delete it
GRANT SELECT (id, user_id, name, prefix, scopes, created_at, expires_at, last_used_at), DELETE
    ON trainyard.api_keys TO trainyard_worker;

ALTER TABLE trainyard.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE trainyard.api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON trainyard.api_keys TO trainyard_user
    USING ((select trainyard.uid()) = user_id) WITH CHECK ((select trainyard.uid()) = user_id);
CREATE POLICY worker ON trainyard.api_keys TO trainyard_worker USING (true) WITH CHECK (true);

-- Whose key it is, is not known before it was looked up: this function answers for one exact digest, as
-- the owner of the tables, whom FORCE binds too. Nobody can ask it for the keys that there are.
CREATE POLICY looked_up ON trainyard.api_keys FOR SELECT TO CURRENT_USER USING (true);

CREATE FUNCTION trainyard.find_api_key(digest bytea)
RETURNS TABLE (id uuid, user_id uuid, scopes text[], expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT k.id, k.user_id, k.scopes, k.expires_at FROM trainyard.api_keys k
    WHERE k.secret_sha256 = digest AND (k.expires_at IS NULL OR k.expires_at > now())
$$;
REVOKE ALL ON FUNCTION trainyard.find_api_key(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trainyard.find_api_key(bytea) TO trainyard_user;
