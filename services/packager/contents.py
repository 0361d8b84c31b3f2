"""What a run's ZIP holds, as entries whose bytes are streamed from the store."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from services.packager.bundle import Entry
from shared import leaderboard
from shared.contracts.states import ConversionStatus, TaskType
from shared.db.candidates import leaderboard_row
from shared.storage import ObjectRef, Store, model_key, onnx_key, plot_key, report_key

GRAPHS = "onnx.json"
"""Says of every model whether it is there as ONNX, and how near to the pickle, or why not."""


def is_whole(task: Any) -> bool:
    """Whether the run has been finished, so that there is a report to pack."""
    return task["report"] is not None and task["report_attempt"] is not None


def entries(
    store: Store, task: Any, rows: Sequence[Any], graphs: Sequence[Any] = ()
) -> list[Entry[ObjectRef]]:
    """The report's files, `onnx.json` and `plots/{slug}_{kind}.svg`; `best_model.pkl`, every `{slug}.pkl`,
    and the same as `.onnx` where there is one. What is small comes first: together it may be as much as a
    store takes as a part, so that less of what follows has to pass through here.

    `task` is a row of `tasks.for_work`, `rows` those of `candidates.of_task`, `graphs` those of
    `conversions.of_task` that are ONNX; of a run that has not ended, what there is so far. Sizes and digests
    are those recorded at training time, which what the store hands out is compared with.
    """
    user_id, task_id = task["user_id"], task["id"]
    packed: list[Entry[ObjectRef]] = []

    def add(name: str, key: str, stored: Any) -> None:
        packed.append(stored_entry(store, name, task["created_at"], store.artifacts, key, stored))

    for name, stored in (task["report"] or {}).items():
        add(name, report_key(user_id, task_id, task["report_attempt"], name), stored)
    if graphs:
        packed.append(_text(GRAPHS, json.dumps(_said(graphs), ensure_ascii=False, indent=2) + "\n", task))
    done = [row for row in rows if row["status"] == "done"]
    for row in done:
        for plot in row["outcome"]["plots"]:
            key = plot_key(user_id, task_id, row["model_name"], row["attempt"], plot["kind"])
            add(f"plots/{row['model_name']}_{plot['kind']}.svg", key, plot)
    if done and task["plan"]:
        plan = task["plan"]
        board = leaderboard.rank(map(leaderboard_row, done), plan["metric"], TaskType(plan["task_type"]))
        slugs = {row["model_name"]: row for row in done}
        top = slugs[board[0].model_name]
        for name, row in [("best_model", top), *slugs.items()]:
            add(f"{name}.pkl", model_key(user_id, task_id, row["model_name"], row["attempt"]), row)
        ready = {row["model_name"]: row for row in graphs if row["status"] == ConversionStatus.READY}
        for name, slug in [("best_model", top["model_name"]), *((slug, slug) for slug in slugs)]:
            # of an attempt that was fitted again since it is another model's
            if slug in ready and ready[slug]["attempt"] == slugs[slug]["attempt"]:
                graph = ready[slug]
                key = onnx_key(user_id, task_id, slug, graph["attempt"], graph["conversion"])
                add(f"{name}.onnx", key, graph)
    return packed


def stored_entry(
    store: Store, name: str, at: dt.datetime, bucket: str, key: str, stored: Any, *, squeeze: bool = True
) -> Entry[ObjectRef]:
    """An object as a member. `stored` has its `size_bytes` and `sha256`, and, recorded when it was put,
    `crc32` and `etag`; of what was put before those were, they are None or missing."""
    facts = dict(stored)
    size, sha256 = facts["size_bytes"], facts["sha256"]
    return Entry(
        name=name,
        size=size,
        mtime=at,
        sha256=sha256,
        crc32=facts.get("crc32"),
        source=ObjectRef(bucket=bucket, key=key, size_bytes=size, sha256=sha256, etag=facts.get("etag")),
        chunks=_chunks(store, bucket, key),
        squeeze=squeeze,
    )


def _said(graphs: Sequence[Any]) -> dict[str, Any]:
    """Slug → what running the graph needs and how near it is to the pickle, or the reason why there is
    none."""
    said: dict[str, Any] = {}
    for row in graphs:
        if row["status"] == ConversionStatus.READY:
            facts = {"sha256": row["sha256"], "requires": row["requires"], **row["facts"]}
            said[row["model_name"]] = {"file": f"{row['model_name']}.onnx", **facts}
        else:
            reason = (
                row["error"] or "it was still being converted when this was packed; it can be had by itself"
            )
            said[row["model_name"]] = {"file": None, "reason": reason}
    return {"models": said}


def _text(name: str, text: str, task: Any) -> Entry[ObjectRef]:
    content = text.encode()

    async def once() -> AsyncIterator[bytes]:
        yield content

    return Entry(name=name, size=len(content), mtime=task["created_at"], chunks=once())


async def _chunks(store: Store, bucket: str, key: str) -> AsyncIterator[bytes]:
    """Opens its object when it is first asked for bytes: members are read one after another."""
    async for chunk in store.stream(bucket, key):
        yield chunk
