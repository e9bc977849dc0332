"""Where pictures are shown: a PNG file, a window, the output of a notebook. Each draws what another thread gives it.

Nothing here waits for anybody: of pictures that come faster than they can be shown, the newest is.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REDRAW_MILLISECONDS = 100
SIZE = (7.0, 6.0)
"""Inches, of pictures that say nothing else."""


class Picture(Protocol):
    """Something that can be drawn at any time, by any thread. size: width and height in inches."""

    @property
    def size(self) -> tuple[float, float]: ...

    def draw(self, figure: Figure) -> None:
        """Put it into a figure, in place of what was there."""
        ...


class Surface(Protocol):
    """Shows pictures; called in the thread of the plot. As text, it says where."""

    def begin(self) -> None:
        """A run begins: what was shown is over."""
        ...

    def show(self, picture: Picture) -> None: ...


class Nowhere:
    """For where there is neither a display nor a file."""

    def begin(self) -> None: ...

    def show(self, picture: Picture) -> None: ...

    def __str__(self) -> str:
        return "shown nowhere, as there is no display"


class PngFile:
    """Written anew for each picture; whoever looks at it sees the old one or the new one, never half of it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    def begin(self) -> None: ...

    def show(self, picture: Picture) -> None:
        part = self.path.with_name(self.path.name + ".part")
        part.write_bytes(png_of(picture))
        part.replace(self.path)

    def __str__(self) -> str:
        return f"in the file {self.path}"


class Window:
    """A matplotlib window, drawn by its own event loop."""

    def __init__(self, size: tuple[float, float] = SIZE) -> None:
        from matplotlib import pyplot

        self.figure = pyplot.figure(figsize=size)
        self._picture: Picture | None = None
        self._timer = self.figure.canvas.new_timer(REDRAW_MILLISECONDS)
        self._timer.add_callback(self._draw)
        self._timer.start()
        self.figure.show()

    def begin(self) -> None: ...

    def show(self, picture: Picture) -> None:
        """Have this picture drawn; one that was not drawn yet is left out."""
        self._picture = picture

    def live(self) -> bool:
        """Let it live for a moment, where nobody else runs its event loop; whether it has not been closed."""
        from matplotlib import pyplot

        self.figure.canvas.flush_events()
        return pyplot.fignum_exists(self.figure.number)  # type: ignore[attr-defined]  # of those of pyplot

    def __str__(self) -> str:
        return "in a window"

    def _draw(self) -> None:
        picture, self._picture = self._picture, None
        if picture is not None:
            picture.draw(self.figure)
            self.figure.canvas.draw_idle()


class Widget:
    """A figure in a notebook that can be zoomed, such as ipympl's.

    While a plan runs, the notebook's event loop does not; so a picture is drawn, and sent to the browser, at once.
    """

    def __init__(self, size: tuple[float, float] = SIZE) -> None:
        from matplotlib import pyplot

        self.figure = pyplot.figure(figsize=size)
        if not pyplot.isinteractive():
            # Otherwise it is there already, and would be twice.
            self.figure.show()

    def begin(self) -> None: ...

    def show(self, picture: Picture) -> None:
        picture.draw(self.figure)
        self.figure.canvas.draw()

    def __str__(self) -> str:
        return "in the notebook"


class Inline:
    """An image in the output of a notebook's cell, replaced as it changes; a new one for each run."""

    def __init__(self) -> None:
        self._shown: Any = None

    def begin(self) -> None:
        self._shown = None

    def show(self, picture: Picture) -> None:
        from IPython.display import Image, display

        image = Image(data=png_of(picture), format="png")
        if self._shown is None:
            self._shown = display(image, display_id=True)
        else:
            self._shown.update(image)

    def __str__(self) -> str:
        return "in the notebook"


def png_of(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=picture.size, layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def display(size: tuple[float, float] = SIZE) -> Surface:
    """What matplotlib's backend can do: a window, a figure in a notebook, an image in its output, or nothing."""
    from matplotlib import get_backend
    from matplotlib.backends.registry import BackendFilter, backend_registry

    backend = get_backend().lower()
    if "inline" in backend:
        return Inline()
    if "ipympl" in backend or backend in {"widget", "nbagg", "notebook"}:
        return Widget(size)
    interactive = {name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)}
    return Window(size) if backend in interactive else Nowhere()
