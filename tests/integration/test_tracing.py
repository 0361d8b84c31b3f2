"""Spans that really leave the process, to a receiver that decodes them; and what tracing costs where it is
off, or nobody receives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from shared import observing, tracing
from shared.contracts.states import JobKind, uuid7
from shared.db import files, jobs
from shared.db.jobs import Job
from shared.db.pool import Database, claims
from shared.errors import CannotTrain, ConfigurationError, TrainyardError
from shared.queue import TRAINER_QUEUE, hint
from shared.resources import Resources
from shared.settings import Tracing, Worker, load
from shared.storage import Store
from shared.tracing import Exporting, otel
from shared.worker import Handler, Slots, run_worker
from tests.integration.api_client import Api, upload
from tests.integration.otlp import Got, Receiver, receiving

QUICK = Worker(lease_s=3, sweep_every_s=0.1, drain_s=0.1, worker_name="w1")
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("otlp")) as receiver:
        yield receiver


@pytest.fixture
def receiver(process: Receiver) -> Receiver:
    process.be("well")
    process.file.unlink(missing_ok=True)
    return process


def sending(receiver: Receiver, **more: str) -> Exporting:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{receiver.url}/", **more}
    return Exporting(load(Tracing, environ), service="test", instance="here")


def named(spans: list[Got], name: str) -> Got:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_spans_arrive_with_all_that_was_said(receiver: Receiver) -> None:
    more = {
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20a-token-of-ours,x=y",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=tests,service.version=7",
    }
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    with sending(receiver, **more):
        assert tracing.tracing()
        with tracing.span("work", kind="consumer", parent=parent, attributes={"n": 1, "no": None}) as span:
            span.set({"id": uuid.UUID(int=1), "share": 0.5})
            assert span.trace_id == "a" * 32
            inside = tracing.traceparent()
            span.phase("Validating: fold 1 of 3")
            span.phase("Validating: fold 1 of 3")
            span.phase("Backtest 2 of 3")
            span.phase("")
        before = time.time_ns()
        tracing.past("wait", began_ns=before - 10**9, parent=inside)
        with pytest.raises(ZeroDivisionError), tracing.span("fails"):
            raise ZeroDivisionError("with a secret")
    assert not tracing.tracing()
    found = receiver.wait(lambda spans: len(spans) == 5)
    work, wait, fails = named(found, "work"), named(found, "wait"), named(found, "fails")
    assert (work.kind, work.trace_id, work.parent_id) == (CONSUMER, "a" * 32, "b" * 16)
    assert work.attributes == {"n": 1, "id": str(uuid.UUID(int=1)), "share": 0.5}
    assert inside == f"00-{work.trace_id}-{work.span_id}-01"
    assert (wait.parent_id, wait.began) == (work.span_id, before - 10**9)
    assert wait.ended >= before
    phases = [named(found, "Validating"), named(found, "Backtest")]
    assert [phase.parent_id for phase in phases] == [work.span_id] * 2
    assert [p.attributes["trainyard.message"] for p in phases] == [
        "Validating: fold 1 of 3",
        "Backtest 2 of 3",
    ]
    assert phases[0].ended <= phases[1].began <= phases[1].ended <= work.ended
    assert (fails.failed, fails.parent_id, fails.attributes) == (
        True,
        "",
        {"error.type": "ZeroDivisionError"},
    )
    assert not work.failed
    expected = {
        "service.name": "trainyard-test",
        "service.namespace": "trainyard",
        "service.instance.id": "here",
        "service.version": "7",
        "deployment.environment.name": "tests",
        "authorization": "Bearer a-token-of-ours",
    }
    assert {name: work.resource.get(name) for name in expected} == expected
    assert "with a secret" not in receiver.file.read_text()


@pytest.mark.parametrize(
    "parent", ["", "nonsense", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01"]
)
def test_what_is_no_parent_is_none(receiver: Receiver, parent: str) -> None:
    with sending(receiver), tracing.span("root", parent=parent):
        pass
    (root,) = receiver.wait(bool)
    assert (root.parent_id, root.trace_id == "a" * 32) == ("", False)


@pytest.mark.parametrize(
    ("sampler", "share", "flags", "kept"),
    [
        ("always_off", "1", "01", False),
        ("traceidratio", "0", "01", False),
        ("traceidratio", "1", "00", True),
        ("parentbased_traceidratio", "0", "01", True),
        ("parentbased_always_on", "1", "00", False),
    ],
)
def test_what_is_kept_is_what_the_sampler_says(
    receiver: Receiver, sampler: str, share: str, flags: str, kept: bool
) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-{flags}"
    with sending(receiver, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=share):
        with tracing.span("asked", parent=parent):
            # whoever is asked next hears the decision
            assert (tracing.traceparent() or "").endswith("-01" if kept else "-00")
    # everything is sent when `sending` ends
    assert [span.name for span in receiver.spans()] == (["asked"] if kept else [])


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, services.api.__main__, services.packager.__main__, services.trainer.__main__\n"
        "from shared import tracing\nfrom shared.settings import Tracing\n"
        "with tracing.Exporting(Tracing(), service='api'), tracing.span('x') as span:\n"
        "    span.set({'a': 1}); span.phase('b'); span.failed('c'); span.rename('d')\n"
        "    tracing.past('y', began_ns=0)\n"
        "    assert tracing.traceparent() is None and span.trace_id is None and not tracing.tracing()\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google', 'requests'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector:4317", "http://", "http://[x", "/x"]
)
def test_an_address_that_is_none_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        Exporting(Tracing(otel_exporter_otlp_endpoint=endpoint), service="x")


def test_an_installation_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "shared.tracing.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match="opentelemetry-sdk"):
        Exporting(Tracing(otel_exporter_otlp_endpoint="http://127.0.0.1:1"), service="x")


@pytest.mark.parametrize("mood", ["hang", "fail", "away"])
def test_a_receiver_that_does_not_take_them_costs_no_work(
    mood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "FLUSH_S", 0.3)
    monkeypatch.setattr(otel._SELDOM, "_next", {})
    done = []
    with receiving(tmp_path) as receiver:  # of its own: what is left behind would come to the next test's
        receiver.be(mood)
        away = "http://127.0.0.1:1"
        settings = Tracing(otel_exporter_otlp_endpoint=away if mood == "away" else receiver.url)
        with Exporting(settings, service="x"):
            for number in range(5_000):  # more than the SDK keeps for later
                with tracing.span("work"):
                    done.append(number)
            began = time.monotonic()
        took = time.monotonic() - began
    assert len(done) == 5_000
    assert len([line for line in caplog.records if line.name.startswith("opentelemetry")]) <= len(
        otel.LOGGERS
    )
    # a bound for what hangs, not a speed: unbounded, the SDK's own end takes tens of seconds
    assert took < 10


# --- through the queue ------------------------------------------------------------------------------


class Doing:
    """Handlers that do what a test says, and note what stands in the log meanwhile."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.seen: list[dict[str, object]] = []
        self.ended = asyncio.Event()
        self.fails: Exception | None = None

    async def run(self, job: Job) -> None:
        self.seen.append(dict(structlog.contextvars.get_contextvars()))
        store: Store = self.resources.store
        await store.put_bytes(
            store.artifacts, f"{job.user_id}/x", b"x", content_type="application/octet-stream"
        )
        if self.fails is not None:
            raise self.fails
        await self.end(job)

    async def give_up(self, job: Job, _error: TrainyardError) -> None:
        await self.end(job)

    async def end(self, job: Job) -> None:
        async with self.resources.db.transaction() as c:
            assert await jobs.holds(c, job)
            await jobs.done(c, job)
        self.ended.set()


@pytest.fixture
async def doing(worker_resources: Resources) -> AsyncIterator[Doing]:
    found = Doing(worker_resources)
    slots = Slots(worker_resources, QUICK, {JobKind.PROFILE: Handler(found.run, found.give_up)}, lanes=2)
    task = asyncio.create_task(run_worker(slots, asyncio.Event(), queue=TRAINER_QUEUE))
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_job_goes_on_with_the_trace_and_the_log_of_its_request(
    receiver: Receiver, api: Api, doing: Doing
) -> None:
    user = uuid.uuid4()
    with sending(receiver):
        me = api.user(user)
        me.headers.update({"X-Request-Id": "mine.1", "traceparent": f"00-{'c' * 32}-{'d' * 16}-01"})
        file = await upload(me)
        await asyncio.wait_for(doing.ended.wait(), 20)
        await me.get("/health/live")
        await me.get(f"/files/{uuid.uuid4()}")
    spans = receiver.wait(lambda spans: any(span.name == "profile" for span in spans))
    asked, missing = named(spans, "POST /files"), named(spans, "GET /files/{file_id}")
    assert (asked.kind, asked.trace_id, asked.parent_id) == (SERVER, "c" * 32, "d" * 16)
    assert asked.attributes["http.response.status_code"] == 201
    assert asked.attributes["http.route"] == "/files"
    assert asked.attributes["user.id"] == str(user)
    assert (missing.attributes["http.response.status_code"], missing.failed) == (404, False)
    assert {span.trace_id for span in spans} == {"c" * 32}, "also of a request about nothing"
    profile, claim, told = (
        named(spans, "profile"),
        named(spans, "claim profile"),
        named(spans, "wake workers"),
    )
    assert (profile.kind, profile.parent_id, claim.parent_id) == (CONSUMER, asked.span_id, asked.span_id)
    assert (told.kind, told.parent_id) == (PRODUCER, asked.span_id)
    for span in (profile, claim):
        assert span.attributes["trainyard.file_id"] == file["file_id"]
        assert span.attributes["trainyard.request_id"] == "mine.1"
        assert span.attributes["messaging.destination.name"] == TRAINER_QUEUE
    assert profile.attributes["trainyard.outcome"] == "done"
    assert 0 <= claim.attributes["trainyard.waited_s"] < 60
    puts = [span for span in spans if span.name == "S3.PutObject" and span.parent_id == profile.span_id]
    assert [put.kind for put in puts] == [CLIENT]
    assert puts[0].attributes["aws.s3.key"] == f"{user}/x"
    (logged,) = doing.seen
    assert {name: logged.get(name) for name in ("request_id", "file_id", "user_id", "trace_id", "job")} == {
        "request_id": "mine.1",
        "file_id": file["file_id"],
        "user_id": str(user),
        "trace_id": "c" * 32,
        "job": "profile",
    }
    assert not any("health" in span.attributes.get("url.path", "") for span in spans)


async def test_each_attempt_is_a_span_that_says_how_it_ended(
    receiver: Receiver, doing: Doing, api_db: Database, user_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.worker.backoff_s", lambda _tries: 0.01)
    doing.fails = CannotTrain("the target is constant")
    with sending(receiver):
        with structlog.contextvars.bound_contextvars(request_id="r-2"):
            async with api_db.transaction(user_id) as c:
                file_id = uuid7()
                await files.insert(c, file_id=file_id, user_id=user_id, name="t", size_bytes=3, sha256="ab")
                job_id = await jobs.insert(c, JobKind.PROFILE, file_id, user_id)
        await hint(doing.resources.redis, [(JobKind.PROFILE, job_id)])
        await asyncio.wait_for(doing.ended.wait(), 20)
    spans = receiver.wait(lambda spans: any(span.name == "profile" for span in spans))
    given_up = named(spans, "profile")
    assert (given_up.failed, given_up.parent_id) == (True, "")  # nobody's span was around when it was asked
    assert given_up.attributes["trainyard.outcome"] == "given_up"
    assert given_up.attributes["trainyard.attempt"] == 1
    assert doing.seen[0]["request_id"] == "r-2"


async def test_the_ids_of_one_job_are_not_the_next_ones(doing: Doing, worker_resources: Resources) -> None:
    """A loop that a job's own end kicks off begins without that job's context."""
    slots = Slots(worker_resources, QUICK, {}, lanes=1)
    seen: list[dict[str, object]] = []

    async def work() -> None:
        seen.append(dict(structlog.contextvars.get_contextvars()))

    slots._work = work  # type: ignore[method-assign]
    with structlog.contextvars.bound_contextvars(task_id="another's"):
        slots.kick()
        await asyncio.gather(*slots.loops)
    assert seen == [{}]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("request_id", "a\nb"),
        ("request_id", ""),
        ("request_id", "x" * 101),
        ("traceparent", "00-x"),
        ("traceparent", f"00-{'A' * 32}-{'b' * 16}-01"),
    ],
)
async def test_the_table_takes_nothing_that_could_forge_a_line(
    api_db: Database, user_id: uuid.UUID, column: str, value: str
) -> None:
    async with api_db.transaction(user_id) as c:
        file_id = uuid7()
        await files.insert(c, file_id=file_id, user_id=user_id, name="t", size_bytes=3, sha256="ab")
    statement = (
        f"INSERT INTO trainyard.jobs (id, kind, subject_id, user_id, {column})"
        " VALUES ($1, 'profile', $2, $3, $4)"
    )
    async with api_db.connection() as c, c.transaction():
        await c.execute("SELECT set_config('request.jwt.claims', $1, true)", claims(user_id))
        with pytest.raises(asyncpg.CheckViolationError):
            await c.execute(statement, uuid7(), file_id, user_id, value)


async def test_what_a_sweep_asks_for_goes_back_to_the_same_request(
    receiver: Receiver, worker_db: Database, user_id: uuid.UUID
) -> None:
    parent = f"00-{'e' * 32}-{'f' * 16}-01"
    late = {"task_id": uuid7(), "user_id": user_id, "request_id": "r-3", "traceparent": parent}
    with sending(receiver), observing.goes_back("time is up", late):
        async with worker_db.transaction() as c:
            await jobs.insert(c, JobKind.FINISH, late["task_id"], user_id)
        async with worker_db.transaction() as c:
            job = await jobs.claim(c, [JobKind.FINISH], "w", 60.0)
    assert job is not None
    (up,) = receiver.wait(bool)
    assert (up.name, up.trace_id, up.parent_id) == ("time is up", "e" * 32, "f" * 16)
    assert (job.request_id, job.traceparent) == ("r-3", f"00-{'e' * 32}-{up.span_id}-01")
    assert job.ids == {"task_id": str(late["task_id"]), "user_id": str(user_id), "request_id": "r-3"}
