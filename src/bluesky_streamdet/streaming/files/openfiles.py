"""How many files this process may have open, as HDF5 keeps all those open that a dataset of a master is read from."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

OTHERS = 64
"""That are opened meanwhile for anything else."""


def can_open(files: int) -> bool:
    """Whether so many more can be opened; raises the soft limit where that takes it, and may be done."""
    wanted = len(os.listdir("/proc/self/fd")) + OTHERS + files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return True
    return soft == resource.RLIM_INFINITY or soft >= wanted
