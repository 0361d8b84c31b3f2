"""Whatever is sent to the API: it answers as its own OpenAPI schema says, and never with a 5xx.

A process of the API on real servers, and schemathesis, which makes its requests from the schema: examples,
every edge of every parameter and body, generated ones that fit and that do not, and chains of calls that
follow the schema's links. `make test` sends some thousand, always made from the same seed; `make fuzz` as
many more as FUZZ_EXAMPLES says, from another seed each time (FUZZ_SEED repeats one).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from shared.db.pool import Database
from tests.fuzz.api_objects import Objects, some_objects
from tests.integration.test_api_process import process

HERE = Path(__file__).parent
MORE = int(os.environ.get("FUZZ_EXAMPLES") or 0)
SEED = int(os.environ.get("FUZZ_SEED") or (random.randrange(2**32) if MORE else 20260314))
LEAST = 10
"""Generated requests of an operation, besides its examples and its edges, which are some fifty each."""

_COUNTED = re.compile(
    r'trainyard_http_requests_total\{method="(\w+)",route="([^"]*)",status="(\d+)"\} ([\d.e+]+)'
)
_QUOTAS = {"MAX_QUEUED_TASKS": "1000000000", "MAX_API_KEYS": "1000000000"}
"""They have tests of their own; here they would hide what is behind them."""


class Answers(Struct):
    """What the API has answered, as it counts itself: by status, and which operations did anything."""

    by_status: dict[int, int]
    succeeded: set[tuple[str, str]]

    @property
    def sent(self) -> int:
        return sum(self.by_status.values())

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.by_status.items() if status >= 500)


@pytest.mark.timeout(0 if MORE else 600)
async def test_the_api_does_what_its_schema_says(
    env: dict[str, str], buckets: None, worker_db: Database, tmp_path: Path
) -> None:
    objects = await some_objects(env, worker_db)
    with process(env | _QUOTAS) as (running, url):
        schema = httpx.get(f"{url}/schema/openapi.json", timeout=60).json()
        each = max(MORE // sum(len(item) for item in schema["paths"].values()), LEAST)
        alone = fuzz(url, "examples,coverage,fuzzing", each, objects, tmp_path)
        chained = fuzz(url, "stateful", 10 * each, objects, tmp_path)
        answers = answered(url)
        running.terminate()
        logged, _ = running.communicate(timeout=60)
    operations = {(method.upper(), path) for path, item in schema["paths"].items() for method in item}
    print(
        f"\n{answers.sent:,} generated requests sent (FUZZ_SEED={SEED}), {answers.failed} got a 5xx;"
        f" {len(answers.succeeded & operations)} of {len(operations)} operations did what they are there for;"
        f" by status: {answers.by_status}"
    )
    assert alone.returncode == 0, alone.stdout
    assert chained.returncode == 0, chained.stdout
    assert answers.failed == 0, answers
    assert "Traceback" not in logged, logged
    # it found its way in, and did not knock at closed doors only
    assert answers.sent > 1500, answers
    assert len(answers.succeeded & operations) > 0.75 * len(operations), operations - answers.succeeded


def fuzz(
    url: str, phases: str, examples: int, objects: Objects, folder: Path
) -> subprocess.CompletedProcess[str]:
    """`examples`: generated requests of an operation, or chains of them."""
    for name in ("schemathesis.toml", "hooks.py"):
        shutil.copy(HERE / name, folder)
    for name, ids in objects.ids.items():
        (folder / f"{name}.txt").write_text("".join(f'"{one}"\n' for one in ids))
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/schema/openapi.json", "--no-color"]
    command += [f"--phases={phases}", f"--seed={SEED}", f"--max-examples={examples}"]
    # what one chain has deleted another could bring back: they go one after another
    command += ["--workers=1" if phases == "stateful" else "--workers=2"]
    environment = {"PATH": os.environ["PATH"], "FUZZ_TOKEN": objects.token, "FUZZ_USER": objects.user}
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def answered(url: str) -> Answers:
    by_status: Counter[int] = Counter()
    succeeded = set()
    for method, route, status, count in _COUNTED.findall(httpx.get(f"{url}/metrics", timeout=60).text):
        by_status[int(status)] += int(float(count))
        if int(status) < 300:
            succeeded.add((method, route.replace(":str}", "}")))
    return Answers(dict(sorted(by_status.items())), succeeded)
