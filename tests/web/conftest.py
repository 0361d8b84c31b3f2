"""One stack and one browser for all of this folder, a browser profile of its own a test.

Of the package, not of the session: Playwright's loop counts as running until it is stopped, and no test
elsewhere that runs one of its own works beside it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from services.api.pages import BUILT, PAGE
from tests.e2e import stack as stacks
from tests.e2e.stack import Stack
from tests.web.chromium import executable
from tests.web.pages import launch, opened, sign_in

_people = itertools.count(1)


def _without(reason: str) -> NoReturn:
    """A person may do without a browser; what decides over a change may not."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    # installing a browser takes root and apt-get, which a contributor's machine may lack
    pytest.skip(reason)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if not (BUILT / PAGE).exists():
        _without("the dashboard is not built: `make setup` builds it, or says why not")
    with stacks.running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = executable()
    if chromium is None:
        _without("there is no Chromium: `python -m tests.web.chromium` installs one")
    with sync_playwright() as playwright:
        with launch(playwright, chromium) as browser:
            yield browser


@pytest.fixture
def page(stack: Stack, browser: Browser) -> Iterator[Page]:
    """Of somebody who is not signed in."""
    with opened(browser, stack.url) as page:
        yield page


@pytest.fixture
def me(page: Page) -> Page:
    """The page of somebody new who has signed in, at their datasets."""
    sign_in(page, f"person-{next(_people)}@example.com")
    return page


@pytest.fixture
def another(stack: Stack, browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens a page of its own browser for whoever has this e-mail address."""
    open_pages = []

    def open_page(email: str) -> Page:
        opening = opened(browser, stack.url)
        open_pages.append(opening)
        page = opening.__enter__()
        sign_in(page, email)
        return page

    yield open_page
    for opening in reversed(open_pages):
        opening.__exit__(None, None, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a screen reader would have read where a test failed."""
    report = yield
    if report.when == "call" and report.failed:
        given = [getattr(value, "page", value) for value in getattr(item, "funcargs", {}).values()]
        for page in {value for value in given if isinstance(value, Page)}:
            try:
                report.sections.append((f"page {page.url}", page.locator("body").aria_snapshot()))
            except Error as error:
                report.sections.append(("page", f"could not be read: {error}"))
    return report
