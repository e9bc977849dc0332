"""What a service says of itself and of its series: to its other plane, to REST's clients, and in files' accounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bluesky_streamdet.core.events import FrameFormat
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.endpoints import OutputConfig


class Told(BaseModel):
    """What is answered; a newer service may say more than this reader knows."""

    model_config = ConfigDict(extra="ignore")


class LedgerReport(Told):
    """The account of a series in whole frames; the sums that hold are in `core.ledger`."""

    expected: int | None = None
    received: int = 0
    unique: int = 0
    duplicate: int = 0
    foreign: dict[str, int] = {}
    malformed: dict[str, int] = {}
    written: int = 0
    live_only: int = 0
    discarded: dict[str, int] = {}
    failed: dict[str, int] = {}
    missing: int = 0
    missing_ranges: list[tuple[int, int]] = []
    pending: int = 0
    late: int = 0
    passes: int = 1
    shared: bool = False
    """Other services have the rest; what is missing shows in the account of all of them together."""


class ScalarReport(Told):
    """Numbers that come with each frame: the dataset (frames, *shape) of that name, beside the frames."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    dataset: str = ""
    """Its path in the file."""


def scalars_of(form: FrameFormat) -> list[ScalarReport]:
    """What comes with each frame of a format."""
    return [ScalarReport(name=one.name, dtype=one.dtype, shape=one.shape, unit=one.unit) for one in form.scalars]


def values_of(scalars: Sequence[ScalarReport], record: bytes) -> dict[str, NDArray[Any]]:
    """The scalars of one frame by name, of the bytes in which they travel: one behind another, without padding."""
    if not scalars:
        return {}
    values = np.frombuffer(record, [(one.name, one.dtype, one.shape) for one in scalars])
    return {one.name: values[one.name][0] for one in scalars}


class DatasetReport(Told):
    """Where the frames of a series are, and of what kind they are; enough to describe them to Bluesky."""

    dataset: str
    """Path of the dataset in the file, of shape (frames, *shape), or (events, frames_per_event, *shape)."""
    shape: tuple[int, ...]
    """Of one frame."""
    dtype: str
    chunk_shape: tuple[int, ...]
    frames_per_event: int = 1
    first_row: int = 0
    """Frames that the dataset had before, of other series."""
    also: list[str] = []
    """Other paths of the same dataset."""
    columns: list[ScalarReport] = []
    """What each frame has beside it: its number, when it was received, and its particulars."""
    scalars: list[ScalarReport] = []


class Statistics(Told):
    """How fast a series came, and was written. Rates are means from the first frame to the last one."""

    first_number: int | None = None
    """The detector's number of the frame that came first."""
    last_number: int | None = None
    first_frame_at: datetime | None = None
    last_frame_at: datetime | None = None
    bytes_received: int = 0
    bytes_written: int = 0
    received_per_second: float = 0.0
    """Frames."""
    received_megabytes_per_second: float = 0.0
    written_per_second: float = 0.0
    """Frames that became readable."""
    written_megabytes_per_second: float = 0.0


class HookReport(Told):
    """What became of the command that is run when a series has been closed."""

    running: bool = False
    code: int | None = None
    """That it ended with; None where it did not end by itself."""
    seconds: float = 0.0
    output: str = ""
    """The end of what it said."""


class SeriesReport(Told):
    """One series, from arm to end. `outcome` is None until it is closed; `ledger.written` frames are readable now."""

    id: str
    detector: str
    file: str | None = None
    """Absolute path on the service's machine; None for a series that is not written. Of several files, the master."""
    layout: str = "nexus"
    """Where things are in the file."""
    columns: list[ScalarReport] = []
    """Where number and time of each frame will be, until `data` says it."""
    parts: int = 0
    """Files that the frames are in, where that is another than `file`."""
    part: str | None = None
    """The one that is being written, or was written last."""
    spill: str | None = None
    """The file that took the frames which `file` could take no more."""
    data: DatasetReport | None = None
    """None until the first frame has told what the frames are like."""
    stream_series: str | None = None
    """What the detector calls it in its stream, where it calls it anything."""
    armed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str = ""
    """Of the outcome; of a series that runs, why its file takes no more frames."""
    ledger: LedgerReport = LedgerReport()
    statistics: Statistics = Statistics()
    hook: HookReport | None = None


class OutputReport(Told):
    """One port of the fan-out."""

    name: str
    address: str
    kind: Literal["push", "pub"]
    clients: int = 0
    seen: int = 0
    skipped: int = 0
    """Left out by the rule of the output."""
    queued: int = 0
    queued_bytes: int = 0
    sent: int = 0
    dropped: dict[str, int] = {}
    frames_per_second: float = 0.0


class OutputState(OutputReport):
    """An output, and what is asked of it."""

    settings: OutputConfig


class WorkerReport(Told):
    """One worker of an endpoint for CrystFEL."""

    name: str
    """Its machine, and a number."""
    delivered: int = 0
    done: int = 0
    in_hand: int = 0
    frames_per_second: float = 0.0


class PeaksReport(Told):
    """The search for peaks, since the service started."""

    workers: int = 0
    """Processes that run."""
    frames: int = 0
    """That were looked at."""
    hits: int = 0
    failed: int = 0
    """Frames that could not be looked at, as their process died or they are no pictures; not among `frames`."""
    restarts: int = 0
    """Processes that died, or took too long for a frame."""
    hit_rate: float | None = None
    recent_hit_rate: float | None = None
    """Of the last 500 frames."""


class CrystfelReport(Told):
    """One endpoint for CrystFEL, since the service started. At every moment, in frames: seen = waiting + delivered +
    dropped + failed + left_out, and delivered = in_hand + done + lost.
    """

    name: str
    address: str
    mode: Literal["request", "publish"]
    policy: Literal["fresh", "complete"]
    workers: int = 0
    """Connected, and have asked; of "publish", those that have subscribed."""
    asking: int = 0
    """Of them, those that wait for a frame."""
    seen: int = 0
    waiting: int = 0
    """Frames that no worker has asked for yet."""
    delivered: int = 0
    in_hand: int = 0
    """Of the delivered ones, those that a worker has, and is not done with."""
    done: int = 0
    """Those whose worker has asked for another one."""
    lost: int = 0
    """Those whose worker has gone without."""
    dropped: int = 0
    """To make room for newer ones, or as a series was aborted."""
    failed: dict[str, int] = {}
    """Frames that can't be sent, by what is wrong with them."""
    left_out: int = 0
    """Frames of too few peaks, where only hits are sent."""
    peaks: PeaksReport | None = None
    all_wait: bool = True
    """Nothing is left to do: no frame waits, and no worker has one."""
    woken: int = 0
    """Workers that waited for an answer of a service before this one."""
    odd: int = 0
    """Messages that were no request."""
    frames_per_second: float = 0.0
    by_worker: list[WorkerReport] = []
    """Those that are connected, at most 256."""
    settings: CrystfelConfig | None = None
    header: dict[str, Any] = {}
    """What the detector has said of where its pixels lie, see `core.geometry.SAID`."""


class SourceReport(Told):
    """One endpoint that frames come from."""

    endpoint: str
    connected: int = 0
    """Peers connected now."""
    reconnects: int = 0
    messages: int = 0
    owed: int = 0
    """Messages of other modules that wait for the part of this one."""
    hung_up: bool = False
    """Somebody was there, and left without a message: it has another kind of socket than we expect, most likely."""


class TransformReport(Told):
    """What is done to the pixels of frames on the way, since the service started."""

    steps: list[str] = []
    compress: str
    """Encoding of the frames that leave."""
    workers: int
    in_work: int = 0
    """Frames that wait for a worker, or for those before them."""
    frames: int = 0
    failed: int = 0
    seconds: float = 0.0
    """Processor time that workers have spent on them."""
    pushes_back: bool = False
    """Frames come faster than they can be worked on."""


class DiskReport(Told):
    """The disk that the series is written to which runs."""

    free_megabytes: float
    seconds_left: float | None = None
    """Until it is full, at the rate of now."""
    warning: str = ""
    """Where it will be full soon, or less is left than configured."""


class Status(Told):
    """The whole state of a service. `revision` grows with each change, so that a client knows what is newer."""

    detector: str
    started_at: datetime | None = None
    """The service."""
    state: State | Literal["error"] = State.IDLE
    error: str | None = None
    """What went wrong, and what to do; the next series may start all the same."""
    paused: bool = False
    """Nothing is taken from the detector until somebody has it resumed."""
    revision: int = 0
    series: SeriesReport | None = None
    """The one that is armed or runs."""
    last_series: SeriesReport | None = None
    between: LedgerReport = LedgerReport()
    """Frames that came while no series was running."""
    sources: list[SourceReport] = []
    transforms: TransformReport | None = None
    outputs: list[OutputReport] = []
    crystfel: list[CrystfelReport] = []
    monitor: str | None = None
    """Address that answers with the latest frame, if there is one."""
    disk: DiskReport | None = None
    slow: str | None = None
    """Who pushes back right now: the disk, or an output that blocks by choice."""
    frames_per_second: float = 0.0
    megabytes_per_second: float = 0.0
    seconds_without_data: float | None = None
    resident_megabytes: float = 0.0
    log_level: str = "INFO"


class SeriesEvent(Told):
    """What is pushed of one series. `revision` grows with each, and is that of the status of the same moment."""

    revision: int
    series: SeriesReport


class CameraReport(Told):
    """One of several detectors that are served behind one address. What a service offers is below `path`."""

    name: str
    kind: str
    origin: str
    """Where its frames come from."""
    path: str
    compat: str | None = None
    """The old program's interface that it has, and where."""
    writer: int | None = None
    """The process that receives and writes; None while no series is armed or runs."""
    status: Status


class Problem(Told):
    """An error as it crosses a process or the network; `core.errors.BY_CODE` has the class."""

    code: str
    message: str
    hint: str = ""


class FrameReport(Told):
    """What is needed to make an array of the parts that follow, and of the record of scalars behind them."""

    series: str | None
    number: int
    shape: tuple[int, ...]
    dtype: str
    encoding: str
    chunk: tuple[int, ...]
    received: int
    """ns since 1970."""
    scalars: list[ScalarReport] = []


class PictureReport(Told):
    """Which frame a picture shows. received: ns since 1970. shape: of the frame, before blocks were taken together."""

    series: str | None
    number: int
    received: int
    shape: tuple[int, ...]
    downsample: int


class FrameTotal(Told):
    """Counts of a frame, without masked pixels."""

    series: str | None
    number: int
    total: float


class LatestFrame(NamedTuple):
    """A frame as clients get it: which it is, its pixels, and what came with it, by name."""

    header: FrameReport
    pixels: NDArray[Any]
    scalars: dict[str, NDArray[Any]]
