"""`streamdet plot`: live plots in a process of their own, of runs that another process publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bluesky_streamdet.cli.console import printable, say, stopped_by_signal
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.extras import extra

if TYPE_CHECKING:
    from bluesky_streamdet.callbacks.live import Live
    from bluesky_streamdet.streaming.documents import DocumentSubscriber

TURN = 0.05
"""Seconds between two looks at the window."""


def plot(
    what: Annotated[str, typer.Argument(help="spectrum, map, image or waterfall")],
    address: Annotated[
        str,
        typer.Option(help="where a `DocumentPublisher` in the process of the RunEngine publishes"),
    ] = "tcp://127.0.0.1:5579",
    save: Annotated[Path | None, typer.Option(help="keep the picture in this PNG file; left out, a window")] = None,
    key: Annotated[list[str] | None, typer.Option(help="data key, or device; may be given several times")] = None,
    region: Annotated[
        list[str] | None, typer.Option(help='of a spectrum: its name, or a line such as "Fe Ka"; several times')
    ] = None,
    element: Annotated[list[str] | None, typer.Option(help="whose lines a spectrum names; several times")] = None,
    correction: Annotated[
        str | None,
        typer.Option(help="of dead time: event_width, sdk, or none; left out, event_width for maps, none for spectra"),
    ] = None,
    saturation: Annotated[float | None, typer.Option(help="counts from which on a pixel is saturated")] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="have frames from an output that publishes, tcp://…, or by REST, http://…; not from files"),
    ] = None,
    path_map: Annotated[
        list[str] | None, typer.Option(help="THERE=HERE: what this machine calls a folder of the files; several times")
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(help="the runs in a Tiled server, which has the frames of files that this machine can't reach"),
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="end after so many runs")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so many seconds")] = None,
) -> None:
    """Draw what another process measures, until Ctrl-C. However slow it is here, the plan does not wait.

    In the process of the RunEngine: `from bluesky_streamdet.streaming.documents import DocumentPublisher`, then
    `RE.subscribe(DocumentPublisher())`.
    """
    from bluesky_streamdet.streaming.documents import DocumentSubscriber

    given = {"regions": region, "elements": element, "correction": correction, "saturation": saturation}
    wanted = {name: value for name, value in given.items() if value}
    common = {"keys": key or None, "frames": frames, "path_map": _mapped(path_map or [])}
    with stopped_by_signal() as stop, DocumentSubscriber(address) as subscriber, _opened(catalog) as common["catalog"]:
        drawn = _made(what, wanted, save, common)
        _need_window(drawn, save)
        try:
            if frames is not None:
                drawn.follow()
            _follow(subscriber, drawn, stop, runs, None if seconds is None else time.monotonic() + seconds)
        finally:
            drawn.close()
            say(f"{drawn.drawn} pictures of the last run, {drawn.skipped} frames skipped, {drawn.missed} missed")


def _made(what: str, wanted: dict[str, Any], save: Path | None, common: dict[str, Any]) -> Live:
    from bluesky_streamdet.callbacks.image import LiveImage
    from bluesky_streamdet.callbacks.livemap import LiveMap
    from bluesky_streamdet.callbacks.spectrum import LiveSpectrum
    from bluesky_streamdet.callbacks.waterfall import LiveWaterfall

    takes: dict[str, tuple[Any, tuple[str, ...]]] = {
        "spectrum": (LiveSpectrum, ("regions", "elements", "correction")),
        "map": (LiveMap, ("regions", "correction")),
        "image": (LiveImage, ("saturation",)),
        "waterfall": (LiveWaterfall, ()),
    }
    if what not in takes:
        raise ConfigError(f"There is no plot {what!r}.", f"Take {', '.join(takes)}.")
    kind, names = takes[what]
    return kind(save=save, **{name: wanted[name] for name in names if name in wanted}, **common)


@contextmanager
def _opened(catalog: str | None) -> Iterator[Any]:
    """The client of a catalog; None for none."""
    if catalog is None:
        yield None
        return
    with extra("tiled", "Catalogs"):
        from tiled.client import from_uri
    client: Any = from_uri(catalog)
    try:
        yield client
    finally:
        client.context.close()


def _need_window(drawn: Live, save: Path | None) -> None:
    from bluesky_streamdet.callbacks.surfaces import Nowhere

    if save is None and isinstance(drawn.surface, Nowhere):
        raise ConfigError("There is no display for a window.", "Run it where one is, or take --save FILE.png.")


def _follow(
    subscriber: DocumentSubscriber, drawn: Live, stop: threading.Event, runs: int | None, end: float | None
) -> None:
    from bluesky_streamdet.callbacks.surfaces import Window

    window = drawn.surface if isinstance(drawn.surface, Window) else None
    over = 0
    while not stop.is_set() and (end is None or time.monotonic() < end) and (runs is None or over < runs):
        for name, document in subscriber.receive(TURN):
            drawn(name, document)
            _tell(name, document)
            over += name == "stop"
        if window is not None and not window.live():
            return


def _tell(name: str, document: dict[str, Any]) -> None:
    if name == "start":
        plan = printable(document.get("plan_name", "?"))
        say(f"run {printable(document['uid'])[:8]} began: {plan}, scan {printable(document.get('scan_id', '?'))}")
    elif name == "stop":
        reason = f": {printable(document['reason'])}" if document.get("reason") else ""
        say(f"run {printable(document['run_start'])[:8]} ended, {printable(document['exit_status'])}{reason}")


def _mapped(given: list[str]) -> dict[str, str]:
    mapped = dict(one.split("=", 1) for one in given if "=" in one)
    if len(mapped) < len(given):
        raise ConfigError(f"A path map of {given} is none.", "Write --path-map THERE=HERE for each folder.")
    return mapped
