"""Which layers of `services.trainer.sandbox` fits are kept in with on this machine."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from services.trainer.child_process import child_environ
from services.trainer.sandbox import OFF, Layers
from shared.errors import ConfigurationError
from shared.metrics import SANDBOX

log = structlog.get_logger(__name__)

Mode = Literal["auto", "require", "off"]

_PROOF_S = 30
_PROVE = (
    "import json, sys; sys.path[:], folder = json.loads(sys.argv[1]); "
    "from services.trainer.sandbox import prove; prove(folder)"
)


def chosen(mode: Mode) -> Layers:
    """The layers that children are to enter. Raises ConfigurationError where `require` cannot be met."""
    if mode == "off":
        return OFF
    layers = held()
    if mode == "require" and layers.missing():
        raise ConfigurationError(
            f"TRAINER_SANDBOX=require, but this machine has no {' and no '.join(layers.missing())} for it"
        )
    return layers


@functools.cache
def held() -> Layers:
    """What a process of this machine, run as this user, can shut itself in with: tried, not looked up."""
    if sys.platform != "linux":
        return OFF
    paths = [path or str(Path.cwd()) for path in sys.path]
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            [sys.executable, "-c", _PROVE, json.dumps([paths, folder])],
            env=child_environ(os.environ, threads=1),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROOF_S,
            check=False,
        )
    if tried.returncode != 0:
        log.warning("sandbox_not_whole", code=tried.returncode, output=tried.stderr[-2000:].decode())
    said = tried.stdout.splitlines()
    return msgspec.json.decode(said[-1], type=Layers) if said else OFF


def announce(layers: Layers) -> None:
    """Say once which layers hold, in the log and in the metrics."""
    for name in ("privileges", "landlock", "seccomp"):
        SANDBOX.labels(name).set(bool(getattr(layers, name)))
    complete = layers.privileges and not layers.missing()
    (log.info if complete else log.warning)("sandbox", layers=str(layers), missing=layers.missing())
