"""Frames whose pixels are changed on the way, in threads beside the loop.

`Transforming` stands around what a pipeline takes events from. It decodes frames, runs the configured steps, encodes
them again, and gives events on in the order in which they came, ends behind their frames. While more is in work than it
may hold, it takes nothing, which pushes back to the detector. What needs nothing done passes as it came.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import DTYPES, LARGEST_FRAME
from bluesky_streamdet.core.errors import MalformedMessage, StreamdetError
from bluesky_streamdet.core.events import STORABLE, Event, Frame, FrameFormat, SeriesStart, payload_bytes
from bluesky_streamdet.streaming.chain import Bound, Chain, moved
from bluesky_streamdet.streaming.crew import Crew
from bluesky_streamdet.streaming.endpoints import SourceConfig
from bluesky_streamdet.streaming.intake import Intake, Taken
from bluesky_streamdet.streaming.status import SourceReport, TransformReport
from bluesky_streamdet.transforms import bslz4, pixels

log = logging.getLogger(__name__)

MOST_BYTES = 64 << 20
"""Of frames in work, encoded and decoded; one more frame than there are workers may always be."""
STUCK = 30.0
"""Seconds without a finished frame after which the first in work is given up, so that those behind it come."""
Steps = list[Bound] | MalformedMessage
"""What is done to the frames of a series, or why it can't be."""


class _Job:
    """One frame in work. `result` is there once `done` is. outcome: what a thread made of it, wanted or not."""

    __slots__ = ("done", "frame", "nbytes", "outcome", "result", "seconds", "steps")

    def __init__(self, frame: Frame, steps: Steps) -> None:
        self.frame = frame
        self.steps = steps
        self.nbytes = payload_bytes(frame) + frame.format.nbytes
        self.result: Frame | MalformedMessage | None = None
        self.outcome: Frame | MalformedMessage | None = None
        self.seconds = 0.0
        self.done = False


class Transforming:
    """An `Intake` around another one.

    compress: encoding of the frames that leave; None for bslz4 where its library is installed, and then only frames
    that are changed or can't be stored are encoded anew. workers: threads, which start with the first frame that needs
    one. clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: Intake,
        chain: Chain,
        compress: str | None,
        workers: int,
        context: zmq.Context[zmq.Socket[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Before the library that compresses is loaded: its own threads would only get in each other's way.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._source, self._chain, self._clock = source, chain, clock
        self._kept: frozenset[str] = STORABLE if compress is None else frozenset({compress})
        self._encoding = compress or bslz4.usual()
        self._untold: Steps = self._bound(SeriesStart())
        self._follow(self._untold)
        self._series: str | None = None
        self._queue: deque[_Job | Event | MalformedMessage] = deque()
        self._backlog: deque[_Job] = deque()
        self._in_work = self._in_work_bytes = 0
        self._owed: int | None = None  # once nobody wants more of a series: frames that were in work then
        self._progress = 0.0
        self._frames = self._failed = 0
        self._seconds = 0.0
        self._crew: Crew[_Job] = Crew(workers, context, self._work, "transforms")
        self._crew_alone = (self._crew.socket,)
        self._sockets = (self._crew.socket, *source.sockets)

    # What a pipeline asks.

    @property
    def lanes(self) -> int:
        return self._source.lanes

    @property
    def sockets(self) -> Sequence[zmq.Socket[bytes]]:
        """While too much is in work, the detector's are not looked at."""
        return self._crew_alone if self._backlog else self._sockets

    @property
    def patience(self) -> float:
        """Also until a frame in work is given up, of which no socket tells."""
        left = self._progress + STUCK - self._clock() if self._in_work else math.inf
        return max(0.0, min(left, self._source.patience))

    @property
    def trouble(self) -> str | None:
        return self._source.trouble

    @property
    def busy(self) -> bool:
        return (self._in_work if self._owed is None else self._owed) > 0

    def take(self, lane: int) -> Iterator[Taken]:
        """What is ready, and what has come at one input."""
        self._look()
        if self._in_work:
            yield from self._ready()
        if self._backlog:
            return
        for taken in self._source.take(lane):
            if not self._queue and self._pass(taken.events):
                yield taken
                continue
            for event in taken.events:
                self._queue.append(self._prepared(event))
            if taken.complaint is not None:
                self._queue.append(taken.complaint)
        self._hand_out()
        yield from self._ready()

    def take_no_frames(self) -> Iterator[Taken]:
        return self._source.take_no_frames()

    def end(self) -> None:
        """Only what has come until now is waited for."""
        self._owed = self._in_work + len(self._backlog)
        self._source.end()

    def pause(self, paused: bool) -> None:
        """Take nothing more, or go on; what is in work goes on all the same."""
        self._source.pause(paused)
        self._sockets = (self._crew.socket, *self._source.sockets)

    def move(self, config: SourceConfig) -> None:
        self._source.move(config)
        self._sockets = (self._crew.socket, *self._source.sockets)

    def keep_messages(self, keep: bool) -> None:
        self._source.keep_messages(keep)

    def report(self) -> list[SourceReport]:
        return self._source.report()

    def work(self) -> TransformReport:
        return TransformReport(
            steps=self._chain.names,
            compress=self._encoding,
            workers=self._crew.size,
            in_work=self._in_work,
            frames=self._frames,
            failed=self._failed,
            seconds=round(self._seconds, 3),
            pushes_back=bool(self._backlog),
        )

    def obey(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._source.obey(command, arguments)

    def close(self) -> None:
        """End the threads, and close what frames come from; frames in work are gone."""
        self._backlog.clear()
        self._crew.close()
        self._source.close()

    # What happens to an event.

    def _pass(self, events: Sequence[Event]) -> bool:
        """Whether all of them go on as they came."""
        for event in events:
            if type(event) is Frame:
                # Frames of a series share the object.
                if event.format is not self._passed and not self._needs_nothing(event):
                    return False
            elif self._chain.names:
                return False
        return True

    def _needs_nothing(self, frame: Frame) -> bool:
        if frame.format.encoding not in self._passes:
            return False
        self._passed = frame.format
        return True

    def _prepared(self, event: Event) -> _Job | Event:
        if type(event) is SeriesStart:
            self._follow(self._bound(event))
            self._series, self._owed = event.series, None
            return event if isinstance(self._steps, MalformedMessage) else moved(event, self._steps)
        if type(event) is not Frame or self._needs_nothing(event):
            return event
        steps = self._steps
        if event.series != self._series:
            steps = self._untold
            if self._chain.asks_header:
                reason = "frame without the header that says how to transform it"
                steps = MalformedMessage(reason, f"series {event.series}")
        job = _Job(event, steps)
        self._backlog.append(job)
        return job

    def _follow(self, steps: Steps) -> None:
        """Do this to the frames that come; what is stored as it travelled, and needs none of it, passes."""
        self._steps = steps
        self._passes = frozenset() if steps else self._kept
        self._passed: FrameFormat | None = None

    def _bound(self, start: SeriesStart) -> Steps:
        try:
            return self._chain.bound(start.metadata)
        except MalformedMessage as error:
            return error

    def _hand_out(self) -> None:
        """Let workers have what there is room for."""
        while self._backlog and (self._in_work <= self._crew.size or self._in_work_bytes < MOST_BYTES):
            job = self._backlog.popleft()
            if not self._in_work:
                self._progress = self._clock()
            self._in_work += 1
            self._in_work_bytes += job.nbytes
            self._crew.put(job)

    def _ready(self) -> Iterator[Taken]:
        """What leads the queue and is done."""
        waiting: deque[_Job | Event | MalformedMessage] = self._queue
        events: list[Event] = []
        while waiting:
            first = waiting[0]
            if type(first) is _Job:
                if not first.done and not self._given_up(first):
                    break
                self._settle(first)
                assert first.result is not None
                first = first.result
            waiting.popleft()
            if isinstance(first, MalformedMessage):
                yield Taken(events, first)
                events = []
            else:
                assert not isinstance(first, _Job)
                events.append(first)
        if events:
            yield Taken(events)
        self._hand_out()

    def _given_up(self, job: _Job) -> bool:
        """Whether it is time not to wait for the first one any more."""
        if self._clock() - self._progress < STUCK:
            return False
        if self._crew.give_up(job):
            job.result, job.done = MalformedMessage("frame not transformed in time", f"within {STUCK:g} s"), True
        else:
            self._look()
        return True

    def _work(self, job: _Job) -> None:
        """In a thread. Whether anybody still wants what comes of it, the loop decides."""
        begin = time.thread_time()
        job.outcome = worked_on(job.frame, job.steps, self._encoding)
        job.seconds = time.thread_time() - begin

    def _look(self) -> None:
        """See what is done."""
        for job in self._crew.finished():
            job.result, job.done = job.outcome, True

    def _settle(self, job: _Job) -> None:
        self._in_work -= 1
        self._in_work_bytes -= job.nbytes
        self._progress = self._clock()
        self._frames += 1
        if self._owed:
            self._owed -= 1
        self._failed += isinstance(job.result, MalformedMessage)
        self._seconds += job.seconds


def worked_on(frame: Frame, steps: Steps, encoding: str) -> Frame | MalformedMessage:
    """The frame with its pixels changed and encoded, or why it can't be had."""
    if isinstance(steps, MalformedMessage):
        return steps
    try:
        image = pixels.decode(frame)
        for step in steps:
            image = step(image)
        return _encoded(frame, image, encoding)
    except MalformedMessage as error:
        return error
    except StreamdetError as error:
        return MalformedMessage(f"frame not transformed: {error.code}", str(error))
    except Exception as error:  # noqa: BLE001, whatever it is, the frame is counted and the thread goes on
        return MalformedMessage("frame not transformed", f"{type(error).__name__}: {error}")


def _encoded(frame: Frame, image: NDArray[Any], encoding: str) -> Frame:
    """The frame with these pixels, in as many parts as before where these are whole rows of its first axis."""
    if image.nbytes > LARGEST_FRAME:
        raise MalformedMessage("transformed to a picture that is too large", f"{image.nbytes} bytes")
    kind = image.dtype.newbyteorder("<")
    if kind.str not in DTYPES.values():
        raise MalformedMessage("transformed to pixels of a type that no file has", f"{image.dtype}")
    image = np.ascontiguousarray(image, kind)
    encode: Callable[[NDArray[Any]], Buffer] = pixels.ENCODERS[encoding]
    old = frame.format
    rows = old.chunk[0]
    if old.parts > 1 and image.ndim > 2 and image.shape[0] == old.shape[0]:
        chunk = (rows, *image.shape[1:])
        parts = tuple(encode(image[begin : begin + rows]) for begin in range(0, image.shape[0], rows))
    else:
        chunk, parts = image.shape, (encode(image),)
    form = _format(image.shape, kind.str, encoding, chunk, old.scalars)
    return msgspec.structs.replace(frame, format=form, parts=parts)


_format = lru_cache(maxsize=64)(FrameFormat)
"""Frames of a series share one."""
