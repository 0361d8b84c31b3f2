"""An environment for each competitor, made by uv under `.bench/`, so that none has to suit another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[3] / ".bench"
"""Ignored by git: environments, tables and what runs leave behind."""


def python_of(name: str, requirements: Sequence[str], without_dependencies: Sequence[str] = ()) -> Path:
    """The interpreter of an environment that has `requirements`; it is made where it is not there yet.

    `without_dependencies`: packages that are wanted for the files in them only. Raises
    subprocess.CalledProcessError where they cannot be installed; the reason is on stderr.
    """
    folder = FOLDER / "environments" / name
    python = folder / "bin" / "python"
    wanted, stamp = "\n".join([*requirements, *without_dependencies]), folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"  installing {wanted.replace(chr(10), ', ')} …", flush=True)
        _uv("venv", "--clear", "--python", sys.executable, str(folder))
        install = ("pip", "install", "--python", str(python))
        _uv(*install, *requirements)
        if without_dependencies:
            _uv(*install, "--no-deps", *without_dependencies)
        stamp.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    # uv has a name of its own for what pip calls PIP_FIND_LINKS.
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or ""
    environ = os.environ | ({"UV_FIND_LINKS": links} if links else {})
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], env=environ, check=True)


def versions(python: Path, distributions: Sequence[str]) -> dict[str, str]:
    """Those of `distributions` that are installed → their versions."""
    script = (
        "import json, sys\nfrom importlib import metadata\nfound = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    said = subprocess.run(
        [str(python), "-c", script, *distributions], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(said.stdout))
