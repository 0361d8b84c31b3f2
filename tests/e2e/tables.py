"""Real tables out of the packages that are installed anyway, as the files a user would upload."""

from __future__ import annotations

import functools
import io
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from statsmodels import datasets as more_datasets


class Table(NamedTuple):
    """A file to upload, and what was written into it."""

    name: str
    content: bytes
    frame: pd.DataFrame = pd.DataFrame()


def csv_table(name: str, frame: pd.DataFrame) -> Table:
    return Table(name, frame.to_csv(index=False).encode(), frame)


def parquet_table(name: str, frame: pd.DataFrame) -> Table:
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return Table(name, out.getvalue(), frame)


@functools.cache
def wine() -> Table:
    """178 Italian wines by 13 measurements; the cultivar is a word (Forina et al., UCI)."""
    data = datasets.load_wine(as_frame=True)
    frame = data.frame.rename(columns={"target": "cultivar"})
    names = np.array(["Barolo", "Grignolino", "Barbera"])
    return csv_table("wine.csv", frame.assign(cultivar=names[frame["cultivar"]]))


@functools.cache
def iris() -> Table:
    """150 flowers, as Parquet; the species is a word (Fisher, 1936)."""
    data = datasets.load_iris(as_frame=True)
    frame = data.frame.rename(columns={"target": "species"})
    return parquet_table("iris.parquet", frame.assign(species=data.target_names[frame["species"]]))


@functools.cache
def voters() -> Table:
    """944 voters of 1996 (American National Election Studies) with columns of every kind.

    Numbers, words, yes and no, dates, and cells that are missing; semicolons, as spreadsheets in much of
    Europe write them. The answers are the survey's; the dates are made up, one interview a row.
    """
    survey = more_datasets.anes96.load_pandas().data
    parties = ["strong Democrat", "Democrat", "leaning Democrat", "independent"]
    parties += ["leaning Republican", "Republican", "strong Republican"]
    schooling = ["grades 1-8", "some high school", "high school", "some college", "associate", "BA", "more"]
    frame = pd.DataFrame(
        {
            "interviewed": pd.date_range("1996-09-03", periods=len(survey), freq="h").date.astype(str),
            "age": survey["age"].astype(int),
            "party": np.array(parties)[survey["PID"].astype(int)],
            "schooling": np.array(schooling)[survey["educ"].astype(int) - 1],
            "income_bracket": survey["income"].astype(int),
            "city_population": survey["popul"],
            "watches_news": np.where(survey["TVnews"] > 0, "yes", "no"),
            "vote": np.where(survey["vote"] > 0, "Dole", "Clinton"),
        }
    )
    frame.loc[frame.index % 9 == 0, "schooling"] = None
    frame.loc[frame.index % 7 == 0, "city_population"] = np.nan
    return Table("voters.csv", frame.to_csv(index=False, sep=";").encode(), frame)


@functools.cache
def diabetes() -> Table:
    """442 patients; the disease's progression a year later (Efron et al., 2004)."""
    frame = datasets.load_diabetes(as_frame=True, scaled=False).frame
    frame["sex"] = np.where(frame["sex"] == 1, "f", "m")
    return csv_table("diabetes.csv", frame.rename(columns={"target": "progression"}))


@functools.cache
def flats(rows: int = 300) -> Table:
    """Made-up flats to let: numbers as text, words, a date and a line of text; and what each costs.

    `SENTINELS` stands in cells that only training sees.
    """
    rng = np.random.default_rng(11)
    size = rng.normal(70, 20, rows).clip(20).round(1)
    quarter = rng.choice(["Altstadt", "Hafen", "Westend"], rows)
    listed = pd.date_range("2023-02-01", periods=rows, freq="31h")
    words = np.array(["balcony", "lift", "cellar", "garden", "new kitchen", "quiet"])
    rent = (
        9 * size + 140 * (quarter == "Westend") + 60 * np.sin(listed.dayofyear / 58) + rng.normal(0, 40, rows)
    )
    frame = pd.DataFrame(
        {
            "size": size,
            "deposit": [f"€{value:,.2f}" for value in rng.normal(2000, 300, rows)],
            "quarter": quarter,
            "listed": listed.strftime("%d.%m.%Y"),
            "about": [", ".join(rng.choice(words, 3, replace=False)) for _ in range(rows)],
            "rent": rent.round(2),
        }
    )
    # one measurement that no other row shares, as a value of each kind that a row may hold
    frame.loc[17, ["size", "deposit", "rent"]] = [
        SENTINELS["size"],
        f"€{SENTINELS['deposit']:,.2f}",
        SENTINELS["rent"],
    ]
    frame.loc[23, "about"] = f"{SENTINELS['word']}, lift, quiet"
    return csv_table("flats.csv", frame)


SENTINELS = {"size": 71.734519, "deposit": 2217.39, "rent": 781.926453, "word": "xylotrupes"}
"""Cells of rows that are planted in `flats`, to be looked for in what is handed over."""


@functools.cache
def carbon_dioxide() -> Table:
    """Carbon dioxide over Mauna Loa by month, 1958 to 1978, in parts per million (NOAA).

    A season and a trend, and a few months that nobody measured.
    """
    weekly = more_datasets.co2.load_pandas().data["co2"]
    monthly = weekly.resample("MS").mean().round(2)[:"1978"]
    frame = pd.DataFrame({"month": monthly.index.strftime("%Y-%m-%d"), "ppm": monthly.to_numpy()})
    return csv_table("carbon_dioxide.csv", frame)


@functools.cache
def investment() -> Table:
    """What eleven firms invested, by year, 1935 to 1954 (Grunfeld, 1958), shuffled."""
    frame = more_datasets.grunfeld.load_pandas().data[["firm", "year", "invest"]]
    frame = frame.assign(year=frame["year"].astype(int))
    return csv_table("investment.csv", frame.sample(frac=1, random_state=0))
