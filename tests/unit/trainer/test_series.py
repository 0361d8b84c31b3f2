from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from msgspec import UNSET
from statsforecast.utils import AirPassengersDF
from statsmodels.datasets import co2, macrodata, sunspots

from services.trainer import series, series_rows, series_times
from shared.contracts.states import TaskType
from shared.contracts.training import Plan
from shared.errors import CannotTrain, InvalidRequest


def wave(n: int) -> np.ndarray:
    return 100 + np.arange(n) % 7 + 0.1 * np.arange(n)


def table(times: object, n: int | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"when": times})
    return frame.assign(value=wave(len(frame)))


def described(frame: pd.DataFrame, horizon: int | None = None) -> series.SeriesFacts:
    return series.describe(frame, "when", None, "value", horizon)


def plan_for(frame: pd.DataFrame, time: str, target: str, by: str | None, horizon: int | None = None) -> Plan:
    facts = series.describe(frame, time, by, target, horizon)
    return Plan(
        task_type=TaskType.TIME_SERIES,
        target=target,
        metric="mase",
        roles=facts.roles,
        models=["seasonal_naive"],
        rows=len(frame),
        test_size=0.2,
        cv_folds=5,
        seed=0,
        refit=True,
        split_digest=facts.split_digest,
        deadline_s=60,
        time_column=time,
        series_column=by,
        horizon=facts.horizon,
        frequency=facts.frequency,
        season_length=facts.season_length,
        warnings=facts.warnings,
        details=facts.details(),
    )


def codes(facts: series.SeriesFacts) -> list[str]:
    return [notice.code for notice in facts.warnings]


FREQUENCIES = [
    ("YS-JAN", 1),
    ("YE-DEC", 1),
    ("YS-JUL", 1),
    ("QS-JAN", 4),
    ("QE-DEC", 4),
    ("MS", 12),
    ("ME", 12),
    ("2MS", 6),
    ("BME", 12),
    ("SMS", 24),
    ("W-SUN", 52),
    ("W-WED", 52),
    ("14D", 26),
    ("D", 7),
    ("B", 5),
    ("h", 24),
    ("6h", 4),
    ("15min", 96),
    ("min", 60),
    ("s", 60),
]


@pytest.mark.parametrize(("alias", "season"), FREQUENCIES)
def test_frequency_is_found_with_and_without_gaps(alias: str, season: int) -> None:
    times = pd.date_range("2000-12-31", periods=260, freq=alias)
    facts = described(table(times.astype(str)), horizon=3)
    assert (facts.frequency, facts.season_length) == (alias, season)
    assert facts.warnings == []
    assert facts.shortest == facts.longest == 260

    holes = np.delete(np.arange(260), [17, 40, 41, 99])
    facts = described(table(times[holes].astype(str)), horizon=3)
    assert (facts.frequency, facts.shortest) == (alias, 260)
    assert codes(facts) == ["gaps-filled"]
    assert facts.warnings[0].message.startswith("4 of 260 steps")


@pytest.mark.parametrize(
    ("written", "first"),
    [
        ([f"{y}Q{q}" for y in range(1990, 1996) for q in (1, 2, 3, 4)], "1990-01-01"),
        ([f"Q{q} {y}" for y in range(1990, 1996) for q in (1, 2, 3, 4)], "1990-01-01"),
        ([f"{y}M{m:02d}" for y in range(1990, 1993) for m in range(1, 13)], "1990-01-01"),
        ([f"2024-W{w:02d}" for w in range(1, 40)], "2024-01-01"),
        ([f"{d:%b-%y}" for d in pd.date_range("1999-05-01", periods=30, freq="MS")], "1999-05-01"),
        ([f"{d:%d.%m.%Y}" for d in pd.date_range("2020-02-10", periods=60)], "2020-02-10"),
        ([f"{d:%m/%d/%Y}" for d in pd.date_range("2020-02-10", periods=60)], "2020-02-10"),
        ([f"{d:%Y-%m-%dT%H:%M:%S+02:00}" for d in pd.date_range("2020-02-10", periods=60)], "2020-02-10"),
        ([f"{d:%Y-%m-%d %H:%M:%S+02:00}" for d in pd.date_range("2020-02-10 01:00", periods=60, freq="h")],
         "2020-02-09T23:00:00"),
    ],
)  # fmt: skip
def test_spellings_of_time_are_read(written: list[str], first: str) -> None:
    frame = table(written)
    long = series.prepare(frame, plan_for(frame, "when", "value", None)).long
    assert long["when"].iloc[0] == pd.Timestamp(first)
    assert long["value"].notna().all() and len(long) == len(written)


def test_day_and_month_are_told_apart_by_even_steps() -> None:
    months = pd.date_range("2019-01-01", periods=36, freq="MS")
    facts = described(table(months.strftime("%d/%m/%Y")))
    assert (facts.frequency, codes(facts)) == ("MS", ["ambiguous-dates"])
    facts = described(table(months.strftime("%m/%d/%Y")))
    assert (facts.frequency, codes(facts)) == ("MS", ["ambiguous-dates"])


def test_a_day_over_twelve_leaves_no_doubt() -> None:
    days = pd.date_range("2020-01-01", periods=40)
    facts = described(table(days.strftime("%d/%m/%Y")))
    assert (facts.frequency, codes(facts)) == ("D", [])


@pytest.mark.parametrize(
    ("numbers", "frequency", "first"),
    [
        (list(range(1949, 1980)), "1", 1949),
        ([float(y) for y in range(1949, 1980)], "1", 1949),
        (list(range(0, 200, 5)), "5", 0),
        (list(range(-20, 20)), "1", -20),
        ([y * 100 + m for y in (2019, 2020) for m in range(1, 13)], "MS", pd.Timestamp("2019-01-01")),
        (
            [int(f"{d:%Y%m%d}") for d in pd.date_range("2020-01-25", periods=30)],
            "D",
            pd.Timestamp("2020-01-25"),
        ),
        (
            list(range(1_600_000_000, 1_600_144_000, 3600)),
            "h",
            pd.Timestamp(1_600_000_000, unit="s"),
        ),
    ],
)  # fmt: skip
def test_whole_numbers_are_steps_or_dates(numbers: list[float], frequency: str, first: object) -> None:
    frame = table(numbers)
    plan = plan_for(frame, "when", "value", None)
    assert plan.frequency == frequency
    assert series.prepare(frame, plan).long["when"].iloc[0] == first
    assert ("time-format" in [w.code for w in plan.warnings]) == (not isinstance(first, int))


def test_two_digit_years_are_read_in_one_way_throughout() -> None:
    days = pd.date_range("2020-01-01", periods=40)
    for written in ("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d/%m/%y %H:%M"):
        frame = table(days.strftime(written))
        plan = plan_for(frame, "when", "value", None)
        assert (plan.frequency, plan.warnings) == ("D", [])
        assert list(series.prepare(frame, plan).long["when"]) == list(days)


@pytest.mark.parametrize(
    "times",
    [
        [True, False] * 15,
        list(pd.to_timedelta(range(30), "h")),
        np.array(["3000-01-01"], dtype="datetime64[us]") + np.arange(30).astype("timedelta64[D]"),
        [f"{year}-01-01" for year in range(1500, 1530)],
        [10**25 + i for i in range(30)],
        [*range(29), math.inf],
    ],
)
def test_what_is_no_time_or_out_of_range_is_named(times: object) -> None:
    with pytest.raises(InvalidRequest, match=r"column 'when': .* in line .* cannot be read as a time"):
        described(table(times))


def test_numbers_that_are_no_steps_are_named() -> None:
    frame = table([1949 + i * 0.0371 for i in range(30)])
    with pytest.raises(InvalidRequest) as caught:
        described(frame)
    assert caught.value.errors[0][0] == "/time_column"
    assert "'1949.0371' in line 3" in caught.value.errors[0][1]


def test_all_faults_are_named_with_column_line_and_value() -> None:
    frame = table(pd.date_range("2020-01-01", periods=30).astype(str)).astype({"value": object})
    frame.loc[4, "when"] = "n/a?"
    frame.loc[5, "when"] = None
    frame.loc[7, "value"] = "many"
    frame["shop"] = "a"
    frame.loc[9, "shop"] = None
    with pytest.raises(InvalidRequest) as caught:
        series.describe(frame, "when", "shop", "value", None)
    assert caught.value.errors == [
        ("/time_column", "column 'when': 'n/a?' in line 6 cannot be read as a time"),
        ("/time_column", "column 'when': no time in line 7"),
        ("/target", "column 'value': 'many' in line 9 cannot be read as a number"),
        ("/series_column", "column 'shop': no series in line 11"),
    ]


def test_many_faults_are_counted() -> None:
    frame = table([f"city {i}" for i in range(30)])
    with pytest.raises(InvalidRequest, match=r"'city 0' in line 2, .* and 27 more cannot be read as a time"):
        described(frame)


def test_duplicates_name_series_time_and_lines() -> None:
    days = pd.date_range("2020-01-01", periods=20).astype(str)
    frame = pd.concat([table(days).assign(shop="a"), table(days).assign(shop="b")], ignore_index=True)
    frame.loc[25, "when"] = "2020-01-03"
    with pytest.raises(InvalidRequest) as caught:
        series.describe(frame, "when", "shop", "value", None)
    ((pointer, detail),) = caught.value.errors
    assert pointer == "/series_column"
    assert "series 'b' has 2020-01-03T00:00:00Z more than once (lines 24 and 27)" in detail

    with pytest.raises(InvalidRequest, match="name their column in series_column"):
        series.describe(frame, "when", None, "value", None)


def test_a_horizon_that_is_too_long_names_the_series_and_its_length() -> None:
    days = pd.date_range("2020-01-01", periods=60).astype(str)
    frame = pd.concat([table(days[:40]).assign(shop="long"), table(days[:20]).assign(shop="short")])
    with pytest.raises(InvalidRequest) as caught:
        series.describe(frame, "when", "shop", "value", 17)
    assert caught.value.errors == [
        (
            "/horizon",
            "series 'long' has 40 steps, series 'short' has 20 steps; a horizon of 17 needs 42 "
            "(at most 16 is possible here)",
        )
    ]
    facts = series.describe(frame, "when", "shop", "value", 16)
    assert (facts.horizon, facts.series, facts.scored) == (16, 2, 1)


def test_short_series_do_not_keep_the_others_from_being_forecast() -> None:
    days = pd.date_range("2020-01-01", periods=60).astype(str)
    parts = {"long": 60, "also": 55, "short": 9, "tiny": 2}
    frame = pd.concat([table(days[:n]).assign(shop=name) for name, n in parts.items()])
    facts = series.describe(frame, "when", "shop", "value", 6)
    assert (facts.series, facts.scored, facts.shortest, facts.season_length) == (3, 2, 9, 7)
    told = {notice.code: notice for notice in facts.warnings}
    assert told["series-left-out"].evidence == "'tiny' has 2"
    assert told["short-series"].evidence == "'short' has 9 steps; 20 are needed"


def test_no_series_that_is_long_enough_is_told() -> None:
    days = pd.date_range("2020-01-01", periods=60).astype(str)
    frame = pd.concat([table(days[:8]).assign(shop="longer"), table(days[:5]).assign(shop="short")])
    with pytest.raises(CannotTrain, match="at least 10 rows with a known 'value': 'longer' has 8, 'short'"):
        series.describe(frame, "when", "shop", "value", None)


def test_rows_that_say_the_same_twice_are_one() -> None:
    frame = table(pd.date_range("2020-01-01", periods=30))
    twice = pd.concat([frame, frame.iloc[[4, 5]]])
    facts = described(twice)
    assert codes(facts) == ["duplicate-rows"] and facts.longest == 30
    assert facts.warnings[0].evidence == "line 32 is again 2020-01-05T00:00:00Z"


@pytest.mark.parametrize(
    ("step", "places", "frequency", "second"),
    [(1 / 12, 3, "MS", "1949-02-01"), (1 / 12, 2, "MS", "1949-02-01"), (0.25, 2, "QS-JAN", "1949-04-01")],
)
def test_years_with_fractions_are_months_or_quarters(
    step: float, places: int, frequency: str, second: str
) -> None:
    frame = table(np.round(1949 + step * np.arange(80), places))
    plan = plan_for(frame, "when", "value", None)
    assert plan.frequency == frequency
    assert series.prepare(frame, plan).long["when"].iloc[1] == pd.Timestamp(second)
    (told,) = [w for w in plan.warnings if w.code == "time-format"]
    assert told.evidence == "1949.0 is 1949-01-01T00:00:00Z"


def test_counted_steps_show_their_season() -> None:
    months = pd.DataFrame({"when": np.arange(144), "value": AirPassengersDF["y"].to_numpy()})
    facts = described(months)
    assert facts.season_length == 12 and codes(facts) == ["season-found"]
    # the sun's eleven years are no season: they come early and late
    assert series.describe(sunspots.load_pandas().data, "YEAR", None, "SUNACTIVITY", 5).season_length == 1


def with_plans(known: int = 12) -> pd.DataFrame:
    """Two shops of 80 days and `known` more that are planned."""
    shops = []
    for shop, size in (("a", "large"), ("b", "small")):
        frame = table(pd.date_range("2024-01-01", periods=80 + known)).assign(shop=shop, size=size)
        frame["price"] = 5.0 + (np.arange(len(frame)) % 9 == 0)
        frame["holiday"] = np.where(np.arange(len(frame)) % 11 == 0, "yes", "no")
        frame["visitors"] = frame["value"] * 2
        frame.loc[frame.index >= 80, ["value", "visitors"]] = np.nan
        shops.append(frame.assign(note="x"))
    return pd.concat(shops, ignore_index=True)


def test_columns_are_told_apart_by_when_they_are_known() -> None:
    facts = series.describe(with_plans(), "when", "shop", "value", None)
    assert facts.horizon == 12
    assert (facts.known, facts.static) == (["price", "holiday"], ["size"])
    assert facts.roles == {"price": "numeric", "holiday": "categorical", "size": "categorical"}
    told = [(w.code, w.column) for w in facts.warnings if w.code.startswith("columns")]
    assert told == [
        ("columns-known-ahead", UNSET),
        ("columns-of-series", "size"),
        ("columns-not-used", "visitors"),
        ("columns-not-used", "note"),
    ]
    # fewer rows ahead than the horizon that was asked for
    facts = series.describe(with_plans(5), "when", "shop", "value", 10)
    assert facts.known == [] and "columns-known-ahead" not in codes(facts)
    (few,) = [w for w in facts.warnings if w.code == "columns-not-used" and w.column is UNSET]
    assert few.evidence == "the rows after the last known target are 5 steps, 10 were asked for"


def test_the_future_is_kept_apart_from_the_past() -> None:
    frame = with_plans()
    prepared = series.prepare(frame, plan_for(frame, "when", "value", "shop"))
    assert list(prepared.long) == ["shop", "when", "value", "price", "holiday", "size"]
    assert list(prepared.future) == ["shop", "when", "price", "holiday"]
    assert len(prepared.long) == 160 and prepared.long["value"].notna().all()
    assert (
        prepared.future.groupby("shop")["when"].agg(["min", "size"]).values.tolist()
        == [[pd.Timestamp("2024-03-21"), 12]] * 2
    )
    assert prepared.future["price"].tolist() == frame.loc[frame["value"].isna(), "price"].tolist()


def test_columns_must_be_there_and_differ() -> None:
    frame = table(pd.date_range("2020-01-01", periods=30))
    with pytest.raises(InvalidRequest) as caught:
        series.describe(frame, "date", "value", "value", None)
    assert [pointer for pointer, _ in caught.value.errors] == ["/time_column", "/series_column"]


def test_a_constant_target_is_refused() -> None:
    frame = table(pd.date_range("2020-01-01", periods=30)).assign(value=3.5)
    with pytest.raises(InvalidRequest, match="never changes"):
        described(frame)


@pytest.mark.parametrize(
    ("periods", "alias", "horizon", "season", "windows"),
    [
        (144, "MS", 14, 12, 5),
        (300, "MS", 24, 12, 5),
        (40, "MS", 4, 12, 3),
        (20, "MS", 2, 1, 5),
        (10, "YS", 1, 1, 1),
    ],
)
def test_horizon_season_and_windows(
    periods: int, alias: str, horizon: int, season: int, windows: int
) -> None:
    facts = described(table(pd.date_range("1950-01-01", periods=periods, freq=alias)))
    assert (facts.horizon, facts.season_length, facts.windows) == (horizon, season, windows)
    # what the last backtest is fitted on is what the models can take
    assert periods - (windows + 1) * horizon >= max(
        series_rows.LEAST_TRAINING, 2 * season if season > 1 else 0
    )


def test_series_of_other_starts_ends_and_weekdays_keep_their_own_times() -> None:
    one = table(pd.date_range("2020-01-06", periods=50, freq="7D")).assign(shop="monday")
    two = table(pd.date_range("2020-02-05", periods=30, freq="7D")).assign(shop="wednesday")
    frame = pd.concat([two, one]).sample(frac=1, random_state=0)
    plan = plan_for(frame, "when", "value", "shop")
    assert plan.frequency == "7D"
    assert plan.season_length == 1 and "season-not-used" in [w.code for w in plan.warnings]
    long = series.prepare(frame, plan).long
    expected = pd.concat([one, two])[["shop", "when", "value"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(long, expected, check_dtype=False)


def test_gaps_are_filled_from_the_part_at_hand_alone() -> None:
    frame = table(pd.date_range("2020-01-01", periods=40)).drop(index=[10, 11, 30])
    frame.loc[39, "value"] = np.nan
    plan = plan_for(frame, "when", "value", None)
    long = series.prepare(frame, plan).long
    assert len(long) == 39
    assert list(np.flatnonzero(long["value"].isna())) == [10, 11, 30]
    names = series.columns("value", "when", None)
    whole = series.filled(long, names)["value"]
    assert whole[10] == pytest.approx(wave(40)[9] + (wave(40)[12] - wave(40)[9]) / 3)
    # the end of a part: nothing after it may be looked at
    assert series.filled(long.iloc[:31], names)["value"].iloc[-1] == wave(40)[29]


def test_reports_on_changing_days_are_moved_to_their_month() -> None:
    rng = np.random.default_rng(0)
    months = pd.date_range("2015-01-01", periods=60, freq="MS")
    frame = table((months + pd.to_timedelta(rng.integers(0, 27, 60), "D")).astype(str))
    facts = described(frame)
    assert (facts.frequency, codes(facts)) == ("MS", ["irregular-times"])
    long = series.prepare(frame, plan_for(frame, "when", "value", None)).long
    assert list(long["when"]) == list(months)


def test_a_daily_series_at_changing_hours_is_daily() -> None:
    rng = np.random.default_rng(0)
    days = pd.date_range("2015-01-01", periods=60)
    frame = table(days + pd.to_timedelta(rng.integers(0, 86_000, 60), "s"))
    plan = plan_for(frame, "when", "value", None)
    assert plan.frequency == "D"
    assert list(series.prepare(frame, plan).long["when"]) == list(days)


def test_times_without_any_order_are_refused() -> None:
    rng = np.random.default_rng(0)
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.exponential(1e6, 50).cumsum(), "s")
    with pytest.raises(InvalidRequest, match="no common step"):
        described(table(times))


def test_days_in_a_zone_keep_their_dates_over_a_clock_change() -> None:
    times = pd.date_range("2020-03-01", periods=60, tz="Europe/Berlin")
    frame = table(times)
    plan = plan_for(frame, "when", "value", None)
    assert plan.frequency == "D" and not plan.warnings
    assert series.prepare(frame, plan).long["when"].iloc[-1] == pd.Timestamp("2020-04-29")


def test_hours_in_a_zone_are_even_in_utc() -> None:
    times = pd.date_range("2020-10-24", periods=60, freq="h", tz="Europe/Berlin")
    frame = table(times)
    plan = plan_for(frame, "when", "value", None)
    assert plan.frequency == "h" and not plan.warnings
    assert series.prepare(frame, plan).long["when"].iloc[0] == pd.Timestamp("2020-10-23T22:00")


def test_the_order_of_rows_does_not_matter() -> None:
    data = macrodata.load_pandas().data
    frame = pd.DataFrame({"q": [f"{int(y)}Q{int(q)}" for y, q in zip(data.year, data.quarter, strict=True)]})
    frame = frame.assign(gdp=data.realgdp, cpi=data.cpi).melt("q", var_name="what", value_name="value")
    shuffled = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    plan, other = (plan_for(f, "q", "value", "what") for f in (frame, shuffled))
    assert plan == other
    pd.testing.assert_frame_equal(series.prepare(frame, plan).long, series.prepare(shuffled, plan).long)


def test_weekly_co2_has_its_gaps_counted() -> None:
    data = co2.load_pandas().data
    frame = pd.DataFrame({"date": data.index.astype(str), "ppm": data["co2"].to_numpy()})
    facts = series.describe(frame, "date", None, "ppm", None)
    assert (facts.frequency, facts.season_length, facts.horizon) == ("W-SAT", 52, 104)
    assert [w.code for w in facts.warnings] == ["missing-target", "gaps-filled"]
    long = series.prepare(frame, plan_for(frame, "date", "ppm", None)).long
    assert len(long) == len(data) and long["ppm"].isna().sum() == data["co2"].isna().sum()


def test_sunspots_keep_their_years_as_numbers() -> None:
    data = sunspots.load_pandas().data
    long = series.prepare(data, plan_for(data, "YEAR", "SUNACTIVITY", None)).long
    assert long.columns.tolist() == ["unique_id", "YEAR", "SUNACTIVITY"]
    assert long["YEAR"].tolist() == list(range(1700, 2009))
    assert series_times.as_text(long["YEAR"].iloc[0]) == "1700"


def test_the_digest_tells_which_steps_are_held_out() -> None:
    frame = table(pd.date_range("2020-01-01", periods=60))
    assert described(frame, 3).split_digest == described(frame, 3).split_digest
    assert described(frame, 3).split_digest != described(frame, 4).split_digest
