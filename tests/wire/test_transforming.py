"""Pixels that are changed on the way: in order, by several threads, without loss, and with a name for what fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet import catalog
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.events import BSLZ4, CBF, MONO12P, RAW, Frame, FrameFormat
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming import transforming
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.transforms import cbf, pixels
from tests.unit.streaming.frames import picture, pictures
from tests.wire.streams import PATIENCE, Rig, Stream, frame_numbers, holds, numbers_of, rows_of

Rigs = Callable[..., Rig]
PILATUS = {"shape": (61, 48), "dtype": "<i4", "encoding": CBF}
LARGE = (512, 1024)
"""A frame of 1 MiB."""


class Gate:
    """A step of the chain that tests can hold up. reached: the frames that came to it, by their first pixel."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached: list[int] = []

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        self.reached.append((int(image.flat[0]) - 1) // 131)
        assert self.open.wait(PATIENCE)
        return image


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Is known as the transform `gate`."""
    gate = Gate()
    step(monkeypatch, "gate", gate)
    return gate


def step(monkeypatch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]) -> None:
    monkeypatch.setitem(catalog.TRANSFORMS._rows, name, catalog.TransformRow(function, "for a test"))


def unnumbered(messages: list[Message]) -> list[Message]:
    """As the program beside a PILATUS sends them, which does not count its messages."""
    bare = []
    for header, *parts in messages:
        fields = json.loads(bytes(header))
        del fields["msg_number"]
        bare.append([json.dumps(fields).encode(), *parts])
    return bare


def working(rig: Rig) -> int:
    """Frames in work."""
    report = rig.pipeline.source.work()
    assert report is not None
    return report.in_work


def dataset(rig: Rig, name: str) -> NDArray[Any]:
    with h5py.File(str(rig.last.file)) as file:
        return file[f"/entry/instrument/eiger/{name}"][()]


# What comes in a form that no file keeps.


@pytest.mark.parametrize(("encoding", "dtype"), [(CBF, "<i4"), (MONO12P, "<u2")])
@pytest.mark.parametrize("compress", [BSLZ4, RAW, None])
def test_pixels_are_decoded_and_encoded_anew(rigs: Rigs, encoding: str, dtype: str, compress: str | None) -> None:
    rig, stream = rigs(compress=compress), Stream()
    report = rig.run(stream.whole(range(20), dtype=dtype, encoding=encoding))

    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(20), dtype=dtype)
    with h5py.File(str(report.file)) as file:
        filters = file["/entry/data/data"].id.get_create_plist().get_nfilters()
    assert filters == (0 if compress == RAW else 1)


def test_frames_without_message_numbers_go_by_their_own(rigs: Rigs) -> None:
    rig, stream = rigs(wait={"gap_seconds": 5}), Stream()
    start, *frames, end = unnumbered(stream.whole(range(12), **PILATUS))
    frames[4], frames[5] = frames[5], frames[4]
    report = rig.run([start, *frames, end])

    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(12), PILATUS["shape"], "<i4")


def test_the_whole_way_of_a_pilatus(rigs: Rigs, tmp_path: Path) -> None:
    """CBF, time over threshold, a quarter turn, a masked rectangle, bslz4: in the file and at the secondary port."""
    tensor = np.random.default_rng(1).random((61, 48, 1500))
    np.savez(tmp_path / "tot.npz", tot_to_energy_tensor=tensor)
    rig = rigs(
        transforms=[
            {"tot": {"tensor": f"{tmp_path}/tot.npz#tot_to_energy_tensor"}},
            {"rotate": {"quarter_turns": -1}},
            {"mask": {"rectangles": [[[0, 5], [10, 20]]]}},
        ],
        outputs=[{"address": "tcp://127.0.0.1:*", "overflow": "block"}],
        wait={"finish_seconds": 20},
    )
    client, stream = rig.client(), Stream()
    rig.send(stream.whole(range(5), **PILATUS))
    images = []
    while len(images) < 5:
        header, parts = client.next(rig.turn)
        if header["htype"] == "image":
            assert (header["frame"], header["shape"], header["type"]) == (len(images), [48, 61], "float32")
            form = FrameFormat((48, 61), "<f4", header["compression"], (48, 61))
            images.append(pixels.decode(Frame(0, None, None, form, tuple(parts), 0)))
    rig.until(lambda: rig.pipeline.last is not None)

    for number, image in enumerate(images):
        times = picture(number, (61, 48), "<i4")
        wanted = np.full((61, 48), -2, np.float32)
        for (row, column), time in np.ndenumerate(times):
            if time < 1500:
                wanted[row, column] = tensor[row, column, time]
        wanted = np.rot90(wanted, -1).copy()
        wanted[0:5, 10:20] = -1
        np.testing.assert_array_equal(image, wanted)
    np.testing.assert_array_equal(rows_of(rig.last), images)


@pytest.mark.parametrize("damage", ["size", "marker", "escape", "pixels", "sum"])
def test_a_hostile_cbf_is_counted_and_survived(rigs: Rigs, damage: str) -> None:
    rig, stream = rigs(), Stream()
    start, *frames, end = stream.whole(range(6), **PILATUS)
    blob = bytes(frames[3][1])
    begin = blob.index(cbf.MARKER) + 4
    head, data = blob[:begin].replace(b"Content-MD5", b"X-Other"), blob[begin:]
    size = int(head.split(b"X-Binary-Size: ")[1].split(b"\r")[0])
    frames[3][1] = {
        "size": blob.replace(b"X-Binary-Size: ", b"X-Binary-Size: 9"),
        "marker": blob.replace(b"data_image", b"data\0image").replace(cbf.MARKER, b"\0\0\0\0"),
        "escape": head + data[: size - 1] + b"\x80" + data[size:],
        "pixels": head + b"\1\1\1" + data[3:],
        "sum": blob[:begin] + b"\x07" + blob[begin + 1 :],
    }[damage]
    report = rig.run([start, *frames, end])

    assert report.outcome is Outcome.INCOMPLETE
    ((reason, count),) = report.ledger.malformed.items()
    assert reason.startswith("CBF")
    assert count == 1
    assert numbers_of(report) == [0, 1, 2, 4, 5]
    assert (report.ledger.missing_ranges, report.ledger.received) == ([(3, 3)], 6)


def test_exposure_time_of_the_header(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    header = stream.start()
    rig.run([[header[0], b'{"exptime": 0.25}'], stream.frame(0, **PILATUS), stream.end()])
    assert dataset(rig, "count_time") == 0.25


# Order, threads, pushing back.


def test_frames_keep_their_order_whoever_is_done_first(rigs: Rigs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame is not done before the second is, which takes two workers."""
    done = {number: threading.Event() for number in range(20)}

    def crossed(image: NDArray[Any]) -> NDArray[Any]:
        number = (int(image.flat[0]) - 1) // 131
        if number % 2 == 0:
            assert done[number + 1].wait(PATIENCE)
        done[number].set()
        return image

    step(monkeypatch, "crossed", crossed)
    rig, stream = rigs(transforms=["crossed"], workers=2, outputs=[{"address": "tcp://127.0.0.1:*"}]), Stream()
    client = rig.client()
    report = rig.run(stream.whole(range(20)))

    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(20))
    assert frame_numbers(client.rest(rig.turn)) == list(range(20))


def test_a_slow_step_pushes_back_and_loses_nothing(rigs: Rigs, gate: Gate) -> None:
    rig, stream = rigs(transforms=["gate"], compress="none", wait={"finish_seconds": 20}), Stream()
    messages = stream.whole(range(120), shape=LARGE)
    sent = 0
    for message in messages:
        tries = 0
        while not (taken := rig.senders[0].offer(message)) and tries < 20:
            tries += 1
            rig.turn(0.005)
        if not taken:
            break
        sent += 1
    # Encoded and decoded, each frame counts twice; what it may not hold waits in a batch, and in ZeroMQ.
    assert sent < 32 + 17 + 8 + 8 + 40
    assert working(rig) <= 33
    status = rig.reporter.status()
    assert status.slow == "the transforms (gate), with 2 workers"
    assert status.transforms is not None
    assert status.transforms.pushes_back
    assert len(gate.reached) == 2

    gate.open.set()
    rig.send(messages[sent:])
    rig.until(lambda: rig.pipeline.last is not None)
    assert rig.last.outcome is Outcome.COMPLETE
    assert holds(rig.last, range(120), LARGE)
    status = rig.reporter.status()
    assert (status.slow, working(rig)) == (None, 0)
    assert status.transforms is not None
    assert (status.transforms.frames, status.transforms.failed) == (120, 0)


def test_the_loop_sleeps_while_too_much_is_in_work(rigs: Rigs, gate: Gate) -> None:
    """Messages that wait at the detector's socket do not wake it all the time."""
    rig, stream = rigs(transforms=["gate"]), Stream()
    rig.send([stream.start()])
    message = stream.frame(0, shape=LARGE)
    rig.until(lambda: not rig.senders[0].offer(message, 0.1))
    assert rig.pipeline.source.work().pushes_back
    assert not rig.pipeline._poll(0.02)
    gate.open.set()
    rig.until(lambda: not working(rig))
    # What told of finished frames has been heard.
    rig.until(lambda: not rig.pipeline._poll(0.02), "silence")


def test_the_end_stays_behind_its_frames(rigs: Rigs, gate: Gate) -> None:
    rig, stream = rigs(transforms=["gate"], wait={"finish_seconds": 0.05, "settle_seconds": 0.01}), Stream()
    rig.send(unnumbered(stream.whole(range(8))))
    rig.until(lambda: working(rig) == 8)
    for _ in range(10):
        rig.turn(0.02)
    assert rig.pipeline.last is None

    gate.open.set()
    rig.until(lambda: rig.pipeline.last is not None)
    assert rig.last.outcome is Outcome.COMPLETE
    assert holds(rig.last, range(8))


def test_stop_waits_for_what_is_in_work(rigs: Rigs, gate: Gate) -> None:
    rig, stream = rigs(transforms=["gate"], wait={"finish_seconds": 0.05, "settle_seconds": 0.01}), Stream()
    gate.open.set()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    gate.open.clear()
    rig.send([stream.frame(number) for number in range(1, 8)])
    rig.until(lambda: working(rig) == 7)
    rig.pipeline.stop()
    for _ in range(10):
        rig.turn(0.02)
    assert rig.state is State.FINISHING

    gate.open.set()
    rig.until(lambda: rig.state is State.IDLE)
    assert holds(rig.last, range(8))


def test_after_a_stop_only_what_had_come_is_waited_for(rigs: Rigs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that goes on sending can't keep the end away."""
    permits = threading.Semaphore(0)

    def permitted(image: NDArray[Any]) -> NDArray[Any]:
        assert permits.acquire(timeout=PATIENCE)
        return image

    step(monkeypatch, "permitted", permitted)
    rig, stream = rigs(transforms=["permitted"], workers=1), Stream()
    rig.send([stream.start(), *(stream.frame(number) for number in range(4))])
    rig.until(lambda: working(rig) == 4)
    rig.pipeline.source.end()
    rig.send([stream.frame(number) for number in range(4, 8)])
    rig.until(lambda: working(rig) == 8)
    assert rig.pipeline.source.busy

    permits.release(4)
    rig.until(lambda: working(rig) == 4)
    assert not rig.pipeline.source.busy
    permits.release(4)
    report = rig.run([stream.end()])
    assert holds(report, range(8))


def test_a_step_that_hangs_does_not_keep_a_stop_for_ever(
    rigs: Rigs, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforming, "STUCK", 0.1)
    rig, stream = rigs(transforms=["gate"], wait={"finish_seconds": 1.0, "settle_seconds": 1.0}), Stream()
    gate.open.set()
    rig.pipeline.arm(ArmRequest(expected_frames=3))
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    gate.open.clear()
    rig.send([stream.frame(1), stream.frame(2)])
    rig.until(lambda: working(rig) == 2)
    rig.pipeline.stop()
    rig.until(lambda: rig.state is State.IDLE)

    assert (rig.last.outcome, rig.last.ledger.missing) == (Outcome.INCOMPLETE, 2)
    assert rig.last.ledger.malformed == {"frame not transformed in time": 2}
    gate.open.set()


def test_frames_behind_one_that_hangs_are_written(rigs: Rigs, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by one worker, whose place another thread takes; what comes of the frame later is dropped."""
    monkeypatch.setattr(transforming, "STUCK", 0.3)

    def hanging(image: NDArray[Any]) -> NDArray[Any]:
        return gate(image) if image.flat[0] == picture(2).flat[0] else image

    step(monkeypatch, "hanging", hanging)
    rig, stream = rigs(transforms=["hanging"], workers=1), Stream()
    report = rig.run(stream.whole(range(5)))

    assert report.outcome is Outcome.INCOMPLETE
    assert report.ledger.malformed == {"frame not transformed in time": 1}
    assert numbers_of(report) == [0, 1, 3, 4]
    gate.open.set()
    again = rig.run(stream.whole(range(5)))
    assert (again.outcome, numbers_of(again)) == (Outcome.COMPLETE, [0, 1, 2, 3, 4])


def test_after_an_abort_the_next_series_is_whole(rigs: Rigs, gate: Gate) -> None:
    rig, stream = rigs(transforms=["gate"]), Stream()
    gate.open.set()
    rig.send([stream.start(), stream.frame(0)])
    rig.settle(1)
    gate.open.clear()
    rig.send([stream.frame(number) for number in range(1, 6)])
    rig.until(lambda: working(rig) == 5)
    rig.pipeline.abort()
    assert (rig.last.outcome, rig.last.ledger.written) == (Outcome.ABORTED, 1)

    gate.open.set()
    report = rig.run([stream.end(), *stream.whole(range(4))])
    assert report.outcome is Outcome.COMPLETE
    assert holds(report, range(4))
    assert rig.pipeline.receiver.between.foreign == {"left over from a series that closed": 5}


def test_closing_in_the_middle_leaves_no_thread(rigs: Rigs, gate: Gate) -> None:
    rig, stream = rigs(transforms=["gate"]), Stream()
    rig.send([stream.start(), *(stream.frame(number) for number in range(10))])
    rig.until(lambda: working(rig) == 10 and len(gate.reached) == 2)
    threading.Timer(0.05, gate.open.set).start()
    rig.pipeline.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("transforms")]
    # What had not begun was left.
    assert len(gate.reached) == 2


def test_several_inputs_make_one_order(rigs: Rigs) -> None:
    rig, stream = rigs(senders=2, transforms=[{"rotate": {"quarter_turns": 2}}], wait={"gap_seconds": 5}), Stream()
    for number, message in enumerate(stream.whole(range(40))):
        rig.send([message], sender=number % 2)
    rig.until(lambda: rig.pipeline.last is not None)
    assert numbers_of(rig.last) == list(range(40))
    np.testing.assert_array_equal(rows_of(rig.last), pictures(range(40))[:, ::-1, ::-1])
