"""What the PCO's old supervisor told of itself: its last error, the last lines of its log, since when it runs."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from bluesky_streamdet.service.compat.pco_account import ctime

LINES = 10


class Journal(logging.Handler):
    """The last lines that the service has logged, and the last error of a series. Attach it while it is wanted."""

    def __init__(self, level: int = logging.INFO) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._lines: deque[str] = deque(maxlen=LINES)
        self._since = time.time()
        self._error: dict[str, Any] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.extend(self.format(record).splitlines())

    @property
    def log(self) -> str:
        return "\n".join(self._lines)

    @property
    def uptime(self) -> str:
        """As systemctl has it."""
        days, seconds = divmod(int(time.time() - self._since), 86400)
        past = f"{seconds // 3600}h {seconds // 60 % 60}min {seconds % 60}s ago"
        since = time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(self._since))
        return f"active (running) since {since}; {f'{days} days ' if days else ''}{past}"

    @property
    def error(self) -> dict[str, Any] | None:
        """The last error since the last series was started, in the old words."""
        return self._error

    def complain(self, text: str) -> dict[str, Any]:
        """Something went wrong. Returns how it is told."""
        self._error = {"error": text, "error_time": ctime(time.time()), "status": "error"}
        return self._error

    def forgive(self) -> None:
        """A new series has been started."""
        self._error = None
