"""What a first visit loads."""

from __future__ import annotations

from playwright.sync_api import Page, expect

MOST_SCRIPT_BYTES = 200_000
"""Gzipped, as it is sent: what a phone on a slow line waits for before there is anything to see."""

SCRIPTS = """() => performance.getEntriesByType("resource")
    .filter(entry => new URL(entry.name).pathname.endsWith(".js"))
    .map(entry => ({path: new URL(entry.name).pathname, bytes: entry.encodedBodySize}))"""


def test_the_first_page_is_light(me: Page) -> None:
    fresh = me.context.new_page()
    fresh.goto("/dashboard/blueprints")
    expect(fresh.get_by_role("tab", name="Datasets")).to_be_visible()
    fresh.wait_for_load_state("networkidle")
    scripts = fresh.evaluate(SCRIPTS)
    assert scripts
    assert sum(script["bytes"] for script in scripts) <= MOST_SCRIPT_BYTES, scripts


def test_nothing_is_loaded_from_elsewhere(me: Page) -> None:
    origins = me.evaluate("performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)")
    assert set(origins) == {me.evaluate("location.origin")}
