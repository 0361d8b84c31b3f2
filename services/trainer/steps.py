"""The steps that run in a child process, by the names under which the trainer asks for them.

Each takes what can be written as JSON, a scratch folder and a progress callback, and answers with a
msgspec struct. Libraries are imported inside: the trainer's own process never loads them.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from services.trainer.cluster import Asked
from services.trainer.outcome import (
    Choice,
    Converted,
    ConvertedOnnx,
    Example,
    FitOutcome,
    Member,
    Progress,
)
from services.trainer.table_limits import TableLimits
from shared.contracts.files import Preview, Profile
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest

_NAMES = (
    *("decode", "profile", "preview", "plan", "spread", "fit", "choose", "combine"),
    *("convert", "convert_onnx"),
)
STEPS = {name: f"services.trainer.steps:{name}" for name in _NAMES}


class Laid(Struct):
    """A file of rows for a cluster, in the scratch folder; `rows` by what they are tied to."""

    name: str
    rows: dict[str, int]


class Decoded(Struct):
    rows: int
    columns: int


def decode(*, source: str, name: str, limits: TableLimits, scratch: Path, progress: Progress) -> Decoded:
    """Read an upload once; the decoded table is left as `table.arrow` in the scratch folder."""
    from services.trainer import table

    rows, columns = table.decode(Path(source), name, scratch / "table.arrow", progress, limits)
    return Decoded(rows, columns)


def profile(*, table: str, scratch: Path, progress: Progress) -> Profile:
    from services.trainer.profile import profile as make_profile

    return make_profile(Path(table), progress)


def preview(*, table: str, scratch: Path, progress: Progress) -> Preview:
    from services.trainer.preview import preview as make_preview

    return make_preview(Path(table))


def plan(
    *,
    table: str,
    request: TrainRequest,
    profile: Profile,
    scratch: Path,
    progress: Progress,
    memory_bytes: int | None = None,
    cluster: bool = False,
) -> Plan:
    """`memory_bytes`: the guard of one fit; a table that needs more is sampled. `cluster`: there is one, on
    which some models learn from all rows all the same."""
    from services.trainer.plan import plan as make_plan

    return make_plan(Path(table), request, profile, memory_bytes, cluster=cluster)


def spread(*, table: str, plan: Plan, scratch: Path, progress: Progress) -> list[Laid]:
    """The rows that fits do not see, as Parquet files in the scratch folder."""
    from services.trainer.cluster_rows import spread as lay_out

    return lay_out(Path(table), plan, scratch, progress)


def fit(
    *,
    table: str,
    plan: Plan,
    model_name: str,
    soft_deadline_s: float,
    threads: int,
    scratch: Path,
    progress: Progress,
    best_so_far: float | None = None,
    cluster: Asked | None = None,
) -> FitOutcome:
    """One candidate; its pickle is left as `model.pkl` in the scratch folder. `best_so_far`: the best
    `cv_mean` of the run as yet; `cluster`: where parts of it are computed."""
    if plan.task_type is TaskType.TIME_SERIES:
        from services.trainer.fit_series import fit as fit_series

        return fit_series(Path(table), plan, model_name, scratch, soft_deadline_s, threads, progress)
    from services.trainer.fit import fit as fit_candidate

    return fit_candidate(
        Path(table), plan, model_name, scratch, soft_deadline_s, threads, progress, best_so_far, cluster
    )


def choose(
    *,
    table: str,
    plan: Plan,
    model_name: str,
    members: list[Member],
    seconds: float,
    scratch: Path,
    progress: Progress,
) -> Choice:
    """What an ensemble is to be made of; of the members only their predictions are read."""
    if plan.task_type is TaskType.TIME_SERIES:
        from services.trainer.series_ensemble_fit import choose as choose_forecasters

        return choose_forecasters(Path(table), plan, model_name, members, seconds, progress)
    from services.trainer.ensemble_fit import choose as choose_members

    return choose_members(Path(table), plan, model_name, members, seconds, progress)


def combine(
    *,
    table: str,
    plan: Plan,
    model_name: str,
    members: list[Member],
    choice: Choice,
    seconds: float,
    threads: int,
    scratch: Path,
    progress: Progress,
) -> FitOutcome:
    """The ensemble; its pickle is left as `model.pkl` in the scratch folder. The signatures of its members'
    pickles were found to be a trainer's."""
    if plan.task_type is TaskType.TIME_SERIES:
        from services.trainer.series_ensemble_fit import combine as combine_forecasters

        return combine_forecasters(
            Path(table), plan, model_name, members, choice, scratch, seconds, threads, progress
        )
    from services.trainer.ensemble_fit import combine as combine_members

    return combine_members(
        Path(table), plan, model_name, members, choice, scratch, seconds, threads, progress
    )


def convert(*, source: Path, sha256: str, example: Example, scratch: Path, progress: Progress) -> Converted:
    """One pickle, whose signature is a trainer's; left as `model.skops` in the scratch folder."""
    from services.trainer.convert import convert as convert_model

    return convert_model(source, sha256, example, scratch)


def convert_onnx(
    *, source: Path, sha256: str, table: str, plan: Plan, scratch: Path, progress: Progress
) -> ConvertedOnnx:
    """One pickle, whose signature is a trainer's; left as `model.onnx` in the scratch folder."""
    from services.trainer.convert_onnx import convert as convert_model

    return convert_model(source, sha256, Path(table), plan, scratch, progress)
