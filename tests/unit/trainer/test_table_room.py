"""A table larger than a fit's memory: what is narrowed, which rows are drawn, and what is said of it."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from services.trainer import child_memory, table, table_room, table_rows
from services.trainer.child_memory import LEAST_BYTES, fits_and_guard
from services.trainer.plan import plan
from services.trainer.profile import profile
from services.trainer.table_room import LIBRARIES_BYTES, Share
from shared.contracts.files import ColumnProfile
from shared.contracts.training import TrainRequest
from shared.errors import CannotTrain, ConfigurationError

ROWS = 12_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded, in several batches, with missing cells, a rare class, and rows without a target."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=ROWS),
            "stamp": 1.7e9 + rng.random(ROWS),  # float32 would make it one of two values
            "count": rng.integers(0, 100, ROWS),
            "large": rng.integers(0, 2**40, ROWS),
            "some": np.where(rng.random(ROWS) < 0.1, np.nan, rng.integers(0, 9, ROWS)),
            "word": rng.choice(["red", "green"], ROWS),
            "note": [f"note {i} of many" for i in range(ROWS)],
            "kind": np.where(np.arange(ROWS) % 4_000 == 7, "rare", rng.choice(["a", "b"], ROWS)),
            "flag": pd.Series(rng.integers(0, 2, ROWS)).where(rng.random(ROWS) > 0.05),
        }
    )
    made = tmp_path_factory.mktemp("table") / "table.arrow"
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_file(str(made), arrow.schema) as file:
        file.write_table(arrow, max_chunksize=5_000)
    return made


def room(path: Path, share: float, width: int = 0) -> int:
    """A guard under which about `share` of the table's rows fit, narrowed."""
    names = table.column_names(path)
    with pa.memory_map(str(path), "r") as source:
        reader = pa.ipc.open_file(source)
        row = table_room._row_bytes(reader, table_room._narrowed(reader, "kind"))
    assert len(names) == 9
    return int(LIBRARIES_BYTES + share * ROWS * table_room.row_needs(row, width))


@pytest.fixture
def none_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of 12,000 rows are then narrowed and sampled as large ones are."""
    monkeypatch.setattr(table_room, "SMALL_BYTES", 0)


def test_a_matrix_is_as_wide_as_its_columns_come_to() -> None:
    columns = [
        ColumnProfile(name="n", role=role, dtype="", missing=0, distinct=distinct)
        for role, distinct in [("numeric", 900), ("numeric", 12), ("categorical", 7), ("categorical", 2_000)]
    ]
    assert table_room.matrix_columns(columns) == 1 + (1 + 12) + 7 + 1
    # narrow types make the rows smaller, and not what is made of them
    assert table_room.row_needs(100, 50) - table_room.row_needs(40, 50) == table_room.FRAMES * 60


def test_what_fits_is_loaded_as_it_is(path: Path) -> None:
    part = table_room.share(path, table.column_names(path), "kind", classes=True, memory_bytes=2**34, seed=0)
    assert (part.narrow, part.rows, part.of) == (False, None, ROWS)
    pd.testing.assert_frame_equal(table_room.load(path, None, part), table.load(path))


@pytest.mark.usefixtures("none_is_small")
def test_types_are_narrowed_where_nothing_is_lost(path: Path) -> None:
    part = table_room.share(
        path, table.column_names(path), "kind", classes=True, memory_bytes=room(path, 1.01), seed=0
    )
    assert (part.narrow, part.rows) == (True, None)
    narrow, whole = table_room.load(path, None, part), table.load(path)
    kinds = {name: str(dtype) for name, dtype in narrow.dtypes.items()}
    assert (kinds["size"], kinds["stamp"], kinds["count"], kinds["large"]) == (
        *("float32", "float64", "int8", "int64"),
    )
    pd.testing.assert_frame_equal(narrow, whole, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize(("target", "classes"), [("kind", True), ("flag", True), ("size", False)])
def test_rows_are_drawn_the_same_each_time_and_every_class_is_among_them(
    path: Path, target: str, classes: bool
) -> None:
    part = Share(target=target, of=ROWS, rows=3_000, narrow=True, stratified=classes, seed=5)
    chosen = table_room.positions(path, part)
    np.testing.assert_array_equal(chosen, table_room.positions(path, part))
    assert len(chosen) == pytest.approx(3_000, abs=5)
    whole, drawn = table.load(path)[target], table_room.load(path, [target, "note"], part)
    assert drawn[target].notna().all()
    assert drawn["note"].tolist() == [f"note {i} of many" for i in chosen]
    if classes:
        counts, shares = drawn[target].value_counts(), whole.value_counts(normalize=True)
        assert set(counts.index) == set(shares.index)
        for name in shares[shares > 0.1].index:
            assert counts[name] / len(drawn) == pytest.approx(shares[name], abs=0.01)
    assert len(np.setdiff1d(chosen, table_room.positions(path, Share(**_other_seed(part))))) > 1_000


def _other_seed(part: Share) -> dict[str, object]:
    return {name: getattr(part, name) for name in part.__struct_fields__} | {"seed": 6}


@pytest.mark.usefixtures("none_is_small")
@pytest.mark.parametrize("target", ["kind", "flag", "size"])
def test_plan_and_fit_see_the_same_sample_and_the_user_is_told(path: Path, target: str) -> None:
    request = TrainRequest(file_id=uuid.UUID(int=1), target=target)
    described = profile(path)
    width = table_room.matrix_columns(described.columns)
    made = plan(path, request, described, room(path, 0.3, width))
    notice = next(each for each in made.warnings if each.code == "table-sampled")
    assert f"{made.rows:,} of {ROWS:,} rows" in notice.message
    assert "seed 0" in str(notice.evidence)
    rows, _ = table_rows.read(path, made)
    assert len(rows.y) == made.rows < 0.5 * ROWS
    assert len(rows.train) + len(rows.test) == made.rows
    if made.labels is not None:
        assert [str(label) for label in rows.labels] == made.labels
        assert ("each class by its share" in str(notice.evidence)) and len(set(rows.y)) == len(made.labels)


@pytest.mark.usefixtures("none_is_small")
def test_a_table_of_which_hardly_a_row_fits_is_refused_with_the_reason(tmp_path: Path) -> None:
    arrow = pa.table({"note": [f"{i}" + 5_000 * "x" for i in range(300)], "kind": ["a", "b"] * 150})
    with pa.ipc.new_file(str(tmp_path / "table.arrow"), arrow.schema) as file:
        file.write_table(arrow)
    with pytest.raises(CannotTrain, match="only 103 of 300 fit into the 401 MiB of a fit; leave columns out"):
        table_room.share(
            tmp_path / "table.arrow",
            arrow.column_names,
            "kind",
            classes=True,
            memory_bytes=LIBRARIES_BYTES + 2**20,
            seed=0,
        )


def test_a_small_table_is_loaded_as_it_is_under_any_guard_that_a_fit_runs_under(path: Path) -> None:
    columns = ["count", "kind"]
    part = table_room.share(path, columns, "kind", classes=True, memory_bytes=LEAST_BYTES, seed=0)
    assert (part.narrow, part.rows) == (False, None)
    with pytest.raises(CannotTrain, match="may use 255 MiB here, and it needs 256 MiB whatever its table"):
        table_room.share(path, columns, "kind", classes=True, memory_bytes=LEAST_BYTES - 2**20, seed=0)


def test_a_trainer_has_as_many_fits_as_its_memory_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_memory, "_machine_bytes", lambda: 2 * 2**30)
    assert fits_and_guard(0, 0, 4) == (4, 384 * 2**20)
    assert fits_and_guard(0, 0, 64) == (6, 256 * 2**20)
    assert fits_and_guard(2, 0, 64) == (2, 768 * 2**20)
    assert fits_and_guard(0, 400 * 2**20, 3) == (3, 400 * 2**20)
    with pytest.raises(
        ConfigurationError, match="TRAINER_MEMORY_BYTES: 1,000 bytes are less than the 256 MiB"
    ):
        fits_and_guard(0, 1_000, 3)
    with pytest.raises(ConfigurationError, match="leaves 76 MiB to each of 20 fits"):
        fits_and_guard(20, 0, 3)
