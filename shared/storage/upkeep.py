"""What a store can be told to clean up by itself, as a net under our sweeps: uploads that nobody finished.

The packager's sweep removes them after `ORPHAN_TTL_S`. A bucket whose lifecycle does it too is cleaned even
when the product does not run any more, and its owner pays for none of them.
"""

from __future__ import annotations

import uuid
from typing import Any, Literal

import structlog
from botocore.exceptions import ClientError
from msgspec import Struct

from shared.storage.faults import store_call
from shared.storage.features import PROBE_PREFIX

log = structlog.get_logger(__name__)

UNFINISHED_DAYS = 7
RULE = "trainyard-unfinished-uploads"

Lifecycle = Literal["set", "the owner's", "unknown"]


class Upkeep(Struct, frozen=True, kw_only=True):
    """What the store does by itself. `rules`: bucket → whether its lifecycle ends unfinished uploads: `set`
    by us, now or before; `the owner's` where there are rules already, which are left as they are; `unknown`
    to the store. `tagging`: objects keep tags, which nothing here needs."""

    rules: dict[str, Lifecycle]
    tagging: bool

    @property
    def lifecycle(self) -> bool:
        return "unknown" not in self.rules.values()

    @property
    def lacks(self) -> dict[str, str]:
        """What the store cannot do → what is done instead."""
        instead = {
            "lifecycle": "unfinished uploads are removed by the packager's sweep alone",
            "tagging": "what an object is stands in its key and its metadata",
        }
        there = {"lifecycle": self.lifecycle, "tagging": self.tagging}
        return {name: text for name, text in instead.items() if not there[name]}


async def clean_up_by_itself(client: Any, buckets: tuple[str, ...]) -> Upkeep:
    """Have unfinished uploads end after a week, in each bucket that nobody gave rules. Raises
    StorageUnavailable."""
    rules = {bucket: await _ensure(client, bucket) for bucket in buckets}
    upkeep = Upkeep(rules=rules, tagging=await _knows_tags(client, buckets[0]))
    log.info("storage.upkeep", lifecycle=rules, tagging=upkeep.tagging, lacks=upkeep.lacks)
    return upkeep


async def _ensure(client: Any, bucket: str) -> Lifecycle:
    rules = await _rules(client, bucket)
    if rules is None:
        return "unknown"
    if rules:
        return "set" if any(rule.get("ID") == RULE for rule in rules) else "the owner's"
    rule = {
        "ID": RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
    }
    async with store_call(bucket):
        try:
            await client.put_bucket_lifecycle_configuration(
                Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
            )
        except ClientError as refusal:
            if _is_away(refusal):
                raise
            return "unknown"
    # a store that does not know the call may take it for another one
    return "set" if [rule.get("ID") for rule in await _rules(client, bucket) or []] == [RULE] else "unknown"


async def _rules(client: Any, bucket: str) -> list[Any] | None:
    """The bucket's rules; None where the store knows none."""
    async with store_call(bucket):
        try:
            answer = await client.get_bucket_lifecycle_configuration(Bucket=bucket)
        except ClientError as refusal:
            if _is_away(refusal):
                raise
            missing = refusal.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration"
            return [] if missing else None
    return answer.get("Rules") or None


async def _knows_tags(client: Any, bucket: str) -> bool:
    """Whether an object keeps the tag it is put with; tried with one under the probes' prefix. Asked is how
    many tags there are: a store that knows none might answer the question which ones with the object."""
    place = {"Bucket": bucket, "Key": f"{PROBE_PREFIX}{uuid.uuid4()}/tagged"}
    async with store_call(bucket, place["Key"]):
        try:
            await client.put_object(**place, Body=b"tagged", Tagging="kind=probe")
            answer = await client.get_object(**place)
            async with answer["Body"]:
                return bool(answer.get("TagCount") == 1)
        except ClientError as refusal:
            if _is_away(refusal):
                raise
            return False
        finally:
            await client.delete_object(**place)


def _is_away(refusal: ClientError) -> bool:
    """501 is an answer: not implemented."""
    return refusal.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (500, 502, 503, 504)
