"""The port of the latest frame: what viewers ask, and what clients do that should not."""

from __future__ import annotations

import socket as sockets
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from bluesky_streamdet.core.errors import AddressTaken
from bluesky_streamdet.core.events import BSLZ4, SeriesStart
from bluesky_streamdet.streaming.monitor import AT_ONCE, WAITING, Monitor
from tests.unit.streaming.frames import frame, picture
from tests.unit.streaming.spectra import BINS, CHANNELS, counts, form, record, spectra
from tests.wire.streams import LOOPBACK, until


class Port:
    """A monitor and those who ask it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.monitor = Monitor(LOOPBACK, self.context)
        self._clients: list[zmq.Socket[bytes]] = []

    def client(self, kind: int = zmq.REQ) -> zmq.Socket[bytes]:
        client = self.context.socket(kind)
        client.linger = 0
        client.connect(self.monitor.address)
        self._clients.append(client)
        return client

    def ask(self, text: bytes = b"", client: zmq.Socket[bytes] | None = None) -> tuple[dict[str, Any], list[bytes]]:
        client = client or self.client()
        client.send(text)
        until(lambda: client.poll(1), self.monitor.answer, "the answer")
        header, *parts = client.recv_multipart()
        return msgspec.json.decode(header), parts

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.monitor.close()
        self.context.term()


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


def test_before_the_first_frame_there_is_an_empty_image(port: Port) -> None:
    header, (image,) = port.ask(b"any text")
    assert (header["htype"], header["frame"], header["shape"], header["type"]) == ("image", 0, [2, 2], "uint32")
    assert image == bytes(16)


def test_the_latest_frame_as_older_viewers_expect_it(port: Port) -> None:
    port.monitor.start(SeriesStart(metadata={"count_time": 0.5}))
    client = port.client()
    for number in (3, 7):
        port.monitor.show(spectra(number, series="9"))
        header, (image,) = port.ask(client=client)
        np.testing.assert_array_equal(np.frombuffer(image, "<u4").reshape(CHANNELS, BINS), counts(number))
        assert (header["frame"], header["exptime"]) == (number + 1, 0.5)
        assert (header["number"], header["series"]) == (number, "9")
        assert "scalars" not in header


def test_scalars_for_who_asks_for_them(port: Port) -> None:
    port.monitor.start(SeriesStart(metadata={"count_time": 0.5, "clock_period": 12.5e-9}))
    port.monitor.show(spectra(2))
    header, (image, scalars) = port.ask(b"scalars")
    assert [one["name"] for one in header["scalars"]] == [one.name for one in form().scalars]
    assert np.frombuffer(scalars, form().record)[0] == record(2)[0]
    assert len(image) == 4 * CHANNELS * BINS
    # The length of a frame that was gated is in its clock cycles alone.
    assert header["exptime"] == pytest.approx(int(record(2)["total_ticks"][0, 0]) * 12.5e-9)


def test_frames_of_any_kind_come_decoded(port: Port) -> None:
    for way in ({"encoding": BSLZ4}, {"parts": 2}, {"encoding": BSLZ4, "parts": 4}):
        port.monitor.show(frame(5, **way, detail={"real_time": 250_000_000}))  # type: ignore[arg-type]
        header, (image,) = port.ask()
        assert (header["compression"], header["exptime"]) == ("none", 0.25)
        assert image == picture(5).tobytes()
    header, parts = port.ask(b"scalars")
    assert (header["scalars"], parts[1]) == ([], b"")


def test_nobody_asks(port: Port) -> None:
    assert not port.monitor.answer()
    assert not port.monitor.socket.poll(0)


def test_clients_that_do_not_read_hold_up_nobody(port: Port) -> None:
    """They ask, and ask again; the loop goes on after some answers, and others get theirs."""
    port.monitor.show(spectra(0, (8, 4096)))
    greedy = port.client(zmq.DEALER)
    greedy.rcvhwm = 1
    for _ in range(20 * AT_ONCE):
        try:
            greedy.send_multipart([b"", b""], zmq.NOBLOCK)
        except zmq.Again:
            break
    until(lambda: port.monitor.socket.poll(1), lambda: None, "the requests")
    port.monitor.answer()
    assert port.monitor.answered <= AT_ONCE
    for _ in range(3):
        assert len(port.ask()[1][0]) == 8 * 4096 * 4
    assert WAITING * 8 * 4096 * 4 < 4 << 20, "what is kept for one who does not read"


def test_clients_that_went_away(port: Port) -> None:
    for _ in range(10):
        gone = port.client()
        gone.send(b"")
        until(lambda: port.monitor.socket.poll(1), lambda: None, "the request")
        gone.close()
        port.monitor.answer()
    assert port.ask()[0]["htype"] == "image"


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\xff" + struct.pack(">Q", 1 << 40)])
def test_what_is_no_zeromq(port: Port, noise: bytes) -> None:
    host, number = port.monitor.address.removeprefix("tcp://").split(":")
    with sockets.create_connection((host, int(number))) as connection:
        connection.sendall(noise)
        assert port.ask()[0]["htype"] == "image"


@pytest.mark.parametrize("parts", [[b""], [b"a", b"b", b"c"], [bytes(60_000)]])
def test_requests_of_another_form(port: Port, parts: list[bytes]) -> None:
    dealer = port.client(zmq.DEALER)
    dealer.send_multipart(parts)
    until(lambda: port.monitor.socket.poll(1), lambda: None, "the request")
    port.monitor.answer()
    assert port.ask()[0]["htype"] == "image"


def test_a_taken_address_is_named(port: Port) -> None:
    with pytest.raises(AddressTaken, match=port.monitor.address):
        Monitor(port.monitor.address, port.context)


def test_one_who_asks_as_fast_as_it_can_gets_every_reply(port: Port) -> None:
    client = port.client()
    for _ in range(1000):
        port.ask(b"", client)
    assert port.monitor.answered == 1000
