"""Tables come in, are looked at, are found again and go; what cannot be read is said."""

from __future__ import annotations

import random
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Request, Route, expect

from tests.web.pages import check_accessible

_draw = random.Random(1)
PEOPLE = "age,city,joined,churned\n" + "".join(
    f"{_draw.randint(18, 80)},{_draw.choice(['Rome', 'Oslo', 'Lima'])},2024-01-{i % 28 + 1:02},"
    f"{_draw.choice(['yes', 'no'])}\n"
    for i in range(120)
)


def table(name: str, text: str | bytes = PEOPLE) -> Any:
    """A file as a browser's chooser hands it over."""
    return {"name": name, "mimeType": "text/csv", "buffer": text.encode() if isinstance(text, str) else text}


def upload(page: Page, *tables: Any) -> None:
    page.get_by_label("Tables to upload").set_input_files(list(tables))


def test_several_tables_are_uploaded_and_one_is_opened(me: Page) -> None:
    expect(me.get_by_role("heading", name="No datasets yet")).to_be_visible()
    upload(me, table("people.csv"), table("more people.csv", PEOPLE + "30,Rome,2024-02-01,yes\n"))
    mine = me.get_by_role("list", name="Datasets")
    expect(mine.get_by_role("listitem")).to_have_count(2)
    expect(mine.get_by_text("120 rows × 4 columns")).to_be_visible()
    check_accessible(me)
    me.get_by_role("list", name="Uploads").get_by_role("link", name="Open people.csv").click()
    expect(me.get_by_role("heading", name="people.csv", level=1)).to_be_visible()
    expect(me.get_by_role("heading", name="Looks like: predict churned")).to_be_visible()
    expect(me.get_by_role("table").get_by_role("row")).to_have_count(51)
    expect(me.get_by_role("img", name=re.compile("Histogram"))).to_have_count(1)
    check_accessible(me)


def test_what_is_no_table_is_refused_beside_what_is_one(me: Page) -> None:
    upload(me, table("notes.pdf"), table("nothing.csv", ""), table("people.csv"))
    uploads = me.get_by_role("list", name="Uploads")
    expect(uploads.get_by_text("Only CSV, TSV (also .gz or .zst) and Parquet can be read.")).to_be_visible()
    expect(uploads.get_by_text("The file is empty.")).to_be_visible()
    expect(uploads.get_by_role("link", name="Open people.csv")).to_be_visible()
    me.get_by_role("button", name="Dismiss all").click()
    expect(uploads).to_have_count(0)
    expect(me.get_by_role("list", name="Datasets").get_by_role("listitem")).to_have_count(1)


def test_a_table_that_cannot_be_read_says_where_it_is_broken(me: Page) -> None:
    upload(me, table("broken.csv", b"a,b\n1,2\n\x00\x01,3\n"))
    expect(me.get_by_text("Cannot be read")).to_be_visible()
    me.get_by_role("list", name="Datasets").get_by_role("link", name="broken.csv").click()
    expect(me.get_by_role("heading", name="This table cannot be read")).to_be_visible()
    expect(me.get_by_text("NUL byte")).to_be_visible()
    expect(me.get_by_role("link", name="Train models")).to_have_count(0)
    check_accessible(me)


def test_an_upload_is_stopped(me: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            route.continue_()

    me.route("**/files", hold)
    upload(me, table("people.csv"))
    me.get_by_role("button", name="Stop uploading people.csv").click()
    expect(me.get_by_role("list", name="Uploads")).to_have_count(0)
    expect(me.get_by_role("heading", name="No datasets yet")).to_be_visible()
    for route in held:
        route.abort()


def test_an_upload_that_broke_off_is_tried_again_as_the_same(me: Page) -> None:
    sent: list[Request] = []
    me.on("request", lambda request: sent.append(request))  # Playwright takes no method of a list
    me.route("**/files", lambda route: route.abort(), times=1)
    upload(me, table("people.csv"))
    me.get_by_role("button", name="Try again").click()
    expect(me.get_by_role("link", name="Open people.csv")).to_be_visible()
    tries = [request for request in sent if request.method == "POST"]
    assert len(tries) == 2
    assert len({request.headers["idempotency-key"] for request in tries}) == 1


def test_what_does_not_fit_is_told_before_it_is_sent(me: Page) -> None:
    limits = {"max_stored_bytes": 1000, "max_queued_tasks": 1, "max_upload_bytes": 900}
    account = {"limits": limits, "stored_bytes": 200, "files": 1, "runs": 0, "models": 1}
    me.route("**/account", lambda route: route.fulfill(json=account))
    me.reload()
    expect(me.get_by_text("900 B at most")).to_be_visible()
    upload(me, table("large.csv", "a,b\n" * 250), table("fitting.csv", "a,b\n" * 220))
    uploads = me.get_by_role("list", name="Uploads")
    expect(uploads.get_by_text("It has 1 kB; at most 900 B are taken.")).to_be_visible()
    expect(uploads.get_by_text("of your 1 kB only 800 B are left")).to_be_visible()


def test_tables_are_dropped(me: Page) -> None:
    dropped = me.evaluate_handle(
        "text => { const data = new DataTransfer()\n"
        "data.items.add(new File([text], 'dropped.csv')); return data }",
        PEOPLE,
    )
    area = me.get_by_text("Drop tables here")
    area.dispatch_event("dragenter", {"dataTransfer": dropped})
    over = me.get_by_text("Let go to upload")
    expect(over).to_be_visible()
    over.dispatch_event("drop", {"dataTransfer": dropped})
    expect(me.get_by_role("link", name="Open dropped.csv")).to_be_visible()


def test_what_a_list_is_searched_for_stands_in_its_address(me: Page) -> None:
    upload(me, table("people.csv"), table("12.csv"))
    expect(me.get_by_text("2 datasets")).to_be_visible()
    me.get_by_label("Search datasets").fill("12")
    me.get_by_label("Sort by").select_option("name")
    expect(me.get_by_text("1 of 2 datasets")).to_be_visible()
    me.reload()
    expect(me.get_by_label("Search datasets")).to_have_value("12")
    expect(me.get_by_text("1 of 2 datasets")).to_be_visible()
    expect(me.get_by_label("Sort by")).to_have_value("name")


def test_older_pages_are_searched_and_sorted_as_well(me: Page) -> None:
    """The API has no filter for names, and gives a hundred at a time."""

    def page_of(start: int) -> dict[str, Any]:
        same = {"size_bytes": 1, "sha256": "", "created_at": "2026-01-01T00:00:00Z", "status": "ready"}
        places = range(start, start + 100)
        items = [{"file_id": str(place), "name": f"table {999 - place}.csv", **same} for place in places]
        return {"items": items, "next_cursor": str(start + 100) if start < 200 else None}

    def answer(route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        route.fulfill(json=page_of(int(asked.get("cursor", ["0"])[0])))

    me.route(re.compile(r"/files\?"), answer)
    me.goto("/dashboard/blueprints?q=table+701")
    expect(me.get_by_text("1 of 300 datasets")).to_be_visible()
    me.get_by_label("Search datasets").fill("")
    me.get_by_label("Sort by").select_option("name")
    rows = me.get_by_role("list", name="Datasets").get_by_role("listitem")
    expect(rows.first).to_contain_text("table 700.csv")
    me.get_by_role("button", name="Show older datasets").click()
    expect(rows).to_have_count(200)
    me.get_by_role("button", name="Show older datasets").click()
    expect(rows.nth(200), "who shows the rest goes on from there").to_be_focused()


def test_a_table_is_deleted_once_it_was_asked(me: Page) -> None:
    upload(me, table("people.csv"))
    expect(me.get_by_role("link", name="Open people.csv")).to_be_visible()
    upload(me, table("others.csv"))
    expect(me.get_by_role("link", name="Open others.csv")).to_be_visible()
    me.get_by_role("button", name="Dismiss all").click()
    expect(me.get_by_role("button", name="Choose files")).to_be_focused()
    me.get_by_role("button", name="Delete others.csv").click()
    check_accessible(me)
    me.get_by_role("button", name="Keep it").click()
    expect(me.get_by_role("button", name="Delete others.csv")).to_be_focused()
    rows = me.get_by_role("list", name="Datasets").get_by_role("listitem")
    left = rows.filter(has_text="people.csv")
    for name, next_place in (("others.csv", left), ("people.csv", me.get_by_role("tabpanel"))):
        me.get_by_role("button", name=f"Delete {name}").click()
        me.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(next_place).to_be_focused()
    expect(me.get_by_role("heading", name="No datasets yet")).to_be_visible()


def test_a_wide_table_is_shown_some_columns_at_a_time(me: Page) -> None:
    names = [f"a_name_that_is_rather_long_number_{i}" for i in range(120)]
    rows = "".join(",".join(str(_draw.random()) for _ in names) + "\n" for _ in range(30))
    upload(me, table("wide.csv", ",".join(names) + "\n" + rows))
    me.get_by_role("link", name="Open wide.csv").click()
    expect(me.get_by_text("Columns 1–25 of 120")).to_be_visible()
    me.get_by_role("button", name="Columns after these").click()
    expect(me.get_by_text("Columns 26–50 of 120")).to_be_visible()
    me.set_viewport_size({"width": 360, "height": 780})
    over = me.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, "the page itself does not scroll sideways"
    me.get_by_label("Search columns").fill("number_119")
    expect(me.get_by_text("1 of 120 columns")).to_be_visible()


def test_a_lost_connection_is_told_and_heals(me: Page) -> None:
    expect(me.get_by_role("heading", name="No datasets yet")).to_be_visible()
    me.context.set_offline(True)
    expect(me.get_by_text("No connection to Trainyard.")).to_be_visible()
    me.context.set_offline(False)
    expect(me.get_by_text("No connection to Trainyard.")).to_have_count(0)
