"""Signing with the first key of `ARTIFACT_HMAC_KEYS` what others have signed, so that those can be taken out.

    python -m shared.resign [--check]

A signature that holds is replaced by one of the key that signs now; one that does not hold, or whose key is
not there, stays as it is and is named: nothing becomes trusted by this that was not. Nothing is read from the
store, since a signature is over a digest. It needs `WORKER_DATABASE_URL` and the keys, as workers have them,
and may run while they work. `--check` only counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

import asyncpg
import stamina
from msgspec import Struct, field

from shared.db import signatures
from shared.db.pool import Database, open_database
from shared.db.signatures import Signed
from shared.errors import ArtifactRefused, DatabaseUnavailable, TrainyardError
from shared.logging import configure
from shared.settings import Logging, Postgres, Signing, load, require, secrets_of
from shared.signing import KeyRing

BATCH = 500
SIGNED: tuple[Signed, ...] = ("candidates", "trained_models")
MOST_NAMED = 20
FAULTY, FAILED = 1, 2
"""Exit codes, as of `shared.backup`."""


class Counts(Struct):
    """By key id: `holds` as found, `signed` anew, `missing` where the key is not there. `refused`: rows whose
    signature does not hold."""

    holds: Counter[str] = field(default_factory=Counter)
    signed: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    refused: list[str] = []

    @property
    def sound(self) -> bool:
        return not self.missing and not self.refused


async def resign(db: Database, keys: KeyRing, *, only_count: bool = False) -> Counts:
    """A batch a transaction. Raises DatabaseUnavailable where Postgres stays away; what was done stays done,
    and the next run goes on from there."""
    counts = Counts()
    for signed in SIGNED:
        after: uuid.UUID | None = None
        while True:
            rows = await _rows(db, signed, after, None if only_count else keys.signs_with)
            if not rows:
                break
            after = rows[-1]["id"]
            sound = [row for row in rows if _holds(row, keys, signed, counts)]
            if only_count:
                counts.holds.update(row["hmac_key_id"] for row in sound)
            else:
                await _sign(db, keys, signed, sound)
                counts.signed.update(row["hmac_key_id"] for row in sound)
    return counts


def _holds(row: Any, keys: KeyRing, signed: Signed, counts: Counts) -> bool:
    try:
        keys.verify(*signatures.artifact(row))
    except ArtifactRefused as error:
        if error.context.get("key_missing"):
            counts.missing[row["hmac_key_id"]] += 1
        else:
            counts.refused.append(f"{signed} {row['id']} of {row['user_id']}, key {row['hmac_key_id']}")
        return False
    return True


_AGAIN = stamina.retry(on=DatabaseUnavailable, attempts=8, timeout=60)


@_AGAIN
async def _rows(db: Database, signed: Signed, after: uuid.UUID | None, but_of: str | None) -> list[Any]:
    async with db.transaction() as c:
        return await signatures.page(c, signed, after=after, limit=BATCH, but_of=but_of)


@_AGAIN
async def _sign(db: Database, keys: KeyRing, signed: Signed, rows: list[Any]) -> None:
    async with db.transaction() as c:
        await signatures.replace(
            c,
            signed,
            [row["id"] for row in rows],
            [row["hmac"] for row in rows],
            [keys.sign(signatures.artifact(row)[0]) for row in rows],
        )


def lines(counts: Counts, keys: KeyRing) -> list[str]:
    """What came of it, for a person."""
    said = [f"{n} models carry a signature of {key} that holds" for key, n in sorted(counts.holds.items())]
    said += [
        f"{n} of {key} were signed anew with {keys.signs_with}" for key, n in sorted(counts.signed.items())
    ]
    said += [
        f"{n} are signed with {key}, which is not in ARTIFACT_HMAC_KEYS: they can be downloaded, and neither"
        " saved nor opened"
        for key, n in sorted(counts.missing.items())
    ]
    said += [f"{len(counts.refused)} have a signature that does not hold"] if counts.refused else []
    said += [f"  {row}" for row in counts.refused[:MOST_NAMED]]
    return said or ["no model is signed"]


async def run(environ: Mapping[str, str], *, only_count: bool) -> int:
    """The exit code: 1 where a signature does not hold, or its key is missing."""
    postgres = load(Postgres, environ)
    require(postgres, "worker_database_url")
    keys = KeyRing.parse(load(Signing, environ).artifact_hmac_keys)
    async with open_database(postgres.worker_database_url, postgres, application="trainyard-resign") as db:
        counts = await resign(db, keys, only_count=only_count)
    for line in lines(counts, keys):
        print(line)
    return 0 if counts.sound else FAULTY


def main(environ: Mapping[str, str], argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.resign")
    parser.add_argument("--check", action="store_true", help="only count")
    options = parser.parse_args(argv)
    try:
        quiet = {"LOG_LEVEL": "warning"} | {k: v for k, v in environ.items() if k.startswith("LOG_") and v}
        configure(load(Logging, quiet), service="resign", secrets=secrets_of(environ))
        return asyncio.run(run(environ, only_count=options.check))
    except TrainyardError as error:
        print(f"resign: {error.detail}", file=sys.stderr)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"resign: {type(error).__name__}: {error}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
