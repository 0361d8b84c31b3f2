"""Uploading, listing and deleting files over HTTP."""

from __future__ import annotations

import hashlib
import uuid

from shared.storage import dataset_key
from tests.integration.api_client import CSV, Api


async def test_a_file_goes_in_and_is_listed_with_its_digest(api: Api) -> None:
    user = uuid.uuid4()
    me = api.user(user)
    answer = await me.post("/files", files={"file": ("C:\\data\\Meine Tabelle ü.csv", CSV)})
    assert answer.status_code == 201, answer.text
    file = answer.json()
    assert answer.headers["location"] == f"/files/{file['file_id']}"
    assert file["name"] == "Meine Tabelle ü.csv"
    assert file["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert file["size_bytes"] == len(CSV)
    assert (await me.get(f"/files/{file['file_id']}")).json() == file
    assert (await me.get("/files")).json() == {"items": [file], "next_cursor": None}
    store = api.context.store
    head = await store.head(store.datasets, dataset_key(user, file["file_id"]))
    assert head is not None and head.size_bytes == len(CSV)
