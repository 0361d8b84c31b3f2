"""The dashboard's addresses beside the API's, and how it learns who may sign in."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.api.tokens import check_settings
from shared.errors import ConfigurationError
from shared.settings import Auth, load
from tests.integration import api_client
from tests.integration.api_client import service_token, token

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Trainyard</title>")
    (tmp_path / "assets" / "index-1a2b.js").write_text("go()")
    return tmp_path


async def test_pages_are_anybodys_and_keep_the_policy(
    env: dict[str, str], buckets: None, built: Path
) -> None:
    async with api_client.running(env, DASHBOARD_DIR=str(built)) as api:
        nobody = api.client()
        page = await nobody.get("/dashboard/models", headers=BROWSER)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "no-cache"
        again = await nobody.get("/dashboard/models", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        script = await nobody.get("/assets/index-1a2b.js")
        assert script.headers["cache-control"].endswith("immutable")
        root = await nobody.get("/", headers=BROWSER)
        assert (root.status_code, root.headers["location"]) == (302, "/dashboard")
        assert (await nobody.get("/")).json()["name"] == "Trainyard"
        # an address of the API stays the API's
        assert (await nobody.get("/models", headers=BROWSER)).status_code == 401
        assert (await nobody.post("/dashboard")).status_code == 405


async def test_without_a_built_dashboard_the_api_says_so_and_runs(
    env: dict[str, str], buckets: None, tmp_path: Path
) -> None:
    async with api_client.running(env, DASHBOARD_DIR=str(tmp_path / "nothing")) as api:
        nobody = api.client()
        for path in ("/dashboard", "/dashboard/models", "/sign-in"):
            answer = await nobody.get(path, headers=BROWSER)
            assert (answer.status_code, answer.json()["type"]) == (404, "dashboard-not-built")
            assert "make setup" in answer.json()["detail"]
        assert (await nobody.get("/", headers=BROWSER)).json()["health"] == "/health/ready"
        assert (await api.user().get("/files")).status_code == 200


async def test_how_to_sign_in_is_told_before_there_is_a_token(env: dict[str, str], buckets: None) -> None:
    project = {"SUPABASE_URL": "https://abc.supabase.co/", "SUPABASE_ANON_KEY": "public"}
    ways = [
        ({"AUTH_DEV_LOGIN": "true"}, {"dev_login": True}),
        ({"AUTH_DEV_LOGIN": "false"}, {"dev_login": False}),
        ({"AUTH_DEV_LOGIN": "false", "SUPABASE_URL": project["SUPABASE_URL"]}, {"dev_login": False}),
        ({"AUTH_DEV_LOGIN": "false", "SUPABASE_ANON_KEY": "public"}, {"dev_login": False}),
        (
            {"AUTH_DEV_LOGIN": "false"} | project,
            {"dev_login": False, "supabase": {"url": "https://abc.supabase.co", "anon_key": "public"}},
        ),
    ]
    for settings, told in ways:
        async with api_client.running(env, **settings) as api:
            answer = await api.client().get("/auth/sign-in")
            assert (answer.status_code, answer.json()) == (200, told)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SUPABASE_ANON_KEY", "sb_secret_N7UND0UgjKTVK"),
        ("SUPABASE_URL", "abc.supabase.co"),
        ("SUPABASE_URL", "ftp://abc.supabase.co"),
        ("SUPABASE_URL", "https://me:secret@abc.supabase.co"),
        ("SUPABASE_URL", "https://abc.supabase.co; script-src *"),
        ("SUPABASE_URL", "https://[abc"),
    ],
)
def test_what_must_not_reach_a_browser_stops_the_start(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as raised:
        check_settings(load(Auth, api_client.TESTED | {variable: value}))
    assert value not in raised.value.detail


def test_the_secret_key_is_known_by_its_role() -> None:
    with pytest.raises(ConfigurationError, match="browsers get the anon key"):
        check_settings(load(Auth, api_client.TESTED | {"SUPABASE_ANON_KEY": service_token()}))


def test_public_keys_of_either_kind_are_taken() -> None:
    for key in (token(None, sub=None, aud=None, email=None, role="anon"), "sb_publishable_abc", "a.b.c"):
        check_settings(load(Auth, api_client.TESTED | {"SUPABASE_ANON_KEY": key}))
