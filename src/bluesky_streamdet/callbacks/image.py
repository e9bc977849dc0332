"""A picture of the newest frame of a run, that never holds up the plan.

The documents only say which frame is newest. A thread of its own reads and draws it, and frames that came meanwhile are
skipped; the picture says how many.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from event_model.documents import RunStart, RunStop
from numpy.typing import NDArray

from bluesky_streamdet.callbacks.frames import FrameDocuments, FrameRange, read_patiently
from bluesky_streamdet.transforms.masks import masked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds to wait for a file that is behind its documents."""
REDRAW_MILLISECONDS = 100
LONG = 10
"""How many times as long as broad an image may be and still be drawn with square pixels."""
LOW, HIGH = 1.0, 99.8
"""Percentiles of the counts between which the colours run."""


class LiveImage(FrameDocuments):
    """Shows the newest frame: in a window, or, where there is no display or with `save`, as a PNG file.

        RE.subscribe(LiveImage())

    save: the PNG file, written anew for each frame that is drawn. saturation: counts from which on a pixel is shown as
    saturated. keys, path_map: as of `FrameDocuments`; left out, the first image of the run. Colours run logarithmically
    between percentiles; masked pixels are grey, saturated ones red.
    """

    def __init__(
        self,
        save: str | Path | None = None,
        keys: Collection[str] | None = None,
        path_map: Mapping[str, str] | None = None,
        saturation: float | None = None,
    ) -> None:
        super().__init__(self._offer, keys, path_map)
        self.drawn = 0
        self.skipped = 0
        self._save = Path(save) if save is not None else None
        self._saturation = saturation
        self._newest: FrameRange | None = None
        self._key: str | None = None
        self._announced = 0
        self._ended = False
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._window = _window() if self._save is None else None

    def start(self, doc: RunStart) -> None:
        self.close()
        super().start(doc)
        self.drawn = self.skipped = self._announced = 0
        self._newest = self._key = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="live image", daemon=True)
        self._thread.start()

    def stop(self, doc: RunStop) -> None:
        self._end()

    def close(self) -> None:
        """Wait until the last frame of the run is drawn."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._end()
            thread.join()

    def _end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify()

    def _offer(self, offered: FrameRange) -> None:
        """Take note of what was announced; in the plan's thread."""
        with self._news:
            self._key = self._key or offered.key
            if offered.key == self._key:
                self._announced += offered.stop - offered.start
                self._newest = offered.last()
                self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._newest is not None or self._ended)
                wanted, self._newest = self._newest, None
                self.skipped = self._announced - self.drawn - (wanted is not None)
            if wanted is None:
                return
            try:
                self._show(wanted)
            except Exception:
                # A picture that can't be drawn or saved stops neither the plan nor the next picture.
                log.exception("frame %d of %s is not shown", wanted.start, wanted.path)

    def _show(self, wanted: FrameRange) -> None:
        frames = read_patiently(wanted, PATIENCE, threading.Event().wait)
        if frames is None:
            log.warning("%s has no frame %d yet; it is not shown", wanted.path, wanted.start)
            return
        picture = Picture(as_image(frames), self._title(wanted), self._saturation)
        if self._window is not None:
            self._window.show(picture)
        elif self._save is not None:
            picture.save(self._save)
        self.drawn += 1

    def _title(self, shown: FrameRange) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{shown.key}, event {shown.seq_nums[-1]}{skipped}"


class Picture:
    """One frame as it is drawn. image: 2-D counts."""

    def __init__(self, image: NDArray[Any], title: str, saturation: float | None) -> None:
        self.image = image
        self.title = title
        self.mask = masked(image)
        self.saturated = np.zeros_like(self.mask) if saturation is None else (image >= saturation) & ~self.mask

    def draw(self, figure: Figure) -> None:
        """Put the picture into a figure, in place of what was there."""
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm

        figure.clear()
        axes = figure.add_subplot()
        low, high = limits(self.image[~self.mask])
        shown = np.ma.masked_array(np.maximum(self.image, low), self.mask)
        colours = colormaps["inferno"].with_extremes(bad="0.5")
        # Spectra have few rows, and thousands of columns.
        aspect = "auto" if max(shown.shape) > LONG * min(shown.shape) else "equal"
        drawn = axes.imshow(shown, norm=LogNorm(low, high), cmap=colours, interpolation="nearest", aspect=aspect)
        if self.saturated.any():
            red = np.zeros((*self.image.shape, 4))
            red[self.saturated] = 1, 0, 0, 1
            axes.imshow(red, interpolation="nearest", aspect=aspect)
        figure.colorbar(drawn, ax=axes, label="counts")
        axes.set_title(self.title)

    def save(self, path: Path) -> None:
        """Write a PNG file; whoever looks at it sees the old picture or the new one, never half of it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 6))
        self.draw(figure)
        part = path.with_name(path.name + ".part")
        figure.savefig(part, format="png")
        part.replace(path)


class Window:
    """A matplotlib window, drawn by its own event loop from what another thread shows."""

    def __init__(self) -> None:
        from matplotlib import pyplot

        self.figure = pyplot.figure()
        self._picture: Picture | None = None
        self._timer = self.figure.canvas.new_timer(REDRAW_MILLISECONDS)
        self._timer.add_callback(self._draw)
        self._timer.start()
        self.figure.show()

    def show(self, picture: Picture) -> None:
        """Have this picture drawn; one that was not drawn yet is left out."""
        self._picture = picture

    def _draw(self) -> None:
        picture, self._picture = self._picture, None
        if picture is not None:
            picture.draw(self.figure)
            self.figure.canvas.draw_idle()


def limits(counts: NDArray[Any]) -> tuple[float, float]:
    """Between which counts the colours run: percentiles of those above nothing, at least a factor of 2 apart."""
    positive = counts[counts > 0]
    if not positive.size:
        return 0.5, 1.0
    low, high = np.percentile(positive, [LOW, HIGH])
    return float(low), float(max(high, 2 * low))


def as_image(frames: NDArray[Any]) -> NDArray[Any]:
    """The last frame of an array of them, as two-dimensional counts."""
    frames = np.asarray(frames)
    if frames.ndim <= 2:
        return np.atleast_2d(frames[-1])
    return frames.reshape(-1, *frames.shape[-2:])[-1]


def _window() -> Window | None:
    from matplotlib import get_backend
    from matplotlib.backends.registry import BackendFilter, backend_registry

    interactive = {name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)}
    return Window() if get_backend().lower() in interactive else None
