"""Boosters that several workers train together, by their libraries' own distributed training.

`trained` gives a booster in its library's portable form, and `put_into` has an ordinary estimator answer with
it: what is handed over is a plain scikit-learn pipeline that has never heard of a cluster.
"""

from __future__ import annotations

import asyncio
from typing import Any

import dask.array as da
from distributed import Client

from services.trainer.candidates import Situation
from services.trainer.candidates.boosting import LIBRARIES

SOCKET_MINUTES = 5
"""How long LightGBM's workers wait for one another."""


def trained(
    client: Client, slug: str, given: Situation, x: da.Array, y: da.Array, rounds: int
) -> str | bytearray:
    """`x`: (n, width) float32, `y`: (n,) codes 0..k-1 of `given.classes`, or numbers; their chunks are what
    is shared out. With the settings that a fit on this machine would have."""
    # distributed training asks for an event loop in whichever thread calls it
    asyncio.set_event_loop(asyncio.new_event_loop())
    model = LIBRARIES[slug].model(given, watched=False)
    if slug == "xgboost":
        return _xgboost(client, model, given.classes, x, y, rounds)
    return _lightgbm(client, model, given.classes, x, y, rounds)


def put_into(fitted: Any, booster: str | bytearray, rounds: int) -> None:
    """Give the library's own estimator within `fitted`, fitted on a few rows, this booster instead of its."""
    counts = [name for name in fitted.get_params() if name.rpartition("__")[2] == "n_estimators"]
    fitted.set_params(**dict.fromkeys(counts, rounds))
    model = _library_model(fitted)
    model.set_params(n_estimators=rounds)
    if isinstance(booster, bytearray):  # XGBoost's
        model.load_model(booster)
        return
    import lightgbm

    # scikit-learn's wrapper has no public way to be given a booster; what it knows beside it (classes,
    # features) is of the same table
    model._Booster = lightgbm.Booster(model_str=booster)


def _xgboost(client: Client, model: Any, classes: int, x: da.Array, y: da.Array, rounds: int) -> bytearray:
    from xgboost import dask as dxgb

    params = model.get_xgb_params()
    params.pop("n_jobs", None)  # as many threads as the worker has
    if classes == 2:
        params["objective"] = "binary:logistic"
    elif classes:
        params |= {"objective": "multi:softprob", "num_class": classes}
    matrix = dxgb.DaskQuantileDMatrix(client, x, y)
    found = dxgb.train(client, params, matrix, num_boost_round=rounds, verbose_eval=False)
    raw: bytearray = found["booster"].save_raw("ubj")
    return raw


def _lightgbm(client: Client, model: Any, classes: int, x: da.Array, y: da.Array, rounds: int) -> str:
    from lightgbm import DaskLGBMRegressor

    params = model.get_params() | {"n_estimators": rounds, "time_out": SOCKET_MINUTES}
    # a regressor of codes: a classifier makes codes of the labels that each worker happens to have
    if classes == 2:
        params["objective"] = "binary"
    elif classes:
        params |= {"objective": "multiclass", "num_class": classes}
    params = {name: value for name, value in params.items() if value is not None and name != "class_weight"}
    fitted = DaskLGBMRegressor(client=client, **params).fit(x, y)
    text: str = fitted.booster_.model_to_string()
    return text


def _library_model(fitted: Any) -> Any:
    """What scikit-learn's wrappers hold: for a threshold, the table's labels, a transformed target."""
    while True:
        if hasattr(fitted, "estimator_"):
            fitted = fitted.estimator_
        elif hasattr(fitted, "regressor_"):
            fitted = fitted.regressor_
        elif hasattr(fitted, "estimators_") and not hasattr(fitted, "booster_"):
            fitted = fitted.estimators_[0]
        else:
            return fitted
