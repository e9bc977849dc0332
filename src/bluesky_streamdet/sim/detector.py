"""A simulated detector: armed and triggered like a real one, it streams its pictures in any wire format of the
catalogue.

One thread reads out and sends; everything else only tells it what to do. The thread waits when its receiver is slow,
as the detector's own buffer would; and it can be told to end while it waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs.codec import Encoder, Message
from bluesky_streamdet.core.errors import Busy, DeadlineExceeded, RequestRefused
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.sim.commands import Arm, DetectorStatus, State
from bluesky_streamdet.sim.faults import Faults, Network, Tally
from bluesky_streamdet.sim.modules import ModuleEncoder, ModuleSender
from bluesky_streamdet.sim.picture import Pictures
from bluesky_streamdet.streaming.sender import Sender

SLICE = 0.05
"""Seconds after which a thread that waits for a receiver looks whether it has to end."""
ENDING = 1.0
"""Seconds that header and end of a series which is disarmed may take to find room."""
TURNING_ROUND = 5.0
"""Seconds that `arm` waits for a series whose frames are all out to send its end."""

WITH_TABLES = frozenset({"dectris_v1", "dectris_v2"})
"""Codecs whose header carries flat field and pixel mask; in JSON they would take 20 MB."""
WITH_CHANNELS = frozenset({"dectris_v2"})
"""Codecs whose frames may be of several thresholds, which their header names."""

Pause = Callable[[threading.Event, float], bool]
"""Wait so many seconds, or until the event is set; returns whether it is."""


class SimulatedDetector:
    """Streams the frames of `pictures` by `sender`, in the format `codec` (a key of `catalog.CODECS`), with `faults`.

    Frame n of a series has the pixels `pictures.frame(n)`. modules: how many of them share its rows; their sender is a
    `ModuleSender`. clock: seconds, from any origin. pause: waits.
    Close it before the sender. Methods may be called from any thread.
    """

    def __init__(
        self,
        sender: Sender | ModuleSender,
        pictures: Pictures,
        codec: str = "dectris_v1",
        faults: Faults | None = None,
        modules: int = 1,
        clock: Callable[[], float] = time.monotonic,
        pause: Pause = threading.Event.wait,
    ) -> None:
        self.pictures = pictures
        self.faults = faults or Faults()
        self.tallies: list[Tally] = []
        """What happened to the frames of each series that ended, oldest first; of the latest hundred."""
        self.ended = 0
        """Series that ended."""
        self._sender = sender
        self._codec = codec
        self._modules = modules
        self._encoder = self._new_encoder()
        self._clock, self._pause = clock, pause
        self._changed = threading.Condition()
        self._interrupt = threading.Event()
        self._closing = False
        self._state: State = "idle"
        self._job: Arm | None = None
        self._series = 0
        self._asked = self._triggered = 0
        self._network = Network(self.faults, "", 0)
        self._total_frames = self._total_bytes = 0
        self._waiting = False
        self._thread = threading.Thread(target=self._run, name="simulated detector")
        self._thread.start()

    # What others ask of it.

    def arm(self, job: Arm) -> str:
        """Begin a series: its header is sent, and triggers are awaited. Returns the series' number.

        Raises `Busy` while another series is armed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._state != "ending", TURNING_ROUND)
            if self._state != "idle":
                raise Busy(f"The simulated detector is {self._state}, in series {self._series}.", "Disarm it first.")
            self._interrupt.clear()
            self._series += 1
            self._asked = self._triggered = 0
            self._network = Network(self.faults, str(self._series), job.total)
            self._job = job
            self._state = "armed"
            self._changed.notify_all()
            return str(self._series)

    def trigger(self) -> None:
        """Expose the frames of one trigger; returns at once. Raises `RequestRefused` when no trigger is awaited."""
        with self._changed:
            job = self._job
            if job is None or self._asked >= job.triggers:
                why = "no series is armed" if job is None else f"all {job.triggers} of series {self._series} have come"
                raise RequestRefused(f"The simulated detector expects no trigger: {why}.", "Arm it first.")
            self._asked += 1
            self._changed.notify_all()

    def disarm(self) -> None:
        """End the series, if there is one, and wait until its end message has been sent or has found no room."""
        with self._changed:
            if self._state != "idle":
                self._interrupt.set()
                self._changed.notify_all()
        self.wait_until_idle(TURNING_ROUND)

    def restart(self) -> None:
        """Count series and messages anew, as after a power cycle. Raises `Busy` while a series runs."""
        with self._changed:
            if self._state != "idle":
                raise Busy(f"The simulated detector is {self._state}.", "Disarm it first.")
            self._series = 0
            self._encoder = self._new_encoder()

    def idle_within(self, timeout: float) -> bool:
        """Whether, within `timeout` seconds, no series runs."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state == "idle", timeout)

    def wait_until_idle(self, timeout: float) -> None:
        """Wait until no series runs. Raises `DeadlineExceeded`."""
        if not self.idle_within(timeout):
            why = "nobody takes its messages" if self._waiting else f"it is {self._state}"
            raise DeadlineExceeded(
                f"The simulated detector did not end series {self._series} within {timeout:g} s: {why}.",
                "Start a receiver, or trigger or disarm it.",
            )

    def status(self) -> DetectorStatus:
        with self._changed:
            return DetectorStatus(
                state=self._state,
                series=str(self._series) if self._series else None,
                triggers=self._triggered,
                frames=self._network.tally.frames,
                total_frames=self._total_frames,
                total_bytes=self._total_bytes,
                waiting=self._waiting,
                address=self._sender.address,
                tally=self._network.tally,
            )

    def close(self) -> None:
        """End the thread, at once; disarm before if the series that runs is to have its end message."""
        with self._changed:
            self._closing = True
            self._interrupt.set()
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> SimulatedDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What its thread does.

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            self._stream(job)
            with self._changed:
                self.tallies = [*self.tallies[-99:], self._network.tally]
                self.ended += 1
                self._job = None
                self._state = "idle"
                self._waiting = False
                self._changed.notify_all()

    def _next_job(self) -> Arm | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._job is not None)
            return None if self._closing else self._job

    def _stream(self, job: Arm) -> None:
        network, series = self._network, str(self._series)
        self._await_receiver()
        if not self._send_all(network.header(self._encoder.start(self._header(job, series))), patience=ENDING):
            network.tally.header_lost = network.tally.end_lost = True
            return
        armed = self._clock()
        for trigger in range(job.triggers):
            begun = self._await_trigger(job, trigger, armed)
            if begun is None:
                break
            for number in self._exposed(job, trigger, begun):
                self._read_out(job, number)
        with self._changed:
            self._state = "ending"
        if not self._send_all(network.end(self._encoder.end(SeriesEnd(series))), patience=ENDING):
            network.tally.end_lost = True

    def _await_receiver(self) -> None:
        """Wait until somebody is there, or the series is to end: what is published to nobody is lost."""
        while not self._interrupt.is_set() and not self._sender.has_peer(SLICE):
            self._waiting = True

    def _new_encoder(self) -> Encoder:
        encoder = CODECS[self._codec].encoder
        return encoder() if self._modules == 1 else ModuleEncoder(encoder, self._modules)

    def _header(self, job: Arm, series: str) -> SeriesStart:
        pictures = self.pictures
        metadata = pictures.panel.metadata(
            pictures.geometry, job.exposure, max(job.frame_period, job.exposure), external=job.external
        )
        metadata |= {"nimages": job.frames, "ntrigger": job.triggers}
        if self._codec in WITH_TABLES:
            metadata |= pictures.panel.tables()
        if self._codec in WITH_CHANNELS:
            metadata |= _thresholds(pictures.channels, metadata["photon_energy"])
        return SeriesStart(series, None, job.filename, job.total, metadata)

    def _await_trigger(self, job: Arm, trigger: int, armed: float) -> float | None:
        """When the trigger came, by the clock; None when the series is to end."""
        if job.pulse_period is not None and self._sleep_until(armed + (trigger + 1) * job.pulse_period):
            with self._changed:
                self._asked = max(self._asked, trigger + 1)
        while not self._called(trigger):
            # Nobody may trigger before a delayed frame has come.
            self._send_all(self._network.due(self._clock()))
        if self._interrupt.is_set():
            return None
        with self._changed:
            self._triggered = trigger + 1
            self._state = "exposing"
        return self._clock()

    def _called(self, trigger: int) -> bool:
        """Wait for the trigger, or for the series to end, no longer than delayed frames may wait."""
        delayed = self._network.next_due
        seconds = None if delayed is None else max(delayed - self._clock(), 0.0)
        with self._changed:
            return self._changed.wait_for(lambda: self._interrupt.is_set() or self._asked > trigger, seconds)

    def _exposed(self, job: Arm, trigger: int, begun: float) -> Iterator[int]:
        """The numbers of a trigger's frames, each when its exposure is over."""
        period = job.frame_period
        for index in range(job.frames):
            if period and not self._sleep_until(begun + index * period + job.exposure):
                return
            if self._interrupt.is_set():
                return
            if index == job.frames - 1:
                # Before the frame is sent: whoever has it may ask for the next thing at once.
                with self._changed:
                    self._state = "ending" if trigger == job.triggers - 1 else "armed"
            yield trigger * job.frames + index

    def _read_out(self, job: Arm, number: int) -> None:
        if number == self.faults.restart_at:
            self._encoder = self._new_encoder()
            self._network.tally.restarted = True
        form = self.pictures.format
        start = round(1e9 * (number % job.frames) * job.frame_period)
        length = round(1e9 * job.exposure)
        detail = {"start_time": start, "stop_time": start + length, "real_time": length}
        payload = tuple(self.pictures.payload(number, channel) for channel in range(self.pictures.channels))
        frame = Frame(number, None, str(self._series), form, payload, 0, detail)
        message = self._encoder.frame(frame)
        followed = (number + 1) % job.frames != 0
        if not self._send_all(self._network.frame(number, message, self._clock(), followed=followed)):
            self._network.tally.note("unsent", number)
        self._total_frames += 1
        self._total_bytes += sum(map(len, payload))

    def _sleep_until(self, due: float) -> bool:
        """Wait until the clock says `due`, and send what was delayed meanwhile. False when the series is to end."""
        while not self._interrupt.is_set():
            now = self._clock()
            self._send_all(self._network.due(now))
            if now >= due:
                return True
            delayed = self._network.next_due
            self._pause(self._interrupt, (due if delayed is None else min(due, delayed)) - now)
        return False

    def _send_all(self, messages: list[Message], patience: float | None = None) -> bool:
        """Send the messages, and wait for room; False when some were not sent because the series is to end.

        patience: seconds to wait for room all the same, once the series is to end.
        """
        return all(self._send(message, patience) for message in messages)

    def _send(self, message: Message, patience: float | None) -> bool:
        tries, most = 0, round((patience or 0.0) / SLICE)
        timeout = 0.0
        while not self._sender.offer(message, timeout):
            self._waiting = True
            if self._closing or (self._interrupt.is_set() and tries >= most):
                return False
            timeout, tries = SLICE, tries + 1
        self._waiting = False
        return True


def _thresholds(count: int, photon_energy: float) -> dict[str, Any]:
    """Names and energies, in eV, of the thresholds; one alone is at half the photon energy."""
    energies = [photon_energy * (number + 1) / (count + 1) for number in range(count)]
    names = [f"threshold_{number + 1}" for number in range(count)]
    return {"channels": names, "threshold_energy": energies if count > 1 else energies[0]}
