"""The bench of models: what is still to do, what is kept, and what is written about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.bench.models import results, run, summary
from tests.bench.models.competitors import OURS, PEERS
from tests.bench.models.results import Result
from tests.bench.models.run import Step
from tests.bench.models.splits import Split
from tests.bench.models.tables import TABLES


def result(table: str, competitor: str, score: float | None, **more: object) -> Result:
    known = TABLES[table]
    made = {
        "table": table,
        "seed": 0,
        "budget": 60.0,
        "competitor": competitor,
        "task": known.task,
        "metric": known.metric,
        "rows": 100,
        "columns": 4,
        "score": score,
        "seconds": 30.0,
        "versions": {"source": "abc"} if competitor == OURS else {"lightgbm": "4.7"},
        "machine": "A machine, 2 cores, load 0.5",
        "date": "2026-01-01",
        "size_bytes": 150_000,
        "predict_ms_per_row": 0.01,
        "train_sha256": f"rows of {table}",
        "failed": "" if score is not None else "it fell over",
    }
    return msgspec.convert(made | more, Result)


def request(**environ: str) -> run.Request:
    return run.requested({f"BENCH_{name}": value for name, value in environ.items()})


def split(table: str, seed: int = 0) -> Split:
    rows = f"rows of {table}" + (f", {seed}" if seed else "")
    return Split(
        table=table,
        seed=seed,
        train=Path("train.csv"),
        test=Path("test.csv"),
        truth=[],
        classes=[],
        rows=100,
        columns=4,
        train_sha256=rows,
    )


def names(steps: Sequence[Step]) -> list[tuple[str, str]]:
    return [(step.split.table, step.competitor) for step in steps]


def test_a_peer_stays_as_measured_and_ours_is_measured_anew_when_its_source_is_another() -> None:
    asked, files = request(PEERS="lightgbm"), [split("wine"), split("ames")]
    known = [result("wine", "lightgbm", 0.1), result("wine", OURS, 0.1), result("ames", "lightgbm", None)]
    assert names(run.steps(asked, files, known, "abc")) == [("ames", OURS)]
    assert names(run.steps(asked, files, known, "changed")) == [("wine", OURS), ("ames", OURS)]


def test_another_budget_or_seed_is_another_measurement() -> None:
    known = [result("wine", "lightgbm", 0.1)]
    asked = request(PEERS="lightgbm", BUDGET="10")
    assert ("wine", "lightgbm") in names(run.steps(asked, [split("wine")], known, "abc"))
    more = run.steps(request(PEERS="lightgbm"), [split("wine"), split("wine", seed=1)], known, "abc")
    assert [step.split.seed for step in more if step.competitor == "lightgbm"] == [1]


def test_a_table_that_its_package_has_changed_is_measured_anew_and_no_longer_shown_with_the_old() -> None:
    changed = msgspec.structs.replace(split("wine"), train_sha256="other rows")
    known = [result("wine", OURS, 0.9), result("wine", "lightgbm", 0.8)]
    assert len(run.steps(request(PEERS="lightgbm"), [changed], known, "abc")) == 2
    text = "\n".join(summary.lines([*known, result("wine", OURS, 0.7, train_sha256="other rows")], 60.0))
    assert "| wine | log_loss | **0.7000** |\n" in text


def test_peers_left_unsaid_are_all_and_none_where_nothing_is_named() -> None:
    assert [peer.name for peer in request().peers] == list(PEERS)
    assert request(PEERS="").peers == []
    with pytest.raises(SystemExit, match="There is no 'sybil'"):
        request(PEERS="sybil")


def test_what_a_kill_cut_off_is_left_out_and_what_comes_later_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(result("wine", OURS, 0.3), path)
    with path.open("ab") as file:
        file.write(b'{"table": "wi')
    results.append(result("wine", OURS, 0.2), path)
    results.append(result("wine", "lightgbm", 0.5), path)
    assert [(r.competitor, r.score) for r in results.read(path)] == [(OURS, 0.2), ("lightgbm", 0.5)]
    assert results.read(tmp_path / "none.jsonl") == []


def test_the_report_ranks_shows_every_score_and_names_who_failed_or_took_too_long() -> None:
    measured = [
        result("wine", OURS, 0.10),
        result("wine", "lightgbm", 0.20),
        result("wine", "autogluon", 0.10, seconds=70.0),
        result("ames", OURS, 0.90, seconds=62.9),
        result("ames", "lightgbm", 0.80),
        result("ames", "autogluon", None),
    ]
    text = "\n".join(summary.lines(measured, 60.0))
    standings = text.partition("### Mean ranks")[2].partition("###")[0]
    assert "| Trainyard | 1.25 (1.00 to 1.50) |  | 1.50 | 1.00 | 2 | 0 | 0 | 93 |" in standings
    assert "| AutoGluon medium | 2.25 (1.50 to 3.00) |  | 1.50 | 3.00 | 1 | 1 | 1 | 100 |" in standings
    assert "takes none" in standings
    assert "| wine | log_loss | **0.1000** | 0.2000 | **0.1000** |" in text
    assert "| ames | r2 | **0.9000** | 0.8000 | failed |" in text
    assert "- AutoGluon medium: wine 70 s." in text
    assert "- AutoGluon medium, ames: it fell over" in text
    assert "| Trainyard | source abc | 2026-01-01 | A machine, 2 cores; load 0.5 to 0.5 | 0 |" in text


def test_a_table_that_not_all_were_tried_on_is_shown_and_not_ranked() -> None:
    measured = [result("wine", OURS, 0.1), result("wine", "lightgbm", 0.2), result("ames", OURS, 0.9)]
    text = "\n".join(summary.lines(measured, 60.0))
    assert "Over 1 tables" in text
    assert "| ames | r2 | **0.9000** |  |" in text


def test_tables_have_names_of_their_own_and_known_sources() -> None:
    assert len(TABLES) >= 25
    assert {table.task for table in TABLES.values()} == {"binary", "multiclass", "regression"}
    assert all(table.licence and table.target not in table.leave_out for table in TABLES.values())
