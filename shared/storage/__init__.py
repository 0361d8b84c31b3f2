"""The object store: verified puts and gets, copies, signed links, and the keys objects live under.

`python -m shared.storage` makes the buckets.
"""

from shared.storage.faults import ObjectExists, ObjectMissing, patience
from shared.storage.features import PROBE_PREFIX, StoreFeatures, downloads_mode, lacks
from shared.storage.keys import (
    belongs_to,
    bundle_key,
    content_disposition,
    dataset_key,
    export_key,
    export_prefix,
    model_key,
    onnx_key,
    plot_key,
    predictions_key,
    report_key,
    safe_filename,
    safe_name,
    saved_model_path,
    skops_key,
    spread_key,
    spread_prefix,
    task_prefix,
    user_prefix,
)
from shared.storage.opening import open_store
from shared.storage.parts import Content, ObjectRef, Told
from shared.storage.store import Head, Listed, Store
from shared.storage.writing import Assembled, Stored

__all__ = [
    "PROBE_PREFIX",
    "Assembled",
    "Content",
    "Head",
    "Listed",
    "ObjectExists",
    "ObjectMissing",
    "ObjectRef",
    "Store",
    "StoreFeatures",
    "Stored",
    "Told",
    "belongs_to",
    "bundle_key",
    "content_disposition",
    "dataset_key",
    "downloads_mode",
    "export_key",
    "export_prefix",
    "lacks",
    "model_key",
    "onnx_key",
    "open_store",
    "patience",
    "plot_key",
    "predictions_key",
    "report_key",
    "safe_filename",
    "safe_name",
    "saved_model_path",
    "skops_key",
    "spread_key",
    "spread_prefix",
    "task_prefix",
    "user_prefix",
]
