"""What file systems and HDF5 refuse, in the user's words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bluesky_streamdet.core.errors import WriteFailed

REFUSALS = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError)
"""What h5py raises when HDF5 or the file system refuses."""

_ROOM = "Make room, or change files.directory in the configuration."
_GONE = "Its file server was restarted, or the disk unmounted. Mount it again; `streamdet recover` mends the file."
HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EDQUOT: "The quota of the user or group is used up; `quota` says of whom. " + _ROOM,
    errno.EIO: "The disk, or the network to it, is failing: look at `dmesg`. `streamdet recover` mends the file.",
    errno.ESTALE: _GONE,
    errno.ENOTCONN: _GONE,
    errno.EHOSTDOWN: _GONE,
    errno.ETIMEDOUT: _GONE,
    errno.EROFS: "The disk was mounted to be read only; the operating system does so after errors: look at `dmesg`.",
    errno.EACCES: "Mend the owner or mode of the folder.",
    errno.EPERM: "Mend the owner or mode of the folder, or files.owner and files.group in the configuration.",
}
"""What to do, by the operating system's number."""


def failed(path: Path, what: str, error: Exception) -> WriteFailed:
    """The error of a file that can't be `what`; HDF5's own words fill a page."""
    if isinstance(error, WriteFailed):
        return error
    number = error.errno if isinstance(error, OSError) else None
    why = os.strerror(number) if number else str(error).partition(" (")[0]
    return WriteFailed(f"The file {path} can't be {what}: {why}.", HINTS.get(number or 0, ""))
