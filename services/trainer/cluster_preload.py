"""What the process that fits are forked from imports besides, where a cluster is set. Starts no thread."""

import dask.array
import distributed
import lightgbm.dask
import xgboost.dask

from services.trainer import cluster_fit

__all__ = ["cluster_fit", "dask", "distributed", "lightgbm", "xgboost"]
