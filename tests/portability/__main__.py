"""`python -m tests.portability [storage] [database] [queue]`: run the tests of each on every server there is,
and write which passed into docs/portability.md. Ends with 1 where one did not.

PORTABILITY_REPORT names another file to write into.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

from deploy import embedded
from shared.settings import S3, load
from shared.storage import StoreFeatures, lacks, open_store
from tests.bench.report import machine, today
from tests.portability import matrix
from tests.portability.servers import CANNOT, Absent, Server, databases, queues, stores
from tests.s3_elsewhere import elsewhere, own_buckets, remove_buckets

REPORT = Path(__file__).parents[2] / "docs" / "portability.md"


class Area(Struct, frozen=True, kw_only=True):
    """What is tried on which servers. `tests`: paths under tests/."""

    title: str
    text: str
    servers: Callable[[], tuple[list[Server], list[Absent]]]
    tests: Sequence[str]


AREAS = {
    "storage": Area(
        title="Object stores",
        text="Everything that touches the store: uploads, links, copies, ZIPs, exports, sweeps, and the store"
        " behind a proxy that breaks things.",
        servers=stores,
        tests=[
            "integration/storage",
            "integration/test_packager.py",
            "integration/test_export.py",
            "integration/test_erase.py",
            "integration/test_api_downloads.py",
            "integration/test_api_files.py",
            "isolation/test_store.py",
        ],
    ),
    "database": Area(
        title="Postgres",
        text="The schema, every statement, row level security, the states, the workers' leases.",
        servers=databases,
        tests=[
            "integration/test_db.py",
            "integration/test_states.py",
            "integration/test_worker.py",
            "integration/test_api_idempotency.py",
            "integration/test_api_quotas.py",
            "integration/test_erase.py",
            "isolation/test_catalogue.py",
            "isolation/test_pool.py",
            "isolation/test_queries_as_another.py",
            "isolation/test_rows_about_another.py",
        ],
    ),
    "queue": Area(
        title="Redis and Valkey",
        text="Messages, wake-ups, announcements, rates, and a server that is emptied, killed and away.",
        servers=queues,
        tests=[
            "integration/test_worker.py",
            "integration/test_api_events.py",
            "integration/test_api_cancel.py",
            "integration/test_api_outages.py",
            "integration/test_api_rates.py",
            "chaos/test_redis.py",
        ],
    ),
}


def main(names: Sequence[str]) -> int:
    if unknown := sorted(set(names) - AREAS.keys()):
        print(f"There is no {', '.join(unknown)}; there are {', '.join(AREAS)}")
        return 2
    failed = False
    for name in names or AREAS:
        area = AREAS[name]
        servers, absent = area.servers()
        print(f"{area.title}: {', '.join(server.title for server in servers)}", flush=True)
        columns, known = {}, {}
        for server in servers:
            try:
                with server.environ() as variables:
                    columns[server.title] = _run(area, server, os.environ | variables)
                    if name == "storage":
                        known[server.title] = asyncio.run(_facts(variables))
            except CANNOT as error:
                absent.append(Absent(server.title, f"it does not run here: {error}".splitlines()[0]))
        lines = [f"{today()}, {machine()}.", "", area.text, ""]
        if known:
            lines += [*matrix.facts(list(next(iter(known.values()))), known), ""]
        lines += matrix.table(columns)
        wrong = matrix.failures(columns)
        failed |= bool(wrong) or any(not found for found in columns.values())
        if wrong:
            lines += ["", "What failed:", "", *wrong]
        lines += [line for each in absent for line in ("", f"Not tried: {each.name} ({each.why}).")]
        for each in absent:
            print(f"Not tried: {each.name} ({each.why})", flush=True)
        _write(name, area.title, lines)
    return int(failed)


def _run(area: Area, server: Server, environ: Mapping[str, str]) -> matrix.Found:
    tests = Path(__file__).parents[1]
    print(f"  {server.title} …", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        # some of these servers are slow, and what a test waits for is not what is tried here
        options = ["-q", "-p", "no:cacheprovider", "--timeout", "900", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options]
        paths = [str(tests / path) for path in area.tests]
        done = subprocess.run([*command, *paths], env=dict(environ), cwd=tests.parent, check=False)
        if not report.exists():
            raise SystemExit(f"pytest ended with {done.returncode} and without a report")
        return matrix.read(report)


async def _facts(variables: Mapping[str, str]) -> dict[str, str]:
    """What a store can do, as the product finds it at its start."""
    if other := elsewhere(os.environ | variables):
        return await _ask(other | own_buckets())
    with tempfile.TemporaryDirectory() as folder, embedded.servers(Path(folder)) as env:
        return await _ask(env | own_buckets())


async def _ask(env: Mapping[str, str]) -> dict[str, str]:
    async with open_store(load(S3, env)) as store:
        try:
            await store.ensure_buckets()
            upkeep = await store.clean_up_by_itself()
            features = await store.probe()
        finally:
            await remove_buckets(env)
    missing = lacks(features) | upkeep.lacks
    names = [*StoreFeatures.__struct_fields__, "lifecycle", "tagging"]
    there = structs.asdict(features) | {"lifecycle": upkeep.lifecycle, "tagging": upkeep.tagging}
    return {
        _TITLES.get(name, name): "yes" if there[name] else f"no: {missing.get(name, 'not needed')}"
        for name in names
    }


_TITLES = {
    "signed_disposition": "a signed link names the file (`response-content-disposition`)",
    "head_on_get_link": "HEAD on a link signed for GET",
    "if_none_match": "`If-None-Match: *` of PUT and of completing an upload",
    "copy": "CopyObject",
    "copy_if_none_match": "`If-None-Match: *` of CopyObject",
    "copy_sha256": "CopyObject tells the SHA-256",
    "part_copy": "UploadPartCopy with ranges",
    "etag_is_md5": "an ETag is the MD5",
    "content_md5": "`Content-MD5` is checked",
    "lifecycle": "lifecycle: unfinished uploads end by themselves",
    "tagging": "object tags",
}


def _write(name: str, title: str, lines: Sequence[str]) -> None:
    """Put what was found in the place of the area's section; whatever else stands in the file stays."""
    path = Path(os.environ.get("PORTABILITY_REPORT") or REPORT)
    text = path.read_text("utf-8") if path.exists() else "# Portability\n"
    begin, end = f"<!-- {name}: written by make portability -->", f"<!-- {name}: end -->"
    body = "\n".join([begin, f"## {title}", "", *lines, end])
    before, found, rest = text.partition(begin)
    path.write_text(
        before + body + rest.partition(end)[2] if found else f"{text.rstrip()}\n\n{body}\n", "utf-8"
    )
    print(f"Written to {path}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
