"""How files of series are created and opened: by SWMR or without, locked or not, and whose they are.

With SWMR a file is marked as being written, and readers open it by SWMR. It is whole at every moment, also when the
writer is killed. Network file systems do not keep the order of writes that this needs. Without, the file has an older
superblock that has no such mark, so that readers open it as any other; its metadata reaches it only when it is
flushed, so that it is whole unless the writer is killed within a flush.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py

from bluesky_streamdet.core.errors import FileTaken
from bluesky_streamdet.streaming.files.config import FileConfig
from bluesky_streamdet.streaming.files.hold import Hold
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, Superblock
from bluesky_streamdet.streaming.files.ownership import UNCHANGED, Ownership, group_number, group_of, user_number

LIBRARY = ("v110", "v110")
"""The first HDF5 that knows SWMR. "latest" makes files that only the newest library reads."""
WITHOUT_SWMR = ("v108", "v108")
"""The newest whose files have no mark of being written."""
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph-fuse", "fuse.sshfs", "fuse.s3fs"})
"""File systems on which readers of other machines don't see writes in their order. GPFS, Lustre and Ceph keep it."""
PATIENCE = 2.0
"""Seconds for whoever adds something to a file that shall go on."""


@dataclass(frozen=True, slots=True)
class Access:
    """How files are made and opened. swmr, locking: see `FileConfig`."""

    swmr: Literal["auto", "on", "off"] = "auto"
    locking: Literal["on", "off"] = "off"
    ownership: Ownership = UNCHANGED

    @classmethod
    def of(cls, config: FileConfig, user: int | None = None) -> Access:
        """As configured. user: whose the files shall be instead, with the group of that user."""
        if user is not None:
            group = group_of(user)
        else:
            user = None if config.owner is None else user_number(config.owner)
            group = None if config.group is None else group_number(config.group)
        mode, folder_mode = (None if one is None else int(one, 8) for one in (config.mode, config.folder_mode))
        return cls(config.swmr, config.locking, Ownership(user, group, mode, folder_mode))

    def create(self, path: Path, *, replace: bool = False, content: bytes | None = None) -> Writable:
        """A new file; empty without `content`. replace: a file that is there goes, unless somebody is writing it.

        Raises `FileExistsError`, `FileTaken` or what h5py raises; then there is none.
        """
        swmr = self._by_swmr(path)
        if replace and path.exists():
            with Hold(path):
                # Who still reads the old one goes on reading that.
                path.unlink()
        writable = None
        try:
            if content is None:
                library = self.library(path)
                file = self._locked(path, lambda locking: h5py.File(path, "x", libver=library, locking=locking))
            else:
                with open(path, "xb") as new:
                    new.write(content)
                file = self._locked(path, lambda locking: _opened(path, swmr, locking))
            writable = Writable(file, path, swmr)
            self.ownership.take(path, self.ownership.mode)
        except (FileExistsError, FileTaken):
            raise
        except BaseException:
            if writable is not None:
                writable.close()
            with suppress(OSError):
                path.unlink()
            raise
        return writable

    def open_to_append(self, path: Path) -> Writable:
        """A closed file, to be written by SWMR from the first moment on if it was made for that, or without.

        Raises `FileTaken` while somebody writes it, or what h5py raises.
        """
        hold = Hold(path, PATIENCE)
        try:
            swmr = _is_marked(path)
            return Writable(self._locked(path, lambda locking: _opened(path, swmr, locking)), path, swmr, hold)
        except BaseException:
            hold.release()
            raise

    def library(self, path: Path) -> tuple[str, str]:
        """The versions of HDF5 for which a new file there is made."""
        return LIBRARY if self._by_swmr(path) else WITHOUT_SWMR

    def _by_swmr(self, path: Path) -> bool:
        return self.swmr == "on" or (self.swmr == "auto" and file_system(path.parent) not in NETWORK)

    def _locked(self, path: Path, open_file: Callable[[bool], h5py.File]) -> h5py.File:
        try:
            return open_file(self.locking == "on")
        except OSError as error:
            if self.locking == "off" or "lock" not in str(error):
                raise
            hint = "Close the viewer that has it open, or set files.locking to off."
            raise FileTaken(f"The file {path} can't be locked: {str(error).partition(' (')[0]}.", hint) from error


AS_USUAL = Access()


class Writable:
    """A file that is open to write, and held; `grow` it once all is made that it shall hold, and `close` it."""

    def __init__(self, file: h5py.File, path: Path, swmr: bool, hold: Hold | None = None) -> None:
        self.file = file
        self.swmr = swmr
        self._path = path
        try:
            self._hold = hold or Hold(path)
        except BaseException:
            file.close()
            raise

    def grow(self) -> None:
        """Let others read it from now on. Raises what h5py raises."""
        if self.swmr:
            if not self.file.swmr_mode:
                self.file.swmr_mode = True
            return
        # Nothing leaves HDF5's cache between flushes, so that the file is as the last one left it.
        cache = self.file.id.get_mdc_config()
        cache.evictions_enabled = False
        cache.incr_mode = cache.decr_mode = cache.flash_incr_mode = 0
        self.file.id.set_mdc_config(cache)
        self.file.flush()

    @property
    def in_place(self) -> bool:
        """Whether its path still leads to it."""
        return self._hold.is_at(self._path)

    def close(self) -> None:
        """Close it, and let go of it whatever happens. Raises what h5py raises."""
        try:
            self.file.close()
        finally:
            self._hold.release()


def file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on, as the operating system calls it; empty when it can't be told."""
    folder = folder.resolve()
    best, kind = "", ""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in mounts:
        place, _, rest = line.partition(" - ")
        point = place.split(" ")[4].replace("\\040", " ")
        # A later one hides an earlier one at the same place.
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, rest.split(" ")[0]
    return kind


def _is_marked(path: Path) -> bool:
    """Whether the file is one that HDF5 marks while it is written, as SWMR demands."""
    with open(path, "rb") as file:
        try:
            return Superblock(file.read(SIZE)).marks
        except ValueError:
            return False


def _opened(path: Path, swmr: bool, locking: bool) -> h5py.File:
    if not swmr:
        return h5py.File(path, "r+", libver=WITHOUT_SWMR, locking=locking)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(locking, False)
    # h5py's own opening has no such mode, and one that is set later leaves a moment in which a kill costs the file.
    return h5py.File(h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE, access))
