"""Predict with the models in this folder.

  python predict.py example.json            the example; its answers are checked against the recorded ones
  python predict.py table.csv               a table with the columns of schema.json (CSV, TSV, Parquet, JSON)
  python predict.py table.csv --model random_forest.pkl --out predictions.csv
  python predict.py - < rows.json           rows from standard input: JSON, or CSV
  python predict.py table.csv --proba       classification: with the probability of each class
  python predict.py table.csv --interval 80 regression: with bounds that hold 80 % of the true values
  python predict.py table.csv --model best_model.onnx   the graph (needs onnxruntime; see onnx.json)
  python predict.py --horizon 12            models of a time series: the next 12 steps (--interval 80: with
                                            bounds); a table, where they ask for what is known of these steps

It needs what requirements.txt lists and no other file than schema.json and a model. Tables are answered
as CSV and JSON as JSON, in the order of the rows, unless --format or --out says otherwise; messages go to
stderr. The exit code is 1 where the example's answers differ from the recorded ones, 2 where there is nothing
to answer.

A pickle runs code when it is opened. Where SHA256SUMS lies beside a model, the model is opened only if it
is the file that is listed there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
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
BATCH_ROWS = 50_000
"""Predicted at a time: a model's matrix may take many times what the table does."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8
"""Another processor adds up floats in another order."""


class Problem(Exception):
    """Something the user can put right; the message says how."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", nargs="?", type=Path, help="example.json, a table, or - for stdin")
    parser.add_argument("--model", default="best_model.pkl", help="which model (default: best_model.pkl)")
    parser.add_argument("--out", type=Path, help="write to this file (.csv or .json) instead of the terminal")
    parser.add_argument("--format", choices=("csv", "json"), help="of the answer (default: the input's)")
    parser.add_argument("--proba", action="store_true", help="add the probability of each class")
    parser.add_argument("--interval", type=int, metavar="PERCENT", help="add the bounds of an interval")
    parser.add_argument("--batch", type=int, default=BATCH_ROWS, help="rows predicted at a time")
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
    check_options(asked, schema)
    given, piped = read_input(asked.input)
    path = model_path(asked.model)
    if schema["task_type"] == "time_series":
        steps, rows = to_come(asked, given, piped, schema)
        answer = forecast(path, steps, rows, schema, asked.interval)
    else:
        answer = predict(path, table(asked, given, piped, schema), schema, asked)

    as_json = asked.format == "json" if asked.format else given is not None
    if asked.out is not None and asked.format is None:
        as_json = asked.out.suffix.lower() == ".json"
    tabular = schema["task_type"] != "time_series"
    records = plain(answer, one_column=tabular and len(answer.columns) == 1)
    text = json.dumps(records, ensure_ascii=False, indent=2) + "\n" if as_json else answer.to_csv(index=False)
    if asked.out is None:
        sys.stdout.write(text)
    else:
        asked.out.write_text(text, encoding="utf-8")
        print(f"{len(answer)} predictions written to {asked.out}", file=sys.stderr)
    recorded = None if asked.horizon else recorded_predictions(given, path)
    if recorded is None:
        return 0
    # what --proba or --interval added was not recorded: of a forecast series, time and value are
    answered = plain(answer.iloc[:, : 1 if tabular else 3], one_column=tabular)
    return compare(recorded, answered, tolerance(path))


def check_options(asked: argparse.Namespace, schema: dict[str, Any]) -> None:
    if asked.proba and schema["task_type"] != "classification":
        raise Problem("--proba is for classification: these models answer no classes")
    if asked.interval is not None and schema["task_type"] == "classification":
        raise Problem("--interval is for numbers: for classes there is --proba")
    if asked.batch < 1:
        raise Problem("--batch is at least one row")


# --- input --------------------------------------------------------------------------------------


def read_input(path: Path | None) -> tuple[Any, str | None]:
    """What there is of JSON, and what came by standard input and is none."""
    if path is None:
        return None, None
    if str(path) != "-":
        return (read_json(path) if path.suffix.lower() == ".json" else None), None
    text = sys.stdin.read().removeprefix("\ufeff")
    if text.lstrip()[:1] not in ("[", "{"):
        return None, text
    try:
        return json.loads(text), None
    except ValueError as error:
        raise Problem(f"standard input is not JSON: {error}") from error


def table(
    asked: argparse.Namespace, given: Any, piped: str | None, schema: dict[str, Any]
) -> pandas.DataFrame:
    """The rows to predict, with every column that the model needs."""
    if asked.horizon is not None:
        raise Problem("--horizon is for models of a time series; this one predicts the rows of a table")
    if asked.input is None:
        raise Problem("name the table to predict, or example.json")
    rows = read_table(asked.input, piped, schema) if given is None else rows_of(given)
    wanted = [column["name"] for column in schema["columns"]]
    if missing := [name for name in wanted if name not in rows.columns]:
        listed = ", ".join(map(repr, missing))
        there = ", ".join(repr(name) for name in rows.columns[:30]) or "none"
        raise Problem(f"{asked.input} lacks {len(missing)} of the model's columns: {listed}; it has {there}")
    if rows.empty:
        raise Problem(f"{asked.input} holds no rows")
    return rows.drop(columns=schema["target"], errors="ignore")


def rows_of(given: Any) -> pandas.DataFrame:
    import pandas

    rows = given.get("rows", [given]) if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Problem('JSON input is a list of objects, one a row, or {"rows": […]}')
    return pandas.DataFrame(rows)


def read_table(path: Path, piped: str | None, schema: dict[str, Any]) -> pandas.DataFrame:
    import pandas

    def source() -> Any:
        return path if piped is None else io.StringIO(piped)

    if piped is None and not path.is_file():
        raise Problem(f"there is no file {path}")
    try:
        if ".parquet" in path.suffixes:
            return pandas.read_parquet(path)
        names = {column["name"] for column in schema["columns"]}
        headers = {sep: pandas.read_csv(source(), sep=sep, nrows=0, encoding="utf-8-sig") for sep in ",;\t|"}
        separator = max(headers, key=lambda sep: len(names & set(headers[sep].columns)))
        # what was text in training stays text, were it all digits here
        types = {c["name"]: str for c in schema["columns"] if c.get("dtype") in TEXT_TYPES}
        return pandas.read_csv(source(), sep=separator, dtype=types, encoding="utf-8-sig", low_memory=False)
    except ImportError as error:
        raise Problem(f"{path} cannot be read here: {error}") from error
    except (ValueError, OSError) as error:
        raise Problem(f"{path} cannot be read as a table: {error}") from error


def to_come(
    asked: argparse.Namespace, given: Any, piped: str | None, schema: dict[str, Any]
) -> tuple[int, pandas.DataFrame | None]:
    """How many steps to forecast, as asked, else as the input says, else as trained; and what is known of
    them: the input, where it is a table with their times."""
    rows = None
    steps = asked.horizon
    if asked.input is not None:
        rows = read_table(asked.input, piped, schema) if given is None else rows_of(given)
        if schema["time_column"] not in rows.columns:
            steps = steps or asked_steps(rows, schema["time_column"])
            rows = None
        elif steps is None:
            by = schema["series_column"]
            steps = len(rows) if by is None or by not in rows.columns else rows.groupby(by).size().min()
    steps = schema["horizon"] if steps is None else steps
    if steps < 1:
        raise Problem("the horizon is at least one step")
    return int(steps), rows


def asked_steps(rows: pandas.DataFrame, time_column: str) -> Any:
    if list(rows.columns) != ["h"] or len(rows) != 1 or rows["h"].dtype.kind != "i":
        raise Problem(
            'input for a forecast is {"h": steps} (or give --horizon), or a table of the steps to come with '
            f"their times in {time_column!r}"
        )
    return rows["h"].iloc[0]


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
    if name.endswith(".onnx") and (HERE / "onnx.json").is_file():
        slug = name.removesuffix(".onnx")
        slug = read_json(HERE / "schema.json").get("model") if slug == "best_model" else slug
        reason = read_json(HERE / "onnx.json")["models"].get(slug, {}).get("reason")
        if reason:
            raise Problem(f"there is no graph of {slug}: {reason}")
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


def open_graph(path: Path) -> Any:
    check_digest(path)
    try:
        import predict_onnx  # type: ignore[import-not-found]
    except ModuleNotFoundError as error:
        raise Problem(f"{path.name} needs the package {error.name}: pip install onnxruntime") from error
    return predict_onnx.Graph(path)


def predict(
    path: Path, rows: pandas.DataFrame, schema: dict[str, Any], asked: argparse.Namespace
) -> pandas.DataFrame:
    """A row for each of `rows`: the prediction, named as the target, then what `--proba` or `--interval`
    adds."""
    import pandas

    model = open_graph(path) if path.suffix == ".onnx" else open_model(path)
    parts = []
    # what a library prints is no prediction
    with contextlib.redirect_stdout(sys.stderr):
        try:
            for start in range(0, len(rows), asked.batch):
                batch = rows.iloc[start : start + asked.batch]
                part = pandas.DataFrame({schema["target"]: model.predict(batch)})
                if asked.proba:
                    named = [f"probability of {label}" for label in model.classes_]
                    part[named] = model.predict_proba(batch)
                parts.append(part)
        except Exception as error:
            raise Problem(
                f"{path.name} cannot predict these rows ({type(error).__name__}: {error})"
            ) from error
    answer = pandas.concat(parts, ignore_index=True)
    return answer if asked.interval is None else with_interval(answer, path, schema, asked.interval)


def with_interval(
    answer: pandas.DataFrame, path: Path, schema: dict[str, Any], percent: int
) -> pandas.DataFrame:
    """By the model's conformal intervals: how far off it was on rows that it had not seen, where it
    predicted about as much."""
    import numpy

    slug = schema.get("model") if path.stem == "best_model" else path.stem
    known = schema.get("intervals", {}).get(slug)
    if known is None:
        raise Problem(f"no intervals of {path.stem} are known")
    if str(percent) not in known["lower"]:
        raise Problem(f"--interval is one of these: {', '.join(known['lower'])}")
    predicted = answer.iloc[:, 0].to_numpy(dtype="float64")
    place = numpy.searchsorted(numpy.asarray(known["edges"]), predicted, side="right")
    for side in ("lower", "upper"):
        answer[f"{side} {percent} %"] = predicted + numpy.asarray(known[side][str(percent)])[place]
    return answer


def forecast(
    path: Path, steps: int, rows: pandas.DataFrame | None, schema: dict[str, Any], percent: int | None
) -> pandas.DataFrame:
    """The next `steps` of each series; `rows`: what is known of them, which some models go by."""
    model = open_model(path)
    members = model["members"] if isinstance(model, dict) else {path.stem: model}
    given = {}
    for name, member in members.items():
        if needed := columns_ahead(member, schema):
            wanted = [
                column for column in (schema["series_column"], schema["time_column"], *needed) if column
            ]
            missing = wanted if rows is None else [column for column in wanted if column not in rows.columns]
            if rows is None or missing:
                listed = ", ".join(map(repr, missing))
                raise Problem(
                    f"{path.name} goes by what is known of the steps to come: give a table with a row for "
                    f"each step of each series, with {listed}"
                )
            given[name] = ahead(member, rows, needed, schema)
    # what a library prints is no forecast
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if isinstance(model, dict):
                return average(model, steps, given, percent)
            named: dict[str, Any] = {"X_df": given[path.stem]} if given else {}
            if percent is not None:
                named["level"] = [percent]
            return model.predict(h=steps, **named)
        except Problem:
            raise
        except Exception as error:
            raise Problem(f"{path.name} cannot forecast ({type(error).__name__}: {error})") from error


def average(
    model: dict[str, Any],
    h: int,
    ahead: dict[str, pandas.DataFrame] | None = None,
    percent: int | None = None,
) -> pandas.DataFrame:
    """The next `h` steps of each series by a weighted ensemble, which is a dict: what each of `members`
    forecasts, averaged by `weights`. `ahead`: the `X_df` of each member that asks for one, by its name.
    `percent`: with the bounds of an interval, named as the members' libraries name theirs."""
    known = ahead or {}
    said = {
        name: member.predict(h=h, **({"X_df": known[name]} if name in known else {}))
        for name, member in model["members"].items()
    }
    return averaged(model, said, percent)


def averaged(
    model: dict[str, Any], said: dict[str, pandas.DataFrame], percent: int | None = None
) -> pandas.DataFrame:
    """`average` of what the members said: by name, a frame of series, time and forecast."""
    parts = [said[name].set_index([model["id"], model["time"]]) for name in model["weights"]]
    # added by series and time, whatever the order of the rows
    total = sum(part.iloc[:, 0] * weight for part, weight in zip(parts, model["weights"].values()))  # noqa: B905
    answer = total.rename(model["output"]).reset_index()
    return answer if percent is None else _with_bounds(answer, model, percent)


def _with_bounds(answer: pandas.DataFrame, model: dict[str, Any], percent: int) -> pandas.DataFrame:
    """By how far off the average was in its backtests, step by step, in units of each series' own scale."""
    import numpy

    if model["scores"] is None:
        raise Problem("no intervals of this ensemble are known")
    step = answer.groupby(model["id"], sort=False).cumcount().to_numpy()
    scores = numpy.asarray(model["scores"])
    if step.max() >= len(scores):
        raise Problem(f"intervals of this ensemble are known for {len(scores)} steps ahead, no further")
    half = numpy.quantile(numpy.hstack([-scores, scores]), 0.5 + percent / 200, axis=1)[step]
    half = half * answer[model["id"]].map(model["scale"]).to_numpy()
    output = model["output"]
    bounds = {
        f"{output}-lo-{percent}": answer[output] - half,
        f"{output}-hi-{percent}": answer[output] + half,
    }
    return answer.assign(**bounds)


def columns_ahead(model: Any, schema: dict[str, Any]) -> list[str]:
    """The columns whose values at the steps to come the model must be given."""
    used = model.ts.features_order_ if hasattr(model, "ts") else model._exog
    return [name for name in schema.get("future_columns", []) if name in used]


def ahead(model: Any, rows: pandas.DataFrame, needed: list[str], schema: dict[str, Any]) -> pandas.DataFrame:
    """`rows` as the model takes them: its own names of series, times without a zone, numbers as numbers."""
    import pandas

    state = getattr(model, "ts", model)
    names, last = pandas.Index(state.uids), pandas.Index(state.last_dates)
    role = {column["name"]: column["role"] for column in schema["columns"]}
    made = pandas.DataFrame(index=rows.index)
    try:
        by = schema["series_column"]
        made[state.id_col] = names[0] if by is None else rows[by].astype(names.dtype)
        times = rows[schema["time_column"]]
        if last.dtype.kind == "M":
            times = pandas.to_datetime(times, utc=True).dt.tz_localize(None).astype(last.dtype)
        made[state.time_col] = times
        for name in needed:
            text = role.get(name) == "categorical"
            made[name] = rows[name].map(str) if text else pandas.to_numeric(rows[name]).astype("float64")
    except (ValueError, TypeError) as error:
        raise Problem(f"the table of the steps to come cannot be read: {error}") from error
    return made.sort_values([state.id_col, state.time_col]).reset_index(drop=True)


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


def tolerance(path: Path) -> float:
    """How far a number may be off: a graph computes with fewer digits, as onnx.json says."""
    if path.suffix != ".onnx" or not (path.parent / "onnx.json").is_file():
        return ABSOLUTE_TOLERANCE
    slug = read_json(HERE / "schema.json").get("model") if path.stem == "best_model" else path.stem
    known = read_json(path.parent / "onnx.json")["models"].get(slug, {})
    return float(known.get("parity", {}).get("tolerance", ABSOLUTE_TOLERANCE))


def compare(recorded: list[Any], answered: list[Any], absolute: float) -> int:
    differ = [i for i, (a, b) in enumerate(zip(recorded, answered)) if not same(a, b, absolute)]  # noqa: B905
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


def same(a: Any, b: Any, absolute: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], absolute) for key in a)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE, abs_tol=absolute)
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
