"""One call of the SDK at a time, and an error for each that fails."""

from __future__ import annotations

import ctypes
from threading import RLock
from typing import Any

from bluesky_streamdet.core.errors import HardwareFailed, RequestRefused
from bluesky_streamdet.xspress3.constants import MAX_MESSAGE, ErrorCode
from bluesky_streamdet.xspress3.library import Library

HINTS = {
    ErrorCode.INVALID_PATH: "The system was closed, by this program or by the SDK; reset it.",
    ErrorCode.ERR_DEV_NOT_FOUND: "Is it switched on and in the network, and is its address right?",
    ErrorCode.OUT_OF_MEMORY: "Is there room in /dev/shm? It has to hold 4 bytes for each frame, channel and bin.",
    ErrorCode.CANNOT_OPEN_FILE: "May this user read the directory and what is in it?",
    ErrorCode.FILE_READ_FAILED: "Is the directory one that the SDK's own function saved, and complete?",
    ErrorCode.FILE_WRITE_FAILED: "Is there room, and may this user write there?",
}


class Calls:
    """The SDK's functions for one system, by name; its handle is their first argument.

    Each call holds `lock`, which threads may hold for several calls that belong together: the SDK keeps one message
    for the last error of any thread, and does not say which functions may run side by side.
    """

    def __init__(self, library: Library) -> None:
        self.lock = RLock()
        self._library = library
        self._handle: int | None = None

    @property
    def opened(self) -> bool:
        return self._handle is not None

    def open(self, *arguments: Any) -> None:
        """Call `xsp3_config` and keep the handle."""
        with self.lock:
            handle = self._library.xsp3_config(*arguments)
            if handle < 0:
                raise self._failure("xsp3_config", handle)
            self._handle = handle

    def close(self) -> None:
        """Call `xsp3_close`; further calls are refused."""
        with self.lock:
            if self._handle is not None:
                try:
                    self("xsp3_close")
                finally:
                    self._handle = None

    def __call__(self, name: str, *arguments: Any) -> int:
        """The result of the function `name`. Raises `HardwareFailed` when it is negative."""
        with self.lock:
            result = self.raw(name, *arguments)
            if result < 0:
                raise self._failure(name, int(result))
            return result

    def raw(self, name: str, *arguments: Any) -> Any:
        """The result of the function `name`, whatever it is."""
        with self.lock:
            if self._handle is None:
                raise RequestRefused(f"{name}: this Xspress3 system is closed.", "Open it anew.")
            return getattr(self._library, name)(self._handle, *arguments)

    def _failure(self, name: str, code: int) -> HardwareFailed:
        known = code in ErrorCode.__members__.values()
        what = f"{ErrorCode(code).name} ({code})" if known else f"code {code}, which the SDK does not explain"
        text = self._text()
        return HardwareFailed(
            f"{name} failed with {what}: {text or 'it gives no message'}.",
            HINTS.get(ErrorCode(code), "") if known else "",
        )

    def _text(self) -> str:
        """The SDK's message for its last error."""
        address = self._library.xsp3_get_error_message()
        if not address:
            return ""
        raw = ctypes.string_at(address)[:MAX_MESSAGE]
        return " ".join(raw.decode("utf-8", "replace").split()).rstrip(".")
