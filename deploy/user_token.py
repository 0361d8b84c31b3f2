"""`make token EMAIL=…`: a token for a stack that has no sign-in of its own (compose).

Signed with AUTH_JWT_SECRET from the environment or from .env, of the shape that Supabase's tokens have.
For trying out and for scripts: real users get theirs from the identity provider.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from pathlib import Path

import jwt

HOURS = 12.0


def user_token(secret: str, email: str, *, hours: float = HOURS, issuer: str = "") -> str:
    """HS256; the same address is always the same user."""
    now = int(time.time())
    return jwt.encode(
        {
            "sub": str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email.lower()}")),
            "aud": "authenticated",
            "role": "authenticated",
            "email": email,
            "iat": now,
            "exp": now + int(hours * 3600),
        }
        | _issued_by(issuer),
        secret,
        algorithm="HS256",
    )


def service_token(secret: str, *, hours: float = HOURS, issuer: str = "") -> str:
    """Another service's: it acts for the user that it names in `X-User-Id`."""
    now = int(time.time())
    claims = {"role": "service_role", "iat": now, "exp": now + int(hours * 3600)}
    return jwt.encode(claims | _issued_by(issuer), secret, algorithm="HS256")


def _issued_by(issuer: str) -> dict[str, str]:
    return {"iss": issuer} if issuer else {}


def variable(name: str, env_file: Path) -> str:
    """Of the environment, else of the file; empty where neither has it."""
    if given := os.environ.get(name, ""):
        return given
    lines = env_file.read_text().splitlines() if env_file.exists() else []
    return next((line.partition("=")[2] for line in lines if line.startswith(f"{name}=")), "")


def main() -> int:
    parser = argparse.ArgumentParser(description="A token, signed with AUTH_JWT_SECRET")
    parser.add_argument("email", nargs="?", default="demo@example.org")
    parser.add_argument("--role", choices=("user", "service"), default="user")
    parser.add_argument("--env-file", type=Path, default=Path(".env"))
    parser.add_argument("--hours", type=float, default=HOURS)
    arguments = parser.parse_args()
    secret = variable("AUTH_JWT_SECRET", arguments.env_file)
    # where only some may issue tokens, the first of them is as good as any
    issuer = variable("AUTH_ISSUER", arguments.env_file).split(",")[0].strip()
    if not secret:
        print(
            f"no AUTH_JWT_SECRET in the environment or in {arguments.env_file}: `make env`", file=sys.stderr
        )
        return 2
    if arguments.role == "service":
        print(service_token(secret, hours=arguments.hours, issuer=issuer))
    else:
        print(user_token(secret, arguments.email, hours=arguments.hours, issuer=issuer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
