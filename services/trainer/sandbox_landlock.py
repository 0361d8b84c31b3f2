"""The files that a fit can reach: a Landlock domain, entered through the kernel's three calls for it.

Everything is forbidden but what is named: files and folders to read, one folder to write. Running a
program is allowed nowhere. A domain also keeps its processes from tracing, and so from reading the memory
and the environment, of any process outside it; from version 6 on from signalling them.

Landlock needs no rights and lasts until the process ends. Not known to it, and closed by the seccomp
filter: owners, rights and times of files. Known to neither: `stat`, so that whoever knows a path can
see whether something is there and how large it is.

Source: the kernel's `Documentation/userspace-api/landlock.rst` and `linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1
"""What version 1 knows: the rights above up to `_MAKE_REG`, and making devices, sockets, FIFOs, links."""

_NET_BIND_TCP, _NET_CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1 << 0, 1 << 1

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def version() -> int:
    """The kernel's Landlock ABI; 0 where there is none, or where it is not allowed."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(abi: int, *, read: Iterable[Path], write: Iterable[Path], devices: Iterable[Path]) -> None:
    """Enter a domain with these folders (and all beneath) and files. Wants `no_new_privs`, or root.

    `devices`: files to read and write, but not to remove. What does not exist is left out. Raises
    OSError where the kernel refuses.
    """
    handled = _handled(abi)
    ruleset = _call(_CREATE_RULESET, _attributes(abi, handled), _size(abi), 0)
    try:
        for paths, rights in ((read, _READ), (write, _WRITE), (devices, _READ_FILE | _WRITE_FILE)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _handled(abi: int) -> int:
    return (
        _FIRST
        | (_REFER if abi >= 2 else 0)
        | (_TRUNCATE if abi >= 3 else 0)
        | (_IOCTL_DEV if abi >= 5 else 0)
    )


def _attributes(abi: int, handled: int) -> bytes:
    net = _NET_BIND_TCP | _NET_CONNECT_TCP
    scoped = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL
    return struct.pack("=QQQ", handled, net, scoped)[: _size(abi)]


def _size(abi: int) -> int:
    """Of the attributes that this version knows, in bytes."""
    return 8 if abi < 4 else 16 if abi < 6 else 24


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or not for us: nothing that could be allowed
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)
    finally:
        os.close(beneath)


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer = _LIBC.syscall(ctypes.c_long(number), *words)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return int(answer)
