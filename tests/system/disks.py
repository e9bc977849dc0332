"""Small file systems of their own for a process under test, which nobody else sees: full, slow, hung, gone.

They are mounted in the process's own mount namespace, so that nothing is left when it ends; that needs root. A test
reaches them by `/proc/PID/root`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

MOUNT = 'mount {how} {folder} || exit 77; exec "$@"'


class Disk:
    """Mounted at `folder` for a process that is run by `prefix`; `pid` is that process, once it runs."""

    def __init__(self, folder: Path, how: str) -> None:
        _need_root()
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.pid = 0
        self.prefix = ["unshare", "--mount", "sh", "-c", MOUNT.format(how=how, folder=folder), "sh"]

    def seen(self, path: Path | str) -> Path:
        """A path as the process has it, for others."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(self, *command: str) -> None:
        """Run something where the process is."""
        subprocess.run(["nsenter", "--target", str(self.pid), "--mount", *command], check=True, timeout=20)

    @contextmanager
    def frozen(self, seconds: float) -> Iterator[None]:
        """Have each write to the disk wait, as those to a file server that does not answer; for so long at most."""
        script = f"fsfreeze --freeze {self.folder} && echo && read -t {seconds} line; fsfreeze --unfreeze {self.folder}"
        command = ["nsenter", "--target", str(self.pid), "--mount", "bash", "-c", script]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as freezer:
            assert freezer.stdin is not None and freezer.stdout is not None
            assert freezer.stdout.readline() == b"\n", "the disk can't be frozen"
            try:
                yield
            finally:
                freezer.stdin.close()
        assert freezer.returncode == 0


def in_memory(folder: Path, megabytes: int) -> Disk:
    """A file system of so many MB."""
    return Disk(folder, f"-t tmpfs -o size={megabytes}m none")


def in_image(folder: Path, image: Path, megabytes: int) -> Disk:
    """An ext4 in the file `image`, which outlives the process."""
    _need_root()
    image.touch()
    os.truncate(image, megabytes << 20)
    if _tried(["mkfs.ext4", "-q", "-F", str(image)]) or _tried(_in_a_namespace(f"-o loop {image}", folder)):
        pytest.skip("needs mkfs.ext4 and a loop device")
    return Disk(folder, f"-o loop {image}")


def read_only(folder: Path) -> Disk:
    """The folder itself, which the process can't write to until it is remounted."""
    return Disk(folder, f"--bind -o ro {folder}")


@cache
def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    if _tried(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]):
        pytest.skip("may not mount a file system here")


def _in_a_namespace(how: str, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    return ["unshare", "--mount", "mount", *how.split(), str(folder)]


def _tried(command: list[str]) -> int:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode
    except FileNotFoundError:
        return 127
