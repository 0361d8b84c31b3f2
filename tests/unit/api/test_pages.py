"""The dashboard's files, as they are answered."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from structlog.testing import capture_logs

from services.api.pages import Pages, policy, router

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = "console.log('hello')\n" * 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Trainyard</title>")
    (tmp_path / "assets" / "index-5fa1c2.js").write_text(SCRIPT)
    (tmp_path / "assets" / "dot.png").write_bytes(b"\x89PNG" * 100)
    (tmp_path / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return tmp_path


def client(folder: Path) -> TestClient[Litestar]:
    return TestClient(Litestar([router(Pages(folder, "https://abc.supabase.co"))], openapi_config=None))


@pytest.mark.parametrize("path", ["/sign-in", "/dashboard", "/dashboard/", "/dashboard/models/deep?a=b"])
def test_every_address_is_the_one_page(folder: Path, path: str) -> None:
    answer = client(folder).get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert "Trainyard" in answer.text
    assert answer.headers["content-security-policy"] == policy("https://abc.supabase.co")


def test_the_policy_lets_no_script_in_from_elsewhere() -> None:
    parts = dict(part.strip().split(" ", 1) for part in policy("").split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"] == parts["connect-src"] == "'self'"
    assert "unsafe-eval" not in policy("")
    connects = "connect-src 'self' https://abc.supabase.co;"
    assert connects in policy("https://abc.supabase.co/auth/v1?x=y")


def test_files_with_a_digest_in_their_name_are_kept_for_ever(folder: Path) -> None:
    with client(folder) as browser:
        script = browser.get("/assets/index-5fa1c2.js")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert script.headers["content-type"].startswith(("text/javascript", "application/javascript"))
        assert browser.get("/favicon.svg").headers["cache-control"] == "no-cache"
        assert browser.get("/assets/another.js").status_code == 404


def test_text_is_squeezed_for_who_takes_it(folder: Path) -> None:
    with client(folder) as browser:
        for path, squeezed in (("/assets/index-5fa1c2.js", True), ("/assets/dot.png", False)):
            answer = browser.get(path, headers={"Accept-Encoding": "gzip, br"})
            assert ("content-encoding" in answer.headers) == squeezed
            assert answer.headers["vary"] == "Accept-Encoding"
            assert answer.content == (folder / path.removeprefix("/")).read_bytes()
        for accepted in ("identity", "gzip;q=0", "br, gzip; q=0.000", "gzipped", ""):
            plain = browser.get("/assets/index-5fa1c2.js", headers={"Accept-Encoding": accepted})
            assert "content-encoding" not in plain.headers, accepted
        for accepted in ("br;q=1.0, gzip;q=0.8, *;q=0.1", "GZIP"):
            headers = {"Accept-Encoding": accepted}
            assert "content-encoding" in browser.get("/assets/index-5fa1c2.js", headers=headers).headers
        assert int(plain.headers["content-length"]) == len(SCRIPT) > len(gzip.compress(SCRIPT.encode()))


def test_what_is_known_is_not_sent_again(folder: Path) -> None:
    with client(folder) as browser:
        for path in ("/dashboard", "/favicon.svg", "/assets/index-5fa1c2.js"):
            etag = browser.get(path).headers["etag"]
            # a cache in between may take the weakness away
            for known in (f'"other", {etag}', etag.removeprefix("W/"), " *"):
                again = browser.get(path, headers={"If-None-Match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
                assert "content-length" not in again.headers
            assert browser.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_head_says_what_get_would(folder: Path) -> None:
    with client(folder) as browser:
        for path in ("/", "/dashboard", "/assets/index-5fa1c2.js"):
            got, head = browser.get(path), browser.head(path)
            assert head.status_code == 200
            assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/dashboard/../../secret.txt",
        "/dashboard/%2e%2e/%2e%2e/secret.txt",
        "/assets//etc/passwd",
        "/assets/..\\..\\secret.txt",
        "/assets/dot.png%00.html",
        "/assets",
        "/assets/",
    ],
)
def test_nothing_but_what_was_built_is_sent(folder: Path, path: str) -> None:
    (folder.parent / "secret.txt").write_text("a secret")
    with client(folder) as anybody:
        answer = anybody.get(httpx.URL("http://testserver", raw_path=path.encode()))
        assert "a secret" not in answer.text
        # an address below /dashboard is the page's own script's business, whatever it is
        assert answer.status_code == 404 or "<title>Trainyard" in answer.text


def test_a_slash_more_is_the_same_file(folder: Path) -> None:
    with client(folder) as anybody:
        assert anybody.get("/favicon.svg/").content == (folder / "favicon.svg").read_bytes()


def test_a_person_at_the_root_goes_on_to_the_dashboard(folder: Path, tmp_path: Path) -> None:
    with client(folder) as anybody:
        person = anybody.get("/", headers=BROWSER, follow_redirects=False)
        assert (person.status_code, person.headers["location"], person.content) == (302, "/dashboard", b"")
        assert person.headers["vary"] == "Accept"
        assert anybody.get("/", headers={"Accept": "*/*"}).json()["schema"] == "/schema/openapi.json"


@pytest.mark.parametrize("made", [True, False])
def test_without_a_built_dashboard_its_addresses_say_so(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "dist"
    if made:
        folder.mkdir()
    pages = Pages(folder)
    assert not pages.built
    with capture_logs() as said:
        pages.tell()
    assert [line["folder"] for line in said] == [str(folder)]
    with TestClient(Litestar([router(pages)], openapi_config=None)) as anybody:
        assert anybody.get("/", headers=BROWSER).json()["name"] == "Trainyard"
        assert anybody.get("/dashboard").status_code >= 400
