"""What the embedded S3 server can do, and what a store that can do more or less is told and says."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

from shared.settings import S3 as Settings
from shared.settings import load
from shared.storage import lacks, open_store
from tests.s3_elsewhere import own_buckets


async def test_what_it_can_do_is_found_and_what_it_cannot_is_said_once(servers: Mapping[str, str]) -> None:
    async with open_store(load(Settings, {**servers, **own_buckets()})) as store:
        await store.ensure_buckets()
        with structlog.testing.capture_logs() as logs:
            features = await store.probe()
            assert await store.probe() is features
    can = {name for name, there in msgspec.structs.asdict(features).items() if there}
    assert can == {"etag_is_md5"}
    [said] = [line for line in logs if line["event"] == "storage.probed"]
    assert set(said["can"]) == can
    assert said["lacks"] == lacks(features)
    assert said["lacks"].keys() | can == set(msgspec.structs.asdict(features))
    assert said["lacks"]["part_copy"] == "large members of a ZIP pass through the packager"


async def test_it_has_no_lifecycle_and_no_tags_and_that_is_said_once(servers: Mapping[str, str]) -> None:
    async with open_store(load(Settings, {**servers, **own_buckets()})) as store:
        await store.ensure_buckets()
        with structlog.testing.capture_logs() as logs:
            upkeep = await store.clean_up_by_itself()
        assert [item async for item in store.list(store.buckets[0], "")] == []
    assert set(upkeep.rules.values()) == {"unknown"}
    assert set(upkeep.rules) == set(store.buckets)
    assert not upkeep.tagging
    [said] = logs
    assert set(said["lacks"]) == {"lifecycle", "tagging"}
