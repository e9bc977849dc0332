"""Progress bars of what a plan waits for."""

from __future__ import annotations

from typing import Any

from bluesky.utils import ProgressBarManager


class Progress(ProgressBarManager):
    """A RunEngine's `waiting_hook`: a bar for each device that says how far it is.

    A wait that a pause interrupted never says that it is over; its bar goes when the next comes.
    """

    def __call__(self, statuses: Any) -> None:
        if self.pbar is not None and statuses is not None:
            self.pbar.clear()
            self.pbar = None
        if self.pbar is not None or statuses is not None:
            super().__call__(statuses)
