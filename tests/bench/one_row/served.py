"""`python -m tests.bench.one_row.served MODEL.pkl PORT`: a downloaded model behind a Litestar handler, as
whoever takes one home would put it: POST a row, get its probabilities."""

from __future__ import annotations

import sys
from typing import Any

import joblib
import pandas as pd
import uvicorn
from litestar import Litestar, get, post


def app(path: str) -> Litestar:
    model = joblib.load(path)

    @get("/ping", sync_to_thread=False)
    def ping() -> str:
        return "ok"

    @post("/", sync_to_thread=False)
    def predict(data: dict[str, Any]) -> list[float]:
        answer: list[float] = model.predict_proba(pd.DataFrame([data]))[0].tolist()
        return answer

    return Litestar([ping, predict], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="warning")
