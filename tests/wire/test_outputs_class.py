"""The fan-out in a process of one's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq

import bluesky_streamdet
from bluesky_streamdet import Outputs
from bluesky_streamdet.codecs import array10, stins
from bluesky_streamdet.core.errors import AddressTaken, ConfigError, DeadlineExceeded
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.transforms import pixels
from tests.unit.streaming.frames import frame
from tests.wire.streams import LOOPBACK, Client, until

pytestmark = pytest.mark.wire

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def client_of(outputs: Outputs, context: zmq.Context[zmq.Socket[bytes]], index: int = 0) -> Client:
    report = outputs.report()[index]
    client = Client(context, report.address, report.kind)
    until(lambda: outputs.report()[index].clients, lambda: client.socket.poll(1), "the connection")
    return client


def events(outputs: Outputs, client: Client, decoder: Any, count: int) -> list[Any]:
    """What comes to a client; what waits for it is sent."""
    got: list[Any] = []

    def step() -> None:
        if (message := client.take(outputs.report)) is not None:
            got.extend(decoder.decode(message, 0))

    until(lambda: len(got) >= count, step)
    return got


def test_arrays_go_to_each_output_as_it_wants_them(context: Any) -> None:
    with Outputs(
        [
            {"name": "all", "address": LOOPBACK},
            OutputConfig(name="psi", address=LOOPBACK, kind="pub", encoder="array-1.0", send={"every": 2}),  # type: ignore[arg-type]
        ]
    ) as outputs:
        everything, some = client_of(outputs, context), client_of(outputs, context, 1)
        outputs.start({"count_time": 0.1}, name="scan.h5", frames=4)
        for number in range(4):
            outputs.send(IMAGE + number, detail={"laser_on": number % 2 == 0})
        outputs.end()
        start, *frames, end = events(outputs, everything, stins.Decoder(), 6)
        assert isinstance(start, SeriesStart)
        assert (start.filename, start.metadata["count_time"]) == ("scan.h5", 0.1)
        assert isinstance(end, SeriesEnd)
        assert [one.number for one in frames] == [0, 1, 2, 3]
        for one in frames:
            np.testing.assert_array_equal(pixels.decode(one), IMAGE + one.number)
        every_other = events(outputs, some, array10.Decoder(), 2)
        assert [(one.number, one.detail) for one in every_other] == [(0, {"laser_on": True}), (2, {"laser_on": True})]
        reports = {one.name: one for one in outputs.report()}
        assert (reports["psi"].seen, reports["psi"].sent, reports["psi"].skipped) == (4, 2, 2)
        everything.close(), some.close()


@pytest.mark.parametrize(("dtype", "transposed"), [("<f4", False), (">f4", False), ("<f4", True)])
def test_an_array_may_change_once_it_was_sent(context: Any, dtype: str, transposed: bool) -> None:
    with Outputs([{"address": LOOPBACK, "encoder": "array-1.0", "queue_bytes": 1 << 30}]) as outputs:
        client = client_of(outputs, context)
        image = np.zeros((1000, 1000), dtype)
        image = image.T if transposed else image
        for number in range(20):
            image[:] = number
            outputs.send(image, number=10 + number)
        for number, one in enumerate(events(outputs, client, array10.Decoder(), 20)):
            assert isinstance(one, Frame)
            assert one.number == 10 + number
            assert (pixels.decode(one) == number).all()
        client.close()


def test_frames_of_decoders_go_as_they_are(context: Any) -> None:
    with Outputs([{"address": LOOPBACK, "encoder": "array-1.0"}]) as outputs:
        client = client_of(outputs, context)
        outputs.send(frame(7, encoding="bslz4"))
        outputs.send(IMAGE)
        first, second = events(outputs, client, array10.Decoder(), 2)
        assert (first.number, first.format.encoding, second.number) == (7, "bslz4", 8)
        client.close()


def test_outputs_change_while_they_stream(context: Any) -> None:
    with Outputs([{"name": "a", "address": LOOPBACK}]) as outputs:
        outputs.send(IMAGE)
        outputs.set([{"name": "a", "address": LOOPBACK}, {"name": "b", "address": LOOPBACK, "encoder": "array-1.0"}])
        client = client_of(outputs, context, 1)
        outputs.send(IMAGE)
        assert events(outputs, client, array10.Decoder(), 1)[0].number == 1
        assert [one.seen for one in outputs.report()] == [2, 1]
        client.close()


def test_who_blocks_is_named() -> None:
    with Outputs([{"name": "slow", "address": LOOPBACK, "overflow": "block", "queue": 2}]) as outputs:
        outputs.send(IMAGE)
        outputs.send(IMAGE)
        with pytest.raises(DeadlineExceeded, match="'slow' has had no room"):
            outputs.send(IMAGE, timeout=0.05)
        assert outputs.report()[0].seen == 2


@pytest.mark.parametrize("array", [np.zeros((2, 2), complex), np.zeros(()), np.zeros((0, 3)), np.zeros((1,) * 5)])
def test_what_is_no_frame(array: Any) -> None:
    with Outputs([]) as outputs, pytest.raises(ValueError, match="is no frame"):
        outputs.send(array)


@pytest.mark.parametrize(
    ("configs", "fault"),
    [
        ([{"kind": "dealer"}, {"queue": 0}], "0.kind.*1.queue"),
        ([{"name": "a"}, {"name": "a"}], "2 outputs are called 'a'"),
        ([{"send": {"every": 0}}], "every"),
    ],
)
def test_settings_that_are_wrong(configs: list[dict[str, Any]], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Outputs(configs)


def test_a_taken_port() -> None:
    with Outputs([{"address": LOOPBACK}]) as outputs:
        address = outputs.report()[0].address
        with pytest.raises(AddressTaken, match=address):
            Outputs([{"address": address}])


def test_the_package_is_imported_without_it() -> None:
    code = "import bluesky_streamdet, sys; assert not {'zmq', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        bluesky_streamdet.nothing  # noqa: B018
