from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pandas as pd
import pytest

from services.trainer import prepare
from services.trainer.prepare import Encoding
from shared.errors import CannotTrain
from tests.unit.trainer import mixed_table


def fitted(table: pd.DataFrame, roles: dict[str, str], encoding: Encoding = Encoding.SPLITS) -> object:
    columns = prepare.survey(table, roles)
    made = prepare.preprocessor(columns, encoding, regression=True, rows=len(table), seed=0)
    made.fit(table, np.arange(len(table), dtype=float))
    return pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_mixed_table_becomes_finite_or_missing_numbers(encoding: Encoding) -> None:
    table = mixed_table.features()
    matrix = fitted(table, mixed_table.ROLES, encoding).transform(table)
    assert matrix.shape[0] == len(table)
    assert not np.isinf(matrix).any()
    assert np.isnan(matrix).any() == (encoding in (Encoding.SPLITS, Encoding.NATIVE))


def test_numbers_written_as_text_are_read() -> None:
    table = pd.DataFrame({"price": ["$1,200", "(3.50)", "12%", "1e3", "n/a", None, " 7 "]})
    matrix = fitted(table, {"price": "numeric"}).transform(table)
    np.testing.assert_array_equal(matrix.ravel(), [1200, -3.5, 12, 1000, np.nan, np.nan, 7])


def test_decimal_commas_are_read_where_the_column_has_them() -> None:
    table = pd.DataFrame({"price": ["1.200,50 €", "3,14", "2"]})
    matrix = fitted(table, {"price": "numeric"}).transform(table)
    np.testing.assert_array_equal(matrix.ravel(), [1200.5, 3.14, 2])


def test_a_column_of_numbers_takes_text_booleans_and_infinities_later() -> None:
    ready = fitted(pd.DataFrame({"size": [1.0, 2.0, np.inf]}), {"size": "numeric"})
    later = pd.DataFrame({"size": ["$1,200", True, None, -np.inf, 1e300, 3]})
    np.testing.assert_array_equal(
        ready.transform(later).ravel(), [1200, 1, np.nan, np.nan, prepare.FLOAT32_SAFE, 3]
    )


def test_a_whole_number_category_is_the_same_beside_missing_cells() -> None:
    ready = fitted(pd.DataFrame({"grade": [1.0, 2.0, np.nan, 3.0]}), {"grade": "categorical"})
    written = [pd.DataFrame({"grade": cells}) for cells in ([2], [2.0], ["2"], [np.int8(2)])]
    answers = {tuple(ready.transform(frame)[0]) for frame in written}
    assert len(answers) == 1
    assert sum(answers.pop()) == 1


def test_unseen_and_missing_categories_are_told_apart_from_known_ones() -> None:
    ready = fitted(pd.DataFrame({"colour": ["red", "green", None]}), {"colour": "categorical"})
    unseen, missing, empty = ready.transform(pd.DataFrame({"colour": ["violet", None, np.nan]}))
    assert unseen.sum() == 0
    assert missing.sum() == 1
    assert missing.tolist() == empty.tolist()


def test_native_categories_come_first_and_unseen_ones_are_missing() -> None:
    table = pd.DataFrame({"size": [1.0, 2.0, 3.0], "colour": ["red", "green", "red"]})
    ready = fitted(table, {"size": "numeric", "colour": "categorical"}, Encoding.NATIVE)
    assert prepare.native_categories(prepare.survey(table, {"colour": "categorical"})) == ["colour"]
    assert ready.transform(table)[:, 0].tolist() == [1, 0, 1]
    assert np.isnan(ready.transform(pd.DataFrame({"size": [1.0], "colour": ["blue"]}))[0, 0])


def test_many_categories_become_one_column_of_target_means() -> None:
    table = pd.DataFrame({"shop": [f"shop {number % 50}" for number in range(200)]})
    columns = prepare.survey(table, {"shop": "categorical"})
    target = (np.arange(200) % 50).astype(float)
    made = prepare.preprocessor(columns, Encoding.SPLITS, regression=True, rows=200, seed=0)
    made.fit(table, target)
    known = made.transform(pd.DataFrame({"shop": ["shop 49", "shop 0", "never seen"]})).ravel()
    assert known[0] > 40
    assert known[1] < 10
    assert known[2] == pytest.approx(target.mean())


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["13/02/2024", "02/03/2024", "28/12/2023"], ["2024-02-13", "2024-03-02", "2023-12-28"]),
        (["02/13/2024", "02/03/2024", "12/28/2023"], ["2024-02-13", "2024-02-03", "2023-12-28"]),
        (["02/03/2024", "01/01/2024"], ["2024-02-03", "2024-01-01"]),
        (["2024-02-13", "2024-02-03 10:30", None], ["2024-02-13", "2024-02-03 10:30", None]),
        (["13 Feb 2024", "2024-02-03", "March 5, 2024"], ["2024-02-13", "2024-02-03", "2024-03-05"]),
        ([dt.date(2024, 2, 13), None, dt.date(2024, 2, 3)], ["2024-02-13", None, "2024-02-03"]),
        (pd.to_datetime(["2024-02-13", "2024-02-03"]), ["2024-02-13", "2024-02-03"]),
    ],
)
def test_dates_are_read_as_the_column_writes_them(cells: list[object], expected: list[object]) -> None:
    column = pd.Series(cells)
    arguments = prepare.survey(pd.DataFrame({"day": column}), {"day": "datetime"}).dates["day"]
    read = pd.to_datetime(column, **arguments)
    assert read.dt.tz_localize(None).tolist() == pd.to_datetime(pd.Series(expected), format="mixed").tolist()


def test_date_and_text_columns_take_what_cannot_be_read() -> None:
    table = mixed_table.features()
    ready = fitted(table, {"bought": "datetime", "note": "text"})
    for bought, note in ((None, None), ("nonsense", 7), (np.nan, np.nan), (pd.Timestamp("2024-05-01"), "")):
        matrix = ready.transform(pd.DataFrame({"bought": [bought], "note": [note]}))
        assert matrix.shape == (1, ready.transform(table).shape[1])


def test_other_columns_and_another_order_change_nothing() -> None:
    table = mixed_table.features()
    ready = fitted(table, mixed_table.ROLES)
    turned = table[table.columns[::-1]].assign(target="x")
    np.testing.assert_array_equal(ready.transform(turned), ready.transform(table))


def test_a_missing_column_is_named() -> None:
    ready = fitted(mixed_table.features(), mixed_table.ROLES)
    with pytest.raises(ValueError, match="colour"):
        ready.transform(mixed_table.features().drop(columns="colour"))


@pytest.mark.filterwarnings("ignore:The matrix shape:UserWarning")  # skrub's word on so few n-grams
def test_columns_that_never_had_a_value_are_survived() -> None:
    table = pd.DataFrame({"size": [np.nan] * 4, "colour": [None] * 4, "when": [None] * 4, "note": [None] * 4})
    roles = {"size": "numeric", "colour": "categorical", "when": "datetime", "note": "text"}
    for encoding in Encoding:
        assert fitted(table, roles, encoding).transform(table).shape[0] == 4


@pytest.mark.parametrize(
    ("roles", "words"),
    [({}, "no usable feature"), ({"absent": "numeric"}, "absent"), ({"size": "identifier"}, "identifier")],
)
def test_roles_that_cannot_be_used_are_refused(roles: dict[str, str], words: str) -> None:
    with pytest.raises(CannotTrain, match=words):
        prepare.survey(mixed_table.features(), roles)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_lone_row_is_prepared_as_among_others_and_nothing_warns(encoding: Encoding) -> None:
    table = mixed_table.features()
    ready = fitted(table, mixed_table.ROLES, encoding)
    whole = ready.transform(table)
    as_sent = pd.DataFrame([table.iloc[5].to_dict()])
    np.testing.assert_array_equal(ready.transform(as_sent), whole[[5]])
    np.testing.assert_array_equal(ready.transform(table.iloc[[5]]), whole[[5]])
    nothing = ready.transform(pd.DataFrame([dict.fromkeys(mixed_table.ROLES)]))
    no_numbers = ready.transform(pd.DataFrame([dict.fromkeys(mixed_table.ROLES, np.nan)]))
    np.testing.assert_array_equal(nothing, no_numbers)


def test_numbers_that_may_be_codes_are_a_column_each_to_linear_models() -> None:
    table = pd.DataFrame({"hour": np.arange(480) % 24, "size": np.linspace(0, 1, 480)})
    roles = {"hour": "numeric", "size": "numeric"}
    assert prepare.survey(table, roles).codes == ["hour"]
    assert fitted(table, roles, Encoding.LINEAR).transform(table).shape == (480, 24 + 2)
    assert fitted(table, roles, Encoding.SPLITS).transform(table).shape == (480, 2)
    assert prepare.survey(table.head(100), roles).codes == []


def test_values_that_differ_by_capitals_and_blanks_are_one() -> None:
    table = pd.DataFrame({"town": ["Rome", "rome ", "Oslo", None] * 5, "ok": ["Yes", "n", "TRUE", "no"] * 5})
    roles = {"town": "categorical", "ok": "boolean"}
    columns = prepare.survey(table, roles)
    assert (columns.folded, columns.flags, columns.categories) == (["town"], ["ok"], {"town": 2, "ok": 2})
    ready = fitted(table, roles)
    rows = ready.transform(pd.DataFrame({"town": ["ROME", " oslo"], "ok": ["y", "False"]}))
    np.testing.assert_array_equal(rows[0], ready.transform(table.iloc[[0]])[0])
    np.testing.assert_array_equal(rows[1], ready.transform(pd.DataFrame({"town": ["Oslo"], "ok": ["no"]}))[0])


def test_trees_of_many_rows_get_float32() -> None:
    table = mixed_table.features()
    columns = prepare.survey(
        table, {name: role for name, role in mixed_table.ROLES.items() if name != "note"}
    )
    for rows, kind in ((prepare.FLOAT32_ROWS, "float64"), (prepare.FLOAT32_ROWS + 1, "float32")):
        made = prepare.preprocessor(columns, Encoding.SPLITS, regression=True, rows=rows, seed=0)
        assert made.fit_transform(table, np.arange(len(table), dtype=float)).dtype == kind
