"""What `predictions.npz` holds, and what of a file that is none of ours is believed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from services.trainer import predictions
from services.trainer.predictions import PREDICTIONS_FILE, Predictions


def some(rows: int = 6, held: int = 3, columns: int = 2) -> Predictions:
    rng = np.random.default_rng(0)
    return Predictions(
        train=rng.permutation(10)[:rows],
        oof=rng.random((rows, columns)),
        fold=np.arange(rows) % 3,
        test=rng.random((held, columns)),
    )


def parts() -> dict[str, np.ndarray]:
    return {
        "train": np.array([1, 4, 5]),
        "oof": np.zeros((3, 2)),
        "fold": np.zeros(3, np.int16),
        "test": np.zeros((2, 2)),
    }


def test_what_is_written_is_read_in_the_order_of_the_rows(tmp_path: Path) -> None:
    given = some()
    assert predictions.write(tmp_path, given)
    found = predictions.read(tmp_path / PREDICTIONS_FILE, columns=2)
    order = np.argsort(given.train)
    np.testing.assert_array_equal(found.train, given.train[order])
    np.testing.assert_array_equal(found.oof, given.oof[order])
    np.testing.assert_array_equal(found.fold, given.fold[order])
    np.testing.assert_array_equal(found.test, given.test)
    assert (found.train.dtype, found.fold.dtype, found.oof.dtype) == (np.int64, np.int16, np.float64)


def test_a_single_column_may_be_flat_and_a_step_forecast_at_two_cut_offs(tmp_path: Path) -> None:
    given = Predictions(
        train=np.array([7, 8, 8, 9]),
        oof=np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32),
        fold=np.array([0, 0, 1, 1]),
        test=np.array([5.0]),
    )
    assert predictions.write(tmp_path, given)
    found = predictions.read(tmp_path / PREDICTIONS_FILE, columns=1)
    np.testing.assert_array_equal(found.oof, [[1.0], [2.0], [3.0], [4.0]])
    assert found.test.shape == (1, 1)


def test_predictions_that_are_no_numbers_or_too_many_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = some()
    odd.test[0, 0] = np.inf
    assert not predictions.write(tmp_path, odd)
    monkeypatch.setattr(predictions, "MAX_BYTES", 2**16 + 100)
    assert not predictions.write(tmp_path, some())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changed", ["train", "oof", "fold", "test"])
def test_shapes_that_disagree_are_the_writers_fault(tmp_path: Path, changed: str) -> None:
    given = some()
    setattr(given, changed, getattr(given, changed)[..., :1] if changed == "test" else np.zeros((2, 2)))
    with pytest.raises(ValueError, match="shapes"):
        predictions.write(tmp_path, given)


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("train", np.array([1, 5, 4]), "ascending"),
        ("train", np.array([-1, 4, 5]), "below zero"),
        ("train", np.array([1, 4, 4]), "twice"),
        ("train", np.array([1.0, 4.0, 5.0]), "float64"),
        ("train", np.array([1, 4]), "disagree"),
        ("oof", np.zeros((3, 2), np.float32), "float32"),
        ("oof", np.asfortranarray(np.zeros((3, 2))), "float64"),
        ("oof", np.full((3, 2), np.nan), "not finite"),
        ("oof", np.zeros((3, 2, 1)), "shape"),
        ("oof", np.array([[object(), 1]] * 3), "object"),
        ("fold", np.array([-1, 0, 0], np.int16), "below zero"),
        ("test", np.zeros((2, 3)), "disagree"),
        ("test", np.zeros((2, 0)), "disagree"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, part: str, value: np.ndarray, said: str) -> None:
    path = tmp_path / PREDICTIONS_FILE
    np.savez(path, **(parts() | {part: value}))
    with pytest.raises(ValueError, match=said):
        predictions.read(path, columns=2)


def test_a_file_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / PREDICTIONS_FILE
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not readable"):
        predictions.read(path, columns=2)
    np.savez_compressed(path, **parts())
    with pytest.raises(ValueError, match="packed"):
        predictions.read(path, columns=2)
    np.savez(path, more=np.zeros(1), **parts())
    with pytest.raises(ValueError, match="other members"):
        predictions.read(path, columns=2)
    np.savez(path, **parts())
    with pytest.raises(ValueError, match="2 columns where 3"):
        predictions.read(path, columns=3)
    monkeypatch.setattr(predictions, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="too large"):
        predictions.read(path, columns=2)


def test_what_a_header_claims_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / PREDICTIONS_FILE
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in parts().items():
            if name == "oof":
                archive.writestr("oof.npy", header.getvalue() + bytes(16))
            else:
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, version=(1, 0))
    with pytest.raises(ValueError, match="claims"):
        predictions.read(path, columns=2)
