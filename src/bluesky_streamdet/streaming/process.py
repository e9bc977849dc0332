"""The data plane as a process: one pipeline, steered over a link by the control plane that started it.

Its configuration comes as JSON on standard input. It ends when told to, on SIGTERM, or when its parent has died; each
time it drains first, so that what has come is in the file.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time

import zmq

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.streaming.config import DataPlaneConfig, PlaneConfig
from bluesky_streamdet.streaming.link import DataEnd
from bluesky_streamdet.streaming.messages import (
    Abort,
    Answer,
    Arm,
    GetFrame,
    Instruct,
    Pause,
    Quit,
    Request,
    SetLogLevel,
    SetOutputs,
    SetParameters,
    SetSource,
    Stop,
)
from bluesky_streamdet.streaming.pipeline import OpenIntake, Pipeline, open_stream
from bluesky_streamdet.streaming.problems import problem_of
from bluesky_streamdet.streaming.report import StatusReporter
from bluesky_streamdet.streaming.status import FrameReport, scalars_of

log = logging.getLogger(__name__)

HEARTBEAT = 0.25
"""Seconds between reports when nothing happens."""
QUICKEST_REPORT = 0.01
LINGER = 500
"""Milliseconds that clients of the outputs have to take what ZeroMQ holds for them when the process ends."""
DRAINING = 5.0
"""Seconds that an ending process gives to frames that are on their way."""
SENDING_REST = 1.0
"""Seconds that it gives to clients of the outputs, for what waits for them."""


class DataPlane:
    """Runs one pipeline and reports to the control plane, which is the process `parent`.

    once: end by itself when a series has ended.
    """

    def __init__(
        self,
        config: PlaneConfig,
        endpoint: str,
        context: zmq.Context[zmq.Socket[bytes]],
        parent: int,
        open_intake: OpenIntake = open_stream,
        *,
        once: bool = False,
    ) -> None:
        self._once = once
        self._link = DataEnd(endpoint, context)
        self._changed = True
        self._reported_at = 0.0
        self._quitting = False
        self._parent = parent
        try:
            self._pipeline = Pipeline(config, context, on_change=self._note_change, open_intake=open_intake)
        except StreamdetError as error:
            self._link.send(Answer(problem=problem_of(error)))
            self._link.close()
            raise
        self._reporter = StatusReporter(self._pipeline)
        self._pipeline.register(self._link.socket)

    def run(self) -> None:
        """Turn the loop until told to quit."""
        while not self._quitting:
            while (request := self._link.receive()) is not None:
                self._answer(request)
            self._pipeline.turn(QUICKEST_REPORT if self._changed else HEARTBEAT / 2)
            self._report_if_due()
            if os.getppid() != self._parent:
                log.warning("the control plane is gone; draining and ending")
                self._quitting = True
        self._drain()

    def quit(self) -> None:
        """Let the loop end after this turn."""
        self._quitting = True

    def close(self) -> None:
        self._pipeline.close(LINGER)
        self._link.close()

    def _drain(self) -> None:
        self._pipeline.accept_no_more()
        self._pipeline.stop()
        deadline = time.monotonic() + DRAINING
        while self._pipeline.state is not State.IDLE and time.monotonic() < deadline:
            self._pipeline.turn(0.02)
        self._pipeline.abort(f"the service ended, and not all had come within {DRAINING:g} s")
        self._pipeline.outputs.send_rest(SENDING_REST)
        self._report()

    def _note_change(self) -> None:
        if self._pipeline.writer is None:
            # A series has ended: said at once, as the next one may begin and end before the next report is due.
            self._report()
            self._quitting = self._quitting or self._once
        self._changed = True

    def _report_if_due(self) -> None:
        age = time.monotonic() - self._reported_at
        if age >= HEARTBEAT or (self._changed and age >= QUICKEST_REPORT):
            self._report()

    def _report(self) -> None:
        self._changed = False
        self._reported_at = time.monotonic()
        self._link.send(Answer(status=self._reporter.status()))

    def _answer(self, request: Request) -> None:
        parts: tuple[object, ...] = ()
        try:
            answer = self._carry_out(request)
            latest = self._pipeline.latest
            if isinstance(request.command, GetFrame) and latest is not None:
                answer.frame = self._describe(latest)
                parts = latest.parts if latest.scalars is None else (*latest.parts, latest.scalars)
        except StreamdetError as error:
            answer = Answer(number=request.number, problem=problem_of(error))
        self._link.send(answer, parts)
        # Who looks at a frame changes nothing, and would hold up the report of the next.
        self._changed = self._changed or not isinstance(request.command, GetFrame)

    def _carry_out(self, request: Request) -> Answer:
        pipeline = self._pipeline
        series = result = None
        match request.command:
            case Arm(request=wanted):
                series = pipeline.arm(wanted)
            case Stop(expected_frames=expected, keep_frames=keep):
                pipeline.stop(expected, keep)
            case Abort():
                pipeline.abort()
            case SetParameters(series=id, parameters=parameters):
                series = pipeline.set_parameters(id, parameters)
            case SetLogLevel(level=level):
                logging.getLogger("bluesky_streamdet").setLevel(level)
            case Instruct(command=command, arguments=arguments):
                result = pipeline.source.obey(command, arguments)
            case Pause() | SetOutputs() | SetSource():
                self._set_up(request.command)
            case Quit():
                self._quitting = True
            case GetFrame():
                pass
        return Answer(number=request.number, series=series, status=self._reporter.status(), result=result)

    def _set_up(self, command: Pause | SetOutputs | SetSource) -> None:
        match command:
            case Pause(paused=paused):
                self._pipeline.pause(paused)
            case SetOutputs(outputs=outputs):
                self._pipeline.set_outputs(outputs)
            case SetSource(source=source):
                self._pipeline.set_source(source)

    def _describe(self, frame: Frame) -> FrameReport:
        form = frame.format
        return FrameReport(
            series=self._pipeline.latest_series,
            number=frame.number,
            shape=form.shape,
            dtype=form.dtype,
            encoding=form.encoding,
            chunk=form.chunk,
            received=frame.received,
            scalars=scalars_of(form),
        )


def main(model: type[PlaneConfig] = DataPlaneConfig, open_intake: OpenIntake = open_stream) -> int:
    """The process. model: of the configuration that it reads. open_intake: opens what frames come from."""
    parser = argparse.ArgumentParser(description="One data plane; started by the control plane, not by hand.")
    parser.add_argument("--link", required=True, help="endpoint of the control plane")
    parser.add_argument("--once", action="store_true", help="for one series")
    arguments = parser.parse_args()
    parent = os.getppid()  # Before the configuration comes: it lives until it has sent that.
    config = model.model_validate_json(sys.stdin.read())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bluesky_streamdet").setLevel(config.log_level)
    # Ctrl-C reaches the whole process group; the control plane decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with zmq.Context(config.io_threads) as context:
        try:
            plane = DataPlane(config, arguments.link, context, parent, open_intake, once=arguments.once)
        except StreamdetError as error:
            log.warning("%s", error)
            return 1
        signal.signal(signal.SIGTERM, lambda *_: plane.quit())
        try:
            plane.run()
        finally:
            plane.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
