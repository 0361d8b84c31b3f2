"""A model of scikit-learn as .skops: a format that names what it is made of, and runs none of it unasked.

`skops.io.load` makes objects only of types that it trusts by itself or is told to trust, so whoever opens
a file decides with a list at hand what may come out of it; a pickle decides that by itself. Runs in a child.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import pandas as pd
import skops
import skops.io
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer
from skops.io.exceptions import UnsupportedTypeException

from services.trainer import loading
from services.trainer.outcome import SKOPS_FILE, Converted, Example
from shared.errors import NotConvertible

LIBRARIES = frozenset({"numpy", "pandas", "scipy", "sklearn", "skrub"})
"""What the types of a file may come from: what every model of ours prepares its table with."""

BUILTINS = frozenset({"builtins.object", "functools.partial", "operator.attrgetter"})
"""Python's own types that scikit-learn's estimators and our pipelines hold. The last one reads parts of a
date and calls nothing; none reaches functions by their names, as `getattr` on a module would."""


def convert(source: Path, sha256: str, example: Example, scratch: Path) -> Converted:
    """Open the pickle, write it as `SKOPS_FILE` into `scratch`, and read that back: the file is good only
    where it predicts the same. Raises NotConvertible with the reason, StorageCorrupt for another file."""
    model = loading.verified(source, sha256)
    table = pd.DataFrame(example.rows)
    expected = model.predict(table) if len(table) else None
    for transformer in _transformers(model, set()):
        transformer.func = _named(transformer.func)
    path = scratch / SKOPS_FILE
    try:
        skops.io.dump(model, path, compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    except UnsupportedTypeException as error:
        raise NotConvertible(f"skops cannot write it: {error}") from None
    del model
    types = skops.io.get_untrusted_types(file=path)
    if foreign := [name for name in types if not _is_ours(name)]:
        raise NotConvertible(f"it is not of scikit-learn alone: it holds {', '.join(foreign)}")
    try:
        reloaded = skops.io.load(path, trusted=types)
        same = expected is None or _same(expected, reloaded.predict(table))
    except Exception as error:  # whatever skops cannot read again is no file to hand over
        raise NotConvertible(f"skops cannot read it again ({type(error).__name__})") from error
    if not same:
        raise NotConvertible("read again from .skops it predicts something else")
    return Converted(types, [f"skops=={skops.__version__}"])


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in LIBRARIES or name in BUILTINS


def _same(expected: np.ndarray, answered: np.ndarray) -> bool:
    return bool(pd.Series(expected).equals(pd.Series(answered)))


def _transformers(part: Any, seen: set[int]) -> Iterator[FunctionTransformer]:
    """Every FunctionTransformer in a model whose function is a method of a class, taken from the class."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, FunctionTransformer):
        if isinstance(part.func, FunctionType) and "." in part.func.__qualname__:
            yield part
        return
    inner: Any = ()
    if isinstance(part, BaseEstimator):
        inner = vars(part).values()
    elif isinstance(part, dict):
        inner = part.values()
    elif isinstance(part, list | tuple):
        inner = part
    for each in inner:
        yield from _transformers(each, seen)


def _named(function: FunctionType) -> MethodType:
    """`DataFrame.astype` so that skops can find it again.

    Of a function skops 0.16 writes its module and its own name, which for one that belongs to a class leads
    nowhere. Of a method it writes whose it is as well, and reading it is `getattr(owner, name)`: with the
    class for its owner, that is the very function. So it is given a method of something that is called as
    the class is. The list of types then names each such function, and nothing more general.
    """
    owner, _, name = function.__qualname__.rpartition(".")
    named = {"__module__": function.__module__}
    stand_in = type(owner, (type,), dict(named))(owner, (), dict(named))

    def method() -> None: ...

    method.__name__, method.__module__ = name, function.__module__
    return MethodType(method, stand_in)
