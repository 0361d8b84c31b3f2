"""`python -m shared.backup`: what operators call, themselves or through make."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from shared.backup.archive import Archive, Manifest
from shared.backup.check import Report, check
from shared.backup.restore import restore
from shared.backup.take import take
from shared.errors import TrainyardError
from shared.logging import configure
from shared.settings import S3, Logging, Postgres, Retention, load, secrets_of
from shared.storage import open_store

FAULTY, FAILED = 1, 2
"""Exit codes: it was done, and something is lost or damaged · it was not done."""


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shared.backup")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, about: str, *, folder: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        if folder:
            added.add_argument("folder", type=Path, help="where the backups are")
        return added

    keep = command("take", "Add a backup of all rows and the objects that they need")
    keep.add_argument("--keep", type=at_least_one, help="then remove all but the latest KEEP")
    command("list", "Say which backups there are")
    verify = command("verify", "Read a backup and compare every digest; needs no server")
    verify.add_argument("--name", help="default: the latest")
    back = command("restore", "Put a backup into an empty database and an empty store")
    back.add_argument("--name", help="default: the latest")
    look = command("check", "Compare the rows with the objects of what runs", folder=False)
    look.add_argument("--quick", action="store_true", help="compare sizes, and read no object")
    return parser.parse_args(argv)


def at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least one backup is kept")
    return number


def say(line: str) -> None:
    print(line, flush=True)


async def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """The exit code. Raises TrainyardError, and what Postgres and the disk raise."""
    if options.command == "list":
        for name in Archive(options.folder).names():
            say(in_words(Archive(options.folder).manifest(name)))
        return 0
    if options.command == "verify":
        return verified(Archive(options.folder), options.name)
    postgres = load(Postgres, environ)
    async with open_store(load(S3, environ)) as store:
        if options.command == "check":
            new_s = load(Retention, environ).orphan_ttl_s
            return told(
                await check(postgres, store, new_s=new_s, digests=not options.quick, say=lambda _: None)
            )
        if options.command == "restore":
            manifest = await restore(postgres, store, options.folder, name=options.name, say=say)
            say(f"restored {in_words(manifest)}")
        else:
            manifest = await take(postgres, store, options.folder, say=say)
            say(f"backup {in_words(manifest)}")
            say(f"{manifest.fetched} objects were new ({manifest.fetched_bytes} bytes)")
            prune(options.folder, options.keep)
    for fault in manifest.faults:
        say(f"not in it: {fault}")
    return FAULTY if manifest.faults else 0


def told(report: Report) -> int:
    for line in report.lines():
        say(line)
    return 0 if report.whole else FAULTY


def prune(folder: Path, keep: int | None) -> None:
    if keep is not None:
        with Archive.held(folder) as archive:
            for gone in archive.prune(keep):
                say(f"removed {gone}")


def verified(archive: Archive, name: str | None) -> int:
    manifest = archive.manifest(name)
    faults = archive.check_files(manifest, digests=True)
    for fault in faults:
        say(fault)
    say(f"{in_words(manifest)}: {'damaged' if faults else 'every digest is right'}")
    return FAULTY if faults else 0


def in_words(manifest: Manifest) -> str:
    at = manifest.snapshot_at.isoformat(timespec="seconds")
    faults = f", {len(manifest.faults)} objects lacking" if manifest.faults else ""
    return (
        f"{manifest.name}: {manifest.rows} rows and {manifest.objects} objects"
        f" ({manifest.objects_bytes} bytes) as of {at}{faults}"
    )


def main(environ: Mapping[str, str], argv: list[str]) -> int:
    options = arguments(argv)
    try:
        # what it says is for a person; what libraries have to say is no part of it
        quiet = {"LOG_LEVEL": "warning"} | {k: v for k, v in environ.items() if k.startswith("LOG_") and v}
        configure(load(Logging, quiet), service="backup", secrets=secrets_of(environ))
        return asyncio.run(run(options, environ))
    except TrainyardError as error:
        print(f"{options.command}: {error.detail}", file=sys.stderr)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"{options.command}: {type(error).__name__}: {error}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
