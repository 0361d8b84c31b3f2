"""Every query of shared/db, found by looking, and arguments for it that are another user's."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import shared.db
from shared.contracts.accounts import AuditAction
from shared.contracts.catalogue import MODELS
from shared.contracts.problems import Problem
from shared.contracts.registry import ModelPatch
from shared.contracts.states import ConversionFormat, JobKind, Stage, TaskStatus, TaskType, uuid7
from shared.contracts.training import TrainRequest
from shared.db import audit, idempotency
from shared.db.jobs import Job
from shared.signing import Signature
from tests.integration.api_runs import PLAN
from tests.isolation.belongings import Belongings

NOT_QUERIES = {
    "backlog": "counts the jobs of all users, and says nothing else (tests/integration/test_backlog.py)",
    "migrate": "runs as the owner, before there are users",
    "migrated": "asks which migrations ran, and nothing else (tests/integration/test_migrated.py)",
    "pool": "the connection itself",
}
"""Modules of shared/db without queries of a user's, and why."""


class Query(NamedTuple):
    name: str
    run: Callable[..., Awaitable[Any]]
    parameters: list[inspect.Parameter]
    """Without the connection."""

    @property
    def names_a_user(self) -> bool:
        return any(p.name in ("user_id", "key", "deed") for p in self.parameters)


def queries() -> list[Query]:
    """Public coroutines of shared/db/*.py that take a connection first."""
    found = []
    for module in pkgutil.iter_modules(shared.db.__path__):
        if module.name in NOT_QUERIES:
            continue
        loaded = importlib.import_module(f"shared.db.{module.name}")
        for name, thing in vars(loaded).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != loaded.__name__:
                continue
            if inspect.iscoroutinefunction(thing):
                first, *rest = inspect.signature(thing).parameters.values()
                assert first.name == "c", f"{module.name}.{name} takes no connection first"
                found.append(Query(f"{module.name}.{name}", thing, rest))
    return found


class NoArgument(Exception):
    """These tests do not know what to give for a parameter: add it to `values_for`."""


def values_for(parameter: str, query: str, its: Belongings, asked_as: uuid.UUID) -> list[Any]:
    """What may stand for the parameter of this name: the victim's `its`, and `asked_as` for the user."""
    objects: dict[str, list[Any]] = {
        "user_id": [asked_as],
        "file_id": its.files,
        "task_id": its.tasks,
        "candidate_id": its.candidates,
        "model_id": its.models,
        "key_id": its.keys,
        "subject_id": [*its.files[:1], *its.tasks[:4], its.candidates[0], its.models[1], its.user],
        "task_ids": [its.tasks],
        "ids": [[*its.files, *its.tasks, *its.models, its.user, *(job["id"] for job in its.jobs)]],
        "paths": [its.paths],
        "job": [Job(**job) for job in its.jobs],
        "held": [[Job(**job) for job in its.jobs]],
        "digest": its.key_digests if query == "api_keys.insert" else [b"no such key".ljust(32)],
        "key": [idempotency.Key(asked_as, route, text) for route, text, _ in its.idempotency],
        "owner": [own for *_, own in its.idempotency] if query.startswith("idempotency") else ["mine"],
        "deed": [
            audit.Deed(
                user_id=asked_as,
                action=AuditAction.FILE_UPLOADED,
                subject_kind="file",
                subject_id=its.files[0],
                actor="user",
            )
        ],
        "slug": ["model_0", "model_1"],
        "request": [TrainRequest(file_id=its.files[0], target="x")],
        "kind": list(JobKind),
        "kinds": [list(JobKind)],
        # an id of the newest: nothing comes after it, and everything before
        "before": [None, its.files[-1]],
        "after": [None],
        "deleted": [False, True],
        "form": list(ConversionFormat),
        "signed": ["candidates", "trained_models"],
    }
    plain: dict[str, Any] = {
        "answer": idempotency.Answer(fingerprint=b"f", status=200, headers={}, body=b"attacker"),
        "action": AuditAction.FILE_UPLOADED,
        "attempt": 2,
        "begun_within_s": 10.0,
        "columns": 1,
        "cv_mean": 1.0,
        "cv_std": 0.0,
        "delay_s": 0.0,
        "description": "attacker",
        "detail": {},
        "email": "attacker@example.org",
        "error": "attacker",
        "every_s": 0.0,
        "expires_in_s": 60,
        "facts": {},
        "file_path": f"{asked_as}/attacker.pkl",
        "file_size": 1,
        "final": True,
        "fit_seconds": 1.0,
        "lease_s": 60.0,
        "limit": 200,
        "lock_s": 60.0,
        "longest_s": 60.0,
        "message": "attacker",
        "metrics": {},
        "model_name": "attacker",
        "models": [MODELS[PLAN.task_type][slug] for slug in PLAN.models],
        "name": "attacker",
        "new": [Signature(key_id="attackers", mac=b"0" * 32)],
        "old": [b"1" * 32],
        "older_than_s": 0.0,
        "outcome": {},
        "patch": ModelPatch(model_name="attacker"),
        "plan": PLAN,
        "predict_ms_per_row": 1.0,
        "prefix": "ty_attacker",
        "profile": {},
        "reason": "attacker",
        "report": {},
        "report_attempt": 9,
        "requires": [],
        "resend_after_s": 0.0,
        "rows": 1,
        "scopes": ["read"],
        "sha256": "0" * 64,
        "share": 0.5,
        "signature": Signature(key_id="attackers", mac=b"0" * 32),
        "size_bytes": 1,
        "stage": Stage.FINISHING,
        "status": "failed",
        "tags": ["attacker"],
        "task_type": TaskType.CLASSIFICATION,
        "ttl_s": 60.0,
        "types": [],
        "warnings": [],
    }
    if parameter == "error" and query in ("tasks.failed", "tasks.finished"):
        return [Problem(type="x", title="x", status=500, detail="attacker")]
    if parameter == "status" and query.startswith("tasks."):
        return [TaskStatus.CANCELLED]
    if query.endswith(".insert") and parameter == f"{query.partition('.')[0].rstrip('s')}_id":
        return [uuid7(), objects[parameter][0]]  # one of its own, or one that is taken
    if parameter in objects:
        return objects[parameter]
    if parameter in plain:
        return [plain[parameter]]
    raise NoArgument(f"{parameter} of {query}")


def arguments(query: Query, its: Belongings, asked_as: uuid.UUID) -> Iterator[dict[str, Any]]:
    """Every combination of values; parameters with a default are given only where they name rows."""
    given = [
        p
        for p in query.parameters
        if p.default is p.empty or p.name.endswith(("_id", "_ids")) or p.name in ("before", "deleted")
    ]
    values = [values_for(p.name, query.name, its, asked_as) for p in given]
    for combination in itertools.product(*values):
        yield {p.name: value for p, value in zip(given, combination, strict=True)}
