"""`streamdet watch`: what comes from a detector, without a service."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bluesky_streamdet.cli.console import EVERY, Speed, say, stopped_by_signal
from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from bluesky_streamdet.core.events import Frame, SeriesStart
    from bluesky_streamdet.streaming.listener import Listener
    from bluesky_streamdet.streaming.watcher import Sight, Watcher

TURN = 0.1
SAVE_EVERY = 5.0
"""Seconds between two pictures."""
LONGEST_VALUE = 80
SHOWN_OF_HEADER = ("description", "count_time", "frame_time", "photon_energy", "threshold_energy", "trigger_mode")


def watch(
    endpoint: Annotated[str, typer.Argument(help="where the detector sends, such as tcp://detector:9999")],
    socket: Annotated[
        str, typer.Option(help='"sub", or "pull", which TAKES ITS FRAMES AWAY from other receivers of the detector')
    ] = "sub",
    bind: Annotated[bool, typer.Option("--bind", help="the detector connects to us")] = False,
    codec: Annotated[
        str, typer.Option(help="wire format: auto, or a format that `streamdet detectors` names")
    ] = "auto",
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so many seconds")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="end after so many frames")] = None,
    save: Annotated[Path | None, typer.Option(help="keep the latest picture in this PNG file")] = None,
) -> None:
    """Say once a second what comes from a detector: series, rate, gaps, order; until Ctrl-C.

    A detector with a PUSH socket deals its frames out among all that are connected to it: what a watcher with a PULL
    socket sees, no other receiver gets. At a running service, watch its fan-out, or ask the service itself.
    """
    from bluesky_streamdet.cli.image import need_matplotlib
    from bluesky_streamdet.streaming.listener import Listener
    from bluesky_streamdet.streaming.watcher import Watcher

    if socket not in ("sub", "pull"):
        raise ConfigError(f"There is no socket {socket!r}.", "Take sub or pull.")
    if save is not None:
        need_matplotlib()
    watcher = Watcher(codec)
    with stopped_by_signal() as stop, Listener(endpoint, socket, bind) as listener:
        with _View(listener, watcher) as view:
            _watch(listener, watcher, view, stop, seconds, frames, save)
        view.conclude()


def _watch(
    listener: Listener,
    watcher: Watcher,
    view: _View,
    stop: threading.Event,
    seconds: float | None,
    frames: int | None,
    save: Path | None,
) -> None:
    now = time.monotonic()
    ends = None if seconds is None else now + seconds
    picture = None if save is None else _Picture(save)
    while not stop.is_set() and (ends is None or now < ends):
        for message in listener.receive(TURN):
            watcher.take(message, time.time_ns(), time.monotonic())
        now = time.monotonic()
        watcher.tick(now)
        sight = watcher.sight()
        view.show(sight, now)
        if picture is not None:
            picture.keep(sight.frame, now)
        if frames is not None and sight.frames >= frames:
            break
    if picture is not None:
        picture.keep(watcher.sight().frame)


class _Picture:
    """The latest frame as a picture in a file, made anew every few seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0
        self._saved: Frame | None = None

    def keep(self, frame: Frame | None, now: float | None = None) -> None:
        """Save `frame` if it is another and it is time; `now` (s) None for at once."""
        if frame is None or frame is self._saved or (now is not None and now < self._next):
            return
        from bluesky_streamdet.cli.image import save_picture
        from bluesky_streamdet.transforms.pixels import decode

        image = decode(frame)
        if image.ndim != 2:
            image = image.reshape(-1, image.shape[-1])
        of = "" if frame.series is None else f" of series {frame.series}"
        save_picture(image, self._path, f"frame {frame.number}{of}")
        self._saved = frame
        self._next = time.monotonic() + SAVE_EVERY


class _View:
    """A table that changes on a terminal, lines elsewhere."""

    def __init__(self, listener: Listener, watcher: Watcher) -> None:
        self._listener, self._watcher = listener, watcher
        self._speed = Speed()
        self._live: Any = None
        self._next = time.monotonic() + EVERY
        self._told: tuple[str | None, str] = (None, "")
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(auto_refresh=False)
            self._live.start()

    def show(self, sight: Sight, now: float) -> None:
        if self._live is None:
            self._tell_changes(sight)
        if now < self._next:
            return
        self._next = now + EVERY
        if self._live is not None:
            self._live.update(self._table(sight), refresh=True)
        else:
            say(self._line(sight))

    def conclude(self) -> None:
        """The last line."""
        sight = self._watcher.sight()
        if self._live is None:
            self._tell_changes(sight)
        say(self._line(sight))

    def __enter__(self) -> _View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _tell_changes(self, sight: Sight) -> None:
        """A line when a series begins or ends."""
        state = sight.state if sight.state not in ("running", "finishing") else "began"
        if sight.series is None or (sight.series, state) == self._told:
            return
        self._told = (sight.series, state)
        if state == "began":
            say(f"series {sight.series} ({sight.codec}) began; {_header_of(sight.header)}")
        else:
            say(f"series {sight.series} is {state}{f': {sight.reason}' if sight.reason else ''}")

    def _line(self, sight: Sight) -> str:
        if not sight.frames and sight.series is None:
            return f"{self._nothing()}{_unreadable(sight)}"
        order = ", ".join(f"{count} {what}" for what, count in _order_of(sight).items())
        speed = self._speed(sight.frames, sight.bytes)
        return f"series {sight.series}: {_frames_of(sight)}, {speed}, {order}; {_format_of(sight)}{_unreadable(sight)}"

    def _table(self, sight: Sight) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None)
        rows = {
            "from": f"{self._listener.address}{'' if self._listener.connected else ', not connected'}",
            "series": f"{sight.series or self._nothing()} {sight.state} {sight.reason}",
            "header": _header_of(sight.header),
            "frames": f"{_frames_of(sight)}, {self._speed(sight.frames, sight.bytes)}",
            "kind": f"{_format_of(sight)}, {sight.codec or 'unknown'}",
            **{what: str(count) for what, count in _order_of(sight).items()},
            "unreadable": _unreadable(sight).removeprefix("; ") or "0",
        }
        for name, value in rows.items():
            table.add_row(name, Text(value))
        return table

    def _nothing(self) -> str:
        return "nothing came yet" if self._listener.connected else f"no detector at {self._listener.address} yet"


def _frames_of(sight: Sight) -> str:
    expected = sight.ledger.expected
    return f"{sight.ledger.unique}{'' if expected is None else f' of {expected}'} frames"


def _order_of(sight: Sight) -> dict[str, int]:
    ledger = sight.ledger
    # Of a series that runs, what is expected and has not come yet is not missing.
    running = sight.state in ("running", "finishing")
    return {
        "missing": ledger.gaps if running else ledger.missing,
        "duplicates": ledger.duplicate,
        "late": ledger.late,
        "foreign": ledger.foreign.total() + sight.between.foreign.total(),
    }


def _format_of(sight: Sight) -> str:
    if sight.frame is None:
        return "no frame yet"
    form = sight.frame.format
    size = sum(memoryview(part).nbytes for part in sight.frame.parts)
    return f"{'x'.join(map(str, form.shape))} {form.dtype} {form.encoding}, {size} bytes"


def _header_of(header: SeriesStart | None) -> str:
    if header is None:
        return "no header"
    from bluesky_streamdet.core.metadata import UNITS

    known = [name for name in SHOWN_OF_HEADER if name in header.metadata]
    values = [f"{name} {_printable(header.metadata[name])} {UNITS.get(name, '')}".rstrip() for name in known]
    file = [f"file {_printable(header.filename)}"] if header.filename else []
    return ", ".join(file + values) or f"header with {len(header.metadata)} settings"


def _printable(value: object) -> str:
    """What came over the wire, short, and without what a terminal would take for commands."""
    text = str(value)[:LONGEST_VALUE]
    return "".join(character if character.isprintable() else "?" for character in text)


def _unreadable(sight: Sight) -> str:
    bad = sight.ledger.malformed + sight.between.malformed
    return f"; {bad.total()} messages can't be read ({', '.join(bad)})" if bad else ""
