"""`python -m deploy.check_locks`: whether requirements/*.txt still say what pyproject.toml asks for.

Needs no network: uv notes beside each pin which of them the group itself asked for.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
GROUPS = ("dev", "local", "api", "trainer", "dask", "packager")
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")

Pins = dict[str, set[str]]
"""Name → versions (one for each range of Pythons)."""


def wanted(groups: Mapping[str, list[str | dict[str, str]]], group: str) -> dict[str, Requirement]:
    """A group's requirements, those of included groups with them."""
    found: dict[str, Requirement] = {}
    for entry in groups[group]:
        if isinstance(entry, dict):
            found |= wanted(groups, entry["include-group"])
        else:
            requirement = Requirement(entry)
            found[canonicalize_name(requirement.name)] = requirement
    return found


def locked(text: str, group: str) -> tuple[Pins, set[str]]:
    """All pins of a lock file, and the names that stand there because the group asked for them."""
    pins: Pins = {}
    asked_for: set[str] = set()
    name = ""
    for line in text.splitlines():
        if pin := PIN.match(line):
            name = canonicalize_name(pin["name"])
            pins.setdefault(name, set()).add(pin["version"])
        elif line.lstrip(" #").removeprefix("via ") == f"trainyard (pyproject.toml:{group})":
            asked_for.add(name)
    return pins, asked_for


def faults(project: Path) -> list[str]:
    """What does not agree, one line each."""
    groups = tomllib.loads((project / "pyproject.toml").read_text())["dependency-groups"]
    found = []
    everything, _ = locked((project / "requirements" / "dev.txt").read_text(), "dev")
    for group in GROUPS:
        pins, asked_for = locked((project / "requirements" / f"{group}.txt").read_text(), group)
        asked = wanted(groups, group)
        found += [f"{group}.txt lacks {name}" for name in sorted(asked.keys() - asked_for)]
        found += [
            f"{group}.txt has {name}, which nothing asks for" for name in sorted(asked_for - asked.keys())
        ]
        found += [
            f"{group}.txt has {name} {version}, and pyproject.toml asks for {asked[name]}"
            for name in sorted(asked.keys() & pins.keys())
            for version in sorted(pins[name])
            if not asked[name].specifier.contains(version, prereleases=True)
        ]
        found += [
            f"{group}.txt and dev.txt have different versions of {name}"
            for name in sorted(pins)
            if not pins[name] <= everything.get(name, set())
        ]
    return found


def main() -> int:
    for fault in (found := faults(PROJECT)):
        print(fault)
    if found:
        print("Run `make lock`.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
