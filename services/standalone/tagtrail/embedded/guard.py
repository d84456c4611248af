"""Becomes a server process that cannot outlive its parent.

Run as `python -I -S guard.py PARENT SIGNAL UID GID PROGRAM ARGUMENT...`; it imports nothing of the
project. On Linux the kernel sends SIGNAL to the server when the thread that started it is gone,
however that died. Dropping privileges clears that wish, so it is made afterwards.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_KEEP = -1


def main() -> None:
    """Drop privileges, tie this process to its parent, and become the program."""
    parent, death_signal, uid, gid = (int(word) for word in sys.argv[1:5])
    command = sys.argv[5:]
    if uid != _KEEP:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent was gone before the server started")
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 - the command is the launcher's own


if __name__ == "__main__":
    main()
