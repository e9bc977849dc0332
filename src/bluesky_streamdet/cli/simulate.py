"""`streamdet simulate`: a detector without hardware, and every fault of a network by option."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from bluesky_streamdet.cli.console import Speed, pair_of, say, stopped_by_signal
from bluesky_streamdet.service.progress import Ticker

if TYPE_CHECKING:
    import threading

    from bluesky_streamdet.sim.commands import Arm
    from bluesky_streamdet.sim.detector import SimulatedDetector
    from bluesky_streamdet.sim.faults import Tally
    from bluesky_streamdet.sim.settings import SimulatorSettings

LINGER = 10.0
"""Seconds that a receiver may take for the last messages."""
LOOK = 0.1
"""Seconds between two looks at what the detector does."""

FRAMES = "a fraction (0.01, 1%) or frame numbers (3,7,40-44)"


def simulate(
    name: Annotated[str, typer.Argument(help="which detector; `streamdet detectors` lists them")],
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="port to send on; 0 for any")] = None,
    host: Annotated[
        str, typer.Option(help="interface to bind, * for all; with --connect, the receiver's")
    ] = "127.0.0.1",
    connect: Annotated[bool, typer.Option("--connect", help="the receiver is bound at host and port")] = False,
    control_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="be armed and triggered by clients of this port (on loopback)")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="frames of each trigger")] = 100,
    triggers: Annotated[int, typer.Option(min=1, help="triggers of a series")] = 1,
    rate: Annotated[float, typer.Option(min=0, help="frames per second; 0 for as fast as they are taken")] = 10.0,
    pulse: Annotated[float | None, typer.Option(min=0, help="triggered by cable, once in so many seconds")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="one series after another, until Ctrl-C")] = False,
    filename: Annotated[str, typer.Option(help="file name that the header proposes")] = "",
    shape: Annotated[str | None, typer.Option(help="ROWSxCOLUMNS; as the detector's if left out")] = None,
    dtype: Annotated[str | None, typer.Option(help="pixel type; the detector's if left out")] = None,
    compression: Annotated[str | None, typer.Option(help="bslz4 or none; the detector's if left out")] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=64, help="pictures of each frame, as of several thresholds")
    ] = None,
    seed: Annotated[int, typer.Option(help="another seed, another crystal and other faults")] = 0,
    drop: Annotated[str | None, typer.Option(help=f"frames that never come: {FRAMES}")] = None,
    duplicate: Annotated[str | None, typer.Option(help="frames that come twice")] = None,
    reorder: Annotated[str | None, typer.Option(help="frames that come after their successor")] = None,
    delay: Annotated[str | None, typer.Option(help="frames that come late, while the stream goes on")] = None,
    delay_seconds: Annotated[float, typer.Option(min=0, help="how late")] = 0.5,
    lose_header: Annotated[bool, typer.Option("--lose-header", help="no header comes")] = False,
    lose_end: Annotated[bool, typer.Option("--lose-end", help="no end of series comes")] = False,
    early_end: Annotated[bool, typer.Option("--early-end", help="the end overtakes the last frame")] = False,
    restart_at: Annotated[int | None, typer.Option(min=0, help="the sender counts anew before this frame")] = None,
) -> None:
    """Stream the pictures of a simulated detector: powder rings, a turning crystal, and the frame's number.

    Without a control port it sends the series that the options describe, and ends. Faults are drawn from the seed and
    listed at the end, so that you can check what your receiver says of them.
    """
    # Before the library that compresses is loaded: its threads would only get in the way of the receiver's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bluesky_streamdet.core.events import RAW
    from bluesky_streamdet.sim.commands import Arm
    from bluesky_streamdet.sim.faults import Chosen, Faults
    from bluesky_streamdet.sim.settings import SimulatorSettings

    def chosen(text: str | None) -> Chosen:
        return Chosen() if text is None else Chosen.parse(text)

    faults = Faults(
        chosen(drop), chosen(duplicate), chosen(reorder), chosen(delay), delay_seconds,
        lose_header, lose_end, early_end, restart_at, seed,
    )  # fmt: skip
    settings = SimulatorSettings(
        detector=name,
        endpoint=_endpoint(name, host, port),
        bind=not connect,
        control=None if control_port is None else f"tcp://127.0.0.1:{control_port}",
        shape=None if shape is None else pair_of(shape, "shape"),
        dtype=dtype,
        encoding=RAW if compression == "raw" else compression,
        channels=channels,
        seed=seed,
        faults=faults,
        linger=LINGER,
    )
    period = 1 / rate if rate else 0.0
    job = Arm(frames, triggers, period, period, pulse is not None, pulse, filename)
    _run(settings, job, loop)


def _endpoint(name: str, host: str, port: int | None) -> str:
    from bluesky_streamdet.catalog import DETECTORS

    row = DETECTORS.get(name)
    usual = 0 if row is None else row.port
    return f"tcp://{host}:{usual if port is None else port}"


def _run(settings: SimulatorSettings, job: Arm, loop: bool) -> None:
    import numpy as np

    from bluesky_streamdet.catalog import DETECTORS
    from bluesky_streamdet.sim.settings import simulator

    with stopped_by_signal() as stop, simulator(settings) as running:
        detector, control = running.detector, running.control
        form = detector.pictures.format
        what = f"{'x'.join(map(str, form.shape))} {np.dtype(form.dtype).name}, compression {form.encoding}"
        say(f"{settings.detector} ({DETECTORS[settings.detector].codec}) sends on {running.address}: {what}")
        if control is not None:
            say(f"control port: {control.address}")
            _obey(detector, stop, control.quit)
            return
        while True:
            _stream(detector, job, stop)
            if stop.is_set() or not loop:
                return


def _stream(detector: SimulatedDetector, job: Arm, stop: threading.Event) -> None:
    """One series; Ctrl-C ends it with its end message."""
    detector.arm(job)
    if job.pulse_period is None:
        for _ in range(job.triggers):
            detector.trigger()
    with Ticker(job.total) as ticker:
        shown = _Shown(detector, job.total)
        while not detector.idle_within(LOOK) and not stop.is_set():
            ticker.show(detector.status().frames, shown)
    detector.disarm()
    _conclude(detector.tallies[-1], job.total)


def _obey(detector: SimulatedDetector, stop: threading.Event, quit_: threading.Event) -> None:
    """Do what clients of the control port ask for."""
    concluded = 0
    with Ticker() as ticker:
        shown = _Shown(detector, None)
        while not stop.is_set() and not quit_.is_set():
            stop.wait(LOOK)
            ticker.show(detector.status().frames, shown)
            concluded = _conclude_since(concluded, detector)
    detector.disarm()
    # One may have ended just before we were told to end.
    _conclude_since(concluded, detector)


def _conclude_since(concluded: int, detector: SimulatedDetector) -> int:
    """Say of each series that has ended since what became of its frames; returns how many have ended."""
    ended = detector.ended
    new = ended - concluded
    for tally in detector.tallies[-new:] if new else ():
        _conclude(tally, None)
    return ended


class _Shown:
    """What is said of a series while it runs."""

    def __init__(self, detector: SimulatedDetector, total: int | None) -> None:
        self._detector, self._total = detector, total
        self._speed = Speed()

    def __call__(self) -> str:
        status = self._detector.status()
        if status.series is None:
            return "idle"
        of = "" if self._total is None else f" of {self._total}"
        speed = self._speed(status.total_frames, status.total_bytes)
        pace = "waiting for a receiver" if status.waiting else speed
        return f"series {status.series}, {status.state}: {status.frames}{of} frames, {pace}"


def _conclude(tally: Tally, total: int | None) -> None:
    """What was sent, and what went wrong on purpose."""
    of = "" if total is None or tally.frames == total else f" of {total}"
    faults = "; ".join(tally.in_words()) or "no faults"
    say(f"series {tally.series}: {tally.frames}{of} frames; {faults}")
