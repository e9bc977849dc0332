"""`streamdet replay`: send a recording again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    recording: Annotated[Path, typer.Argument(help="a file, zipped or not, or a folder of NNNNNN_00k.raw")],
    endpoint: Annotated[str, typer.Argument(help="where to send from, as tcp://127.0.0.1:9999")],
    socket: Annotated[str, typer.Option(help="push or pub")] = "push",
    connect: Annotated[bool, typer.Option("--connect", help="connect to a receiver that binds")] = False,
    rate: Annotated[float | None, typer.Option(min=0.001, help="messages a second; left out: as fast as taken")] = None,
    loop: Annotated[int, typer.Option(min=1, help="how often")] = 1,
    wait: Annotated[
        float, typer.Option(min=0, help="seconds that a receiver may take to come, or to take a message")
    ] = 60,
) -> None:
    """Send the messages of a recording, in their order, once a receiver is there. Exits 1 when nobody takes them."""
    from bluesky_streamdet.cli.progress import Meter
    from bluesky_streamdet.streaming.recording import read_messages
    from bluesky_streamdet.streaming.sender import Sender

    if socket not in ("push", "pub"):
        raise typer.BadParameter("--socket is push or pub")
    if not recording.exists():
        raise typer.BadParameter(f"there is no recording {recording}")
    sent = 0
    try:
        with Sender(endpoint, socket, bind=not connect) as sender, Meter("messages") as meter:
            typer.echo(f"sending {recording} at {sender.address}")
            sender.wait_for_peer(wait)
            pace = _Pace(rate)
            for _ in range(loop):
                for parts in read_messages(recording):
                    pace.wait()
                    sender.send(parts, wait)
                    sent += 1
                    meter.show(sent)
    except KeyboardInterrupt:
        raise typer.Exit(1) from None
    finally:
        typer.echo(f"{sent} messages sent")


class _Pace:
    """Waits until the next message is due."""

    def __init__(self, rate: float | None) -> None:
        import time

        self._period = 0.0 if rate is None else 1 / rate
        self._time = time
        self._due = time.monotonic()

    def wait(self) -> None:
        if self._period:
            self._time.sleep(max(0.0, self._due - self._time.monotonic()))
            self._due += self._period
