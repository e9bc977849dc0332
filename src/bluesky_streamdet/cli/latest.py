"""The latest frame as a picture: in a file, and in a window."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bluesky_streamdet.cli.spectra import Window
    from bluesky_streamdet.core.events import Frame

SAVE_EVERY = 5.0
"""Seconds between two pictures in the file."""
PLOT_EVERY = 0.5
"""Seconds between two plots in the window."""


class LatestPictures:
    """Made anew every few seconds. path: of the file, None for none. window: whether there is one, with this title."""

    def __init__(self, path: Path | None, window: bool, title: str) -> None:
        self._path = path
        self._next_file = self._next_plot = 0.0
        self._saved: Frame | None = None
        self._plotted: Frame | None = None
        self._window: Window | None = None
        if window:
            from bluesky_streamdet.cli.spectra import Window

            self._window = Window(title)

    @property
    def wanted(self) -> bool:
        """False once the window has been closed."""
        return self._window is None or self._window.open

    def keep(self, frame: Frame | None, metadata: Mapping[str, Any], now: float | None = None) -> None:
        """Show and save `frame`, if it is another and it is time; `now` (s) None for at once.

        metadata: of its series.
        """
        if self._window is not None:
            self._plot(frame, metadata, now)
        if self._path is None or frame is None or frame is self._saved or (now is not None and now < self._next_file):
            return
        _save(frame, metadata, self._path)
        self._saved = frame
        self._next_file = time.monotonic() + SAVE_EVERY

    def _plot(self, frame: Frame | None, metadata: Mapping[str, Any], now: float | None) -> None:
        from bluesky_streamdet.cli.spectra import spectra_of

        assert self._window is not None
        if frame is None or frame is self._plotted or (now is not None and now < self._next_plot):
            self._window.show(None)
            return
        self._window.show(spectra_of(frame, metadata))
        self._plotted = frame
        self._next_plot = time.monotonic() + PLOT_EVERY

    def __enter__(self) -> LatestPictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._window is not None:
            self._window.close()


def _save(frame: Frame, metadata: Mapping[str, Any], path: Path) -> None:
    from bluesky_streamdet.cli.image import save_picture
    from bluesky_streamdet.cli.spectra import is_spectra, save_spectra, spectra_of
    from bluesky_streamdet.transforms.pixels import decode

    if is_spectra(frame):
        save_spectra(spectra_of(frame, metadata), path)
        return
    image = decode(frame)
    if image.ndim != 2:
        image = image.reshape(-1, image.shape[-1])
    of = "" if frame.series is None else f" of series {frame.series}"
    save_picture(image, path, f"frame {frame.number}{of}")
