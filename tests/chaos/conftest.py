"""One fleet for all these tests, healed before each; what a fault came to is entered in one ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import fleet as fleets
from tests.chaos import ledger as ledgers
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.rounds import ROUNDS
from tests.chaos.runs import Runs
from tests.e2e.person import Person

SECONDS_A_ROUND = 120
ORDER = ["trainer_killed", "packager_killed", "redis", "postgres", "storage", "misbehaving_fits"]
ORDER += ["rolling_update", "api_killed", "cancel", "pickup"]
"""Of the tests, and so of the table's rows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        item.add_marker(pytest.mark.timeout(300 + SECONDS_A_ROUND * ROUNDS))
    ours.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))
    first = min((items.index(item) for item in ours), default=0)
    items[:] = (
        [item for item in items[:first] if item not in ours]
        + ours
        + [item for item in items[first:] if item not in ours]
    )


@pytest.fixture(scope="package")
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    print(f"\n{ledger.markdown()}")
    if ledgers.wanted():
        ledger.write()


@pytest.fixture(scope="package")
def whole_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleets.fleet(tmp_path_factory.mktemp("chaos")) as fleet:
        yield fleet


@pytest.fixture(scope="package")
def person(whole_fleet: Fleet) -> Iterator[Person]:
    person = Person(whole_fleet.url, "zoe@example.com")
    yield person
    person.close()


@pytest.fixture
def fleet(whole_fleet: Fleet) -> Fleet:
    """Whatever the test before has left behind, it runs and passes everything on."""
    whole_fleet.heal()
    return whole_fleet


@pytest.fixture
def runs(fleet: Fleet, person: Person) -> Runs:
    return Runs(fleet, person)


@pytest.fixture
def enter(ledger: Ledger, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Entry]]:
    """Open this test's entry; it says FAILED unless the test comes to its end."""
    failures = request.session.testsfailed
    opened: list[Entry] = []

    def open_entry(fault: str) -> Entry:
        opened.append(Entry(fault, failed=True))
        ledger.entries.append(opened[-1])
        return opened[-1]

    yield open_entry
    for entry in opened:
        entry.failed = request.session.testsfailed > failures
