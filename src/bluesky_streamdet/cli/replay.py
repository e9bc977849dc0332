"""`streamdet replay`: a recorded stream, sent again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bluesky_streamdet.cli.console import Speed, megabytes, say, stopped_by_signal
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.service.progress import Ticker

if TYPE_CHECKING:
    from bluesky_streamdet.streaming.recording import Traffic

SOCKETS = ("push", "pub")
LINGER = 10.0
"""Seconds that a receiver may take for the last messages."""


def replay(
    recording: Annotated[
        Path, typer.Argument(help="file of CBOR messages (.cbors, .gz, .zip), or folder of NNNNNN_00k.raw")
    ],
    endpoint: Annotated[str, typer.Argument(help="where to send, such as tcp://127.0.0.1:9999")],
    rate: Annotated[
        float | None, typer.Option(help="messages per second; as fast as they are taken unless given")
    ] = None,
    loop: Annotated[int, typer.Option(min=0, help="how often; 0 for ever")] = 1,
    socket: Annotated[
        str, typer.Option(help='"push" (one receiver gets each message) or "pub" (all of them)')
    ] = "push",
    connect: Annotated[bool, typer.Option("--connect", help="the receiver is bound at the endpoint")] = False,
    stream: Annotated[str | None, typer.Option(help="which stream, when the recording holds several")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="seconds to wait for a receiver")] = 60.0,
) -> None:
    """Send the messages of a recording as they were, until its end or Ctrl-C."""
    from bluesky_streamdet.streaming.recording import replay as play
    from bluesky_streamdet.streaming.sender import Sender

    if socket not in SOCKETS:
        raise ConfigError(f"There is no socket {socket!r}.", "Take push or pub.")
    if rate is not None and rate <= 0:
        raise ConfigError(
            f"A rate of {rate:g} messages per second is none.", "Leave it out to send as fast as possible."
        )
    if not recording.exists():
        raise ConfigError(f"There is no file or folder {recording}.")
    speed = Speed()

    def text(traffic: Traffic) -> str:
        sent = f"{traffic.messages} messages, {megabytes(traffic.bytes)}"
        if traffic.waiting:
            return f"{sent}; waiting for a receiver at {sender.address}"
        return f"{sent}, {speed(traffic.messages, traffic.bytes)}"

    with (
        stopped_by_signal() as stop,
        Sender(endpoint, socket, not connect, linger=LINGER) as sender,
        Ticker() as ticker,
    ):
        traffic = play(
            recording, sender, stop, rate, loop, stream, timeout,
            lambda now: ticker.show(now.messages, lambda: text(now)),
        )  # fmt: skip
    say(f"{traffic.messages} messages sent, {megabytes(traffic.bytes)}")
