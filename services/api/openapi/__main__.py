"""`python -m services.api.openapi [FILE]`: write the schema, as a server would answer it, without one.

A client is generated from it before anything runs, as the dashboard is (`services/web`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from services.api.app import create_app
from services.api.context import load_settings

NOTHING = {
    "API_DATABASE_URL": "postgresql://nobody@127.0.0.1/nothing",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9",
    "AUTH_JWT_SECRET": "of nobody's: no token is made or taken",
    "AUTH_DEV_LOGIN": "true",
}
"""Settings of a server that is never started; signing in locally is part of the schema."""


def main() -> None:
    schema = create_app(load_settings(NOTHING)).openapi_schema.to_schema()
    text = msgspec.json.format(msgspec.json.encode(schema), indent=1)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_bytes(text + b"\n")
    else:
        sys.stdout.buffer.write(text + b"\n")


if __name__ == "__main__":
    main()
