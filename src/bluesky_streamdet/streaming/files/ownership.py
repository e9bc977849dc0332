"""Whose new files and folders are, and who may read them."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bluesky_streamdet.core.errors import PathRefused


@dataclass(frozen=True, slots=True)
class Ownership:
    """Numbers of a user and a group, and modes; None leaves each to the operating system."""

    user: int | None = None
    group: int | None = None
    mode: int | None = None
    folder_mode: int | None = None

    def trouble(self) -> str:
        """Why this process can't give files to whom they shall belong; empty when it can."""
        if os.geteuid() == 0:
            return ""
        if self.user not in (None, os.geteuid()):
            return f"only root may give files to another user, here {_called(self.user, pwd.getpwuid)}"
        if self.group not in (None, os.getegid(), *os.getgroups()):
            return f"this user is no member of the group {_called(self.group, grp.getgrgid)}"
        return ""

    def check(self) -> None:
        """Raise `PathRefused` if files can't be given to whom they shall belong."""
        if trouble := self.trouble():
            raise PathRefused(
                f"Files can't belong to whom they should: {trouble}.",
                "Run the service as root or as that user, or change files.owner and files.group.",
            )

    def take(self, path: Path, mode: int | None) -> None:
        """Have a new file or folder belong to whom it shall. Raises `OSError`."""
        if self.user is not None or self.group is not None:
            os.chown(path, -1 if self.user is None else self.user, -1 if self.group is None else self.group)
        if mode is not None:
            os.chmod(path, mode)

    def make_folder(self, folder: Path) -> None:
        """Make a folder, with those that it lies in. Raises `OSError`."""
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        for one in reversed(missing):
            try:
                one.mkdir()
            except FileExistsError:
                continue  # Somebody was faster.
            self.take(one, self.folder_mode)


UNCHANGED = Ownership()


def user_number(user: str | int) -> int:
    """Of a user by name, or by number. Raises `ValueError`."""
    return _number(user, "user", lambda name: pwd.getpwnam(name).pw_uid)


def group_number(group: str | int) -> int:
    """Of a group by name, or by number. Raises `ValueError`."""
    return _number(group, "group", lambda name: grp.getgrnam(name).gr_gid)


def group_of(user: int) -> int:
    """The group of a user; a user of whom nobody knows has one of the same number."""
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return user


def _number(who: str | int, kind: str, of_name: Callable[[str], int]) -> int:
    if isinstance(who, str) and not who.isdecimal():
        try:
            return of_name(who)
        except KeyError as error:
            raise ValueError(f"there is no {kind} {who!r} on this machine; give one that `id` knows") from error
    number = int(who)
    if not 0 <= number < 1 << 32 - 1:
        raise ValueError(f"{number} is no number of a {kind}")
    return number


def _called(number: int | None, entry: Callable[[int], Sequence[object]]) -> str:
    assert number is not None
    try:
        return f"{entry(number)[0]} ({number})"
    except KeyError:
        return str(number)
