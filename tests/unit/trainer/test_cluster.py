"""What is decided about a cluster, which rows go there, and what its workers refuse."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
import uuid
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from services.trainer import cluster, cluster_rows, cluster_worker, table_room, table_rows
from services.trainer.child_memory import LEAST_BYTES
from services.trainer.cluster import FREE, TEST, Link
from services.trainer.plan import plan
from services.trainer.profile import profile
from services.trainer.steps import Laid
from shared.contracts.states import TaskType
from shared.contracts.training import Plan, TrainRequest
from shared.errors import ClusterFailed, ConfigurationError
from shared.settings import Cluster as Settings

ROWS = 6_000


@pytest.mark.parametrize(
    "address", ["", "10.0.0.1:8786", "tls://a:8786", "tcp://a", "tcp://a:x", "tcp://a:1/b"]
)
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ConfigurationError, match="DASK_SCHEDULER"):
        cluster.configured(Settings(trainer_joblib_backend="dask", dask_scheduler=address))


def test_a_cluster_is_where_the_settings_say() -> None:
    assert cluster.configured(Settings(dask_scheduler="tcp://a:8786")) is None
    for address in ("tcp://dask-scheduler:8786", "tcp://[::1]:8786"):
        found = cluster.configured(Settings(trainer_joblib_backend="dask", dask_scheduler=address))
        assert found is not None and found.address == address


def test_a_guard_has_to_leave_room_for_its_client() -> None:
    here = cluster.Cluster(host="a", port=1)
    assert cluster.room(LEAST_BYTES, None) == LEAST_BYTES
    assert cluster.room(LEAST_BYTES + cluster.CLIENT_BYTES, here) == LEAST_BYTES
    with pytest.raises(ConfigurationError, match="a fit needs 384 MiB, and has 256 here"):
        cluster.room(LEAST_BYTES, here)


def test_only_what_is_worth_its_way_goes_there() -> None:
    assert cluster.worthwhile(TaskType.REGRESSION, 10_000, 5)
    assert not cluster.worthwhile(TaskType.REGRESSION, 1_000, 5)
    assert not cluster.worthwhile(TaskType.TIME_SERIES, 10_000, 5)


def test_a_worker_with_a_credential_does_not_start() -> None:
    cluster_worker.refuse_credentials({"PATH": "/bin", "S3_ENDPOINT_URL": "http://s3"})
    given = {"S3_SECRET_ACCESS_KEY": "umbrella-quartz", "WORKER_DATABASE_URL_FILE": "/run/secrets/db"}
    with pytest.raises(ConfigurationError) as caught:
        cluster_worker.refuse_credentials(given)
    assert all(name in caught.value.detail for name in given)
    assert "umbrella" not in caught.value.detail


# --- rows ---------------------------------------------------------------------------------------


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """About a third of the table's rows fit."""
    monkeypatch.setattr(table_room, "SMALL_BYTES", 512 * 1024)


def frame(kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = pd.DataFrame(rng.normal(size=(ROWS, 8)), columns=[f"n{i}" for i in range(8)])
    made["word"] = rng.choice(["red", "green"], ROWS)
    made["house"] = rng.integers(0, 900, ROWS)
    told = made["n0"] + rng.normal(scale=0.3, size=ROWS)
    made["y"] = told if kind == "regression" else np.where(told > 0, "high", "low")
    made.loc[rng.random(ROWS) < 0.05, "y"] = np.nan
    # every tenth row is a copy of the one before
    copies = np.arange(10, ROWS, 10)
    made.iloc[copies] = made.iloc[copies - 1].to_numpy()
    return made.infer_objects()


def planned(made: pd.DataFrame, folder: Path, **request: object) -> tuple[Path, Plan]:
    path = folder / "table.arrow"
    arrow = pa.Table.from_pandas(made, preserve_index=False)
    with pa.ipc.new_file(str(path), arrow.schema) as file:
        file.write_table(arrow, max_chunksize=1_000)
    asked = msgspec.convert(
        {"file_id": str(uuid.uuid4()), "target": "y", "models": ["xgboost", "ridge"]} | request,
        TrainRequest,
    )
    return path, plan(path, asked, profile(path), LEAST_BYTES, cluster=True)


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("grouped", [False, True])
def test_rows_go_where_nothing_that_is_judged_is_given_away(grouped: bool, tmp_path: Path) -> None:
    made = frame("classification")
    models = ["xgboost", "random_forest"]
    more = {"group_column": "house"} if grouped else {"exclude_columns": ["house"]}
    path, decided = planned(made, tmp_path, models=models, task_type="classification", **more)
    assert decided.details[cluster.DETAIL] == ["xgboost"]
    told = next(notice for notice in decided.warnings if notice.code == "trained-on-cluster")
    assert told.message.startswith("xgboost learn")

    tied, target = cluster_rows._assigned(path, decided)
    rows, _ = table_rows.read(path, decided, placed=True)
    assert rows.places is not None and rows.labels is not None
    # the drawn rows are the plan's, and their target is what the fits see
    assert (tied[rows.places] == cluster_rows._DRAWN).all()
    assert (rows.labels[target[rows.places].astype(int)] == rows.y).all()
    others = np.flatnonzero(tied >= FREE)
    assert len(others) and made["y"].notna().to_numpy()[others].all()
    assert np.isin(tied[made["y"].isna()], [cluster_rows._LEFT_OUT, cluster_rows._DRAWN]).all()

    features = made.drop(columns=["y", "house"]).apply(tuple, axis=1)
    sides = {TEST: rows.test} | {
        number: held for number, (_, held) in enumerate(table_rows.folds(rows, decided), start=1)
    }
    for number, positions in sides.items():
        may_not = features.iloc[rows.places[positions]]
        free = np.flatnonzero((tied >= FREE) & (tied != number))
        assert not set(features.iloc[free]) & set(may_not), number
        if grouped:
            houses = made["house"].to_numpy()
            assert not set(houses[free]) & set(houses[rows.places[positions]]), number


@pytest.mark.usefixtures("tight")
def test_files_hold_the_rows_and_workers_read_them_as_they_are(tmp_path: Path) -> None:
    made = frame("regression")
    path, decided = planned(made, tmp_path, exclude_columns=["house"])
    tied, target = cluster_rows._assigned(path, decided)
    laid = cluster_rows.spread(path, decided, tmp_path, lambda *_: None)
    assert len(laid) >= 4
    assert sum(sum(file.rows.values()) for file in laid) == (tied >= FREE).sum()
    assert {pq.ParquetFile(tmp_path / file.name).num_row_groups for file in laid} == {1}

    numbers = [f"n{i}" for i in range(8)]
    before = Pipeline([("prepare", FunctionTransformer(lambda rows: rows[numbers].to_numpy()))])
    scaler = StandardScaler().fit(np.array([[0.0], [2.0]]))
    with served(tmp_path) as url:
        links = [link(tmp_path, url, file) for file in laid]
        allowed = [FREE, TEST]
        read = [cluster_rows.learned(each, allowed, before, 8, scaler) for each in links]
        assert [len(y) for _, y in read] == [cluster_rows.counted(each, allowed) for each in links]
        wanted = np.flatnonzero(np.isin(tied, allowed))
        x = np.concatenate([x for x, _ in read])
        assert x.dtype == np.float32 and np.allclose(x, made.iloc[wanted][numbers].to_numpy(), atol=1e-6)
        assert np.allclose(np.concatenate([y for _, y in read]), target[wanted] - 1)
        nothing, none = cluster_rows.learned(links[0], [99], before, 8, scaler)
        assert nothing.shape == (0, 8) and none.shape == (0,)


@pytest.mark.usefixtures("tight")
def test_rows_that_are_not_as_they_were_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_rows, "FETCHES", 1)
    path, decided = planned(frame("regression"), tmp_path, exclude_columns=["house"])
    laid = cluster_rows.spread(path, decided, tmp_path, lambda *_: None)
    before = Pipeline([("prepare", FunctionTransformer())])
    with served(tmp_path) as url:
        good = link(tmp_path, url, laid[0])
        for bad, why in (
            (msgspec.structs.replace(good, sha256="0" * 64), "another digest"),
            (msgspec.structs.replace(good, url=f"{url}/none"), "404"),
            (msgspec.structs.replace(good, url=(tmp_path / laid[0].name).as_uri()), "none of the store's"),
        ):
            with pytest.raises(ClusterFailed, match=why):
                cluster_rows.learned(bad, [FREE], before, 8, None)


def test_without_a_cluster_or_a_booster_nothing_is_said_of_one(tmp_path: Path, tight: None) -> None:
    made = frame("regression")
    _, without = planned(made, tmp_path, models=["ridge"])
    assert cluster.DETAIL not in without.details
    path = tmp_path / "table.arrow"
    asked = TrainRequest(file_id=uuid.uuid4(), target="y", models=["xgboost"])
    here = plan(path, asked, profile(path), LEAST_BYTES)
    assert cluster.DETAIL not in here.details
    assert "table-sampled" in {notice.code for notice in here.warnings}


def link(folder: Path, url: str, file: Laid) -> Link:
    digest = hashlib.sha256((folder / file.name).read_bytes()).hexdigest()
    return Link(url=f"{url}/{file.name}", sha256=digest, rows=file.rows)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP, as a store has it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
