"""`make rotate`: one step of changing a secret while everything goes on. Standard library only.

    rotate.py token|artifacts add|use|drop [--file .env | --file .trainyard/secrets.json]

A secret is changed in three steps, and after each all services that know it are started again, one after the
other: `add` makes the new one known everywhere and uses it nowhere, `use` has it used while the old one is
still known, `drop` forgets the old one. So whatever two neighbouring steps are live at once, what one service
signs, every other takes.

    token       AUTH_JWT_SECRET and AUTH_JWT_PREVIOUS_SECRET: what HS256 tokens are checked with
    artifacts   ARTIFACT_HMAC_KEYS: what models are signed with; the first of them signs
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

SECRET, PREVIOUS, KEYS = "AUTH_JWT_SECRET", "AUTH_JWT_PREVIOUS_SECRET", "ARTIFACT_HMAC_KEYS"
USED_BY = {"token": "the API", "artifacts": "every trainer and packager"}
NEXT = {
    ("token", "add"): "then `use`",
    (
        "token",
        "use",
    ): "then have tokens issued with the new secret, and `drop` once the last old one has expired",
    ("token", "drop"): "tokens signed with the old one are refused from then on",
    ("artifacts", "add"): "then `use`",
    ("artifacts", "use"): "then `make resign`, and `drop`",
    ("artifacts", "drop"): "models that were not signed anew can be downloaded, and neither saved nor opened",
}


class Refused(Exception):
    """This step makes no sense now; the message says why."""


# --- the steps ------------------------------------------------------------------------------------


def token(step: str, known: dict[str, str]) -> dict[str, str]:
    """What AUTH_JWT_SECRET and AUTH_JWT_PREVIOUS_SECRET become. Raises Refused."""
    secret, previous = known.get(SECRET, ""), known.get(PREVIOUS, "")
    if not secret:
        raise Refused(
            f"there is no {SECRET}: tokens are checked with the provider's keys, which change there"
        )
    if step == "add":
        if previous:
            raise Refused(f"{PREVIOUS} is in use: `drop` it first")
        return {PREVIOUS: secrets.token_hex(32)}
    if not previous:
        raise Refused(f"{PREVIOUS} is empty: `add` comes first")
    return {SECRET: previous, PREVIOUS: secret} if step == "use" else {PREVIOUS: ""}


def artifacts(step: str, known: dict[str, str]) -> dict[str, str]:
    """What ARTIFACT_HMAC_KEYS becomes. Raises Refused."""
    ring = [entry.strip() for entry in known.get(KEYS, "").split(",") if entry.strip()]
    if not ring:
        raise Refused(f"there is no {KEYS} to be changed: run `make env`, or `make up` once")
    if step == "add":
        if len(ring) > 1:
            raise Refused(f"{KEYS} has {len(ring)} keys already: `drop` comes first")
        # an id that no other key will ever have: a signature names its key by it
        key_id = f"k{dt.datetime.now(dt.UTC):%Y%m%d}-{secrets.token_hex(3)}"
        ring.append(f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    elif len(ring) < 2:
        raise Refused(f"{KEYS} has one key: `add` comes first")
    elif step == "use":
        ring.insert(0, ring.pop())
    else:
        ring = ring[:1]
    return {KEYS: ",".join(ring)}


STEPS: dict[str, Callable[[str, dict[str, str]], dict[str, str]]] = {"token": token, "artifacts": artifacts}


# --- the files ------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, str]:
    """Variables by name: of a .env, or of the local stack's secrets.json. Raises Refused."""
    try:
        text = path.read_text()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix == ".json":
        return {name.upper(): value for name, value in json.loads(text).items()}
    known = dict(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)=(.*)$", text))
    for name in (SECRET, KEYS):
        if known.get(f"{name}_FILE"):
            raise Refused(f"{path} has {name} from a file: change that file, as docs/operations.md says")
    return known


def write(path: Path, changed: dict[str, str]) -> None:
    """Put new values in their places; whole or not at all, readable by whoever could read it before."""
    text = path.read_text()
    if path.suffix == ".json":
        text = json.dumps(json.loads(text) | {k.lower(): v for k, v in changed.items()}, indent=2)
    else:
        for name, value in changed.items():
            line = f"{name}={value}"
            # one that is commented out gets its place beside its comment
            found = re.search(rf"(?m)^(?:# )?{name}=.*$", text)
            if found:
                text = text[: found.start()] + line + text[found.end() :]
            else:
                text += f"{'' if text.endswith(chr(10)) else chr(10)}{line}\n"
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.chmod(path.stat().st_mode & 0o777)
    draft.replace(path)


def in_words(what: str, known: dict[str, str]) -> str:
    """What is known and used now, by fingerprints that give nothing away."""
    if what == "artifacts":
        first, *rest = (entry.partition(":")[0].strip() for entry in known[KEYS].split(","))
        return f"{first} signs" + (f", {', '.join(rest)} is known too" if rest else "")
    used, previous = (hashlib.sha256(known.get(n, "").encode()).hexdigest()[:8] for n in (SECRET, PREVIOUS))
    return f"{used} is used" + (f", {previous} is taken too" if known.get(PREVIOUS) else "")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="rotate.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=STEPS)
    parser.add_argument("step", choices=("add", "use", "drop"))
    parser.add_argument("--file", type=Path, default=Path(".env"), help="default: .env")
    options = parser.parse_args(argv)
    try:
        known = read(options.file)
        changed = STEPS[options.what](options.step, known)
        write(options.file, changed)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    print(f"{options.file}: {in_words(options.what, known | changed)}")
    print(f"Now start {USED_BY[options.what]} again, {NEXT[options.what, options.step]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
