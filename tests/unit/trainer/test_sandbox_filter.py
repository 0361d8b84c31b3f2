"""The seccomp filter itself, for both machines: run by an interpreter of the few instructions it uses."""

from __future__ import annotations

import errno
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.trainer import sandbox_seccomp
from services.trainer.sandbox_seccomp import ALLOW, ERROR, KILL, program

X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003
MACHINES = {"x86_64": X86, "aarch64": ARM}
PID = 4321


def answer(
    machine: str, number: int, *arguments: int, architecture: int | None = None, talks: bool = False
) -> int:
    """What the filter says to a call (linux/filter.h, linux/bpf_common.h)."""
    words = {0: number, 4: MACHINES[machine] if architecture is None else architecture}
    for place in range(6):
        value = arguments[place] if place < len(arguments) else 0
        words[16 + 8 * place], words[20 + 8 * place] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    code, at, accumulator = program(machine, PID, talks=talks), 0, 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            accumulator = words[k]
        elif operation == 0x54:
            accumulator &= k
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x45: bool(accumulator & k)}[operation]
            at += if_true if holds else if_false


REFUSED = ERROR | errno.EPERM
NUMBERS = {
    "x86_64": {"read": 0, "mmap": 9, "socket": 41, "clone": 56, "kill": 62, "tgkill": 234, "prlimit64": 302,
               "openat": 257, "ioctl": 16, "fcntl": 72, "fork": 57, "execve": 59, "futex": 202,
               "sched_setaffinity": 203, "getrandom": 318, "truncate": 76, "fchmodat": 268},
    "aarch64": {"read": 63, "mmap": 222, "socket": 198, "clone": 220, "kill": 129, "tgkill": 131,
                "prlimit64": 261, "openat": 56, "ioctl": 29, "fcntl": 25, "execve": 221, "futex": 98,
                "sched_setaffinity": 122, "getrandom": 278, "truncate": 45, "fchmodat": 53},
}  # fmt: skip
BY_MACHINE = pytest.mark.parametrize("machine", MACHINES)


@BY_MACHINE
def test_computing_is_allowed_and_reaching_out_is_not(machine: str) -> None:
    number = NUMBERS[machine]
    for name in ("read", "mmap", "futex", "getrandom"):
        assert answer(machine, number[name]) == ALLOW, name
    for name in ("socket", "execve", "truncate", "fchmodat"):
        assert answer(machine, number[name]) == REFUSED, name


@BY_MACHINE
def test_threads_are_allowed_and_processes_are_not(machine: str) -> None:
    clone = NUMBERS[machine]["clone"]
    assert answer(machine, clone, 0x3D0F00) == ALLOW  # what glibc starts a thread with
    assert answer(machine, clone, 0x01200011) == REFUSED  # what it forks with
    assert answer(machine, clone, 0x10000000 | 17) == REFUSED  # a user namespace
    assert answer(machine, 435, 0) == ERROR | errno.ENOSYS  # clone3


@BY_MACHINE
def test_only_itself_can_be_signalled_and_limited(machine: str) -> None:
    number = NUMBERS[machine]
    for name in ("kill", "tgkill"):
        assert answer(machine, number[name], PID, PID) == ALLOW
        for other in (PID + 1, 1, 0, 2**32 - 1, 2**32 - PID):  # -1 is everybody, a negative one a group
            assert answer(machine, number[name], other, PID) == REFUSED
    for name in ("prlimit64", "sched_setaffinity"):
        assert answer(machine, number[name], 0) == answer(machine, number[name], PID) == ALLOW
        assert answer(machine, number[name], 1) == REFUSED


@BY_MACHINE
def test_what_is_opened_to_read_is_not_truncated(machine: str) -> None:
    def opened(flags: int) -> int:
        return answer(machine, NUMBERS[machine]["openat"], 0, 0, flags)

    assert opened(0) == opened(0o1) == opened(0o2) == ALLOW
    assert opened(0o1001) == opened(0o1101) == opened(0o1002) == ALLOW  # Landlock says where
    assert opened(0o1000) == opened(0o1003) == opened(0o2001000) == REFUSED


@BY_MACHINE
def test_arguments_that_do_harm(machine: str) -> None:
    number = NUMBERS[machine]
    for command in (0x5412, 0x541C):  # TIOCSTI, TIOCLINUX
        assert answer(machine, number["ioctl"], 0, command) == REFUSED
    assert answer(machine, number["ioctl"], 0, 0x5401) == ALLOW
    for command in (8, 10, 15):  # F_SETOWN, F_SETSIG, F_SETOWN_EX
        assert answer(machine, number["fcntl"], 0, command) == REFUSED
    assert answer(machine, number["fcntl"], 0, 2) == ALLOW


@BY_MACHINE
def test_other_abis_and_the_future(machine: str) -> None:
    assert answer(machine, 0, architecture=I386) == KILL
    for newer in (457, 470, 0x40000000, 0x40000001, 2**32 - 1):  # from 2^30 on: x32
        assert answer(machine, newer) == ERROR | errno.ENOSYS


_HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+)\s+(\d+)"),
    "aarch64": ("/usr/include/asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}


@BY_MACHINE
def test_numbers_are_the_kernels(machine: str) -> None:
    """Against its headers, where they are installed; at least against each other everywhere."""
    column = list(MACHINES).index(machine)
    ours = {name: numbers[column] for name, numbers in sandbox_seccomp._REFUSED.items()}
    ours |= {name: entry[column] for name, entry in sandbox_seccomp._ABSENT.items()}
    ours |= NUMBERS[machine]
    path, pattern = _HEADERS[machine]
    header = {}
    if Path(path).exists():
        for name, number in re.findall(pattern, Path(path).read_text()):
            header.setdefault(name, int(number))
    assert {name: number for name, number in ours.items() if header.get(name, number) != number} == {}
    taken = [number for number in ours.values() if number is not None]
    assert len(taken) == len(set(taken))


_IN_A_CONTAINER = """
import errno, os, sys
from services.trainer import sandbox, sandbox_choice, sandbox_seccomp as s
sandbox.drop_privileges()
refuse = [(s._JUMP_EQUAL, 0, 1, int(sys.argv[1])), (s._RETURN, 0, 0, s.ERROR | errno.EPERM)]
s.install([(s._LOAD, 0, 0, 0), *refuse, (s._RETURN, 0, 0, s.ALLOW)])
print(sandbox_choice.held())
"""


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (444, "seccomp, no capabilities, no credentials"),  # an older Docker knows nothing of Landlock
        (446, "seccomp, no capabilities, no credentials"),  # half of it
        ({"x86_64": 272, "aarch64": 97}[platform.machine()], "landlock"),  # unshare: Docker, Kubernetes
    ],
)
def test_what_a_container_forbids_is_found_out(refused: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_CONTAINER, str(refused)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
