"""Becomes the command it is given, as a process that ends when its parent ends, however that one ends.

Run as a script: ``python tethered.py PARENT_PID COMMAND [ARGUMENT...]``. A script and not a `preexec_fn`:
Python code between fork and exec may deadlock in a process that has threads, and clients start threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>; what it sets survives exec."""


def main(parent_pid: int, command: list[str]) -> None:
    """Tie this process to `parent_pid`, then become `command`."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        sys.exit("the parent ended before its server began")
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is what this script is for


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
