"""Frames to workers that ask as indexamajig asks: what each side of the socket does, and what goes wrong there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from bluesky_streamdet.core.errors import AddressTaken, ConfigError
from bluesky_streamdet.core.events import BSLZ4, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.crystfel import workers as crystfel_workers
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.responder import Responder
from bluesky_streamdet.streaming.messages import START
from tests.unit.streaming.frames import frame, picture
from tests.wire.streams import LOOPBACK, until
from tests.wire.strict_client import Got, Reader, StrictClient, read_hdf5

pytestmark = pytest.mark.wire

START_OF_SERIES = SeriesStart(metadata={"photon_energy": 9500.0, "distance": 0.08, "saturation_value": 1 << 30})
COPY = ["frame_number", "series_id", "event_id", "timestamp", "sample.name", "laser"]
LARGE = (300, 400)


class Farm:
    """A responder and its workers; each step is a turn of all."""

    def __init__(self, **options: Any) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.theirs: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.theirs.set(zmq.MAX_SOCKETS, 4096)
        self.options = {"address": LOOPBACK, "policy": "complete", **options}
        self.responder = self._responder()
        self.workers: list[StrictClient] = []
        self.got: list[list[Got]] = []

    def _responder(self) -> Responder:
        responder = Responder(CrystfelConfig(**self.options), self.context)
        responder.name_series("run7", {START: {"sample": {"name": "lysozyme"}}, "laser": True})
        responder.start(START_OF_SERIES)
        return responder

    def restart(self) -> None:
        """The service ends and starts again at the same address."""
        address = self.responder.address
        self.responder.close()
        self.options["address"] = address
        until(self._opened, lambda: None, "the address to be free")

    def _opened(self) -> bool:
        try:
            self.responder = self._responder()
        except AddressTaken:
            return False
        return True

    def hire(self, count: int, reader: Reader | None = None) -> None:
        """Workers that ask."""
        before = self.responder.report().workers
        for _ in range(count):
            worker = StrictClient(self.theirs, self.responder.address, reader, poll=0)
            self.workers.append(worker)
            self.got.append([])
            worker.ask()
        self.until(lambda: self.responder.report().workers == before + count, f"{count} workers that ask")

    def turn(self) -> None:
        self.responder.wait(1)
        self.responder.flush()

    def work(self) -> None:
        """A turn of the responder, and of each worker."""
        self.turn()
        for worker, got in zip(self.workers, self.got, strict=True):
            if (one := worker.next()) is not None:
                got.append(one)
                worker.ask()

    def until(self, condition: Callable[[], Any], what: str, *, work: bool = False) -> None:
        until(condition, self.work if work else self.turn, what)

    def send(self, frames: list[Frame]) -> None:
        """As a pipeline does: none while it is blocked."""
        for one in frames:
            self.until(lambda: not self.responder.blocked, "room for a frame", work=True)
            self.responder.send([one])

    def all_wait(self) -> None:
        handout = self.responder.handout
        self.until(
            lambda: handout.all_wait and handout.asking == len(self.workers), "the workers to be done", work=True
        )

    @property
    def numbers(self) -> list[int]:
        return [one.number for got in self.got for one in got]

    def close(self) -> None:
        self.responder.close()
        for worker in self.workers:
            worker.close()
        self.context.term()
        # Also of those that have left the farm.
        self.theirs.destroy(linger=0)


@pytest.fixture
def farms() -> Iterator[Callable[..., Farm]]:
    made: list[Farm] = []

    def make(**options: Any) -> Farm:
        made.append(Farm(**options))
        return made[-1]

    yield make
    for farm in made:
        farm.close()


@pytest.mark.parametrize("shape", [(4, 6), LARGE])
def test_each_frame_goes_to_one_worker_in_order(farms: Callable[..., Farm], shape: tuple[int, int]) -> None:
    farm = farms()
    farm.hire(4, Reader(shape, COPY, "beam_energy", "detector_distance"))

    farm.send([frame(number, shape) for number in range(60)])
    farm.all_wait()

    assert sorted(farm.numbers) == list(range(60))
    for got in farm.got:
        assert [one.number for one in got] == sorted(one.number for one in got)
        assert 10 <= len(got) <= 20
    one = farm.got[0][0]
    assert one.headers["series_id"] == "run7"
    assert one.headers["event_id"] == f"run7//{one.number}"
    assert (one.headers["sample.name"], one.headers["laser"]) == ("lysozyme", 1)
    wanted = picture(one.number, shape).astype("i4")
    np.testing.assert_array_equal(one.image, np.where(wanted == 65535, -1, wanted))
    report = farm.responder.report()
    assert (report.delivered, report.done, report.lost, report.dropped, report.waiting) == (60, 60, 0, 0, 0)
    assert report.all_wait
    assert sum(one.delivered for one in report.by_worker) == 60
    assert {one.name.partition("#")[0] for one in report.by_worker} == {"127.0.0.1"}


@pytest.mark.parametrize("kind", ["i4", "f4"])
def test_frames_may_change_their_shape_type_and_encoding(farms: Callable[..., Farm], kind: str) -> None:
    farm = farms(type=kind)
    farm.hire(2)
    odd = frame(9, (2, 3), "<f8")
    nan = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    frames = [
        frame(0, (4, 6), "<u2"),
        frame(1, (2, 8, 6), "<u4", parts=2),
        frame(2, LARGE, "<i4", BSLZ4),
        frame(3, (5, 7), "<u1"),
        msgspec.structs.replace(odd, parts=(nan.tobytes(),)),
    ]

    farm.send(frames)
    farm.all_wait()

    by_number = {one.number: one.image for got in farm.got for one in got}
    assert {number: image.shape for number, image in by_number.items() if image is not None} == {
        0: (4, 6),
        1: (16, 6),
        2: LARGE,
        3: (5, 7),
        9: (2, 3),
    }
    np.testing.assert_array_equal(by_number[2], picture(2, LARGE, "<i4"))
    assert by_number[9] is not None
    assert np.isnan(by_number[9][0, 1]) if kind == "f4" else by_number[9][0, 1] == -1


def test_fresh_gives_the_newest_and_counts_what_it_drops(farms: Callable[..., Farm]) -> None:
    farm = farms(policy="fresh", queue=3)
    farm.responder.send([frame(number) for number in range(10)])
    assert not farm.responder.blocked

    farm.hire(0)
    farm.workers.append(StrictClient(farm.theirs, farm.responder.address, poll=0))
    farm.got.append([])
    farm.all_wait()

    assert farm.numbers == [9, 8, 7]
    assert farm.responder.report().dropped == 7


def test_complete_pushes_back_and_drops_nothing(farms: Callable[..., Farm]) -> None:
    farm = farms(queue=5)
    for number in range(5):
        assert not farm.responder.blocked
        farm.responder.send([frame(number)])
    assert farm.responder.blocked

    farm.hire(1)
    farm.all_wait()

    assert not farm.responder.blocked
    assert farm.numbers == [0, 1, 2, 3, 4]


def test_a_request_is_held_for_as_long_as_it_takes(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(1)
    worker = farm.workers[0]
    until(lambda: worker.timeouts > 100, farm.work, "many timeouts of a worker")

    farm.send([frame(1)])
    farm.all_wait()

    assert farm.numbers == [1]
    assert worker.skipped == 0


@pytest.mark.parametrize("text", [b"", b"what?", b"\x00\xff" * 5000, b"next:hits"])
def test_any_request_is_held_alike(farms: Callable[..., Farm], text: bytes) -> None:
    farm = farms()
    worker = StrictClient(farm.theirs, farm.responder.address, poll=0, text=text)
    farm.workers.append(worker)
    farm.got.append([])
    worker.ask()
    farm.until(lambda: farm.responder.handout.asking == 1, "the request")

    farm.send([frame(1)])
    farm.all_wait()

    assert farm.numbers == [1]


def test_what_is_no_request_harms_nobody(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(1)
    dealer = farm.theirs.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(farm.responder.address)
    raw = farm.theirs.socket(zmq.STREAM)
    raw.linger = 0
    raw.connect(farm.responder.address)
    other = raw.recv()
    raw.recv()
    try:
        dealer.send(b"next")
        dealer.send_multipart([b"no", b"delimiter"])
        raw.send_multipart([other, b"GET / HTTP/1.1\r\n\r\n" * 100])
        farm.until(lambda: farm.responder.report().odd == 2, "two messages that are no requests")
        # Asks twice, and gets a frame for the one that is open.
        dealer.send_multipart([b"", b"next"])
        dealer.send_multipart([b"", b"next"])
        farm.until(lambda: farm.responder.handout.asking == 2, "its request")
        farm.send([frame(number, LARGE) for number in range(2)])
        farm.until(lambda: dealer.poll(0) and farm.numbers, "a frame for each", work=True)
        numbers = [*farm.numbers, Reader().read(dealer.recv_multipart()[1]).number]
        assert sorted(numbers) == [0, 1]
        assert not dealer.poll(50)
    finally:
        dealer.close()
        raw.close()


def test_a_worker_that_never_reads_holds_up_nobody(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(2)
    idle = farm.workers.pop()
    farm.got.pop()

    farm.send([frame(number, LARGE) for number in range(30)])
    farm.until(
        lambda: farm.responder.report().done == 29, "all frames but that of the one which does not read", work=True
    )

    assert farm.responder.report().in_hand == 1
    idle.close()
    farm.until(lambda: farm.responder.report().lost == 1, "the loss of its frame")
    assert farm.responder.report().workers == 1


def test_a_worker_that_goes_with_its_request_open_is_forgotten(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(3)
    farm.workers.pop(0).close()
    farm.got.pop(0)
    farm.until(lambda: farm.responder.handout.asking == 2, "its going")

    farm.send([frame(number) for number in range(6)])
    farm.all_wait()

    assert sorted(farm.numbers) == list(range(6))
    assert farm.responder.report().lost == 0


def test_a_frame_that_has_not_left_is_for_the_next_worker(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(1)
    # It leaves while its frame is being made.
    farm.responder.send([frame(0, (2000, 2000))])
    farm.workers.pop().close()
    farm.got.clear()
    farm.until(lambda: farm.responder.report().workers == 0, "its going")
    lost = farm.responder.report().lost

    farm.hire(1)
    farm.send([frame(1)])
    farm.all_wait()

    assert sorted(farm.numbers) == list(range(lost, 2))


def test_frames_that_can_not_be_read_cost_no_request(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(1)
    broken = msgspec.structs.replace(frame(0, LARGE, encoding=BSLZ4), parts=(b"x" * 40_000,))

    farm.send([broken, msgspec.structs.replace(broken, number=1), frame(2)])
    farm.all_wait()

    assert farm.numbers == [2]
    report = farm.responder.report()
    assert sum(report.failed.values()) == 2
    assert report.seen == report.delivered + sum(report.failed.values()) == 3


def test_workers_that_wait_when_the_service_restarts_are_woken(
    farms: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crystfel_workers, "SILENT", 0.1)
    farm = farms()
    farm.hire(3)
    wanted: list[int] = []
    for turn in range(10):
        farm.restart()
        farm.until(lambda: farm.responder.handout.asking == 3, f"the workers after restart {turn}", work=True)
        frames = [frame(10 * turn + number) for number in range(6)]
        wanted += [one.number for one in frames]
        farm.send(frames)
        farm.all_wait()
        assert farm.responder.report().woken == 3

    assert sorted(farm.numbers) == wanted
    assert [worker.skipped for worker in farm.workers] == [10, 10, 10]


def test_a_worker_that_computes_over_a_restart_misses_nothing(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.hire(1)
    farm.send([frame(0)])
    worker = farm.workers[0]
    until(lambda: worker.take() is not None, farm.turn, "its frame")  # and it computes
    farm.restart()
    farm.until(lambda: farm.responder.report().woken == 1, "the wake, which it does not hear")

    farm.send([frame(number) for number in range(1, 6)])
    farm.all_wait()

    assert farm.numbers == [1, 2, 3, 4, 5]
    assert worker.skipped == 0


def test_a_request_that_crosses_the_wake_is_answered_once(
    farms: Callable[..., Farm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own request was on its way, so that the wake answered that, and it asked once more; only that is open."""
    monkeypatch.setattr(crystfel_workers, "SILENT", 0.05)
    farm = farms()
    dealer = farm.theirs.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(farm.responder.address)
    try:
        farm.until(lambda: dealer.poll(0), "the wake")
        assert dealer.recv_multipart() == [b"", b"wake"]
        farm.responder.send([frame(1), frame(2)])
        dealer.send_multipart([b"", b"next"])
        farm.until(lambda: farm.responder.report().workers == 1, "the request that was on its way")
        assert farm.responder.report().in_hand == 0
        dealer.send_multipart([b"", b"next"])
        farm.until(lambda: dealer.poll(0), "a frame")
        assert Reader().read(dealer.recv_multipart()[1]).number == 1
        farm.turn()
        report = farm.responder.report()
        assert (report.in_hand, report.done, report.waiting) == (1, 0, 1)
    finally:
        dealer.close()


@pytest.mark.timeout(120)
def test_a_thousand_workers_at_once(farms: Callable[..., Farm]) -> None:
    farm = farms(queue=3000)
    farm.hire(1000)

    farm.responder.send([frame(number) for number in range(2000)])
    farm.all_wait()

    assert sorted(farm.numbers) == list(range(2000))
    assert Counter(len(got) for got in farm.got) == {2: 1000}
    report = farm.responder.report()
    assert (report.workers, report.asking, len(report.by_worker)) == (1000, 1000, 256)


def test_hdf5_keeps_pixels_as_they_came(farms: Callable[..., Farm]) -> None:
    farm = farms(format="hdf5")
    worker = StrictClient(farm.theirs, farm.responder.address)
    farm.workers.append(worker)
    got: list[Got] = []

    def step() -> None:
        farm.turn()
        if (message := worker.take()) is not None:
            got.append(read_hdf5(message, copy=tuple(f"/entry/{name}" for name in (*COPY, "beam_energy"))))

    farm.send([frame(1, (2, 20, 30)), frame(2, LARGE, "<i4", BSLZ4), frame(3, (9, 9), "<f8")])
    until(lambda: len(got) == 3, step, "three files")

    by_number = {one.number: one for one in got}
    assert {str(one.image.dtype) for one in got if one.image is not None} == {"uint16", "int32", "float32"}
    np.testing.assert_array_equal(by_number[1].image, picture(1, (40, 30)).reshape(40, 30))
    assert by_number[1].headers["beam_energy"] == 9500
    assert by_number[1].headers["sample.name"] == "lysozyme"


@pytest.mark.parametrize("prefix", ["", "frames"])
def test_who_only_listens_gets_all_with_a_prefix_that_is_skipped(farms: Callable[..., Farm], prefix: str) -> None:
    farm = farms(mode="publish", prefix=prefix, queue=50)
    listeners = [farm.theirs.socket(zmq.SUB) for _ in range(2)]
    got: list[list[int]] = [[], []]

    def step() -> None:
        farm.turn()
        for listener, numbers in zip(listeners, got, strict=True):
            while listener.poll(0):
                parts = listener.recv_multipart()
                # indexamajig takes each part for a message; at most 15 bytes are no frame.
                frames = [part for part in parts if len(part) > 15]
                assert [part for part in parts if len(part) <= 15] == [prefix.encode()] * bool(prefix)
                numbers += [Reader(copy=COPY).read(part).number for part in frames]

    try:
        for listener in listeners:
            listener.linger = 0
            listener.connect(farm.responder.address)
            listener.subscribe(prefix)
        until(lambda: farm.responder.report().workers == 2, step, "two subscriptions")
        for number in range(40):
            until(lambda: not farm.responder.blocked, step, "room")
            farm.responder.send([frame(number, LARGE)])
        until(lambda: got == [list(range(40))] * 2, step, "all frames twice")
        assert farm.responder.report().delivered == 40
    finally:
        for listener in listeners:
            listener.close()


def test_what_no_listener_takes_in_time_is_dropped_and_counted(farms: Callable[..., Farm]) -> None:
    farm = farms(mode="publish", policy="fresh", queue=2)
    listener = farm.theirs.socket(zmq.SUB)
    listener.linger = 0
    listener.rcvhwm = 1
    listener.subscribe("")
    try:
        listener.connect(farm.responder.address)
        farm.until(lambda: farm.responder.report().workers == 1, "the subscription")
        for number in range(200):
            farm.responder.send([frame(number, (800, 800))])
            farm.turn()
        report = farm.responder.report()
        assert report.dropped > 0
        assert report.seen == 200 == report.delivered + report.waiting + report.dropped
    finally:
        listener.close()


def test_an_aborted_series_leaves_no_frame_behind(farms: Callable[..., Farm]) -> None:
    farm = farms()
    farm.responder.send([frame(number) for number in range(4)])
    farm.responder.discard()
    farm.responder.end(SeriesEnd(error="aborted"))

    assert farm.responder.report().dropped == 4
    assert not farm.responder.waiting


@pytest.mark.parametrize("mode", ["request", "publish"])
def test_an_address_that_is_taken_says_so(farms: Callable[..., Farm], mode: str) -> None:
    farm = farms(mode=mode)
    with pytest.raises(AddressTaken, match="in use"):
        Responder(CrystfelConfig.model_validate({"address": farm.responder.address, "mode": mode}), farm.context)
    with pytest.raises(ConfigError):
        Responder(CrystfelConfig.model_validate({"address": "tcp://no.such.interface:0", "mode": mode}), farm.context)


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_with_a_frame_in_hand_loses_that_one(farms: Callable[..., Farm]) -> None:
    farm = farms()
    command = [sys.executable, "-m", "tests.wire.strict_client", farm.responder.address]
    processes = [
        subprocess.Popen([*command, most], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))
        for most in ("1000", "1")
    ]
    try:
        farm.until(lambda: farm.responder.handout.asking == 2, "two processes that ask")
        farm.send([frame(number) for number in range(20)])
        farm.until(lambda: farm.responder.report().in_hand == 1 and not farm.responder.handout.waiting, "one in hand")
        assert farm.responder.report().done == 19
        processes[1].kill()
        farm.until(lambda: farm.responder.report().workers == 1, "the death of one")

        farm.send([frame(number) for number in range(20, 30)])
        farm.until(lambda: farm.responder.report().done == 29, "the rest by the other")
        report = farm.responder.report()
        assert (report.delivered, report.lost, report.in_hand, report.all_wait) == (30, 1, 0, True)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_latency_is_not_that_of_a_turn(farms: Callable[..., Farm]) -> None:
    """A worker that waits has a frame as soon as that is made."""
    farm = farms()
    farm.hire(1)
    worker = farm.workers[0]
    began = time.monotonic()
    farm.responder.send([frame(0)])
    assert worker.socket.poll(1000)
    assert time.monotonic() - began < 0.5
    assert worker.next() is not None
