"""The data plane of a service that was killed: it drains for a moment longer, and nobody may get in its way.

A second receiver on the same stream would take frames from it, and its ports are still in use. So each service leaves
the number of its data plane beside its records, and the next one waits for that process to end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

from bluesky_streamdet.core.errors import ConfigError

log = logging.getLogger(__name__)


class PidFile:
    """Names the process of a detector's data plane: machine and number. module: what that process runs."""

    def __init__(self, directory: Path, detector: str, module: str) -> None:
        self._module = module.encode()
        self.path = directory / ".streamdet" / f"{detector}.pid"

    def write(self, pid: int) -> None:
        """Name the process that runs now. Raises `ConfigError`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(f"{socket.gethostname()} {pid}\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"The file {self.path} can't be written: {error.strerror}.") from error

    def remove(self) -> None:
        """The process has ended."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            # The disk may be what that process died of. Whoever reads the file sees that nobody runs of that number.
            log.warning("the file %s can't be removed: %s", self.path, error.strerror)

    def running(self) -> int | None:
        """The number of the process if it runs on this machine and is a data plane."""
        try:
            host, pid = self.path.read_text(encoding="utf-8").split()
            if host != socket.gethostname() or self._module not in Path(f"/proc/{int(pid)}/cmdline").read_bytes():
                return None
        except (OSError, ValueError):
            return None
        return int(pid)

    async def wait_for_predecessor(self, timeout: float) -> None:
        """Await the end of the process that the file names. Raises `ConfigError` when it goes on."""
        pid = self.running()
        if pid is None:
            return
        log.warning("the data plane of another service (process %s) still runs; waiting for its end", pid)
        if not await _ended(pid, timeout):
            raise ConfigError(
                f"Another data plane of this detector runs: process {pid}.",
                f"Stop the service that it belongs to; `ps -fp {pid}` shows its parent.",
            )


async def _ended(pid: int, timeout: float) -> bool:
    """Await the end of a process that need not be our child. False when it still runs after `timeout` seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(timeout):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return True
