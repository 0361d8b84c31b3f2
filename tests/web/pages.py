"""What every test of a page does: open it as somebody, see that nothing went wrong, ask axe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from playwright.sync_api import Browser, Error, Page, Playwright, expect

from deploy.processes import PROJECT

AXE = PROJECT / "services" / "web" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 20_000
"""Only to catch what hangs: the machine may be busy."""

Theme = Literal["light", "dark"]
expect.set_options(timeout=PATIENCE_MS)


def launch(playwright: Playwright, chromium: str) -> Browser:
    options = ["--disable-background-networking"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium has none for root
    return playwright.chromium.launch(executable_path=chromium, args=options)


@contextlib.contextmanager
def opened(
    browser: Browser, url: str, *, width: int = 1280, height: int = 900, theme: Theme = "light"
) -> Iterator[Page]:
    """A page of a browser that was never here before, on the dashboard at `url`. At the end of the block it
    must not have logged an error of its own: an exception, a refused script, React's complaints."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme=theme,
        locale="en-GB",
        timezone_id="Europe/Berlin",
        accept_downloads=True,
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    try:
        yield page
    finally:
        with contextlib.suppress(Error):  # a browser that died has failed the test already
            context.close()
    # an answer of 404, 409 or 422 is part of many pages; Chromium logs each of them
    assert [text for text in wrong if not text.startswith("Failed to load resource")] == []


def sign_in(page: Page, email: str, then: str = "/dashboard/blueprints") -> None:
    """As a person does, at any address of the dashboard."""
    page.goto(then)
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{then}*")


def violations(page: Page, rules: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What axe-core finds on the page as it is, each with `id, impact, help` and the elements it is about.
    `rules`: their ids, if not all that axe-core has on by itself are to be tried."""
    if not page.evaluate("() => 'axe' in window"):
        # evaluated, not put into the page: the pages' policy lets no foreign script in
        page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        {
            "id": one["id"],
            "impact": one["impact"],
            "help": one["help"],
            "elements": [node["html"][:200] for node in one["nodes"]],
        }
        for one in found
    ]


def check_accessible(page: Page, rules: Sequence[str] = ()) -> None:
    """No finding of axe-core that is serious or critical."""
    assert [one for one in violations(page, rules) if one["impact"] in ("serious", "critical")] == []
