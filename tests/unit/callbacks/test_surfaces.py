"""Where pictures go: by matplotlib's backend, in a notebook's output, in a figure of a browser, in a file."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from bluesky_streamdet.callbacks import surfaces
from bluesky_streamdet.callbacks.surfaces import Inline, Nowhere, PngFile, Widget, Window, display

PNG = b"\x89PNG"


class Dot:
    size = (1.0, 1.0)

    def __init__(self) -> None:
        self.drawn = 0

    def draw(self, figure: Figure) -> None:
        self.drawn += 1
        figure.clear()
        figure.add_subplot().plot([0], [0], "o")


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def test_a_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    PngFile(path).show(Dot())
    first = path.read_bytes()

    class Broken(Dot):
        def draw(self, figure: Figure) -> None:
            raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"):
        PngFile(path).show(Broken())
    assert first.startswith(PNG)
    assert path.read_bytes() == first


class Published:
    """IPython's publisher of outputs."""

    def __init__(self) -> None:
        self.all: list[tuple[dict[str, Any], dict[str, Any], bool]] = []

    def publish(self, data: Any, metadata: Any = None, transient: Any = None, update: bool = False, **_: Any) -> None:
        self.all.append((data, transient, update))


@pytest.fixture
def published() -> Iterator[Published]:
    """An IPython whose outputs are kept."""
    interactive = pytest.importorskip("IPython.core.interactiveshell", reason="needs IPython")
    from traitlets.config import Config

    shell = interactive.InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.display_pub = Published()
    yield shell.display_pub
    atexit.unregister(shell.atexit_operations)
    shell.atexit_operations()
    interactive.InteractiveShell.clear_instance()


def test_in_a_notebook_a_picture_replaces_the_one_before(published: Published) -> None:
    inline = Inline()

    def two_runs() -> None:
        for _ in range(2):
            inline.begin()
            inline.show(Dot())
            inline.show(Dot())

    # In a thread, as plots are.
    thread = threading.Thread(target=two_runs)
    thread.start()
    thread.join()
    assert [update for _, _, update in published.all] == [False, True, False, True]
    places = [transient["display_id"] for _, transient, _ in published.all]
    assert places[0] == places[1] != places[2] == places[3]
    assert all("image/png" in data for data, _, _ in published.all)


def test_a_figure_in_a_browser_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    widget, picture = Widget(), Dot()
    drawn: list[int] = []
    monkeypatch.setattr(widget.figure.canvas, "draw", lambda: drawn.append(1))
    widget.show(picture)
    assert (picture.drawn, drawn) == (1, [1])


def test_a_window_draws_in_its_own_event_loop() -> None:
    window, first, second = Window(), Dot(), Dot()
    window.show(first)
    window.show(second)
    assert first.drawn == second.drawn == 0, "not in the thread that shows"
    window._draw()
    window._draw()
    assert (first.drawn, second.drawn) == (0, 1), "the newest, once"
    assert window.live()
    pyplot.close(window.figure)
    assert not window.live()


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("agg", Nowhere),
        ("inline", Inline),
        ("module://matplotlib_inline.backend_inline", Inline),
        ("module://ipympl.backend_nbagg", Widget),
        ("widget", Widget),
        ("nbAgg", Widget),
        ("qtagg", Window),
        ("TkAgg", Window),
    ],
)
def test_what_the_backend_can_do(backend: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpl, "get_backend", lambda: backend)
    for name in ("Window", "Widget"):
        monkeypatch.setattr(surfaces, name, lambda size, name=name: f"a {name}")
    wanted = f"a {kind.__name__}" if kind in {Window, Widget} else kind
    shown = display()
    assert shown == wanted if isinstance(wanted, str) else isinstance(shown, wanted)
