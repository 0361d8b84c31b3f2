"""The store: closed to whoever has no link, and a link opens one object, for reading, for its time."""

from __future__ import annotations

import asyncio
import email.message
import re
import time
import types
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import aioboto3
import httpx
import msgspec
import pytest
from aiobotocore.config import AioConfig
from hypothesis import given
from hypothesis import strategies as st

from services.api.auth import Identity
from services.api.handover import FILE_POLICY, Download, hand_over
from shared.contracts.states import uuid7
from shared.errors import ConfigurationError, ModelNotFound
from shared.settings import S3, load, reveal
from shared.storage import (
    Store,
    belongs_to,
    bundle_key,
    content_disposition,
    dataset_key,
    model_key,
    open_store,
    plot_key,
    report_key,
    safe_name,
    saved_model_path,
)
from shared.storage.__main__ import main, prepare
from shared.storage.keys import CONTENT_TYPES, export_key, known_type, skops_key
from shared.storage.writing import Target
from tests.integration import api_runs
from tests.integration.api_client import Api
from tests.unit.shared.test_storage_names import AT, HOSTILE, TASK, USER

BINARY = "application/octet-stream"
REFUSED = {400, 401, 403, 404, 405, 412, 501}
"""The last two are OpenStack Swift's, for a path or a method that its S3 API does not know."""
BODY = b"a model"


@pytest.fixture
def s3(servers: Mapping[str, str]) -> S3:
    names = ("datasets", "artifacts", "bundles", "models")
    mine = {f"S3_BUCKET_{name.upper()}": f"{name}-{uuid.uuid4()}" for name in names}
    return load(S3, {**servers, **mine})


@pytest.fixture
async def store(s3: S3) -> AsyncIterator[Store]:
    async with open_store(s3) as store:
        await store.ensure_buckets()
        yield store


@pytest.fixture
async def raw(s3: S3) -> AsyncIterator[Any]:
    session = aioboto3.Session(s3.s3_access_key_id, reveal(s3.s3_secret_access_key), region_name=s3.s3_region)
    config = AioConfig(signature_version="s3v4", s3={"addressing_style": "path"})
    async with session.client("s3", endpoint_url=s3.s3_endpoint_url, config=config) as client:
        yield client


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


def every_key(user: uuid.UUID) -> list[str]:
    subject = uuid7()
    return [
        dataset_key(user, subject),
        model_key(user, subject, "ridge", 1),
        skops_key(user, subject, "ridge", 1, 2),
        plot_key(user, subject, "ridge", 1, "residuals"),
        report_key(user, subject, 1, "leaderboard.csv"),
        bundle_key(user, subject, 1),
        export_key(user, 1),
        saved_model_path(user, "Churn", AT),
    ]


async def test_without_a_signature_nothing_answers(s3: S3, store: Store, http: httpx.AsyncClient) -> None:
    """Not the list, not an object, whatever it is, and none is taken."""
    await store.check_private()
    tried = 0
    for bucket in (store.datasets, store.artifacts, store.bundles, store.models):
        for key in every_key(USER):
            await store.put_bytes(bucket, key, BODY, content_type=BINARY)
            for method in ("GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS"):
                answer = await http.request(method, f"{s3.s3_endpoint_url}/{bucket}/{key}")
                assert answer.status_code in REFUSED, (method, key)
                assert BODY not in answer.content
                tried += 1
        for query in ("", "?list-type=2", "?versions", "?uploads", "?policy", "?acl", "?location"):
            for method in ("GET", "HEAD", "PUT", "DELETE", "POST"):
                answer = await http.request(method, f"{s3.s3_endpoint_url}/{bucket}{query}")
                assert answer.status_code in REFUSED, (method, query)
                assert str(USER) not in answer.text
                tried += 1
        assert len([item async for item in store.list(bucket, "")]) == len(every_key(USER))
    assert (await http.get(f"{s3.s3_endpoint_url}/")).status_code in REFUSED
    print(f"\n{tried} unsigned requests refused")


class Open:
    """Stands for a store that lets everybody in: answers 200 to one kind of request, 403 to the others."""

    def __init__(self, method: str, query: str) -> None:
        self.method, self.query = method, query

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                method, target, _ = head.split(" ", 2)
                if "100-continue" in head:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                length = re.search(r"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                signed = "AWS4-HMAC-SHA256" in head or "X-Amz-Signature" in target
                lets = signed or (method == self.method and urlsplit(target).query == self.query)
                status = "200 OK" if lets else "403 Forbidden"
                writer.write(f'HTTP/1.1 {status}\r\nContent-Length: 0\r\nETag: "x"\r\n\r\n'.encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("method", "query"), [("GET", ""), ("HEAD", ""), ("GET", "list-type=2"), ("PUT", ""), ("DELETE", "")]
)
async def test_a_bucket_that_answers_anybody_stops_the_start(s3: S3, method: str, query: str) -> None:
    server = await asyncio.start_server(Open(method, query).serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = msgspec.structs.replace(s3, s3_endpoint_url=f"http://127.0.0.1:{port}")
    async with server:
        with pytest.raises(ConfigurationError, match=f"answers {method} to whoever asks"):
            await prepare(settings, wait_s=20)


def test_the_command_looks_whether_buckets_are_private(
    s3: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def public(_: Store) -> None:
        raise ConfigurationError("the bucket is public")

    monkeypatch.setattr("shared.storage.__main__.configure", lambda *_, **__: None)
    monkeypatch.setattr(Store, "check_private", public)
    environ = {
        name.upper(): reveal(value) if isinstance(value, str) else str(value)
        for name, value in msgspec.structs.asdict(s3).items()
    }
    assert main(environ) == 1
    assert "the bucket is public" in capsys.readouterr().err


# --- links --------------------------------------------------------------------------------------


async def link(store: Store, key: str, ttl_s: int) -> str:
    url, _ = await store.presign(store.artifacts, key, filename="ridge.pkl", content_type=BINARY, ttl_s=ttl_s)
    return url


async def test_a_link_ends_with_its_time(store: Store, http: httpx.AsyncClient) -> None:
    """On the real server's clock; a second is the shortest there is."""
    key = model_key(USER, TASK, "ridge", 1)
    await store.put_bytes(store.artifacts, key, BODY, content_type=BINARY)
    short, long = await link(store, key, 1), await link(store, key, 3600)
    began = time.monotonic()
    assert (await http.get(short)).content == BODY
    while (answer := await http.get(short)).status_code == 200:
        assert time.monotonic() - began < 10
    assert answer.status_code == 403
    assert BODY not in answer.content
    assert (await http.get(long)).content == BODY


async def test_a_link_that_was_changed_opens_nothing(store: Store, http: httpx.AsyncClient) -> None:
    """Any part of it: another object, another bucket, another name, type, time, key, signature, method."""
    key, other = model_key(USER, TASK, "ridge", 1), model_key(USER, TASK, "ridge", 2)
    await store.put_bytes(store.artifacts, key, BODY, content_type=BINARY)
    await store.put_bytes(store.artifacts, other, b"another model", content_type=BINARY)
    await store.put_bytes(store.models, key, b"another bucket's", content_type=BINARY)
    url = await link(store, key, 3600)
    parts = urlsplit(url)
    query = parse_qsl(parts.query)

    def with_query(changed: list[tuple[str, str]]) -> str:
        return urlunsplit(parts._replace(query=urlencode(changed, quote_via=quote)))

    assert (await http.get(with_query(query))).content == BODY
    forged = {
        "another object": url.replace(key, other),
        "another bucket": url.replace(store.artifacts, store.models),
        "the list": url.replace(key, ""),
        "a folder above": url.replace(key, f"{USER}/{TASK}/ridge/1/../2/model.pkl"),
        "an escaped folder above": url.replace(key, f"{USER}/{TASK}/ridge/1/%2e%2e/2/model.pkl"),
        "no query": url.partition("?")[0],
        "one parameter more": url + "&response-content-language=de",
        "the list of this prefix": url + "&list-type=2",
        "a signature in small letters": re.sub(
            r"Signature=(\w+)", lambda found: f"Signature={found[1].upper()}", url
        ),
    }
    for name, _ in query:
        forged[f"without {name}"] = with_query([pair for pair in query if pair[0] != name])
        forged[f"with another {name}"] = with_query([(n, f"{v}0" if n == name else v) for n, v in query])
    for what, address in forged.items():
        answer = await http.get(address)
        assert answer.status_code in REFUSED, what
        assert answer.content not in (BODY, b"another model", b"another bucket's"), what
    for method in ("PUT", "DELETE", "POST", "PATCH"):
        assert (await http.request(method, url, content=b"mine")).status_code in REFUSED, method
    assert (await http.get(url)).content == BODY
    print(f"\n{len(forged) + 4} changed links refused")


async def test_an_upload_cannot_be_signed_for(store: Store) -> None:
    assert not [name for name in vars(Store) if "presign" in name and name != "presign"]
    url = await link(store, model_key(USER, TASK, "ridge", 1), 60)
    assert "X-Amz-SignedHeaders=host" in url


# --- what a browser is told -----------------------------------------------------------------------


async def test_every_object_is_stored_as_an_attachment(store: Store, raw: Any) -> None:
    """With or without a name of its own, put or copied: a store that knows no better hands it out so."""
    for number, content_type in enumerate(sorted(CONTENT_TYPES)):
        key = f"{USER}/{number}"
        put = await store.put_bytes(store.artifacts, key, b"<script>", content_type=content_type)
        await store.copy(
            store.artifacts,
            key,
            store.models,
            key,
            filename="a.svg",
            content_type=content_type,
            sha256=put.sha256,
        )
        for bucket in (store.artifacts, store.models):
            head = await raw.head_object(Bucket=bucket, Key=key)
            assert head["ContentDisposition"].startswith("attachment; filename=")
            assert head["ContentType"] == content_type


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "TEXT/HTML",
        "application/javascript",
        "application/pdf",
        "application/xhtml+xml",
        "image/svg+xml; charset=utf-8",
        "text/csv\r\nX-Evil: 1",
        "text/html",
        "text/html; charset=utf-8",
        "text/xml",
    ],
)
async def test_other_types_are_neither_stored_nor_signed(store: Store, content_type: str) -> None:
    with pytest.raises(ValueError, match="objects are not of the type"):
        await store.put_bytes(store.artifacts, f"{USER}/x", b"x", content_type=content_type)
    with pytest.raises(ValueError, match="objects are not of the type"):
        await store.presign(store.artifacts, f"{USER}/x", filename="x", content_type=content_type, ttl_s=60)
    assert await store.head(store.artifacts, f"{USER}/x") is None


def test_no_type_is_a_page() -> None:
    for content_type in CONTENT_TYPES:
        assert known_type(content_type) == content_type
        assert not re.search(r"html|javascript|ecmascript|(?<!svg\+)xml|pdf|multipart", content_type)


async def test_what_the_api_hands_over_runs_nowhere(
    api: Api, worker_db: Any, buckets: None, user_id: uuid.UUID
) -> None:
    """Models, tables and plots through the API (this store cannot be redirected to): a file, sandboxed."""
    me = api.user(user_id)
    task_id = await api_runs.completed(api, me, worker_db, user_id)
    paths = {
        f"/ml/download-model/{task_id}/best_model": BINARY,
        f"/ml/download-leaderboard/{task_id}": "text/csv",
        f"/ml/plots/{task_id}/random_forest/confusion_matrix.svg": "image/svg+xml",
    }
    for path, content_type in paths.items():
        for method in ("GET", "HEAD"):
            for accept in ("*/*", "text/html,application/xhtml+xml", "image/svg+xml"):
                answer = await me.request(method, path, headers={"Accept": accept})
                assert answer.status_code == 200, (method, path)
                headers = answer.headers
                assert headers["Content-Disposition"].startswith("attachment; filename="), path
                assert headers["Content-Type"].split(";")[0] == content_type
                assert headers["X-Content-Type-Options"] == "nosniff"
                policy = {part.strip() for part in headers["Content-Security-Policy"].split(";")}
                assert {"sandbox", "default-src 'none'"} <= policy
                assert not any("script" in part or "allow-" in part for part in policy)
    assert "<script>" in (await me.get(path)).text  # what is handed over is what was stored
    assert "sandbox;" in FILE_POLICY


async def test_an_object_of_anothers_is_not_handed_over(api: Api, buckets: None) -> None:
    """Whatever a row says: the last look is at the key."""
    me, other = uuid.uuid4(), uuid.uuid4()

    asking: Any = types.SimpleNamespace(
        method="GET", headers={}, user=Identity(user_id=me, email=None, actor="user")
    )
    keys = [f"{other}/x.pkl", f"{me}/../{other}/x.pkl", f"{me}", f"{me}//x", "x.pkl", ""]
    for key in keys:
        file = Download(
            what="model",
            subject_id=uuid7(),
            bucket="model-files",
            key=key,
            filename="x.pkl",
            content_type=BINARY,
            size_bytes=1,
            sha256="0" * 64,
        )
        with pytest.raises(ModelNotFound):
            await hand_over(asking, api.context, file)


# --- names ----------------------------------------------------------------------------------------

NAMES = st.text(max_size=300) | st.text(alphabet="./\\%\"';\r\n\0\u202e\u2066 =,é模", max_size=80)


@given(NAMES | st.sampled_from(HOSTILE))
def test_no_name_breaks_a_header(text: str) -> None:
    header = content_disposition(text)
    assert header.isascii() and header.isprintable()
    # RFC 6266: attachment, a quoted string, and the extended value of RFC 5987
    assert re.fullmatch(
        r'attachment; filename="[^"\\\r\n]+"(; filename\*=UTF-8\'\'([A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+)?',
        header,
    )
    message = email.message.Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    assert message.defects == []
    extended = header.partition("filename*=UTF-8''")[2]
    for name in filter(None, (unquote(extended), header.split('"')[1])):
        assert not re.search(r"[/\\:\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", name)
        assert name.strip(". ") == name
        assert name not in ("", ".", "..")
    Target(bucket="b", key=f"{USER}/x", content_type=BINARY, filename=text).headers["ContentDisposition"]


@given(NAMES | st.sampled_from(HOSTILE))
def test_no_name_leaves_its_owners_folder(text: str) -> None:
    path = saved_model_path(USER, text, AT)
    assert belongs_to(USER, path)
    assert not belongs_to(TASK, path)
    assert path.count("/") == 1
    assert re.fullmatch(rf"{USER}/[A-Za-z0-9][A-Za-z0-9._-]*\.pkl", path)
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.pkl", f"{safe_name(text)}.pkl")


@given(st.lists(st.sampled_from(["", ".", "..", "a", str(USER), str(TASK), "a b", "%2e%2e"]), max_size=6))
def test_what_belongs_to_a_user_is_below_their_folder(parts: list[str]) -> None:
    key = "/".join(parts)
    if belongs_to(USER, key):
        assert parts[0] == str(USER)
        assert len(parts) > 1
        assert not {"", ".", ".."} & set(parts)


@given(st.uuids(), st.uuids(), st.integers(0, 10**6))
def test_every_key_begins_with_its_owner_and_no_two_owners_meet(
    one: uuid.UUID, other: uuid.UUID, number: int
) -> None:
    for key in (*every_key(one), bundle_key(one, other, number)):
        assert belongs_to(one, key)
        assert one == other or not belongs_to(other, key)
