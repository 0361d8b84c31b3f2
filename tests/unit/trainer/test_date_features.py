"""How dates are read, and that what recurs and what goes on can be learned from them."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from services.trainer import date_features, prepare
from services.trainer.prepare import Encoding

DAYS = pd.Series(pd.date_range("2020-01-01", periods=900))


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("%b %Y", "%b %Y"),
        ("%B %Y", "%B %Y"),
        ("%b-%y", "%b-%y"),
        ("%m/%Y", "%m/%Y"),
        ("%d-%b-%y", "%d-%b-%y"),
        ("%Y-%m-%d %H:%M", "ISO8601"),
        ("%Y%m%dT%H%M%S", "ISO8601"),
        ("%d.%m.%Y", "%d.%m.%Y"),
        ("%m/%d/%Y", "%m/%d/%Y"),
    ],
)
def test_one_format_is_found_for_the_whole_column(written: str, read_as: str) -> None:
    arguments, share = date_features.reading(DAYS.dt.strftime(written))
    assert (arguments["format"], share) == (read_as, 1.0)


@pytest.mark.parametrize(
    ("numbers", "arguments"),
    [
        ([20240131, 20231205], {"format": "%Y%m%d"}),
        ([1_700_000_000, 1_600_000_000], {"unit": "s"}),
        ([1_700_000_000_000], {"unit": "ms"}),
        ([20240131, 20249999], None),
        ([12.5, 13.5], None),
        ([1, 2, 3], None),
    ],
)
def test_numbers_that_are_dates(numbers: list[float], arguments: dict[str, str] | None) -> None:
    found = date_features.number_reading(True, pd.Series(numbers, dtype="float64"))
    assert found == (None if arguments is None else {"errors": "coerce", "utc": True} | arguments)
    assert date_features.number_reading(False, pd.Series(numbers, dtype="float64")) is None


def features(times: pd.Series, encoding: Encoding) -> prepare.ColumnTransformer:
    table = pd.DataFrame({"at": times})
    columns = prepare.survey(table, {"at": "datetime"})
    return prepare.preprocessor(columns, encoding, regression=True, rows=len(table), seed=0)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_missing_date_is_missing_and_late_ones_are_answered(encoding: Encoding) -> None:
    ready = features(DAYS.astype(str), encoding)
    whole = ready.fit_transform(pd.DataFrame({"at": DAYS.astype(str)}))
    ready = pickle.loads(pickle.dumps(ready))
    for cell in (None, "never", np.nan, "2031-02-03 04:05", pd.Timestamp("2020-05-01"), 7):
        assert ready.transform(pd.DataFrame({"at": [cell]})).shape == (1, whole.shape[1])
    trees = encoding in (Encoding.SPLITS, Encoding.NATIVE)
    assert np.isnan(ready.transform(pd.DataFrame({"at": [None]}))).any() == trees


def test_the_trend_grows_over_the_ends_of_years() -> None:
    times = pd.Series(pd.date_range("2019-12-20", "2025-01-10", freq="6h"))
    matrix = features(times, Encoding.SPLITS).fit_transform(pd.DataFrame({"at": times}))
    trend = matrix[:, 4]
    assert (np.diff(trend) > 0).all()


@pytest.mark.parametrize("what", ["weekday", "season", "hour"])
def test_a_linear_model_learns_what_recurs(what: str) -> None:
    rng = np.random.default_rng(0)
    times = pd.Series(pd.date_range("2021-03-01", periods=900, freq="h" if what == "hour" else "D"))
    effect = {
        "weekday": np.array([0, 1, 2, 1, 0, -5, -6])[times.dt.dayofweek],
        "season": 4 * np.sin(2 * np.pi * times.dt.dayofyear / 365),
        "hour": 8 * np.exp(-((times.dt.hour - 8) ** 2) / 8),
    }[what]
    y = np.asarray(effect) + rng.normal(0, 0.5, len(times))
    model = make_pipeline(features(times, Encoding.LINEAR), RidgeCV(np.logspace(-3, 3, 7)))
    table = pd.DataFrame({"at": times})
    ideal = 1 - 0.25 / y.var()
    assert cross_val_score(model, table, y, cv=KFold(4, shuffle=True, random_state=0)).mean() > ideal - 0.1


def test_a_part_of_the_year_hardly_seen_is_no_larger_than_others() -> None:
    winter = pd.Series(pd.date_range("2021-11-10", "2021-12-24").astype(str))
    ready = features(winter, Encoding.SCALED).fit(pd.DataFrame({"at": winter}))
    summer = ready.transform(pd.DataFrame({"at": pd.date_range("2021-06-01", periods=60).astype(str)}))
    recurs = 2 * (date_features.KNOTS - 1)
    assert np.abs(summer[:, :recurs]).max() <= date_features.HEIGHT
