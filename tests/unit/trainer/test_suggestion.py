"""What a profile suggests for tables as people upload them: headers of well-known ones, made-up values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from services.trainer.profile import profile
from shared.contracts.files import Profile
from shared.contracts.states import TaskType

N = 240
CLASSES, QUANTITY, SERIES = TaskType.CLASSIFICATION, TaskType.REGRESSION, TaskType.TIME_SERIES


def values(kind: str, seed: int) -> object:
    """A column: `f` floats, `i` whole numbers, `i5` of so many kinds, `c3` words of so many kinds, `b` zeros
    and ones, `yn` yes and no, `id` 1, 2, 3 …, `u` hashes, `t` sentences, `d`, `m`, `h` days, months, hours
    in a row, `dr` days at random, `y` years in a row, `k` one word."""
    rng = np.random.default_rng(seed)
    if kind[0] in "ic" and kind[1:].isdigit():
        drawn = rng.integers(0, int(kind[1:]), N)
        return drawn if kind[0] == "i" else [f"kind {value}" for value in drawn]
    return {
        "f": lambda: rng.normal(size=N).round(4),
        "i": lambda: rng.integers(0, 9_999, N),
        "b": lambda: rng.integers(0, 2, N),
        "yn": lambda: rng.choice(["Yes", "No"], N),
        "id": lambda: np.arange(1, N + 1),
        "u": lambda: [f"a{value:x}" for value in rng.permutation(10**6)[:N]],
        "t": lambda: [" ".join(rng.choice(list("abcdefghij"), 6)) + f" {i}" for i in range(N)],
        "d": lambda: pd.date_range("2020", periods=N).astype(str),
        "m": lambda: pd.date_range("2000", periods=N, freq="MS").strftime("%b %Y"),
        "h": lambda: pd.date_range("2020", periods=N, freq="h").astype(str),
        "dr": lambda: (pd.Timestamp("2019") + pd.to_timedelta(rng.integers(0, 500, N), unit="D")).astype(str),
        "y": lambda: np.arange(1700, 1700 + N),
        "k": lambda: ["same"] * N,
    }[kind]()


def profiled(columns: str, folder: Path) -> Profile:
    """Of a table written as "name:kind name:kind", blanks in names as underscores."""
    made = [part.rsplit(":", 1) for part in columns.split()]
    frame = pd.DataFrame({name: values(kind, seed) for seed, (name, kind) in enumerate(made)})
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_file(str(folder / "table.arrow"), arrow.schema) as file:
        file.write_table(arrow)
    return profile(folder / "table.arrow")


TABLES: list[tuple[str, str, str | None, TaskType | None]] = [
    ("iris", "sepal_length:f sepal_width:f petal_length:f petal_width:f species:c3", "species", CLASSES),
    ("penguins", "species:c3 island:c3 bill_length_mm:f body_mass_g:i sex:c2 year:i3", "species", CLASSES),
    (
        "titanic",
        "PassengerId:id Survived:b Pclass:i3 Name:t Sex:c2 Age:f SibSp:i5 Ticket:u Fare:f Embarked:c3",
        "Survived",
        CLASSES,
    ),
    (
        "titanic of seaborn",
        "survived:b pclass:i3 sex:c2 age:f fare:f class:c3 who:c3 deck:c7 alive:yn alone:b",
        "survived",
        CLASSES,
    ),
    (
        "house prices",
        "Id:id MSSubClass:i9 LotArea:i Street:c2 OverallQual:i9 YrSold:i5 SaleType:c5 SalePrice:i",
        "SalePrice",
        QUANTITY,
    ),
    (
        "king county",
        "id:id date:dr price:i bedrooms:i6 sqft_living:i grade_given:i9 zipcode:i lat:f sqft_lot15:i",
        "price",
        QUANTITY,
    ),
    ("california", "MedInc:f HouseAge:i40 AveRooms:f Latitude:f MedHouseVal:f", "MedHouseVal", QUANTITY),
    ("boston", "crim:f zn:f chas:b rm:f lstat:f medv:f", "medv", QUANTITY),
    (
        "bank churn",
        "RowNumber:id CustomerId:i Surname:c90 CreditScore:i Geography:c3 Tenure:i9 Salary:f Exited:b",
        "Exited",
        CLASSES,
    ),
    ("telco", "customerID:u gender:c2 tenure:i70 Contract:c3 MonthlyCharges:f Churn:yn", "Churn", CLASSES),
    (
        "credit card churn",
        "CLIENTNUM:id Attrition_Flag:c2 Customer_Age:i50 Credit_Limit:f",
        "Attrition_Flag",
        CLASSES,
    ),
    ("bank marketing", "age:i60 job:c9 default:yn balance:i duration:i poutcome:c4 y:yn", "y", CLASSES),
    ("adult", "age:i70 workclass:c7 education:c9 status:c5 hours_per_week:i60 income:c2", "income", CLASSES),
    ("fraud", "Time:f V1:f V2:f V3:f Amount:f Class:b", "Class", CLASSES),
    ("wine quality", "fixed_acidity:f pH:f sulphates:f alcohol:f quality:i6", "quality", CLASSES),
    ("mushrooms", "class:c2 cap_shape:c5 odor:c8 population:c6 habitat:c7", "class", CLASSES),
    ("spam", "v1:c2 v2:t", "v1", CLASSES),
    ("votes", "region:c5 age:i60 education:c3 income:i7 statusquo:f vote:c4", "vote", CLASSES),
    ("crashes", "dvcat:c5 weight:f dead:yn airbag:c2 injSeverity:i6 caseid:u", "dead", CLASSES),
    ("mortgages", "occ:i3 loanamt:i approve:b price:f thick:b white:b", "approve", CLASSES),
    (
        "hotel rates",
        "avg_price:f lead_time:i previous_bookings_not_canceled:i15 adults:i5 near_christmas:b",
        "avg_price",
        QUANTITY,
    ),
    ("reviews", "review:t sentiment:c2", "sentiment", CLASSES),
    ("diamonds", "carat:f cut:c5 color:c7 depth:f table:f price:i x:f y:f z:f", "price", QUANTITY),
    ("cars", "mpg:f cylinders:i5 displacement:f horsepower:i weight:i origin:c3", "mpg", QUANTITY),
    ("insurance", "age:i45 sex:c2 bmi:f children:i5 smoker:yn region:c4 charges:f", "charges", QUANTITY),
    ("diabetes", "Pregnancies:i15 Glucose:i BMI:f Age:i60 Outcome:b", "Outcome", CLASSES),
    ("breast cancer", "id:id diagnosis:c2 radius_mean:f texture_mean:f area_worst:f", "diagnosis", CLASSES),
    ("hotel", "hotel:c2 is_canceled:b lead_time:i adr:f reservation_status_date:dr", "is_canceled", CLASSES),
    ("staff", "Age:i40 Attrition:yn Department:c3 JobRole:c9 YearsWithCurrManager:i15", "Attrition", CLASSES),
    ("forest cover", "Elevation:i Aspect:i Slope:i50 Soil_Type1:b Cover_Type:i7", "Cover_Type", CLASSES),
    (
        "survey",
        "respondent:id Q1:i5 Q2:i5 Q3:i5 comments:t overall_satisfaction:i5",
        "overall_satisfaction",
        CLASSES,
    ),
    ("one series", "unique_id:k ds:d y:f", "y", SERIES),
    ("passengers", "Month:m Passengers:i", "Passengers", SERIES),
    ("stocks", "Date:d Open:f High:f Low:f Close:f Volume:i", "Close", SERIES),
    ("load by the hour", "timestamp:h temperature:f consumption:f", "consumption", SERIES),
    ("sunspots", "YEAR:y SUNACTIVITY:f", "SUNACTIVITY", SERIES),
    ("orders", "order_id:u ordered:dr country:c5 items:i9 total_amount:f", "total_amount", QUANTITY),
    ("nothing to learn", "id:id note:t", None, None),
]


@pytest.mark.parametrize(
    ("columns", "target", "task_type"), [table[1:] for table in TABLES], ids=[table[0] for table in TABLES]
)
def test_suggests_what_a_data_scientist_would(
    columns: str, target: str | None, task_type: TaskType | None, tmp_path: Path
) -> None:
    made = profiled(columns, tmp_path)
    assert (made.suggested_target, made.suggested_task_type) == (target, task_type), made.reason


def test_a_panel_of_series_is_told_by_the_column_that_names_them(tmp_path: Path) -> None:
    days = pd.date_range("2020", periods=60).strftime("%Y%m%d").astype(int)
    frame = pd.concat(
        [
            pd.DataFrame({"store": store, "date": days, "sales": np.arange(60) % 7 + store * 0.5})
            for store in (1, 2, 5)
        ]
    )
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_file(str(tmp_path / "table.arrow"), arrow.schema) as file:
        file.write_table(arrow)
    made = profile(tmp_path / "table.arrow")
    assert made.suggested_task_type is SERIES
    assert "'date' has one row a step (D) for each 'store'" in made.reason
