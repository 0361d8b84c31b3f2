"""The system calls that a fit cannot make: a seccomp filter, put together here and installed by prctl(2).

A list of what is refused, not of what is allowed: libraries and C libraries differ in what they call,
and what they call for computing is harmless. What is refused fails with an error that libraries handle
(EPERM, or ENOSYS where they then take another way), and so does every call newer than this list. A
program of another ABI (32-bit calls on x86-64) is killed.

The filter also closes what Landlock knows nothing of: who owns a file and what its rights are, signals
and priorities of other processes, truncation through a descriptor opened for reading.

Sources: seccomp(2), the kernel's `Documentation/userspace-api/seccomp_filter.rst`, `linux/filter.h`;
numbers from `asm/unistd_64.h` and `asm-generic/unistd.h`, which from 424 on are the same everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine → column of the numbers below, AUDIT_ARCH_*. Both are little-endian, on which offsets rely."""

_NEWEST = 456
"""futex_requeue (Linux 6.7). x32's calls, from 2^30 on, are beyond it too."""

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # the network, and any socket: what a fit has to say goes through a pipe that it was given
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # other programs
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes: their memory, descriptors, signals, priorities
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "perf_event_open": (298, 241),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # memory that processes share by name or number
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # a file's owner, rights and times, by name or descriptor; names that lead elsewhere
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # the kernel itself, and its parts that had most of the holes
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "personality": (135, 92),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
}

_ABSENT: dict[str, tuple[int | None, int | None, int]] = {
    "clone3": (435, 435, errno.ENOSYS),  # its flags are behind a pointer; C libraries then call clone
    "openat2": (437, 437, errno.ENOSYS),  # likewise
    # room on the disk that no counter of written bytes shows; C libraries then write zeros
    "fallocate": (285, 47, errno.EOPNOTSUPP),
}

_CLONE_THREAD = 0x10000
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_AF_UNIX = 1

# linux/bpf_common.h and linux/seccomp.h
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, k."""


def supported() -> bool:
    """Whether there is a filter for this machine; whether the kernel takes it only `install` tells."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES and sys.maxsize > 2**32


def program(machine: str, pid: int, *, talks: bool = False) -> list[Instruction]:
    """The filter for the process `pid`, which it lets signal and limit nobody but itself. `talks`: it may
    use connections that it is handed (`services.trainer.cluster_door`), and still make none."""
    column, architecture = _ARCHITECTURES[machine]
    refuse, only_self = _answer(errno.EPERM), _equal_or_refuse(pid)
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_GREATER, 0, 1, _NEWEST),
        _answer(errno.ENOSYS),
    ]
    # threads, but no processes
    code += _where((56, 220)[column], 0, [(_JUMP_SET, 1, 0, _CLONE_THREAD), refuse])
    for number in ((62, 129), (234, 131), (129, 138), (297, 240)):  # kill, tgkill, rt_sig…, rt_tgsig…
        code += _where(number[column], 0, only_self)
    # prlimit64, sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr: 0 is the caller
    for number in ((302, 261), (203, 122), (144, 119), (142, 118), (314, 274)):
        code += _where(number[column], 0, [(_JUMP_EQUAL, len(only_self), 0, 0), *only_self])
    # text put into a terminal's input as if it had been typed
    code += _where((16, 29)[column], 1, _unless(_TIOCSTI, _TIOCLINUX))
    # signals that a descriptor sends to others
    code += _where((72, 25)[column], 1, _unless(_F_SETOWN, _F_SETSIG, _F_SETOWN_EX))
    # an access mode of 3 opens for neither reading nor writing, and truncates all the same
    truncating = [(_AND, 0, 0, _O_TRUNC | _O_ACCMODE), *_unless(_O_TRUNC, _O_TRUNC | _O_ACCMODE)]
    code += _where((257, 56)[column], 2, truncating)
    if machine == "x86_64":
        code += _where(2, 1, truncating)  # open
    if talks:
        # an event loop wakes itself over a pair of Unix sockets; and C libraries send by sendto(2), which
        # may name no address: both halves of the pointer are 0
        code += _where(_REFUSED["socketpair"][column], 0, _equal_or_refuse(_AF_UNIX))
        code += _where(
            _REFUSED["sendto"][column],
            4,
            [*_equal_or_refuse(0), (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * 4 + 4), *_equal_or_refuse(0)],
        )
    for numbers in _REFUSED.values():
        if (refused := numbers[column]) is not None:
            code += [(_JUMP_EQUAL, 0, 1, refused), refuse]
    for *absent, error in _ABSENT.values():
        if (number_here := absent[column]) is not None:
            code += [(_JUMP_EQUAL, 0, 1, number_here), _answer(error)]
    return [*code, (_RETURN, 0, 0, ALLOW)]


def install(code: list[Instruction] | None = None, *, talks: bool = False) -> None:
    """Bind the calling thread, and all that it starts, to the filter (default: `program`'s for this process).

    Wants `no_new_privs`, or root. Raises OSError where the kernel refuses it. There is no way back.
    """
    code = code or program(platform.machine(), os.getpid(), talks=talks)
    packed = b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
    filter_ = ctypes.create_string_buffer(packed, len(packed))
    # struct sock_fprog: the length, padding, a pointer
    fprog = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(filter_))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), fprog, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp filter: {os.strerror(error)}")


def _answer(error: int) -> Instruction:
    return (_RETURN, 0, 0, ERROR | error)


def _where(number: int | None, argument: int, body: list[Instruction]) -> list[Instruction]:
    """For the call `number`: `body` over the lower half of one argument (all of an int); it falls
    through to being allowed."""
    assert number is not None, "both machines have the call"
    block = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), *body, (_RETURN, 0, 0, ALLOW)]
    return [(_JUMP_EQUAL, 0, len(block), number), *block]


def _equal_or_refuse(value: int) -> list[Instruction]:
    return [(_JUMP_EQUAL, 1, 0, value), _answer(errno.EPERM)]


def _unless(*values: int) -> list[Instruction]:
    """Refuse each of the values."""
    return [step for value in values for step in ((_JUMP_EQUAL, 0, 1, value), _answer(errno.EPERM))]
