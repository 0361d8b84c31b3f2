"""Columns that alone predict the target nearly perfectly, where all the others together cannot.

Screening is a sort a column: what changes between neighbours in the column's order is what it does not
explain (Rice, Annals of Statistics 12, 1984). The few that pass are cross-validated alone, and then compared
with a model on all other columns: measurements of one thing are strong together, a leak is strong alone.
"""

from __future__ import annotations

import warnings

import numpy as np
from msgspec import Struct
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

from services.trainer.leakage_sample import Feature, Sample, names_past, names_time

LEAST_ROWS = 50
SCREENED = 0.06
"""Share of the target left unexplained between neighbours up to which a column is looked at more closely."""

ALONE_NUMBERS = 0.005
"""1 - R² of a column alone, cross-validated, up to which it is suspicious: R² 0.995."""

ALONE_CLASSES = 0.02
"""Wrong answers of a column alone, over those of always answering the largest class."""

FACTOR = 10
FAR_NUMBERS = 0.001
FAR_CLASSES = 0.03
"""How much worse all other columns together have to be: so many times, and leaving at least so much."""

SURE_NUMBERS = 0.001
NOT_NEAR = 0.1
"""What a column alone leaves of a target of numbers, and what every other single one does, from which on it
is suspicious although the others together say as much, as they do of a target computed from them."""

OTHERS_MISS = 5
"""Rows that the others have to get wrong, and the column right, for it to be more than chance."""

LOOKED_AT = 12
"""Columns that are cross-validated, the strongest first."""

COMPARED_ROWS = 4_000
COMPARED_COLUMNS = 150
"""Rows and columns (the strongest) of the model on all the others."""


class Strong(Struct, frozen=True):
    """`alone`, `others`: the share of the target left unexplained, 0..1 (1 - R², or wrong answers over those
    of always answering the largest class). `evidence`: the same in the words of usual metrics."""

    name: str
    alone: float
    others: float
    evidence: str


def find(sample: Sample, copies: set[str]) -> list[Strong]:
    """The suspiciously strong columns, strongest first; `copies` are known already and not compared with."""
    if len(sample.y) < LEAST_ROWS:
        return []
    left = np.array([unexplained(feature, sample) for feature in sample.features])
    order = [int(i) for i in np.argsort(left, kind="stable") if sample.features[i].name not in copies]
    looked_at = [
        sample.features[i] for i in order if left[i] <= SCREENED and not _excused(sample.features[i])
    ][:LOOKED_AT]
    small = _fewer(sample, COMPARED_ROWS)
    most, far = (ALONE_NUMBERS, FAR_NUMBERS) if small.labels is None else (ALONE_CLASSES, FAR_CLASSES)
    found = []
    for feature in looked_at:
        alone = Alone.of(_rows(feature, small), small)
        if alone.left > most:
            continue
        rest = [i for i in order if sample.features[i].name != feature.name]
        others = _together([_rows(sample.features[i], small) for i in rest[:COMPARED_COLUMNS]], small)
        outstanding = (
            small.labels is None and alone.left <= SURE_NUMBERS and left[rest].min(initial=1) >= NOT_NEAR
        )
        far_ahead = others.left >= max(far, FACTOR * alone.left) and alone.beats(others)
        if not (far_ahead or outstanding):
            continue
        found.append(Strong(feature.name, alone.left, others.left, f"{alone.said}; {_reach(others, small)}"))
    return found


def evidence(name: str, sample: Sample) -> str:
    """What the column alone predicts, such as "alone it predicts the target with R² 0.9998"."""
    small = _fewer(sample, COMPARED_ROWS)
    feature = next(feature for feature in small.features if feature.name == name)
    return Alone.of(feature, small).said


def unexplained(feature: Feature, sample: Sample) -> float:
    """Share of the target's variance (of its ranks), or of its disagreement between two random rows, that is
    left between neighbours in the column's order. Around 1 for a column that says nothing."""
    order = np.argsort(np.where(feature.present, feature.values, -np.inf), kind="stable")
    y = sample.y[order]
    if sample.labels is None:
        ranks = rankdata(y)
        spread = ranks.var()
        return float(np.square(np.diff(ranks)).sum() / (2 * len(ranks) * spread)) if spread else 1.0
    counts = np.bincount(y, minlength=sample.classes) / len(y)
    differing = 1 - float(counts @ counts)
    return float((np.diff(y) != 0).mean()) / differing if differing else 1.0


def _excused(feature: Feature) -> bool:
    """Time explains what grows with it, and what was there before is no leak."""
    return feature.role == "datetime" or names_time(feature.name) or names_past(feature.name)


class Alone(Struct, frozen=True):
    """A model's cross-validated answers: `left` as `Strong.alone`, which rows are `wrong` (classes only), the
    `score` in words and in a sentence (`said`)."""

    left: float
    said: str
    score: str
    wrong: np.ndarray | None

    @staticmethod
    def of(feature: Feature, sample: Sample) -> Alone:
        return _together([feature], sample)

    def beats(self, others: Alone) -> bool:
        """Whether enough rows speak for it: of numbers every row does."""
        if self.wrong is None or others.wrong is None:
            return True
        return int((others.wrong & ~self.wrong).sum()) >= OTHERS_MISS + 2 * int(
            (self.wrong & ~others.wrong).sum()
        )


def _reach(others: Alone, sample: Sample) -> str:
    return f"all other columns together reach {others.score}"


def _together(features: list[Feature], sample: Sample) -> Alone:
    """The better of a linear and a tree model on these columns, cross-validated in three folds."""
    y = sample.y
    if sample.labels is None:
        y = y / (np.abs(y).max() or 1)  # squares of the largest floats would be infinite
        total = float(np.square(y - y.mean()).sum())
        answers = _regressions(features, y) if features else []
        least = min((float(np.square(y - answer).sum()) / total for answer in answers), default=1.0)
        score = f"R² {_digits(1 - min(least, 1.0))}"
        return Alone(least, f"alone it predicts the target with {score} in cross-validation", score, None)
    baseline = len(y) - int(np.bincount(y).max())
    found = _classifications(features, sample) if features else []
    probability = min(found, key=lambda p: (p.argmax(axis=1) != y).sum(), default=None)
    if probability is None:
        return Alone(1.0, "", "nothing", np.ones(len(y), dtype=bool))
    wrong = probability.argmax(axis=1) != y
    auc = _auc(y, probability)
    shown = f"ROC AUC {_digits(auc)}" if auc is not None else f"accuracy {_digits(1 - float(wrong.mean()))}"
    mistakes = f"{wrong.sum():,} of {len(y):,} rows wrong"
    said = f"alone it predicts the class with {shown}, {mistakes}, in cross-validation"
    return Alone(float(wrong.sum()) / baseline, said, f"{shown}, {wrong.sum():,} rows wrong", wrong)


def _regressions(features: list[Feature], y: np.ndarray) -> list[np.ndarray]:
    folds = KFold(3, shuffle=True, random_state=0)
    x = _matrix(features)
    coded = [i for i, feature in enumerate(features) if feature.codes]
    models = [
        _with_codes(coded, len(features), "continuous", StandardScaler(), RidgeCV(np.logspace(-6, 3, 10)))
    ]
    if len(features) == 1:
        models.append(_with_codes(coded, 1, "continuous", StandardScaler(), KNeighborsRegressor(2)))
    else:
        trees = ExtraTreesRegressor(100, min_samples_leaf=2, max_features=0.5, random_state=0)
        models.append(_with_codes(coded, len(features), "continuous", trees))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rank-deficient columns, which are no news here
        return [cross_val_predict(model, x, y, cv=folds) for model in models]


def _classifications(features: list[Feature], sample: Sample) -> list[np.ndarray]:
    y = sample.y
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    x = _matrix(features)
    coded = [i for i, feature in enumerate(features) if feature.codes]
    if len(features) == 1:
        models = [_with_codes(coded, 1, "auto", DecisionTreeClassifier(min_samples_leaf=2, random_state=0))]
    else:
        trees = ExtraTreesClassifier(100, max_features=0.5, random_state=0)
        linear = LogisticRegression(max_iter=200)
        models = [
            _with_codes(coded, len(features), "auto", trees),
            _with_codes(coded, len(features), "auto", StandardScaler(), linear),
        ]
    with warnings.catch_warnings():
        # a class of fewer rows than folds, and a linear model that would go on: neither changes the verdict
        warnings.simplefilter("ignore")
        return [_aligned(model, x, y, folds, sample.classes) for model in models]


def _aligned(model: object, x: np.ndarray, y: np.ndarray, folds: StratifiedKFold, classes: int) -> np.ndarray:
    """Probabilities (n, classes) of rows that the model had not seen; a class no fold trained on has 0."""
    made = np.zeros((len(y), classes))
    for train, valid in folds.split(x, y):
        fitted = model.fit(x[train], y[train])  # type: ignore[attr-defined]
        made[np.ix_(valid, fitted.classes_)] = fitted.predict_proba(x[valid])
    return made


def _with_codes(coded: list[int], count: int, target_type: str, *steps: object) -> object:
    """A pipeline in which codes become the target's mean for each, learned within the fold."""
    from sklearn.compose import ColumnTransformer

    fill = SimpleImputer(strategy="median", keep_empty_features=True, add_indicator=True)
    numbers = [i for i in range(count) if i not in set(coded)]
    parts = [
        ("codes", TargetEncoder(target_type=target_type, cv=KFold(3, shuffle=True, random_state=0)), coded),
        ("numbers", fill, numbers),
    ]
    return make_pipeline(ColumnTransformer([part for part in parts if part[2]]), *steps)


def _matrix(features: list[Feature]) -> np.ndarray:
    """Columns side by side, (n, features); magnitudes that float32 has not are cut."""
    return np.clip(np.column_stack([feature.values for feature in features]), -1e30, 1e30)


def _fewer(sample: Sample, rows: int) -> Sample:
    """The first `rows` of a sample, whose order is random; rare classes keep up to fifty rows."""
    keep = np.arange(len(sample.y)) < rows
    if sample.labels is not None and len(sample.y) > rows:
        for c in np.flatnonzero(np.bincount(sample.y[keep], minlength=sample.classes) < 50):
            keep[np.flatnonzero(sample.y == c)[:50]] = True
    if keep.all():
        return sample
    features = [_cut(feature, keep) for feature in sample.features]
    return Sample(sample.rows[keep], sample.y[keep], sample.labels, features, sample.of)


def _cut(feature: Feature, keep: np.ndarray) -> Feature:
    return Feature(feature.name, feature.role, feature.values[keep], feature.codes, feature.distinct)


def _rows(feature: Feature, small: Sample) -> Feature:
    return next(kept for kept in small.features if kept.name == feature.name)


def _auc(y: np.ndarray, probability: np.ndarray) -> float | None:
    """Of two classes; of more the mean of each against the rest, over those that can be scored."""
    if probability.shape[1] == 2:
        return float(roc_auc_score(y, probability[:, 1]))
    counts = np.bincount(y, minlength=probability.shape[1])
    each = [
        roc_auc_score(y == c, probability[:, c]) for c in np.flatnonzero((counts > 0) & (counts < len(y)))
    ]
    return float(np.mean(each)) if each else None


def _digits(score: float) -> str:
    """0.98 but 0.99987: as many nines as there are."""
    if score >= 1:
        return "1.0000"
    digits = 4 if score < 0.999 else min(9, int(-np.floor(np.log10(1 - score))) + 2)
    return f"{score:.{digits}f}"
