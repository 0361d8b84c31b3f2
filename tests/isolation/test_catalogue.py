"""What the database itself promises, whatever the services ask of it."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest

from shared.db.migrate import migrate
from shared.errors import ConfigurationError
from shared.settings import Postgres, load
from tests.databases import with_database
from tests.isolation.catalogue import faults

_counter = itertools.count()


def logins(env: Mapping[str, str]) -> list[str]:
    urls = (env["API_DATABASE_URL"], env["WORKER_DATABASE_URL"])
    return [str(urlsplit(url).username) for url in urls]


async def test_nothing_in_the_catalogue_is_at_fault(env: dict[str, str], owner: asyncpg.Connection) -> None:
    assert await faults(owner, logins(env)) == []


MISTAKES = {
    "a table without security": (
        "CREATE TABLE trainyard.bad (id uuid PRIMARY KEY, user_id uuid NOT NULL)",
        [
            "trainyard.bad: row level security is not enabled",
            "trainyard.bad: row level security is not forced",
            "trainyard.bad: no policy for its users",
            "trainyard.bad: no index of all rows that begins with user_id",
        ],
    ),
    "a table beside trained_models": (
        "CREATE TABLE public.bad (id uuid PRIMARY KEY, user_id uuid)",
        ["public.bad: row level security is not enabled", "public.bad: no column user_id uuid NOT NULL"],
    ),
    "security that is switched off": (
        "ALTER TABLE trainyard.tasks DISABLE ROW LEVEL SECURITY",
        ["trainyard.tasks: row level security is not enabled"],
    ),
    "security that does not bind the owner": (
        "ALTER TABLE trainyard.files NO FORCE ROW LEVEL SECURITY",
        ["trainyard.files: row level security is not forced"],
    ),
    "rows of nobody": (
        "ALTER TABLE trainyard.jobs ALTER user_id DROP NOT NULL",
        ["trainyard.jobs: no column user_id uuid NOT NULL"],
    ),
    "an index for some rows only": (
        "ALTER TABLE trainyard.profiles DROP CONSTRAINT profiles_file;"
        " DROP INDEX trainyard.profiles_user;"
        " CREATE INDEX bad ON trainyard.profiles (user_id) WHERE status = 'ready'",
        ["trainyard.profiles: no index of all rows that begins with user_id"],
    ),
    "a reference that names an id alone": (
        "ALTER TABLE trainyard.bundles ADD FOREIGN KEY (task_id) REFERENCES trainyard.tasks (id)",
        ["trainyard.bundles: refers to trainyard.tasks by an id without its owner"],
    ),
    "a table without its users' policy": (
        "DROP POLICY own_rows ON trainyard.candidates",
        ["trainyard.candidates: no policy for its users"],
    ),
    "a policy for everybody": (
        "CREATE POLICY bad ON trainyard.files USING ((select trainyard.uid()) = user_id)",
        ["trainyard.files, policy bad: is for PUBLIC"],
    ),
    "a policy for Supabase's users": (
        "CREATE ROLE authenticated_too;"
        " CREATE POLICY bad ON public.trained_models TO authenticated_too"
        " USING ((select trainyard.uid()) = user_id)",
        ["public.trained_models, policy bad: is for authenticated_too"],
    ),
    "a policy that shows all rows": (
        "CREATE POLICY bad ON trainyard.tasks FOR SELECT TO trainyard_user USING (true)",
        ["trainyard.tasks, policy bad: shows true, which is not one's own rows alone"],
    ),
    "a policy that shows almost only one's own": (
        "ALTER POLICY own_rows ON trainyard.tasks USING ((select trainyard.uid()) = user_id OR name = '')",
        ["trainyard.tasks, policy own_rows: shows "],
    ),
    "a policy that takes all rows": (
        "ALTER POLICY own_rows ON trainyard.files WITH CHECK (user_id IS NOT NULL)",
        ["trainyard.files, policy own_rows: takes (user_id IS NOT NULL)"],
    ),
    "an owner that writes": (
        "CREATE POLICY bad ON trainyard.jobs TO CURRENT_USER USING (true)",
        ["trainyard.jobs, policy bad: lets the owner write"],
    ),
    "a grant to everybody": (
        "GRANT SELECT ON trainyard.files TO PUBLIC",
        ["trainyard.files: SELECT is granted to PUBLIC"],
    ),
    "a grant of a column": (
        "GRANT SELECT (name) ON trainyard.files TO PUBLIC",
        ["trainyard.files, column name: SELECT is granted to PUBLIC"],
    ),
    "a grant to a login": (
        "GRANT SELECT ON trainyard.migrations TO {api}",
        ["trainyard.migrations: SELECT is granted to {api}"],
    ),
    "a grant that can be passed on": (
        "GRANT SELECT ON trainyard.files TO trainyard_user WITH GRANT OPTION",
        ["trainyard.files: SELECT is granted to trainyard_user, which it may pass on"],
    ),
    "TRUNCATE, which looks at no policy": (
        "GRANT TRUNCATE ON trainyard.turns TO trainyard_worker",
        ["trainyard.turns: TRUNCATE is granted to trainyard_worker"],
    ),
    "a partition that is reached by itself": (
        "GRANT SELECT ON trainyard.audit_before TO trainyard_worker",
        ["trainyard.audit_before: SELECT on a partition is granted to trainyard_worker"],
    ),
    "a partition without security": (
        "ALTER TABLE trainyard.audit_unplaced DISABLE ROW LEVEL SECURITY",
        ["trainyard.audit_unplaced: row level security is not enabled"],
    ),
    "rows that can be given away": (
        "GRANT UPDATE ON trainyard.files TO trainyard_user",
        ["trainyard.files: trainyard_user may give its rows away"],
    ),
    "a schema that everybody may use": (
        "GRANT USAGE ON SCHEMA trainyard TO PUBLIC",
        ["schema trainyard: USAGE is granted to PUBLIC"],
    ),
    "a schema in which everybody may make things": (
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        ["schema public: CREATE is granted to PUBLIC"],
    ),
    "a sequence": (
        "CREATE SEQUENCE trainyard.bad; GRANT USAGE ON SEQUENCE trainyard.bad TO PUBLIC",
        ["sequence trainyard.bad: USAGE is granted to PUBLIC"],
    ),
    "a view, which sees as its owner": (
        "CREATE VIEW public.bad AS SELECT * FROM trainyard.tasks",
        ["view bad: shows what its owner sees"],
    ),
    "a view that everybody may read": (
        "CREATE VIEW trainyard.bad WITH (security_invoker = true) AS SELECT 1; GRANT SELECT ON trainyard.bad"
        " TO PUBLIC",
        ["view trainyard.bad: SELECT is granted to PUBLIC"],
    ),
    "a function, which everybody may call by default": (
        "CREATE FUNCTION trainyard.bad() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ["function trainyard.bad(): EXECUTE is granted to PUBLIC"],
    ),
    "a function that runs as its owner": (
        "CREATE FUNCTION trainyard.bad() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        ["function trainyard.bad(): runs as its owner without a fixed search_path"],
    ),
    "a function whose search_path others can write": (
        "CREATE FUNCTION trainyard.bad() RETURNS int LANGUAGE sql SECURITY DEFINER"
        " SET search_path = public AS 'SELECT 1'",
        ["function trainyard.bad(): runs as its owner without a fixed search_path"],
    ),
    "what is made later": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA trainyard GRANT SELECT ON TABLES TO PUBLIC",
        ["what is made later in trainyard: SELECT is granted to PUBLIC"],
    ),
    "a login above it all": ("ALTER ROLE {api} BYPASSRLS", ["login {api}: is above row level security"]),
    "a login that makes roles": (
        "ALTER ROLE {worker} CREATEROLE",
        ["login {worker}: may make roles, databases or copies of the server"],
    ),
    "a login of two roles": (
        "GRANT trainyard_worker TO {api}",
        ["login {api}: is a member of "],
    ),
    "a login that owns a table": (
        "CREATE TABLE public.bad (); ALTER TABLE public.bad OWNER TO {api}",
        ["login {api}: owns something"],
    ),
    "another login of ours": (
        "CREATE ROLE another_login LOGIN SUPERUSER; GRANT trainyard_user TO another_login",
        ["login another_login: is above row level security"],
    ),
    "more than numbers for an autoscaler": (
        "GRANT EXECUTE ON FUNCTION trainyard.backlog() TO trainyard_scaler;"
        " GRANT SELECT (kind) ON trainyard.jobs TO trainyard_scaler",
        [
            "function trainyard.backlog(): EXECUTE is granted to trainyard_scaler",
            "trainyard.jobs, column kind: SELECT is granted to trainyard_scaler",
        ],
    ),
    "a role that can log in": (
        "ALTER ROLE trainyard_user LOGIN",
        ["role trainyard_user: is more than a name for grants"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_named(env: dict[str, str], owner: asyncpg.Connection, mistake: str) -> None:
    api, worker = logins(env)
    statements, expected = MISTAKES[mistake]
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute(statements.format(api=api, worker=worker))
    found = await faults(owner, [api, worker])
    await transaction.rollback()
    for fault in expected:
        assert any(f.startswith(fault.format(api=api, worker=worker)) for f in found), found


async def test_a_login_that_is_not_there_is_named(owner: asyncpg.Connection) -> None:
    assert "login nobody: is not there" in await faults(owner, ["nobody"])


# --- a database as Supabase hands it over -----------------------------------------------------


@pytest.fixture
async def supabase(servers: Mapping[str, str]) -> AsyncIterator[dict[str, str]]:
    """A database where browsers' roles are there first and get whatever is made, everywhere; migrated by
    an owner who is no superuser."""
    name = f"supabase_{next(_counter)}"
    root = await asyncpg.connect(servers["DATABASE_URL"])
    for role in ("anon", "authenticated"):
        if not await root.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
            await root.execute(f"CREATE ROLE {role} NOLOGIN")
    password = uuid.uuid4().hex
    await root.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD '{password}'")
    await root.execute(f"CREATE DATABASE {name} OWNER {name}")
    env = with_database(servers, name)
    parts = urlsplit(env["DATABASE_URL"])
    env["DATABASE_URL"] = urlunsplit(
        parts._replace(netloc=f"{name}:{quote(password)}@{parts.hostname}:{parts.port}")
    )
    # on a server of one's own these would be there first, and the owner would have made the logins
    env["API_DATABASE_URL"], env["WORKER_DATABASE_URL"] = (
        urlunsplit(
            urlsplit(env["DATABASE_URL"])._replace(
                netloc=f"{name}_{kind}:{password}@{parts.hostname}:{parts.port}"
            )
        )
        for kind in ("api", "worker")
    )
    # before Postgres 16 whoever makes roles may grant any of them
    asked_for = int(await root.fetchval("SHOW server_version_num")) >= 160000
    for role in ("trainyard_user", "trainyard_worker"):
        if asked_for and await root.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
            await root.execute(f"GRANT {role} TO {name} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE")
    inside = await asyncpg.connect(env["DATABASE_URL"])
    await inside.execute("GRANT USAGE ON SCHEMA public TO anon, authenticated")
    for where in ("IN SCHEMA public", ""):
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            await inside.execute(
                f"ALTER DEFAULT PRIVILEGES {where} GRANT ALL ON {kind} TO anon, authenticated"
            )
    await inside.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO anon, authenticated")
    await inside.close()
    await migrate(load(Postgres, env))
    yield env
    await root.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await root.execute(f"DROP ROLE {name}_api, {name}_worker")
    await root.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    await root.close()


async def test_browsers_get_nothing(supabase: dict[str, str]) -> None:
    c = await asyncpg.connect(supabase["DATABASE_URL"])
    found = await faults(c, logins(supabase))
    # what the database was told for what others make in it is left as it is
    theirs = "what is made later in any schema: "
    assert [fault for fault in found if not fault.startswith(theirs)] == []
    assert any(fault.startswith(theirs) for fault in found)
    await c.close()


async def test_a_browser_with_the_owners_own_claims_reads_and_writes_nothing(
    supabase: dict[str, str], servers: Mapping[str, str]
) -> None:
    """PostgREST runs a request as `authenticated`, with the claims of its token: here those of a user
    who has rows."""
    user = uuid.uuid4()
    root = await asyncpg.connect(
        with_database(servers, urlsplit(supabase["DATABASE_URL"]).path[1:])["DATABASE_URL"]
    )
    await root.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
    await root.execute(
        "INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256) VALUES ($1, $1, 'x', 1, '')",
        user,
    )
    tables = [
        row[0]
        for row in await root.fetch(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'v')"
            " AND relnamespace::regnamespace::text IN ('trainyard', 'public', 'auth')"
        )
    ]
    functions = [
        row[0]
        for row in await root.fetch(
            "SELECT oid::regproc || '(' || array_to_string(ARRAY(SELECT 'NULL::' || t::regtype"
            " FROM unnest(proargtypes) AS t), ', ') || ')' FROM pg_proc"
            " WHERE pronamespace::regnamespace::text IN ('trainyard', 'public')"
        )
    ]
    assert "trainyard.files" in tables
    assert "trained_models" in tables
    assert "trainyard.uid()" in functions
    statements = [f"SELECT {function}" for function in functions]
    for table in tables:
        statements += [f"SELECT count(*) FROM {table}", f"SELECT 1 FROM {table}", f"TABLE {table} LIMIT 0"]
        statements += [f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}", f"TRUNCATE {table}"]
        column = await root.fetchval(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 1", table
        )
        statements += [f"UPDATE {table} SET {column} = DEFAULT", f"LOCK TABLE {table}"]
    claims = json.dumps({"sub": str(user), "role": "authenticated"})

    async def ask(role: str, statement: str) -> None:
        async with root.transaction():
            await root.execute(f"SET LOCAL ROLE {role}")
            await root.execute("SELECT set_config('request.jwt.claims', $1, true)", claims)
            await root.execute(statement)

    for role, statement in itertools.product(("anon", "authenticated"), statements):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(role, statement)
    assert await root.fetchval("SELECT count(*) FROM trainyard.files") == 1
    await root.close()
    print(f"{2 * len(statements)} statements on {len(tables)} tables and {len(functions)} functions refused")


async def test_what_is_made_later_is_sealed_too(supabase: dict[str, str]) -> None:
    """A table that a migration makes without a word about grants."""
    c = await asyncpg.connect(supabase["DATABASE_URL"])
    await c.execute("CREATE TABLE trainyard.later (id uuid PRIMARY KEY)")
    await c.execute("GRANT ALL ON SCHEMA trainyard TO anon")
    granted = "trainyard.later: SELECT is granted to anon"
    assert granted in await faults(c, logins(supabase))
    assert await migrate(load(Postgres, supabase)) == []
    found = await faults(c, logins(supabase))
    assert [fault for fault in found if "granted to" in fault and "made later" not in fault] == []
    await c.close()


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        ("GRANT trainyard_worker TO {api}", "is a member of another role"),
        ("ALTER ROLE {api} CREATEROLE", "may make roles"),
        ("ALTER ROLE {api} BYPASSRLS", "bypasses row level security"),
        ("CREATE TABLE public.theirs (); ALTER TABLE public.theirs OWNER TO {api}", "owns something"),
    ],
)
async def test_a_login_that_is_more_than_it_should_be_is_refused(
    supabase: dict[str, str], servers: Mapping[str, str], mistake: str, why: str
) -> None:
    api = logins(supabase)[0]
    name = urlsplit(supabase["DATABASE_URL"]).path[1:]
    root = await asyncpg.connect(with_database(servers, name)["DATABASE_URL"])
    await root.execute(mistake.format(api=api))
    await root.close()
    with pytest.raises(ConfigurationError, match=why):
        await migrate(load(Postgres, supabase))


async def test_one_login_for_both_is_refused(supabase: dict[str, str]) -> None:
    both = supabase | {"WORKER_DATABASE_URL": supabase["API_DATABASE_URL"]}
    with pytest.raises(ConfigurationError, match="is a member of another role"):
        await migrate(load(Postgres, both))
