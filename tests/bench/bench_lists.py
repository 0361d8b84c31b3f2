"""Pages of lists of a user who has 100,000 saved models, runs and files, beside the same page of one who has
a hundred, and beside a bare handler that does one SELECT (`bare.py`): each asked one after another, in turn.
"""

from __future__ import annotations

import os
import uuid

import asyncpg
import httpx
import uvloop

from deploy import ports
from deploy.ports import HOST
from deploy.user_token import user_token
from tests.bench import beside, product, report
from tests.bench.http_load import request, seconds_each
from tests.bench.product import Product
from tests.bench.report import percentile

TITLE = "Lists"
MANY = int(os.environ.get("BENCH_ROWS") or 100_000)
FEW = 100
CROWD = 1000
"""Users beside these two, of `FEW` rows each: with two users alone, a table is half of either of them."""
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 15)
ASKED = 10
"""How often each is asked in a round."""

ROWS = (
    """
    INSERT INTO trainyard.files (id, user_id, name, size_bytes, sha256, created_at)
    SELECT gen_random_uuid(), $1::uuid, 'table ' || i || '.csv', i, repeat('0', 64),
        now() - i * interval '1 minute'
    FROM generate_series(1, $2::bigint) i
    """,
    """
    INSERT INTO trainyard.profiles (file_id, user_id, status, rows, columns)
    SELECT id, user_id, 'ready', 150, 5 FROM trainyard.files WHERE user_id = $1 AND $2::bigint > 0
    """,
    """
    INSERT INTO trainyard.tasks (id, user_id, name, request, status, stage, created_at)
    SELECT gen_random_uuid(), $1::uuid, 'run ' || i,
        json_build_object('file_id', $1::uuid, 'target', 'species'), 'completed', 'done',
        now() - i * interval '1 minute'
    FROM generate_series(1, $2::bigint) i
    """,
    """
    INSERT INTO public.trained_models (id, user_id, model_name, algorithm, task_type, metrics, file_path,
        file_size, description, tags, created_at, updated_at, task_id, candidate_slug, candidate_attempt,
        sha256, links_issued)
    SELECT gen_random_uuid(), $1::uuid, md5(i::text) || ' ' || i,
        (ARRAY['LightGBM', 'Random forest', 'Logistic regression'])[1 + i % 3],
        (ARRAY['classification', 'regression', 'time_series'])[1 + i % 3],
        '{"accuracy": 0.93, "roc_auc": 0.97, "cv_mean": 0.92}', $1::uuid || '/' || i, 1000 + i,
        'The model of week ' || i, ARRAY['tag ' || i % 50, 'all'], now() - i * interval '1 minute',
        now() - (i * 7919 % 100003) * interval '1 minute', gen_random_uuid(), 'lightgbm', 1,
        repeat('0', 64), i * 31 % 1009
    FROM generate_series(1, $2::bigint) i
    """,
)

OTHERS = """
INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, $1::bigint) RETURNING id
"""

PAGES = {
    "saved models, first page": "/models",
    "saved models, second page": "/models?cursor=",
    "saved models, last page": "/models?cursor=last",
    "saved models of one tag": "/models?tag=tag%207",
    "saved models of a task type": "/models?task_type=regression",
    "saved models, a word that is in one": "/models?q=week%2099",
    "saved models by name": "/models?sort=model_name",
    "saved models by size": "/models?sort=file_size",
    "saved models by downloads": "/models?sort=downloads",
    "what was saved in all": "/models/stats",
    "runs, first page": "/ml/tasks",
    "files, first page": "/files",
}

Seen = dict[str, dict[int, list[float]]]
"""Seconds of each answer, by the page and by how many rows the user has; the bare handler's under 0."""


def measure() -> list[str]:
    with product.running("api") as stack:
        users = {MANY: "many@example.org", FEW: "few@example.org"}
        who = {rows: _headers(stack, email) for rows, email in users.items()}
        task_id = uvloop.run(_fill(stack, who))
        port = ports.free(1)[0]
        bare = f"http://{HOST}:{port}/{task_id}"
        with beside.running(["tests.bench.bare", stack.env["DATABASE_URL"], str(port)], bare):
            return _lines(uvloop.run(_measure(stack, who, bare)))


def _headers(stack: Product, email: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {user_token(stack.env['AUTH_JWT_SECRET'], email)}"}


async def _fill(stack: Product, who: dict[int, dict[str, str]]) -> uuid.UUID:
    """The rows of both; the id of a run among them."""
    owner = await asyncpg.connect(stack.env["DATABASE_URL"])
    async with httpx.AsyncClient(base_url=stack.url) as http:
        for rows, headers in who.items():
            (await http.get("/models", headers=headers)).raise_for_status()  # the user has its row
            user = await owner.fetchval("SELECT id FROM auth.users ORDER BY created_at DESC LIMIT 1")
            for statement in ROWS:
                await owner.execute(statement, user, rows, timeout=600)
        for user in await owner.fetch(OTHERS, CROWD):
            for statement in ROWS:
                await owner.execute(statement, user["id"], FEW)
    await owner.execute("VACUUM ANALYZE", timeout=600)
    task_id: uuid.UUID = await owner.fetchval("SELECT id FROM trainyard.tasks LIMIT 1")
    await owner.close()
    return task_id


async def _measure(stack: Product, who: dict[int, dict[str, str]], bare: str) -> Seen:
    urls = {
        rows: {page: await _url(stack, path, headers, rows) for page, path in PAGES.items()}
        for rows, headers in who.items()
    }
    seen: Seen = {page: {MANY: [], FEW: [], 0: []} for page in PAGES}
    for round_ in range(ROUNDS + 1):
        for page in PAGES:
            for rows, headers in who.items():
                asked = [request(urls[rows][page], headers)] * ASKED
                took = await seconds_each(stack.url, asked)
                if round_:  # the first one warms up
                    seen[page][rows] += took
            took = await seconds_each(bare, [request(bare, {})] * ASKED)
            if round_:
                seen[page][0] += took
    return seen


async def _url(stack: Product, path: str, headers: dict[str, str], rows: int) -> str:
    """With the cursor of the second page, or of the last, filled in."""
    wanted, _, cursor = path.partition("?cursor=")
    if wanted == path:
        return stack.url + path
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as http:
        if cursor != "last":
            return f"{stack.url}{wanted}?cursor={(await http.get(wanted)).json()['next_cursor']}"
        page = (await http.get(wanted, params={"limit": 200})).json()
        before = page["next_cursor"]
        while page["next_cursor"]:
            before = page["next_cursor"]
            page = (await http.get(wanted, params={"limit": 200, "cursor": before})).json()
        return f"{stack.url}{wanted}?limit=50" + (f"&cursor={before}" if before else "")


def _lines(seen: Seen) -> list[str]:
    rows = []
    for page, took in seen.items():
        many, few, bare = (percentile(took[n], 0.5) for n in (MANY, FEW, 0))
        times = (many, percentile(took[MANY], 0.95), few, bare)
        cells = [f"{seconds * 1e3:.1f} ms" for seconds in times]
        rows.append((page, *cells, f"{many / few:.2f}", f"{many / bare:.1f}"))
    head = ("page of 50", f"{MANY:,} rows, p50", "p95", f"{FEW} rows, p50", "bare SELECT, p50")
    return [
        f"{ROUNDS * ASKED} answers each, one after another on one connection.",
        "",
        *report.table((*head, "ratio to the short list", "ratio to the SELECT"), rows),
    ]


if __name__ == "__main__":
    print("\n".join(measure()))
