"""A service and its detector in memory, without a network, that do what a test says; the files are real.

A `ScriptedService` is the detector's driver and makes clients. Frames come when they are triggered, all at once, or,
with `by_hand`, when the test gives them. Each frame holds one number in all its pixels, counted over all series, so
that order and identity show.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bluesky_streamdet.core.errors import Busy, NoSuchSeries, ServiceUnreachable
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import (
    DatasetReport,
    FrameReport,
    FrameTotal,
    LatestFrame,
    LedgerReport,
    ScalarReport,
    SeriesReport,
    Status,
)

SHAPE = (4, 6)
DTYPE = "<u2"
DETECTOR = "scripted"


class ScriptedService:
    """ahead: rows that files hold beyond those reported. behind: rows reported that readers do not see yet.

    shape, dtype, picture: what frames are like, for kinds of services that have others.
    """

    shape: tuple[int, ...] = SHAPE
    dtype = DTYPE
    scalars: tuple[ScalarReport, ...] = ()

    def __init__(
        self,
        directory: Path,
        *,
        ahead: int = 0,
        behind: int = 0,
        detector: str = DETECTOR,
    ) -> None:
        self.directory = directory
        self.detector = detector
        self.ahead = ahead
        self.behind = behind
        self.by_hand = False
        self.on_trigger: Callable[[], object] = lambda: None
        self.ends_series = False
        self.arms = True
        self.reachable = True
        self.calls: list[str] = []
        self.parameters: dict[str, dict[str, Any]] = {}
        self.current: ScriptedSeries | None = None
        self.closed: dict[str, SeriesReport] = {}
        self.last: SeriesReport | None = None
        self.numbers = 0
        self.frames_of_trigger = 1
        self.ending = threading.Lock()
        self._callbacks: list[Callable[[Status | None], None]] = []

    def picture(self, number: int) -> np.ndarray[Any, Any]:
        """The pixels of the frame with that number."""
        return picture(number)

    def scalar(self, name: str, number: int) -> np.ndarray[Any, Any]:
        """What comes with the frame with that number, of each of `scalars`."""
        raise KeyError(name)

    def connect(self, url: str = "") -> ScriptedClient:
        self.check()
        return ScriptedClient(self)

    def check(self) -> None:
        if not self.reachable:
            raise ServiceUnreachable("No service answers at this address.", "Start it.")

    # The detector's driver.

    def arm(self, frames: int, triggers: int, exposure: float, external: bool) -> None:
        self.calls.append(f"driver arm {frames} x {exposure:g} s{' external' if external else ''}")
        self.frames_of_trigger = frames

    def trigger(self) -> None:
        self.calls.append("driver trigger")
        if not self.by_hand:
            self.give(self.frames_of_trigger)
            if self.ends_series:
                self.end(Outcome.COMPLETE)
        self.on_trigger()

    def disarm(self) -> None:
        self.calls.append("driver disarm")

    # What the test has happen.

    def give(self, frames: int) -> None:
        """So many frames arrive, and are written."""
        if self.current is not None:
            self.current.write(frames)
            self.push()

    def lose(self, frames: int) -> None:
        """The ledger notes so many as missing."""
        assert self.current is not None
        self.current.ledger.missing += frames
        first = self.current.ledger.written
        self.current.ledger.missing_ranges.append((first, first + frames - 1))
        self.push()

    def end(self, outcome: Outcome, reason: str = "") -> SeriesReport:
        """The series closes, for a reason of the service's own."""
        assert self.current is not None
        series, self.current = self.current, None
        self.last = self.closed[series.id] = series.close(outcome, reason)
        self.push()
        return self.last

    def catch_up(self) -> None:
        """Readers see all that was reported, in files that were closed too."""
        for report in self.closed.values():
            if report.file and Path(report.file).exists():
                with h5py.File(report.file, "r+", libver="latest", locking=False) as file:
                    for name in ("data", "sequence_number"):
                        group = file[f"/entry/instrument/{self.detector}"]
                        group[name].resize(report.ledger.written, axis=0)
                        late = file["/entry/late"][name]
                        group[name][report.ledger.written - self.behind :] = late[()]

    def die(self) -> None:
        """The service is gone, and forgets everything."""
        self.reachable = False
        if self.current is not None:
            self.current.abandon()
            self.current = None
        self.closed.clear()
        self.last = None
        self._tell(None)

    def push(self) -> None:
        self._tell(self.status())

    def _tell(self, status: Status | None) -> None:
        for callback in list(self._callbacks):
            callback(status)

    # What clients ask for.

    def status(self) -> Status:
        state = State.IDLE if self.current is None else State.RUNNING
        series = self.current.report() if self.current is not None else None
        return Status(detector=self.detector, state=state, series=series, last_series=self.last)

    def arm_series(self, request: ArmRequest) -> SeriesReport:
        if self.current is not None:
            raise Busy(f"Series {self.current.id} is running.", "Stop or abort it first.")
        self.calls.append(f"arm k={request.frames_per_event}")
        self.current = ScriptedSeries(self, request)
        self.push()
        return self.current.report()

    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)


class ScriptedSeries:
    """One series and its file, written as the service does: SWMR, flushed with each frame, the NeXus paths."""

    def __init__(self, service: ScriptedService, request: ArmRequest) -> None:
        self.id = f"series{len(service.closed) + 1}"
        self.ledger = LedgerReport()
        self.numbers: list[int] = []
        self._service = service
        self._event = request.frames_per_event
        folder = service.directory / (request.directory or "")
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{request.name}.h5"
        self._file: h5py.File | None = None

    def write(self, frames: int) -> None:
        if self._file is None:
            self._open()
        for _ in range(frames):
            self.numbers.append(self._service.numbers)
            self._service.numbers += 1
        self._put(len(self.numbers) - self._service.behind, self.numbers)
        self.ledger.received = self.ledger.unique = self.ledger.written = len(self.numbers)

    def report(self, outcome: Outcome | None = None, reason: str = "") -> SeriesReport:
        data = None
        if self._file is not None or self.numbers:
            event = () if self._event == 1 else (self._event,)
            service = self._service
            data = DatasetReport(
                dataset="/entry/data/data",
                shape=service.shape,
                dtype=service.dtype,
                chunk_shape=(1, *(1 for _ in event), *service.shape),
                frames_per_event=self._event,
                scalars=list(service.scalars),
            )
        return SeriesReport(
            id=self.id,
            detector=self._service.detector,
            file=str(self._path),
            data=data,
            started_at=datetime.now(UTC) if self.numbers else None,
            outcome=outcome,
            reason=reason,
            ledger=self.ledger.model_copy(deep=True),
        )

    def close(self, outcome: Outcome, reason: str, keep: int | None = None) -> SeriesReport:
        report = self.report(outcome, reason)
        if self._file is not None:
            if not self._service.behind:
                self._put(len(self.numbers), self.numbers)
            self._file.close()
            self._file = None
            # Not without need: what reads it in this process would keep it from being opened to be written.
            if self._service.behind or (keep is not None and keep != len(self.numbers) + self._service.ahead):
                self._amend(keep)
        return report

    def _amend(self, keep: int | None) -> None:
        """Have the closed file hold so many frames, and keep those that readers do not see yet."""
        with h5py.File(self._path, "r+", libver="latest", locking=False) as file:
            group = file[f"/entry/instrument/{self._service.detector}"]
            if keep is not None:
                for name in ("data", "sequence_number"):
                    group[name].resize(keep // self._event, axis=0)
            if self._service.behind:
                late = self.numbers[-self._service.behind :]
                file["/entry/late/data"] = np.stack([self._service.picture(number) for number in late])
                file["/entry/late/sequence_number"] = np.array(late, "u8")

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        event, shape = () if self._event == 1 else (self._event,), self._service.shape
        self._file = h5py.File(self._path, "x", libver="latest", locking=False)
        group = self._file.create_group(f"/entry/instrument/{self._service.detector}")
        self._data = group.create_dataset(
            "data",
            (0, *event, *shape),
            self._service.dtype,
            maxshape=(None, *event, *shape),
            chunks=(1, *(1 for _ in event), *shape),
        )

        def column(name: str, dtype: str, shape: tuple[int, ...] = ()) -> h5py.Dataset:
            tail = (*event, *shape)
            return group.create_dataset(name, (0, *tail), dtype, maxshape=(None, *tail), chunks=(64, *tail))

        self._scalars = {one.name: column(one.name, one.dtype, one.shape) for one in self._service.scalars}
        self._numbers = column("sequence_number", "u8")
        self._file["/entry/data/data"] = self._data
        if self._scalars:
            self._file["/entry/instrument/detector"] = group
        self._file.swmr_mode = True

    def _put(self, visible: int, numbers: list[int]) -> None:
        """Have the file hold the first `visible` frames, and empty rows when it is to be ahead."""
        assert self._file is not None
        ahead = self._service.ahead
        rows, event = max(0, visible), self._event
        for dataset in (self._data, self._numbers, *self._scalars.values()):
            dataset.resize(-(-rows // event) + ahead, axis=0)
        for row in range(rows):
            place = row if event == 1 else divmod(row, event)
            self._data[place] = self._service.picture(numbers[row])
            self._numbers[place] = numbers[row]
            for name, dataset in self._scalars.items():
                dataset[place] = self._service.scalar(name, numbers[row])
        self._file.flush()


class ScriptedClient:
    """As `service.client.ServiceClient`."""

    def __init__(self, service: ScriptedService) -> None:
        self._service = service
        self.is_closed = False

    def status(self) -> Status:
        self._service.check()
        return self._service.status()

    def arm(self, request: ArmRequest) -> SeriesReport:
        self._service.check()
        return self._service.arm_series(request)

    def series(self, id: str) -> SeriesReport:
        self._service.check()
        # A series that is being closed is one or the other, whoever asks meanwhile.
        with self._service.ending:
            current = self._service.current
            if current is not None and current.id == id:
                return current.report()
            if id in self._service.closed:
                return self._service.closed[id]
        raise NoSuchSeries(f"There is no series {id}.")

    def stop(self, id: str, expected_frames: int | None = None, keep_frames: int | None = None) -> SeriesReport:
        keep = "" if keep_frames is None else f" keep={keep_frames}"
        return self._ended(id, f"stop {expected_frames}{keep}", Outcome.COMPLETE, expected_frames, keep_frames)

    def abort(self, id: str) -> SeriesReport:
        return self._ended(id, "abort", Outcome.ABORTED)

    def set_parameters(self, id: str, parameters: dict[str, Any]) -> SeriesReport:
        self._service.check()
        self._service.parameters.setdefault(id, {}).update(parameters)
        return self.series(id)

    def _ended(
        self, id: str, call: str, outcome: Outcome, expected: int | None = None, keep: int | None = None
    ) -> SeriesReport:
        service = self._service
        service.check()
        service.calls.append(call)
        series = service.current
        if series is None or series.id != id:
            return self.series(id)
        if expected is not None:
            series.ledger.expected = expected
            series.ledger.missing = max(series.ledger.missing, expected - series.ledger.unique)
        if series.ledger.missing and outcome is Outcome.COMPLETE:
            outcome = Outcome.INCOMPLETE
        reason = f"{series.ledger.missing} frames are missing" if series.ledger.missing else ""
        with service.ending:
            service.current = None
            report = service.last = service.closed[id] = series.close(outcome, reason, keep)
        service.push()
        return report

    def frame(self) -> LatestFrame:
        service, current = self._service, self._service.current
        number = service.numbers - 1
        header = FrameReport(
            series=current.id if current is not None else None,
            number=number,
            shape=service.shape,
            dtype=service.dtype,
            encoding="none",
            chunk=service.shape,
            received=0,
        )
        scalars = {one.name: service.scalar(one.name, number) for one in service.scalars}
        return LatestFrame(header, service.picture(number), scalars)

    def frame_total(self) -> FrameTotal:
        header, pixels, _ = self.frame()
        return FrameTotal(series=header.series, number=header.number, total=float(pixels.sum()))

    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]:
        return self._service.subscribe(callback)

    def close(self) -> None:
        self.is_closed = True


def picture(number: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The pixels of the frame with that number."""
    return np.full(SHAPE, number, DTYPE)


def detector(face: str, service: ScriptedService, name: str = "det", **keywords: Any) -> Any:
    """A device of either face, "classic" or "async", whose service and driver is `service`.

    A RunEngine must exist before, as ophyd-async devices are connected in its event loop.
    """
    keywords = {"driver": service, "connect": service.connect, "margin": 5.0} | keywords
    if face == "classic":
        from bluesky_streamdet.devices.classic import StreamDetector as Classic

        return Classic(name=name, **keywords)
    from ophyd_async.core import init_devices

    from bluesky_streamdet.devices.asynchronous import StreamDetector as Asynchronous

    with init_devices():
        made = Asynchronous(name=name, **keywords)
    return made  # noqa: RET504, it is connected as a variable that was not there before


class Documents:
    """A callback that keeps what it gets, in `all`."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, document: Any) -> None:
        self.all.append((name, document))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [document for kind, document in self.all if kind == name]

    def ranges(self, key: str) -> list[tuple[int, int]]:
        """Indices announced for a data key, in their order."""
        wanted = {one["uid"] for one in self.of("stream_resource") if one["data_key"] == key}
        datums = [one for one in self.of("stream_datum") if one["stream_resource"] in wanted]
        return [(one["indices"]["start"], one["indices"]["stop"]) for one in datums]

    @property
    def stop(self) -> dict[str, Any]:
        return self.of("stop")[-1]
