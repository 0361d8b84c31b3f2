"""The same fits as a plain scikit-learn script, as many at a time as there are cores.

    python -m tests.bench.work.script TABLE.csv FOLDER MODEL …

Says in JSON how long it took: from reading the table to the last file, libraries and workers being there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from tests.bench.product import tree_seconds
from tests.bench.work import fits


def main(source: Path, folder: Path, models: list[str]) -> dict[str, float]:
    cores = os.cpu_count() or 1
    with Parallel(n_jobs=cores) as pool:
        pool(delayed(abs)(number) for number in range(4 * cores))  # the workers have started, and imported
        pool(delayed(fits.table)(100) for _ in range(4 * cores))
        used, began = tree_seconds(os.getpid()), time.perf_counter()
        frame = pd.read_csv(source)
        scores = pool(delayed(fits.fit)(frame, fits.MIXED[slug], folder / f"{slug}.pkl") for slug in models)
        board = pd.DataFrame(scores, index=pd.Index(models, name="model_name"))
        board.sort_values("cv_mean", ascending=False).to_csv(folder / "leaderboard.csv")
        return {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": tree_seconds(os.getpid()) - used,
        }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
