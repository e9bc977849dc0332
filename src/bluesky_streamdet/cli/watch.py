"""`streamdet watch`: what comes from a detector, without a service."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bluesky_streamdet.cli.console import Speed, printable, say, stopped_by_signal
from bluesky_streamdet.cli.latest import LatestPictures
from bluesky_streamdet.cli.watch_monitor import End, watch_monitor
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.progress import EVERY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from typing_extensions import Buffer

    from bluesky_streamdet.core.events import SeriesStart
    from bluesky_streamdet.streaming.listener import Listener
    from bluesky_streamdet.streaming.watcher import Sight, Watcher

TURN = 0.1
LONGEST_HEADER = 4000
"""Characters of a header that are printed."""
MONITOR_PORT = 9998
"""Where Xspress3 streamers answer, ours and older ones."""
SHOWN_OF_HEADER = ("description", "count_time", "frame_time", "photon_energy", "threshold_energy", "trigger_mode")


def watch(
    endpoint: Annotated[str, typer.Argument(help="where the detector sends, such as tcp://detector:9999")],
    socket: Annotated[
        str,
        typer.Option(
            "--socket",
            "-m",
            help='"sub"; "pull", which TAKES ITS FRAMES AWAY from other receivers of the detector; or "monitor", which '
            f"asks a port for the latest frame. auto: monitor at port {MONITOR_PORT}, otherwise sub",
        ),
    ] = "auto",
    bind: Annotated[bool, typer.Option("--bind", help="the detector connects to us")] = False,
    codec: Annotated[
        str, typer.Option(help="wire format: auto, or a format that `streamdet detectors` names")
    ] = "auto",
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so many seconds")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="end after so many frames")] = None,
    save: Annotated[Path | None, typer.Option(help="keep the latest picture in this PNG file")] = None,
    header: Annotated[
        str | None,
        typer.Option(
            "--header", "-f", help='print the header of each message: "all" of it, or some names, as frame,shape'
        ),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="show the spectra of each channel in a window")] = False,
) -> None:
    """Say once a second what comes from a detector: series, rate, gaps, order; until Ctrl-C.

    A detector with a PUSH socket deals its frames out among all that are connected to it: what a watcher with a PULL
    socket sees, no other receiver gets. At a running service, watch its fan-out, or ask the service itself. The monitor
    port of an Xspress3 streamer costs nobody a frame.
    """
    from bluesky_streamdet.cli.image import need_matplotlib
    from bluesky_streamdet.streaming.asking import MonitorClient
    from bluesky_streamdet.streaming.listener import Listener
    from bluesky_streamdet.streaming.watcher import Watcher

    socket = socket.lower()
    if socket == "auto":
        socket = "monitor" if endpoint.endswith(f":{MONITOR_PORT}") else "sub"
    if socket not in ("sub", "pull", "monitor"):
        raise ConfigError(f"There is no socket {socket!r}.", "Take auto, sub, pull or monitor.")
    if save is not None or plot:
        need_matplotlib()
    end = End(seconds, frames)
    with stopped_by_signal() as stop, LatestPictures(save, plot, endpoint) as pictures:
        if socket == "monitor":
            with MonitorClient(endpoint) as client:
                watch_monitor(client, pictures, stop, end)
            return
        watcher = Watcher(codec)
        with Listener(endpoint, socket, bind) as listener:
            with _View(listener, watcher, header) as view:
                _watch(listener, watcher, view, pictures, stop, end)
            view.conclude()


def _watch(
    listener: Listener, watcher: Watcher, view: _View, pictures: LatestPictures, stop: threading.Event, end: End
) -> None:
    now = time.monotonic()
    while not stop.is_set() and not end.has_come(now, watcher.sight().frames) and pictures.wanted:
        for message in listener.receive(TURN):
            view.tell_header(message)
            watcher.take(message, time.time_ns(), time.monotonic())
        now = time.monotonic()
        watcher.tick(now)
        sight = watcher.sight()
        view.show(sight, now)
        pictures.keep(sight.frame, _metadata_of(sight), now)
    sight = watcher.sight()
    pictures.keep(sight.frame, _metadata_of(sight))


class _View:
    """A table that changes on a terminal, lines elsewhere. header: names of what is said of each, or "all"."""

    def __init__(self, listener: Listener, watcher: Watcher, header: str | None = None) -> None:
        self._listener, self._watcher = listener, watcher
        self._speed = Speed()
        self._live: Any = None
        self._next = time.monotonic() + EVERY
        self._told: tuple[str | None, str] = (None, "")
        self._header = header
        if sys.stdout.isatty() and header is None:
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

    def tell_header(self, message: Sequence[Buffer]) -> None:
        """A line for a message, if that is wanted."""
        if self._header is not None:
            say(_header_line(message, self._header))

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
        kind = f"{_format_of(sight)}{_counts_of(sight)}"
        return f"series {sight.series}: {_frames_of(sight)}, {speed}, {order}; {kind}{_unreadable(sight)}"

    def _table(self, sight: Sight) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None)
        rows = {
            "from": f"{self._listener.address}{'' if self._listener.connected else ', not connected'}",
            "series": f"{sight.series or self._nothing()} {sight.state} {sight.reason}",
            "header": _header_of(sight.header),
            "frames": f"{_frames_of(sight)}, {self._speed(sight.frames, sight.bytes)}",
            "kind": f"{_format_of(sight)}, {sight.codec or 'unknown'}{_counts_of(sight)}",
            **{what: str(count) for what, count in _order_of(sight).items()},
            "unreadable": _unreadable(sight).removeprefix("; ") or "0",
        }
        for name, value in rows.items():
            table.add_row(name, Text(value))
        return table

    def _nothing(self) -> str:
        if self._listener.connected:
            return "nothing came yet"
        hint = "; one that sends by PUSH needs --socket pull" if self._listener.kind == "sub" else ""
        return f"no detector at {self._listener.address} yet{hint}"


def _header_line(message: Sequence[Buffer], names: str) -> str:
    """What the first part of a message says: all of it, or some names, those in others behind a dot."""
    import msgspec

    try:
        said = msgspec.json.decode(message[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError):
        return f"header that is no JSON, of {len(message)} parts"
    if names == "all":
        return printable(msgspec.json.encode(said).decode(), LONGEST_HEADER)
    values = []
    for name in names.split(","):
        value = said
        for step in name.strip().split("."):
            value = value.get(step, "-") if isinstance(value, dict) else "-"
        values.append(f"{name.strip()} {printable(value)}")
    return "  ".join(values)


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


def _counts_of(sight: Sight) -> str:
    """What each channel counted in the latest frame, where frames are spectra with scalars."""
    if sight.frame is None or not sight.frame.format.scalars:
        return ""
    from bluesky_streamdet.cli.spectra import in_words, spectra_of

    return f"; {in_words(spectra_of(sight.frame, _metadata_of(sight)))}"


def _metadata_of(sight: Sight) -> dict[str, Any]:
    return {} if sight.header is None else sight.header.metadata


def _header_of(header: SeriesStart | None) -> str:
    if header is None:
        return "no header"
    from bluesky_streamdet.core.metadata import UNITS

    known = [name for name in SHOWN_OF_HEADER if name in header.metadata]
    values = [f"{name} {printable(header.metadata[name])} {UNITS.get(name, '')}".rstrip() for name in known]
    file = [f"file {printable(header.filename)}"] if header.filename else []
    return ", ".join(file + values) or f"header with {len(header.metadata)} settings"


def _unreadable(sight: Sight) -> str:
    bad = sight.ledger.malformed + sight.between.malformed
    return f"; {bad.total()} messages can't be read ({', '.join(bad)})" if bad else ""
