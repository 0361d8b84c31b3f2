"""docs/scaling.md says what its arithmetic and its simulations say, and those what was measured."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import msgspec
import pytest

from tests.bench import report
from tests.bench.queueing.tables import TABLES, Table
from tests.bench.scaling import __main__ as command
from tests.bench.scaling import capacity, document, footprint, ladder
from tests.bench.scaling.capacity import Limit, Load, Setup, demand
from tests.bench.scaling.footprint import Depth, Footprint, Net, Use

RUN = Use(statements=100, postgres_s=0.01, api_s=0.02, redis_s=0.001, redis_commands=50, store_requests=4)
FOUND = Footprint(
    measured="on no machine",
    run=RUN,
    model=Use(statements=30, postgres_s=0.005, redis_commands=25, store_requests=2),
    fit_second=Use(statements=20, postgres_s=0.002, wal_bytes=1000),
    job_and_trainer=Use(statements=3, commits=1, postgres_s=0.001),
    idle_api=Use(),
    idle_trainer=Use(postgres_s=0.004, redis_commands=2, redis_s=0.0001),
    idle_packager=Use(),
    poll=Use(postgres_s=0.0001, api_s=0.0002),
    polls_per_s=4000,
    upload_mib=Use(api_s=0.01),
    connections_api=4,
    connections_trainer=3,
    connections_packager=2,
    table_bytes={"tasks": 40_000, "candidates": 60_000},
    row_bytes={"tasks": 30_000, "candidates": 50_000},
    user_bytes=2_000,
    store_bytes=8_000_000,
    store_objects=60,
    store_requests=90,
    real_runs=3,
    real_models=12,
    wal_bytes=300_000,
    redis_command_s=2e-5,
    redis_keys=0,
    depths=[Depth(10, 0.5, 0.1), Depth(1_000, 2.0, 1.0), Depth(100_000, 200.0, 100.0)],
    nets=[Net(0, 0.5), Net(1_000, 1.5)],
)


# --- the document -----------------------------------------------------------------------------------


def test_the_document_has_what_the_arithmetic_says() -> None:
    found = footprint.load()
    assert document.part("measured") == "\n".join(document.measured(found)).strip()
    assert document.part("ladder") == "\n".join(report.table(*ladder.ladder(found)))
    assert document.part("saturation") == "\n".join(report.table(*ladder.saturation(found)))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_document_has_what_is_simulated(table: Table) -> None:
    """The first row of each is simulated anew: the others come of the same lines and other numbers."""
    head, _, first, *others = document.part(table.name).splitlines()
    made = report.table(table.head, [table.rows[0]()])
    assert [head, first] == [made[0], made[2]]
    assert len(others) == len(table.rows) - 1


def test_the_document_names_every_assumption() -> None:
    said = document.part("measured")
    for name, value in msgspec.structs.asdict(Load(runs_per_day=1)).items():
        if name != "runs_per_day":
            assert f"`{name}` | {value:g}" in said


def test_only_what_is_between_the_markers_is_written(tmp_path: Path) -> None:
    path = tmp_path / "scaling.md"
    path.write_text(document.PATH.read_text())
    document.put("ladder", ["| \\1 |"], path=path)
    text = path.read_text()
    assert "<!-- ladder: written by make simulate -->\n| \\1 |\n<!-- ladder: end -->" in text
    assert text.partition("<!-- ladder")[0] == document.PATH.read_text().partition("<!-- ladder")[0]
    with pytest.raises(ValueError, match="no part nothing"):
        document.put("nothing", [], path=path)


def test_what_was_measured_is_kept_to_four_digits(tmp_path: Path) -> None:
    path = tmp_path / "footprint.json"
    footprint.save(msgspec.structs.replace(FOUND, polls_per_s=1234.5678), path)
    assert footprint.load(path) == msgspec.structs.replace(FOUND, polls_per_s=1235.0)


# --- the arithmetic ---------------------------------------------------------------------------------


def test_uses_are_added_and_divided_field_by_field() -> None:
    twice = RUN * 2 - RUN / 2 + RUN / 2
    assert (twice.statements, twice.api_s) == (200, 0.04)
    lasted = Use(seconds=10, statements=50).beyond(Use(statements=2))
    assert (lasted.seconds, lasted.statements) == (10, 30)


def test_a_load_of_one_run_a_second_asks_for_what_was_measured_of_one() -> None:
    load = Load(runs_per_day=capacity.DAY_S, peak=1, models=10, fit_s=5, polls=10, upload_mib=2, queue_s=0)
    asked = demand(load, Setup(slots=10, busy=1.0), FOUND)
    assert (asked.running, asked.trainers) == (50, 5)
    assert asked.parts["runs"] == pytest.approx(0.01 + 10 * 0.005)
    assert asked.parts["fits under way"] == pytest.approx(50 * 0.002)
    assert asked.parts["polls"] == pytest.approx(10 * 0.0001)
    assert asked.parts["trainers called in vain"] == pytest.approx(12 * 4 * 0.001)
    assert asked.parts["sweeps of idle processes"] == pytest.approx(5 * 0.004)
    assert asked.parts["a deep queue"] == 0
    assert asked.postgres_cores == pytest.approx(sum(asked.parts.values()))
    assert asked.api_cores == pytest.approx(0.02 + 10 * 0.0002 + 2 * 0.01)
    assert asked.connections == 5 * 3 + 4 + 2
    assert asked.redis_commands_s == pytest.approx(50 + 10 * 25 + 5 * 2)
    assert asked.redis_cores == pytest.approx(310 * 2e-5)
    assert asked.store_requests_s == 90
    assert asked.table_gb_day == pytest.approx(86_400 * 100_000 / 1e9)


def test_cells_have_a_share_each_of_the_users_and_of_nothing_else() -> None:
    alone = demand(Load(runs_per_day=50_000), Setup(), FOUND)
    one_of_ten = demand(Load(runs_per_day=500_000), Setup(cells=10), FOUND)
    assert one_of_ten == alone


def test_a_job_calls_so_many_trainers_and_no_more() -> None:
    def cores(runs: float, called: float) -> float:
        return demand(Load(runs_per_day=runs), Setup(called=called), FOUND).parts["trainers called in vain"]

    assert cores(1e6, 16) / cores(1e5, 16) == pytest.approx(10)
    assert cores(1e6, math.inf) / cores(1e5, math.inf) == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(("waiting", "ms"), [(0, 0.5), (10, 0.5), (505, 1.25), (1_000, 2), (199_000, 398)])
def test_a_claim_costs_what_was_measured_at_its_depth(waiting: float, ms: float) -> None:
    assert capacity.at_depth(FOUND, waiting, lambda depth: depth.claim_ms) == pytest.approx(ms, rel=0.01)


def test_what_is_full_is_found_where_it_is_full() -> None:
    limit = Limit(what="cores", of=lambda d: d.postgres_cores, at=5.0, unit="cores", then="more")
    load, setup = Load(runs_per_day=1), Setup()
    runs = capacity.full_at(limit, load, setup, FOUND)
    assert demand(Load(runs_per_day=runs), setup, FOUND).postgres_cores == pytest.approx(5, rel=0.01)
    never = Limit(what="", of=lambda d: 1.0, at=2.0, unit="", then="")
    assert math.isinf(capacity.full_at(never, load, setup, FOUND))
    always = Limit(what="", of=lambda d: 3.0, at=2.0, unit="", then="")
    assert capacity.full_at(always, load, setup, FOUND) == 0


# --- a question -------------------------------------------------------------------------------------


def asked(**options: float) -> argparse.Namespace:
    words = [word for name, value in options.items() for word in (f"--{name}", f"{value:g}")]
    return command._parser().parse_args(words)


def test_a_question_is_answered_in_words() -> None:
    answer = command.answer(asked(rate=0.5, trainers=4, slots=2, models=2, ensembles=0, fit=4, runs=200))
    assert answer[0] == "0.5 runs a second of 2 models on 4 trainers of 2 slots: 53% of what they can do."
    assert answer[3].startswith("| asked for → plan claimed | 0.00 s |")
    assert answer[-2].startswith("At most ") and answer[-2].endswith(
        "0 models were skipped for want of time."
    )
    assert "By Erlang C, were jobs independent, 8 slots" in answer[-1]


def test_a_burst_is_not_among_those_who_wait_for_it() -> None:
    options = {"rate": 0.2, "trainers": 2, "slots": 2, "models": 2, "ensembles": 0, "fit": 2, "runs": 100}
    alone, beside = command.answer(asked(**options)), command.answer(asked(**options, burst=50))
    assert alone[3] != beside[3]
    assert "min" not in beside[3] and " h" not in beside[3]
