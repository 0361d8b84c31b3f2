"""`python3 -I deploy/cluster_secrets.py FILE | kubectl apply -n trainyard -f -`: the Secrets that deploy/k8s
refers to, from a file of variables such as `make env` writes.

Each holds what belongs together, so that a pod is given what it needs and no more. They go from standard
output into the cluster: nothing is written to a disk. Standard library only, as `make env`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

SECRETS = {
    "trainyard-database-owner": ("DATABASE_URL",),
    "trainyard-database-api": ("API_DATABASE_URL",),
    "trainyard-database-worker": ("WORKER_DATABASE_URL",),
    "trainyard-database-scaler": ("SCALER_DATABASE_URL",),
    "trainyard-redis": ("REDIS_URL",),
    "trainyard-store": ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"),
    "trainyard-tokens": ("AUTH_JWT_SECRET", "AUTH_JWT_PREVIOUS_SECRET"),
    "trainyard-signing": ("ARTIFACT_HMAC_KEYS",),
    "trainyard-tracing": ("OTEL_EXPORTER_OTLP_HEADERS",),
}
OPTIONAL = {
    "AUTH_JWT_SECRET": "tokens have to come with AUTH_JWKS_URL",
    "AUTH_JWT_PREVIOUS_SECRET": "",
    "OTEL_EXPORTER_OTLP_HEADERS": "",
    "SCALER_DATABASE_URL": "KEDA cannot ask how much there is to do",
}
"""What may be missing, and what that means."""

_LINE = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)=(?:"([^"]*)"|'([^']*)'|(.*?))\s*$""")


class Missing(Exception):
    """A variable without which a service does not start."""


def variables(text: str) -> dict[str, str]:
    """NAME=value lines as compose reads them: `${NAME}` is what stood above, but between single quotes."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := _LINE.match(line):
            name, double, single, bare = match.groups()
            value = double or bare or ""
            found[name] = single or re.sub(r"\$\{(\w+)\}", lambda m: found.get(m[1], ""), value)
    return found


def manifests(given: Mapping[str, str]) -> list[dict[str, object]]:
    """Secrets, without those that would be empty. Raises Missing."""
    lacking = [n for names in SECRETS.values() for n in names if not given.get(n) and n not in OPTIONAL]
    if lacking:
        raise Missing(", ".join(lacking))
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret},
            "type": "Opaque",
            "stringData": data,
        }
        for secret, names in SECRETS.items()
        if (data := {name: given[name] for name in names if given.get(name)})
    ]


def main(path: Path) -> int:
    given = variables(path.read_text(encoding="utf-8"))
    try:
        items = manifests(given)
    except Missing as missing:
        print(f"{path} does not say: {missing}", file=sys.stderr)
        return 1
    for name, means in OPTIONAL.items():
        if means and not given.get(name):
            print(f"{name} is empty: {means}", file=sys.stderr)
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env")))
