from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from services.trainer import text_encoding

WORDS = ["a red boat", "two green boats", "no boat at all", "the sea", "a green sea", "red and green"]


def texts(rows: int = 120) -> pd.Series:
    rng = np.random.default_rng(0)
    return pd.Series([" ".join(rng.choice(WORDS, 3)) for _ in range(rows)], name="note")


def test_what_is_remembered_is_what_the_encoder_says() -> None:
    known = texts()
    made = text_encoding.remembered(known, len(known), seed=0, seconds=60.0)
    later = pd.Series(["a red sea", None, "", "two boats", None, known[3]], index=[9, 8, 7, 6, 5, 4])
    for cells in (known, later, known.iloc[::-1], later.head(0)):
        told = made.transform(cells)
        assert told.shape[0] == len(cells)
        if len(cells):
            np.testing.assert_allclose(told, np.asarray(made.encoder.transform(cells)), rtol=1e-5, atol=1e-6)


def test_no_text_is_encoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    known = texts()
    made = text_encoding.remembered(known, len(known), seed=0, seconds=60.0)
    encode, encoded = made.encoder.transform, []

    def counted(cells: pd.Series) -> object:
        encoded.extend(cells)
        return encode(cells)

    monkeypatch.setattr(made.encoder, "transform", counted, raising=False)
    for _ in range(2):
        clone(made).fit_transform(known)
        made.transform(known.sample(frac=1, random_state=0))
    made.transform(pd.Series(["new", known[0], "new"]))
    assert sorted(encoded) == sorted([*known.unique(), "new"])


def test_a_pickle_holds_the_encoder_alone() -> None:
    made = text_encoding.remembered(texts(), 120, seed=0, seconds=60.0)
    made.transform(texts())
    pickled = pickle.dumps(made)
    named = {text for _, text, _ in pickletools.genops(pickled) if isinstance(text, str)}
    assert not {name for name in named if name.startswith("services")}
    np.testing.assert_array_equal(pickle.loads(pickled).transform(texts()), made.encoder.transform(texts()))


def test_texts_are_taken_by_the_word_where_letters_take_too_long() -> None:
    hurried = text_encoding.remembered(texts(), 10**9, seed=0, seconds=1.0)
    at_leisure = text_encoding.remembered(texts(), 120, seed=0, seconds=1e6)
    assert hurried.encoder[-1].analyzer == "word"
    assert at_leisure.encoder[-1].analyzer == "char_wb"


def test_an_encoder_is_fitted_on_a_part_of_long_texts() -> None:
    long = pd.Series([f"word{number} " * 100 for number in range(1_000)])
    made = text_encoding.remembered(long, len(long), seed=0, seconds=1e-9)
    assert len(made.encoder[-1].vectorizer_.vocabulary_) == text_encoding.FEWEST_TEXTS
    assert made.transform(long).shape == (1_000, text_encoding.COMPONENTS)


def test_a_column_without_any_text_is_encoded() -> None:
    empty = pd.Series([None] * 50, dtype=object)
    made = text_encoding.remembered(empty, 50, seed=0, seconds=60.0)
    assert np.isfinite(made.transform(pd.Series([None, "a word"]))).all()
