"""The S3 server `nanio`: buckets are folders, signatures are verified."""

from __future__ import annotations

import http.client
import os
import sys
from pathlib import Path

from deploy.embedded.credentials import Credentials
from deploy.ports import HOST
from deploy.processes import Program


def program(data: Path, credentials: Credentials, port: int) -> Program:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("NANIO_")}
    keys = {
        "NANIO_ACCESS_KEY": credentials.s3_access_key_id,
        "NANIO_SECRET_KEY": credentials.s3_secret_access_key,
    }
    command = [sys.executable, "-m", "nanio", "serve", "--data-dir", str(data)]
    command += ["--host", HOST, "--port", str(port), "--no-access-log", "--gc-abandoned-uploads"]
    return Program(
        name="s3",
        command=command,
        environ=ours | keys,
        ready=lambda _: answers(port),
        prepare=lambda: data.mkdir(mode=0o700, parents=True, exist_ok=True),
        kill_after_s=5.0,
    )


def variables(credentials: Credentials, port: int) -> dict[str, str]:
    return {
        "S3_ENDPOINT_URL": f"http://{HOST}:{port}",
        "S3_ACCESS_KEY_ID": credentials.s3_access_key_id,
        "S3_SECRET_ACCESS_KEY": credentials.s3_secret_access_key,
        "S3_REGION": "us-east-1",
    }


def answers(port: int) -> bool:
    """Whether it refuses an unsigned request, as it should."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.FORBIDDEN
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
