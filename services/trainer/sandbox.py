"""What keeps a fit in: layers that a child enters after the fork and before it sees the table.

A user's table is hostile input to large C++ parsers, and whoever gets code to run in a fit must find
nothing there: no credentials (they are not in its environment, nor in the memory that it was forked
from), no capability, no file but the libraries and its own, no network, no other process.

| layer | needs | without it |
| --- | --- | --- |
| no credentials, no descriptors | nothing | – |
| no capabilities, `no_new_privs` | Linux | a trainer run as root has fits that are root |
| Landlock | Linux 5.13, not switched off | a fit reads and writes what its user can |
| seccomp | Linux, x86-64 or aarch64 | a fit has the network, and starts programs |

Which of them hold is found out once, by a process that enters them and tries (`sandbox_choice`); a child
that cannot enter what held then does not run. `SECURITY.md` says what each is good for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from services.trainer import sandbox_landlock, sandbox_paths, sandbox_seccomp, sandbox_threads

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITIES = 64
_CAPABILITY_VERSION_3 = 0x20080522


_LIBC = ctypes.CDLL(None, use_errno=True)


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """What holds. `privileges`: they are dropped; `landlock`: the kernel's version of it, 0 for none."""

    privileges: bool = False
    landlock: int = 0
    seccomp: bool = False

    def __str__(self) -> str:
        names = [
            f"landlock abi {self.landlock}" if self.landlock else "",
            "seccomp" if self.seccomp else "",
            "no capabilities" if self.privileges else "",
            "no credentials",
        ]
        return ", ".join(name for name in names if name)

    def missing(self) -> list[str]:
        """The layers that `require` wants and that are not there."""
        return [name for name in ("landlock", "seccomp") if not getattr(self, name)]


OFF = Layers()
"""A stripped environment, closed descriptors, limits: what there always is."""


def prove(folder: str) -> None:
    """In a process of its own: enter layer after layer and see whether each holds. Prints what does, a line
    a layer, since the process may be killed for trying. Raises OSError where not even that much can be had.
    """
    drop_privileges()
    layers = _said(Layers(privileges=True))
    abi = sandbox_landlock.version()
    with contextlib.suppress(OSError):
        _landlock(abi, Path(folder), [])
        if abi and _refused(lambda: next(Path("/").iterdir())):
            layers = _said(msgspec.structs.replace(layers, landlock=abi))
    if sandbox_seccomp.supported():
        sandbox_seccomp.install()
        if _refused(lambda: socket.socket().close()):
            _said(msgspec.structs.replace(layers, seccomp=True))


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False


def _said(layers: Layers) -> Layers:
    os.write(1, msgspec.json.encode(layers) + b"\n")
    return layers


def enter(layers: Layers, *, scratch: Path, reads: Sequence[Path], talks: bool = False) -> None:
    """Shut the calling process in for good: it keeps `scratch` to write and `reads` to read. `talks`: and
    the use of connections that it is handed.

    To be called while it has one thread. Raises OSError where a layer cannot be entered.
    """
    if layers.privileges:
        drop_privileges()
    if layers.landlock:
        _landlock(layers.landlock, scratch, reads)
    elif layers.privileges:
        # others of the same user could read its memory; with Landlock they cannot, and the trainer,
        # which watches how much memory it holds, still can
        hide()
    if layers.landlock or layers.seccomp:
        sandbox_threads.share_with_threads_alone()
    if layers.seccomp:
        sandbox_seccomp.install(talks=talks)


def prepare() -> None:
    """Find out in the process that fits are forked from, after its preload, what each would find out."""
    sandbox_paths.libraries()


def hide() -> None:
    """Keep other processes of the same user from this one's memory, environment and descriptors
    (`/proc/PID/environ`, `/proc/PID/mem`, ptrace), and its memory out of core dumps."""
    _prctl(_PR_SET_DUMPABLE, 0)


def show() -> None:
    """Undo `hide` for a child of a process that hid: its keepers have to see how much memory it holds."""
    _prctl(_PR_SET_DUMPABLE, 1)


def drop_privileges() -> None:
    """Give up every capability and any way to gain one; uid 0 is then a user like others."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(_CAPABILITIES):
        if _prctl(_PR_CAPBSET_DROP, number) != 0:  # the first that does not exist, or no right to
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _LIBC.capset(header, (ctypes.c_uint32 * 6)()) != 0 or _prctl(_PR_SET_NO_NEW_PRIVS, 1) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def _landlock(abi: int, scratch: Path, reads: Sequence[Path]) -> None:
    if abi:
        sandbox_landlock.restrict(
            abi,
            read=[*sandbox_paths.readable(), *reads],
            write=[scratch],
            devices=sandbox_paths.DEVICES,
        )


def _prctl(option: int, value: int) -> int:
    if sys.platform != "linux":
        return -1
    return int(_LIBC.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), 0))
