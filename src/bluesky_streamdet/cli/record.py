"""`streamdet record`: keep a stream as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def record(
    endpoint: Annotated[str, typer.Argument(help="where the stream comes from, as tcp://HOST:PORT")],
    file: Annotated[Path, typer.Argument(help="the recording, usually NAME.cbors")],
    socket: Annotated[str, typer.Option(help="pull or sub")] = "pull",
    bind: Annotated[bool, typer.Option(help="wait for the detector to connect, instead of connecting to it")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="end after so many messages")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="end after so long")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="replace an existing file")] = False,
    name: Annotated[str, typer.Option(help="of the stream, kept in the recording")] = "detector",
    kind: Annotated[str, typer.Option(help="of its format, as dranspose calls it")] = "STINS",
) -> None:
    """Write every message to a file, until Ctrl-C. A PULL socket takes messages away from other receivers of it.

    `streamdet replay` sends the recording again; dranspose reads it too.
    """
    import time

    import zmq

    from bluesky_streamdet.cli.progress import Meter
    from bluesky_streamdet.streaming.config import SourceConfig
    from bluesky_streamdet.streaming.recording import Recorder
    from bluesky_streamdet.streaming.source import Source

    if socket not in ("pull", "sub"):
        raise typer.BadParameter("--socket is pull or sub")
    settings = SourceConfig(endpoints=[endpoint], socket=socket, bind=bind)
    deadline = None if seconds is None else time.monotonic() + seconds
    with zmq.Context() as context, Recorder(file, name, kind, replace=replace) as recorder:
        source = Source(settings, context)
        try:
            with Meter("messages", count) as meter:
                while not _over(recorder.messages, count, deadline, time.monotonic()):
                    source.sockets[0].poll(100)
                    left = 64 if count is None else min(64, count - recorder.messages)
                    for parts in source.take(0, left, 16 << 20):
                        recorder.write(parts)
                    recorder.flush()
                    connected = source.report()[0].connected
                    meter.show(recorder.messages, f"{recorder.nbytes / 1e6:.1f} MB, {connected} connected")
        except KeyboardInterrupt:
            pass
        finally:
            source.close()
    typer.echo(f"{file}: {recorder.messages} messages, {recorder.nbytes / 1e6:.1f} MB")


def _over(messages: int, count: int | None, deadline: float | None, now: float) -> bool:
    return (count is not None and messages >= count) or (deadline is not None and now >= deadline)
