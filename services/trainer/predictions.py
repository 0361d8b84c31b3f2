"""What a fit predicted for rows that it had not seen, kept beside its model as `predictions.npz`.

An ensemble is learnt from these and nothing else, so each fit is made once. The file was written by a child
that may have been taken over by the table that it read: whoever reads it gets four arrays of the kinds and
shapes below, finite, or ValueError. Nothing in it is unpickled, and nothing unpacks to more than it is.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from msgspec import Struct

from services.trainer.outcome import MAX_PREDICTIONS_BYTES as MAX_BYTES
from services.trainer.outcome import PREDICTIONS_FILE

_DTYPES = {"train": np.int64, "oof": np.float64, "fold": np.int16, "test": np.float64}
_HEADER_BYTES = 4096


class Predictions(Struct):
    """Out-of-fold and held-out predictions of one candidate, in the natural scale of the target.

    `train`: (n,) int64, the positions (as `split` counts them) of the training rows that were validated,
    ascending; of series, of the steps that were forecast. `oof`: (n, k), what models that had not seen a row
    said of it: probabilities in the order of the plan's labels, or one column. `fold`: (n,) int16, the fold
    (or cut-off) that a row was validated in. `test`: (m, k), the held-out rows as the model that was fitted
    on the training part sees them.
    """

    train: np.ndarray
    oof: np.ndarray
    fold: np.ndarray
    test: np.ndarray


def write(scratch: Path, predictions: Predictions) -> bool:
    """Leave them in `scratch`; False, and no file, where they are too large or not finite.

    Any numbers will do that can be cast to the kinds above; rows may come in any order. Raises ValueError
    where the shapes disagree.
    """
    shapes = {len(predictions.train), len(predictions.fold), len(predictions.oof)}
    if len(shapes) > 1 or np.ndim(predictions.train) != 1:
        raise ValueError("predictions: shapes disagree")
    # stable: steps that two cut-offs forecast stay in the order of the cut-offs
    order = np.argsort(predictions.train, kind="stable")
    arrays = {
        "train": np.asarray(predictions.train)[order],
        "oof": _columns(predictions.oof)[order],
        "fold": np.asarray(predictions.fold)[order],
        "test": _columns(predictions.test),
    }
    arrays = {name: np.ascontiguousarray(array, _DTYPES[name]) for name, array in arrays.items()}
    if odd := _oddity(Predictions(**arrays)):
        raise ValueError(f"predictions: {odd}")
    finite = np.isfinite(arrays["oof"]).all() and np.isfinite(arrays["test"]).all()
    if not finite or sum(array.nbytes for array in arrays.values()) > MAX_BYTES - 2**16:
        return False
    np.savez(scratch / PREDICTIONS_FILE, allow_pickle=False, **arrays)
    return True


def read(path: Path, *, columns: int) -> Predictions:
    """What `write` left, of a model that answers `columns` numbers a row. Raises ValueError for all else."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("predictions: too large")
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_oddities(archive)
            arrays = {}
            for name in _DTYPES:
                with archive.open(f"{name}.npy") as member:
                    arrays[name] = _array(name, member)
    except (zipfile.BadZipFile, EOFError, OSError, KeyError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"predictions: not readable ({error})") from error
    found = Predictions(**arrays)
    if odd := _oddity(found):
        raise ValueError(f"predictions: {odd}")
    if found.oof.shape[1] != columns:
        raise ValueError(f"predictions: {found.oof.shape[1]} columns where {columns} were to come")
    if not (np.isfinite(found.oof).all() and np.isfinite(found.test).all()):
        raise ValueError("predictions: not finite")
    return found


def _refuse_oddities(archive: zipfile.ZipFile) -> None:
    """Members are stored, not packed, so that what they come to is no more than the file."""
    members = archive.infolist()
    if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in _DTYPES):
        raise ValueError("predictions: other members than were to come")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("predictions: packed")


def _array(name: str, member: IO[bytes]) -> np.ndarray:
    """One array, whose header is looked at before anything is allocated for what it claims."""
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"predictions: {name} has a header of another kind")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member, max_header_size=_HEADER_BYTES)
    if dtype != _DTYPES[name] or fortran:
        raise ValueError(f"predictions: {name} is {dtype}")
    if len(shape) > 2 or any(length < 0 for length in shape):
        raise ValueError(f"predictions: {name} has the shape {shape}")
    wanted = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if wanted > MAX_BYTES:
        raise ValueError(f"predictions: {name} claims {wanted} bytes")
    content = member.read(wanted + 1)
    if len(content) != wanted:
        raise ValueError(f"predictions: {name} has {len(content)} bytes where {wanted} were to come")
    return np.frombuffer(content, dtype).reshape(shape)


def _columns(values: np.ndarray) -> np.ndarray:
    """(n,) as (n, 1)."""
    values = np.asarray(values)
    return values[:, None] if values.ndim == 1 else values


def _oddity(found: Predictions) -> str | None:
    n = len(found.train) if found.train.ndim == 1 else -1
    if n < 1 or found.fold.shape != (n,) or found.oof.ndim != 2 or len(found.oof) != n:
        return f"shapes {found.train.shape}, {found.fold.shape}, {found.oof.shape} disagree"
    if found.test.ndim != 2 or found.test.shape[1] != found.oof.shape[1] or not found.oof.shape[1]:
        return f"shapes {found.oof.shape} and {found.test.shape} disagree"
    if found.train[0] < 0 or (np.diff(found.train) < 0).any() or (found.fold < 0).any():
        return "positions are not ascending, or below zero"
    if len(np.unique(found.train + 1j * found.fold)) < n:
        return "a row was predicted twice in one fold"
    return None
