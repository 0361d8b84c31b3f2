"""`python -I -S launch.py [--unprivileged] SUPERVISOR_PID SIGNAL COMMAND…`: become COMMAND, tied to
the supervisor.

Run as a file and without site-packages, so that it costs milliseconds. On Linux the kernel sends
SIGNAL to COMMAND when the supervisor dies, however it dies (prctl(2), PR_SET_PDEATHSIG).

`--unprivileged` is for servers that refuse to run as root (Postgres): they get a user namespace of
their own in which root is called by another number (user_namespaces(7)). To the files outside they
are still root's: no new user, no chmod, nothing opened to others.
"""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
CANNOT_LAUNCH = 126  # as a shell says it


def main(arguments: list[str]) -> None:
    unprivileged = arguments[0] == "--unprivileged"
    supervisor, orphan_signal, *command = arguments[1:] if unprivileged else arguments
    if unprivileged:
        drop_root()
    if sys.platform == "linux":
        # After the change of user, which would clear it.
        libc().prctl(PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != int(supervisor):  # it died before the kernel knew whom to tell
            sys.exit(CANNOT_LAUNCH)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


def drop_root() -> None:
    user, group = ordinary_user()
    if libc().unshare(CLONE_NEWUSER) == 0:
        write("/proc/self/uid_map", f"{user} 0 1")
        write("/proc/self/setgroups", "deny")
        write("/proc/self/gid_map", f"{group} 0 1")
        return
    sys.exit(
        "this server cannot run as root, and this machine does not allow root a user namespace:"
        " run Trainyard as an ordinary user, or name a Postgres in DATABASE_URL"
    )


def ordinary_user() -> tuple[int, int]:
    """Any user but root that the machine knows: programs look up the name of who runs them."""
    import pwd

    for entry in pwd.getpwall():
        if entry.pw_uid:
            return entry.pw_uid, entry.pw_gid or entry.pw_uid
    sys.exit("this server cannot run as root, and this machine has no other user")


def libc():  # type: ignore[no-untyped-def]  # a CDLL; importing ctypes for the name alone costs time
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
