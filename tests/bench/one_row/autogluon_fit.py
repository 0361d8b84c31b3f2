"""`python autogluon_fit.py TABLE.csv TARGET FOLDER SECONDS`: what is compared with, fitted by its default."""

from __future__ import annotations

import sys

import pandas as pd
from autogluon.tabular import TabularPredictor


def main(table: str, target: str, folder: str, seconds: str) -> None:
    predictor = TabularPredictor(label=target, path=folder, verbosity=0)
    predictor.fit(
        pd.read_csv(table), presets="medium_quality", time_limit=float(seconds), num_cpus=2, num_gpus=0
    )
    print(predictor.model_best)


if __name__ == "__main__":
    main(*sys.argv[1:])
