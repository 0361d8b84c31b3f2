"""Predict with the models in this folder.

  python predict.py example.json            the example; its answers are checked against the recorded ones
  python predict.py table.csv               a table with the columns of schema.json (CSV, TSV, Parquet, JSON)
  python predict.py table.csv --model random_forest.pkl --out predictions.csv
  python predict.py --horizon 12            models of a time series: the next 12 steps

It needs what requirements.txt lists and no other file than schema.json and a model. Tables are answered
as CSV and JSON as JSON, in the order of the rows; messages go to stderr. The exit code is 1 where the
example's answers differ from the recorded ones, 2 where there is nothing to answer.

A pickle runs code when it is opened. Where SHA256SUMS lies beside a model, the model is opened only if it
is the file that is listed there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

HERE = Path(__file__).resolve().parent
INSTALL = f'install what the models need: "{sys.executable}" -m pip install -r requirements.txt'
TEXT_TYPES = ("object", "str", "string", "category")
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8
"""Another processor adds up floats in another order."""


class Problem(Exception):
    """Something the user can put right; the message says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", nargs="?", type=Path, help="example.json, or a table to predict")
    parser.add_argument("--model", default="best_model.pkl", help="which model (default: best_model.pkl)")
    parser.add_argument("--out", type=Path, help="write to this file (.csv or .json) instead of the terminal")
    parser.add_argument("--horizon", type=int, help="time series: how many steps to forecast")
    asked = parser.parse_args(arguments)
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        return run(asked)
    except Problem as problem:
        print(f"predict.py: {problem}", file=sys.stderr)
        return 2


def run(asked: argparse.Namespace) -> int:
    schema = read_json(HERE / "schema.json")
    given = read_json(asked.input) if asked.input and asked.input.suffix.lower() == ".json" else None
    path = model_path(asked.model)
    if schema["task_type"] == "time_series":
        answer = forecast(path, horizon(asked, given, schema))
    else:
        answer = predict(path, table(asked, given, schema), schema)

    as_json = given is not None if asked.out is None else asked.out.suffix.lower() == ".json"
    records = plain(answer, one_column=schema["task_type"] != "time_series")
    text = json.dumps(records, ensure_ascii=False, indent=2) + "\n" if as_json else answer.to_csv(index=False)
    if asked.out is None:
        sys.stdout.write(text)
    else:
        asked.out.write_text(text, encoding="utf-8")
        print(f"{len(answer)} predictions written to {asked.out}", file=sys.stderr)
    recorded = None if asked.horizon else recorded_predictions(given, path)
    return 0 if recorded is None else compare(recorded, records)


# --- input --------------------------------------------------------------------------------------


def table(asked: argparse.Namespace, given: Any, schema: dict[str, Any]) -> pandas.DataFrame:
    """The rows to predict, with every column that the model needs."""
    if asked.horizon is not None:
        raise Problem("--horizon is for models of a time series; this one predicts the rows of a table")
    if asked.input is None:
        raise Problem("name the table to predict, or example.json")
    rows = read_table(asked.input, schema) if given is None else rows_of(given)
    missing = [column["name"] for column in schema["columns"] if column["name"] not in rows.columns]
    if missing:
        listed = ", ".join(map(repr, missing))
        raise Problem(f"{asked.input} lacks {len(missing)} of the model's columns: {listed}")
    if rows.empty:
        raise Problem(f"{asked.input} holds no rows")
    return rows.drop(columns=schema["target"], errors="ignore")


def rows_of(given: Any) -> pandas.DataFrame:
    import pandas

    rows = given.get("rows", [given]) if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Problem('JSON input is a list of objects, one a row, or {"rows": […]}')
    return pandas.DataFrame(rows)


def read_table(path: Path, schema: dict[str, Any]) -> pandas.DataFrame:
    import pandas

    if not path.is_file():
        raise Problem(f"there is no file {path}")
    try:
        if ".parquet" in path.suffixes:
            return pandas.read_parquet(path)
        names = {column["name"] for column in schema["columns"]}
        headers = {sep: pandas.read_csv(path, sep=sep, nrows=0, encoding="utf-8-sig") for sep in ",;\t|"}
        separator = max(headers, key=lambda sep: len(names & set(headers[sep].columns)))
        # what was text in training stays text, were it all digits here
        types = {c["name"]: str for c in schema["columns"] if c.get("dtype") in TEXT_TYPES}
        return pandas.read_csv(path, sep=separator, dtype=types, encoding="utf-8-sig", low_memory=False)
    except ImportError as error:
        raise Problem(f"{path} cannot be read here: {error}") from error
    except (ValueError, OSError) as error:
        raise Problem(f"{path} cannot be read as a table: {error}") from error


def horizon(asked: argparse.Namespace, given: Any, schema: dict[str, Any]) -> int:
    """How many steps: as asked, else as the JSON says, else as trained."""
    steps = asked.horizon
    if steps is None and asked.input is not None:
        if given is None:
            raise Problem(
                "a forecast goes on from the series the model was fitted on: give --horizon, no table"
            )
        rows = given.get("rows", given) if isinstance(given, dict) else given
        first = rows[0] if isinstance(rows, list) and rows else rows
        steps = first.get("h") if isinstance(first, dict) else None
        if not isinstance(steps, int):
            raise Problem('JSON input for a forecast is {"h": steps}')
    steps = schema["horizon"] if steps is None else steps
    if steps < 1:
        raise Problem("the horizon is at least one step")
    return int(steps)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Problem(f"{path} is not JSON: {error}") from error


# --- the model ----------------------------------------------------------------------------------


def model_path(name: str) -> Path:
    """A path as given, or the name of a model in this folder, with or without `.pkl`."""
    for path in (Path(name), HERE / name, HERE / f"{name}.pkl"):
        if path.is_file():
            return path.resolve()
    there = ", ".join(sorted(path.name for path in HERE.glob("*.pkl"))) or "none"
    raise Problem(f"there is no model {name}; in this folder: {there}")


def open_model(path: Path) -> Any:
    check_digest(path)
    try:
        import joblib

        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise Problem(f"the package {error.name} is missing; {INSTALL}") from error
    except OSError as error:
        if "libgomp" in str(error):
            raise Problem("LightGBM needs the OpenMP runtime: apt-get install libgomp1") from error
        raise Problem(f"{path.name} cannot be opened: {error}") from error
    except Exception as error:
        raise Problem(f"{path.name} cannot be opened ({type(error).__name__}: {error}); {INSTALL}") from error


def check_digest(path: Path) -> None:
    sums = path.parent / "SHA256SUMS"
    if not sums.is_file():
        return
    lines = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines())
    listed = {line[1].lstrip("*"): line[0] for line in lines if len(line) == 2}
    if path.name not in listed:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != listed[path.name].lower():
        raise Problem(f"{path.name} is not the file that SHA256SUMS lists: it is not opened")


def predict(path: Path, rows: pandas.DataFrame, schema: dict[str, Any]) -> pandas.DataFrame:
    """One column, named as the target, a row for each of `rows`."""
    import pandas

    model = open_model(path)
    # what a library prints is no prediction
    with contextlib.redirect_stdout(sys.stderr):
        try:
            predictions = model.predict(rows)
        except Exception as error:
            raise Problem(
                f"{path.name} cannot predict these rows ({type(error).__name__}: {error})"
            ) from error
    return pandas.DataFrame({schema["target"]: predictions})


def forecast(path: Path, steps: int) -> pandas.DataFrame:
    """The next `steps` of each series."""
    model = open_model(path)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return model.predict(h=steps)
        except Exception as error:
            raise Problem(f"{path.name} cannot forecast ({type(error).__name__}: {error})") from error


# --- output -------------------------------------------------------------------------------------


def plain(answer: pandas.DataFrame, *, one_column: bool) -> list[Any]:
    """What JSON has: a value a row, or an object a row where there is more than the prediction."""
    columns = [[as_json(value) for value in answer[name].tolist()] for name in answer.columns]
    if one_column:
        return columns[0]
    return [dict(zip(map(str, answer.columns), row, strict=True)) for row in zip(*columns, strict=True)]


def as_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if not hasattr(value, "isoformat"):
        return str(value)
    return value.isoformat() + ("" if getattr(value, "tzinfo", None) else "Z")


def recorded_predictions(given: Any, path: Path) -> list[Any] | None:
    """What example.json has for this model; None where there is nothing to compare with."""
    if not isinstance(given, dict) or "predictions" not in given:
        return None
    if path.stem in ("best_model", given.get("model")):
        return given["predictions"]
    recorded = given.get("other_models", {}).get(path.stem)
    if recorded is None:
        print(f"no predictions of {path.stem} are recorded: nothing was compared", file=sys.stderr)
    return recorded


def compare(recorded: list[Any], answered: list[Any]) -> int:
    differ = [i for i, pair in enumerate(zip(recorded, answered)) if not same(*pair)]  # noqa: B905 - see below
    if not differ and len(recorded) == len(answered):
        print(f"matches the recorded predictions ({len(recorded)} rows)", file=sys.stderr)
        return 0
    if differ:
        at = differ[0]
        print(
            f"DIFFERS from the recorded predictions in {len(differ)} of {len(recorded)} rows; "
            f"the first is row {at + 1}: recorded {recorded[at]!r}, now {answered[at]!r}",
            file=sys.stderr,
        )
    else:
        print(
            f"DIFFERS from the recorded predictions: {len(recorded)} were recorded, now {len(answered)}",
            file=sys.stderr,
        )
    return 1


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return a == b or str(a) == str(b) or same_time(a, b)


def same_time(a: Any, b: Any) -> bool:
    """2024-01-01 is 2024-01-01T00:00:00Z: times without a zone are UTC."""
    import pandas

    if not isinstance(a, str) or not isinstance(b, str):
        return False
    try:
        return bool(pandas.to_datetime(a, utc=True) == pandas.to_datetime(b, utc=True))
    except (ValueError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
