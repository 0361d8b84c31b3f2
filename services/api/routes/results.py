"""What a run came to: leaderboard, plots, importance, forecast."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

from litestar import Response, Router, get, route
from litestar.di import NamedDependency
from litestar.params import PathParameter

from services.api.answers import CACHE_CONTROL, CONTENT_DISPOSITION, answer
from services.api.auth import Identity
from services.api.choosing import choose, plan_of
from services.api.context import STORE_PATIENCE_S, Context, TaskId, parse_id
from services.api.problems import responses
from services.api.results import Results, compose
from services.api.routes.downloads import GET_AND_HEAD
from shared.db import candidates, tasks
from shared.errors import ModelNotFound, StorageUnavailable, TaskNotFound
from shared.storage import ObjectMissing, content_disposition, patience, plot_key

SVG = "image/svg+xml"
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""An SVG is a program: it is sent as a file, and opened by itself all the same nothing in it runs. Its own
styles are what its text is set in."""


@get("/results/{task_id:str}", summary="Leaderboard, plots and the rest", responses=responses(TaskNotFound))
async def get_results(
    task_id: TaskId, api: NamedDependency[Context], user: NamedDependency[Identity]
) -> Results:
    """Whatever is there so far: the leaderboard fills while the run goes on. Rank and best are decided
    on validation (`cv_mean`), never on the held-out rows that the metrics are measured on."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await tasks.results(c, user.user_id, parsed)
        rows = await candidates.of_task(c, parsed, user.user_id)
    if task is None:
        raise TaskNotFound
    return compose(parsed, task, rows)


@route(
    "/plots/{task_id:str}/{model_name:str}/{plot:str}",
    http_method=GET_AND_HEAD,
    status_code=200,
    summary="One plot as SVG",
    media_type=SVG,
    responses=responses(TaskNotFound, ModelNotFound, StorageUnavailable)
    | {200: answer(str, "The plot", CONTENT_DISPOSITION, CACHE_CONTROL, media_type=SVG)},
)
async def download_plot(
    task_id: TaskId,
    model_name: Annotated[str, PathParameter(description="A model's slug or label, or `best_model`")],
    plot: Annotated[str, PathParameter(description="`{kind}.svg`, as in a result's `svg_url`")],
    api: NamedDependency[Context],
    user: NamedDependency[Identity],
) -> Response[bytes]:
    """For an `<img>`, or to keep: it is sent as a file, and runs nothing."""
    parsed = parse_id(task_id, TaskNotFound)
    async with api.db.transaction(user.user_id) as c:
        task = await tasks.results(c, user.user_id, parsed)
        rows = await candidates.of_task(c, parsed, user.user_id)
    if task is None:
        raise TaskNotFound
    chosen = choose(rows, plan_of(task["plan"]), model_name)
    outcome = next(row["outcome"] for row in rows if row["model_name"] == chosen.slug)
    kind = plot.removesuffix(".svg")
    if not plot.endswith(".svg") or kind not in {made["kind"] for made in (outcome or {}).get("plots", [])}:
        raise ModelNotFound("Plot not found")
    key = plot_key(user.user_id, parsed, chosen.slug, chosen.attempt, kind)
    try:
        with patience(STORE_PATIENCE_S):
            async with aclosing(api.store.stream(api.store.artifacts, key)) as stream:
                content = b"".join([chunk async for chunk in stream])
    except ObjectMissing:
        raise ModelNotFound("Plot not found") from None
    headers = {
        "Content-Disposition": content_disposition(f"{chosen.slug}_{kind}.svg"),
        "Content-Security-Policy": _SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=60",
    }
    return Response(content, media_type=SVG, headers=headers)


router = Router(path="/ml", route_handlers=[get_results, download_plot], tags=["Results"])
