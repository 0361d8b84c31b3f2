"""Text to numbers: n-grams weighted by tf-idf, reduced to a few dozen components.

An encoder is told no target, so one fitted on the training rows serves every fold of a candidate, and what
it has said of a text is remembered: encoding is most of what a fit on a table with text takes.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

COMPONENTS = 30
"""Of each text; on few rows fewer (one a 25 rows), or text that says nothing drowns what does."""

MOST_CHARACTERS = 1_000_000
"""An encoder is fitted on a random part of the texts, together no longer than this: components hardly change
beyond, while the vocabulary, which is pickled whole, grows."""

CHARACTERS_A_SECOND = 75_000
"""Of a candidate's time, what it learns its encoders from: about a twentieth of it on a core of its own."""

FEWEST_CHARACTERS = 50_000
FEWEST_TEXTS = 200
"""Or all: some times as many as there are components."""

ENCODING_SHARE = 0.2
"""Of a candidate's time, what encoding all rows may take: where it would take more, texts are taken by the
word instead of by groups of three and four letters, which is a tenth of the work and a little worse."""

TRANSFORM_COST = 0.6
"""Of what fitting takes a character, what encoding one does."""


def unfitted(rows: int, seed: int, *, by_word: bool = False) -> Pipeline:
    """One column of raw cells, as a Series, to components. `rows`: that a model will learn from."""
    from skrub import StringEncoder

    by = {"analyzer": "word", "ngram_range": (1, 1)} if by_word else {}
    return make_pipeline(
        FunctionTransformer(pd.Series.astype, kw_args={"dtype": "string"}),
        FunctionTransformer(pd.Series.fillna, kw_args={"value": ""}),
        # a word for what is empty: a column of nothing else would leave no vocabulary
        FunctionTransformer(
            pd.Series.replace, kw_args={"to_replace": r"^\s*$", "value": "missing", "regex": True}
        ),
        StringEncoder(n_components=min(COMPONENTS, max(8, rows // 25)), random_state=seed, **by),
    )


class Remembered(TransformerMixin, BaseEstimator):
    """A fitted encoder that encodes no text twice. A copy of a pipeline keeps it as it is; a pickle holds
    the encoder alone, so that none of this code is needed to open it."""

    def __init__(self, encoder: Pipeline) -> None:
        self.encoder = encoder
        self._known = pd.Index([], dtype=object)
        self._vectors = np.zeros((0, 0), dtype=np.float32)

    def __sklearn_clone__(self) -> Remembered:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (self.encoder,)

    def fit(self, texts: pd.Series, y: object = None) -> Remembered:
        return self

    def transform(self, texts: pd.Series) -> np.ndarray:
        """(n, components), float32: what the encoder says of each."""
        written = texts.astype("string").fillna("").to_numpy(dtype=object)
        at = self._known.get_indexer(written)
        new = pd.unique(written[at < 0])
        if len(new):
            vectors = np.asarray(self.encoder.transform(pd.Series(new, dtype="string")), dtype=np.float32)
            self._vectors = np.concatenate([self._vectors, vectors]) if len(self._known) else vectors
            self._known = self._known.append(pd.Index(new, dtype=object))
            at = self._known.get_indexer(written)
        return self._vectors[at]


def remembered(texts: pd.Series, rows: int, seed: int, seconds: float) -> Remembered:
    """An encoder of one column, fitted on as many of `texts` (the training rows' raw cells) as suit a
    candidate that has `seconds` in all, with which it is to encode `rows` rows."""
    length = max(float(texts.astype("string").fillna("").str.len().mean()), 1.0)
    characters = float(np.clip(seconds * CHARACTERS_A_SECOND, FEWEST_CHARACTERS, MOST_CHARACTERS))
    most = max(int(characters / length), FEWEST_TEXTS)
    some = texts.sample(most, random_state=seed) if most < len(texts) else texts
    started = time.perf_counter()
    encoder = unfitted(len(texts), seed).fit(some)
    took = time.perf_counter() - started
    if took / len(some) * TRANSFORM_COST * rows > ENCODING_SHARE * seconds:
        encoder = unfitted(len(texts), seed, by_word=True).fit(some)
    return Remembered(encoder)
