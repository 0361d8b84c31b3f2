"""Whether a bucket is private: found out by asking as nobody.

A bucket policy, an access list or a store without identities can open a bucket without any of our calls
noticing. Signed links, and all that is promised of them, mean something only where the unsigned address of
the same object is refused.
"""

from __future__ import annotations

import uuid
from typing import Any

import aiohttp

from shared.errors import ConfigurationError
from shared.storage.faults import store_call
from shared.storage.features import PROBE_PREFIX


async def refuse_public(client: Any, bucket: str) -> None:
    """Raise ConfigurationError where `bucket` shows anybody its list or an object, or takes one."""
    key = f"{PROBE_PREFIX}{uuid.uuid4()}/private"
    place = {"Bucket": bucket, "Key": key}
    async with store_call(bucket, key):
        await client.put_object(**place, Body=b"nobody's")
        # where an object is, whatever way of addressing the store knows
        signed = await client.generate_presigned_url("get_object", Params=place, ExpiresIn=60)
    unsigned = signed.partition("?")[0]
    top = unsigned.removesuffix(key)
    asked = [
        ("GET", unsigned),
        ("HEAD", unsigned),
        ("GET", f"{top}?list-type=2"),
        ("GET", f"{top}?policy"),
        ("PUT", unsigned),
        ("DELETE", unsigned),
    ]
    try:
        async with store_call(bucket, key), aiohttp.ClientSession(trust_env=True) as http:
            for method, url in asked:
                async with http.request(method, url, allow_redirects=False) as answer:
                    if answer.status < 300:
                        raise ConfigurationError(
                            f"the bucket {bucket!r} answers {method} to whoever asks: make it private"
                        )
    finally:
        async with store_call(bucket, key):
            await client.delete_object(**place)
