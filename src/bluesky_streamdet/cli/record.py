"""`streamdet record`: a detector's stream, kept as it came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bluesky_streamdet.cli.console import Speed, megabytes, say, stopped_by_signal
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.progress import Ticker

if TYPE_CHECKING:
    from bluesky_streamdet.streaming.recording import Traffic

SOCKETS = ("pull", "sub")


def record(
    endpoint: Annotated[str, typer.Argument(help="where the detector sends, such as tcp://detector:9999")],
    file: Annotated[Path, typer.Argument(help="the new file, usually called NAME.cbors or NAME.cbors.gz")],
    socket: Annotated[
        str, typer.Option(help='"pull" takes messages away from other receivers; "sub" does not')
    ] = "pull",
    bind: Annotated[bool, typer.Option("--bind", help="the detector connects to us")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="end after so many messages")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so many seconds")] = None,
    stream: Annotated[str, typer.Option(help="name of the stream in the file")] = "detector",
    replace: Annotated[bool, typer.Option("--replace", help="overwrite the file if it exists")] = False,
) -> None:
    """Keep the raw messages of a stream in a file, until Ctrl-C.

    They are CBOR, as dranspose writes and reads them. What has been written can be read while it is being recorded,
    and after a crash.
    """
    from bluesky_streamdet.streaming.listener import Listener
    from bluesky_streamdet.streaming.recordfile import RecordingWriter
    from bluesky_streamdet.streaming.recording import record as keep

    if socket not in SOCKETS:
        raise ConfigError(f"There is no socket {socket!r}.", "Take pull or sub.")
    speed = Speed()

    def text(traffic: Traffic) -> str:
        if traffic.waiting and not traffic.messages:
            return f"waiting for a detector at {endpoint}"
        return f"{traffic.messages} messages, {megabytes(traffic.bytes)}, {speed(traffic.messages, traffic.bytes)}"

    with (
        stopped_by_signal() as stop,
        # The file first: a listener takes messages away from others, and must not when they can't be kept.
        RecordingWriter(file, stream, replace=replace) as writer,
        Listener(endpoint, socket, bind) as listener,
        Ticker(count) as ticker,
    ):
        traffic = keep(listener, writer, stop, count, seconds, lambda now: ticker.show(now.messages, lambda: text(now)))
    say(f"{file}: {traffic.messages} messages, {megabytes(traffic.bytes)}")
