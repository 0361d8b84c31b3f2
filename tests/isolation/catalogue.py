"""Walks pg_catalog and names everything by which a row could be reached that is not one's own.

What is looked at: the schemas `trainyard` and `public`, whatever is in them. Each check is one query that
gives the objects at fault, each with what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

USER, WORKER, SCALER = "trainyard_user", "trainyard_worker", "trainyard_scaler"

WITHOUT_A_USER = ["trainyard.migrations"]
"""Says which migrations ran. Nobody but the owner may read it, so it needs no policy; it is the one table
that is nobody's."""

_OURS = "('trainyard', 'public')"
_ROLES = f"'{USER}', '{WORKER}', '{SCALER}'"
_OF_SCALER = "('schema trainyard', 'USAGE'), ('function trainyard.demand(text[],integer)', 'EXECUTE')"
"""All that an autoscaler may do."""
_OWN_ROWS = "(( SELECT trainyard.uid() AS uid) = user_id)"
"""As Postgres writes back `(select trainyard.uid()) = user_id`."""

_TABLES = f"""
    tables AS (
        SELECT c.*, n.nspname || '.' || c.relname AS name FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN {_OURS} AND c.relkind IN ('r', 'p', 'f')
          AND n.nspname || '.' || c.relname <> ALL ($1::text[])
    )
"""

TABLES = f"""
    WITH {_TABLES}
    SELECT name, 'row level security is not enabled' FROM tables WHERE NOT relrowsecurity
    UNION ALL SELECT name, 'row level security is not forced' FROM tables WHERE NOT relforcerowsecurity
    UNION ALL SELECT name, 'a foreign table has no policies' FROM tables WHERE relkind = 'f'
    UNION ALL SELECT name, 'no column user_id uuid NOT NULL' FROM tables WHERE NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = tables.oid AND a.attname = 'user_id'
          AND a.atttypid = 'uuid'::regtype AND a.attnotnull)
    UNION ALL SELECT name, 'no index of all rows that begins with user_id' FROM tables WHERE NOT EXISTS (
        SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = tables.oid AND a.attname = 'user_id' AND i.indisvalid AND i.indpred IS NULL)
    -- a partition is reached through its table, by that one's policies
    UNION ALL SELECT name, 'no policy for its users' FROM tables WHERE NOT relispartition AND NOT EXISTS (
        SELECT FROM pg_policy p WHERE p.polrelid = tables.oid AND p.polpermissive
          AND p.polroles = ARRAY['{USER}'::regrole::oid])
    UNION ALL SELECT name, 'refers to ' || k.confrelid::regclass || ' by an id without its owner'
        FROM tables JOIN pg_constraint k ON k.conrelid = tables.oid AND k.contype = 'f'
        WHERE k.confrelid <> 'auth.users'::regclass AND NOT EXISTS (
            SELECT FROM unnest(k.conkey, k.confkey) AS pair (mine, theirs)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.mine AND a.attname = 'user_id'
            JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = pair.theirs
                AND b.attname = 'user_id')
"""

POLICIES = f"""
    WITH {_TABLES}, policies AS (
        SELECT t.name || ', policy ' || p.polname AS name, t.relowner, p.polcmd, p.polpermissive,
            role.oid AS role, coalesce(r.rolname, 'PUBLIC') AS role_name,
            pg_get_expr(p.polqual, p.polrelid) AS shown, pg_get_expr(p.polwithcheck, p.polrelid) AS written
        FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
        CROSS JOIN LATERAL unnest(p.polroles) AS role (oid) LEFT JOIN pg_roles r ON r.oid = role.oid
    )
    SELECT name, 'is for ' || role_name FROM policies
    WHERE role_name NOT IN ('{USER}', '{WORKER}') AND role IS DISTINCT FROM relowner
    -- as whom functions look that answer one question about all rows; FORCE binds the owner too
    UNION ALL SELECT name, 'lets the owner write' FROM policies WHERE role = relowner AND polcmd <> 'r'
    UNION ALL SELECT name, 'shows ' || shown || ', which is not one''s own rows alone' FROM policies
    WHERE role_name = '{USER}' AND polpermissive AND shown <> '{_OWN_ROWS}'
    UNION ALL SELECT name, 'takes ' || written || ', which is not one''s own rows alone' FROM policies
    WHERE role_name = '{USER}' AND polpermissive AND written <> '{_OWN_ROWS}'
"""

GRANTS = f"""
    WITH objects AS (
        SELECT 'schema ' || nspname AS name, nspowner AS owner, oid = 'public'::regnamespace AS shared,
            coalesce(nspacl, acldefault('n', nspowner)) AS acl
        FROM pg_namespace WHERE nspname IN {_OURS}
        UNION ALL
        SELECT CASE relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE '' END
            || relnamespace::regnamespace || '.' || relname, relowner, false,
            coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
        FROM pg_class
        WHERE relnamespace::regnamespace::text IN {_OURS} AND relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
        UNION ALL
        SELECT a.attrelid::regclass || ', column ' || a.attname, c.relowner, false, a.attacl
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace::regnamespace::text IN {_OURS} AND a.attacl IS NOT NULL
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure, p.proowner, false,
            coalesce(proacl, acldefault('f', proowner))
        FROM pg_proc p WHERE pronamespace::regnamespace::text IN {_OURS}
        UNION ALL
        SELECT 'what is made later in '
            || coalesce(nullif(defaclnamespace, 0)::regnamespace::text, 'any schema'),
            defaclrole, false, defaclacl
        FROM pg_default_acl
        WHERE defaclnamespace = 0 OR defaclnamespace = 'trainyard'::regnamespace
    ), grants AS (
        SELECT name, owner, shared, privilege_type, is_grantable, coalesce(r.rolname, 'PUBLIC') AS grantee
        FROM objects CROSS JOIN LATERAL aclexplode(acl) AS g LEFT JOIN pg_roles r ON r.oid = g.grantee
        WHERE g.grantee <> owner
    )
    SELECT name, privilege_type || ' is granted to ' || grantee FROM grants
    WHERE grantee NOT IN ('{USER}', '{WORKER}')
      -- the schema public is the database's, not ours: to look up names in it is Postgres's own default
      AND NOT (shared AND privilege_type = 'USAGE')
      AND NOT (grantee = '{SCALER}' AND (name, privilege_type) IN ({_OF_SCALER}))
    UNION ALL SELECT name, privilege_type || ' is granted to ' || grantee || ', which it may pass on'
    FROM grants WHERE is_grantable
    -- past the policies of its table
    UNION ALL SELECT name, privilege_type || ' on a partition is granted to ' || grantee FROM grants
    WHERE name IN (
        SELECT c.relnamespace::regnamespace || '.' || c.relname FROM pg_class c WHERE c.relispartition)
    -- these look at no policy, or change what is there
    UNION ALL SELECT name, privilege_type || ' is granted to ' || grantee FROM grants
    WHERE grantee IN ('{USER}', '{WORKER}')
      AND privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN', 'CREATE')
    UNION ALL SELECT c.relnamespace::regnamespace || '.' || c.relname, '{USER} may give its rows away'
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'
    WHERE c.relnamespace::regnamespace::text IN {_OURS} AND c.relkind IN ('r', 'p')
      AND has_column_privilege('{USER}', c.oid, a.attnum, 'UPDATE')
"""

PROGRAMS = f"""
    SELECT 'function ' || p.oid::regprocedure, 'runs as its owner without a fixed search_path' FROM pg_proc p
    WHERE pronamespace::regnamespace::text IN {_OURS} AND prosecdef AND NOT EXISTS (
        SELECT FROM unnest(proconfig) AS setting
        WHERE setting IN ('search_path=""', 'search_path=pg_catalog', 'search_path=pg_catalog, pg_temp'))
    UNION ALL
    SELECT 'view ' || c.oid::regclass, 'shows what its owner sees' FROM pg_class c
    WHERE relnamespace::regnamespace::text IN {_OURS} AND (relkind = 'm' OR relkind = 'v'
        AND NOT coalesce(reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false))
"""

LOGINS = f"""
    WITH logins AS (
        SELECT r.*, ARRAY(SELECT m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid)
            AS roles
        FROM pg_roles r WHERE r.rolname = ANY ($1::text[]) OR EXISTS (
            SELECT FROM pg_auth_members m WHERE m.member = r.oid
              AND m.roleid::regrole::text IN ({_ROLES})
              AND NOT m.admin_option)  -- who made the role
    )
    SELECT 'login ' || rolname, 'is above row level security' FROM logins WHERE rolsuper OR rolbypassrls
    UNION ALL SELECT 'login ' || rolname, 'may make roles, databases or copies of the server' FROM logins
    WHERE rolcreaterole OR rolcreatedb OR rolreplication
    UNION ALL SELECT 'login ' || rolname, 'is a member of ' || array_to_string(roles, ', ') FROM logins
    WHERE cardinality(roles) <> 1 OR NOT roles <@ ARRAY[{_ROLES}]
    UNION ALL SELECT 'login ' || rolname, 'owns something' FROM logins WHERE EXISTS (
        SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = logins.oid
          AND d.deptype = 'o')
    UNION ALL SELECT 'role ' || rolname, 'is more than a name for grants' FROM pg_roles r
    WHERE rolname IN ({_ROLES}) AND (rolcanlogin OR rolsuper OR rolbypassrls
        OR rolcreaterole OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))
    UNION ALL SELECT 'login ' || name, 'is not there' FROM unnest($1::text[]) AS name
    WHERE name NOT IN (SELECT rolname FROM pg_roles)
"""


async def faults(c: asyncpg.Connection, logins: Sequence[str]) -> list[str]:
    """Everything at fault, as "object: what is wrong". `logins`: those of the API and of the workers."""
    found = []
    for query, *values in (
        (TABLES, WITHOUT_A_USER),
        (POLICIES, WITHOUT_A_USER),
        (GRANTS,),
        (PROGRAMS,),
        (LOGINS, list(logins)),
    ):
        found += [f"{row[0]}: {row[1]}" for row in await c.fetch(query, *values)]
    return sorted(found)
