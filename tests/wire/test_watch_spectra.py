"""`streamdet watch` on spectra: as text, as a picture and in a window, from a stream and from a monitor port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from bluesky_streamdet.catalog import OUTPUTS
from bluesky_streamdet.cli.main import main
from bluesky_streamdet.cli.spectra import Spectra, is_spectra, spectra_of
from bluesky_streamdet.core.events import SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.asking import MonitorClient
from bluesky_streamdet.streaming.monitor import Monitor
from bluesky_streamdet.streaming.sender import Sender
from tests.unit.streaming.frames import frame
from tests.unit.streaming.spectra import CHANNELS, counts, record, spectra
from tests.wire.streams import LOOPBACK

FIRST_BIN = 4096 - 16
METADATA = {"count_time": 0.25, "ev_per_bin": 10.0, "first_bin": FIRST_BIN, "clock_period": 12.5e-9}
PNG = b"\x89PNG"


@contextmanager
def answering(monitor: Monitor) -> Iterator[str]:
    """A monitor port with a loop of its own."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            if monitor.socket.poll(20):
                monitor.answer()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield monitor.address
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with zmq.Context() as context:
        monitor = Monitor(LOOPBACK, context)
        monitor.start(SeriesStart("9", metadata=METADATA))
        yield monitor
        monitor.close()


@contextmanager
def streaming(dialect: str = "xspress3", frames: int = 5) -> Iterator[str]:
    form = OUTPUTS[dialect]
    encoder = form.encoder()
    with Sender(LOOPBACK) as sender:
        messages = [encoder.start(SeriesStart("s1", metadata=METADATA, frames=frames))]
        messages += [encoder.frame(spectra(number, series="s1")) for number in range(frames)]
        messages.append(encoder.end(SeriesEnd("s1")))

        def send() -> None:
            for message in messages:
                for parts in [[part] for part in message] if form.loose else [message]:
                    sender.send(parts, 20.0)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield sender.address
        finally:
            thread.join()


def total(number: int) -> str:
    return " ".join(str(int(one.sum())) for one in counts(number))


@pytest.mark.parametrize("dialect", ["xspress3", "xspress3-2021", "xspress3-2024"])
def test_a_stream_of_spectra_as_text_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dialect: str
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "spectra.png"
    codec = "auto" if dialect == "xspress3" else "xspress3-pickled"
    with streaming(dialect) as address:
        options = ["--socket", "pull", "--frames", "5", "--codec", codec, "--save", str(path)]
        assert main(["watch", address, *options]) == 0
    out = capsys.readouterr().out
    assert f"counts {total(4)} in 0.25 s" in out
    assert "4x16 <u4 none" in out
    assert path.read_bytes().startswith(PNG)


def test_pickles_are_not_read_unless_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with streaming("xspress3-2024") as address:
        assert main(["watch", address, "--socket", "pull", "--seconds", "0.5"]) == 0
    assert "in a format that has to be asked for: xspress3-pickled" in capsys.readouterr().out


def test_the_monitor_port_as_text_and_picture(
    monitor: Monitor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "spectra.png"
    monitor.show(spectra(3, series="9"))
    with answering(monitor) as address:
        assert main(["watch", address, "--socket", "monitor", "--frames", "1", "--save", str(path)]) == 0
    out = capsys.readouterr().out
    seconds = int(record(3)["total_ticks"][0, 0]) * 12.5e-9
    assert f"series 9: frame 4, 0.0/s; counts {total(3)} in {seconds:g} s" in out
    assert path.read_bytes().startswith(PNG)


def test_a_monitor_port_without_frames_or_without_anybody(monitor: Monitor, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(monitor) as address:
        assert main(["watch", address, "--socket", "monitor", "--seconds", "0.3"]) == 0
    assert "no frame yet" in capsys.readouterr().out
    assert main(["watch", "tcp://127.0.0.1:9", "--socket", "monitor", "--seconds", "0.01"]) == 0
    assert "no answer from tcp://127.0.0.1:9 yet" in capsys.readouterr().out


def test_the_client_of_a_monitor_port_gets_what_is_shown(monitor: Monitor) -> None:
    with answering(monitor) as address, MonitorClient(address) as client:
        for number in (0, 1):
            monitor.show(spectra(number, series="9"))
            answer = client.ask(20.0)
            assert answer is not None and answer.scalars is not None
            assert (answer.number, answer.series) == (number + 1, "9")
            assert np.frombuffer(answer.scalars, answer.format.record)[0] == record(number)[0]
            np.testing.assert_array_equal(spectra_of(answer).counts, counts(number)[:, :-1])


def older_streamer(socket: zmq.Socket[bytes]) -> None:
    """Answers one question as streamers before us do: no series, no scalars, no compression."""
    socket.recv()
    header = b'{"htype":"image","exptime":0.1,"frame":7,"type":"uint32","shape":[4,16]}'
    socket.send_multipart([header, counts(6).tobytes()])


def test_the_monitor_port_of_an_older_streamer(capsys: pytest.CaptureFixture[str]) -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.linger = 1000
        socket.bind(LOOPBACK)
        thread = threading.Thread(target=older_streamer, args=[socket])
        thread.start()
        address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        assert main(["watch", address, "--socket", "monitor", "--frames", "1"]) == 0
        thread.join()
    assert f"frame 7, 0.0/s; counts {total(6)} in 0.1 s" in capsys.readouterr().out


def test_a_window_needs_a_display(monitor: Monitor, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["watch", monitor.address, "--socket", "monitor", "--plot"]) == 2
    assert "take --save FILE.png" in capsys.readouterr().err


@pytest.mark.parametrize("socket", ["monitor", "pull"])
def test_a_window_shows_what_comes(monitor: Monitor, socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a canvas without a display, which is told to pass for one."""
    registry = pytest.importorskip("matplotlib.backends.registry")
    monkeypatch.setattr(registry.backend_registry, "list_builtin", lambda _: [])
    shown: list[Spectra] = []
    monkeypatch.setattr("bluesky_streamdet.cli.spectra.draw", lambda _, spectra: shown.append(spectra))
    monitor.show(spectra(4, series="s1"))
    with answering(monitor) if socket == "monitor" else streaming() as address:
        frames = "1" if socket == "monitor" else "5"
        assert main(["watch", address, "--socket", socket, "--frames", frames, "--plot"]) == 0
    np.testing.assert_array_equal(shown[-1].counts, counts(4)[:, :-1])
    assert (shown[-1].first_bin, shown[-1].ev_per_bin) == (FIRST_BIN, 10.0)
    assert shown[-1].totals == [int(one.sum()) for one in counts(4)]


def test_the_axis_is_the_energy_where_it_is_known() -> None:
    figures = pytest.importorskip("matplotlib.figure")
    from bluesky_streamdet.cli.spectra import draw

    folded = METADATA | {"first_bin": 0, "regions": [[100, 162, 63]]}
    for metadata, label, left in [({}, "bin", 0.0), (METADATA, "energy (keV)", 40.8), (folded, "bin", 0.0)]:
        figure = figures.Figure()
        draw(figure, spectra_of(spectra(0, (20, 64)), metadata))
        (axes,) = figure.axes
        assert (axes.get_xlabel(), axes.get_xlim()[0]) == (label, pytest.approx(left))
        assert axes.get_yscale() == "log" and len(axes.lines) == 20
        assert ("0.25 s" in axes.get_title()) == bool(metadata)


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        ({}, 15),
        ({"first_bin": 4080}, 15),
        ({"first_bin": 600}, 16),
        ({"first_bin": 0}, 16),
        ({"first_bin": 0, "regions": [[100, 114, 15]]}, 15),
        ({"first_bin": 2, "regions": [[100, 130, 31]]}, 16),
    ],
)
def test_the_last_bin_is_left_out_where_it_stands_for_the_rest(metadata: dict[str, Any], shown: int) -> None:
    """And not where only a part of the spectrum was read."""
    seen = spectra_of(spectra(0, (CHANNELS, 16)), metadata)
    np.testing.assert_array_equal(seen.counts, counts(0, (CHANNELS, 16))[:, :shown])
    assert seen.totals == [int(one.sum()) for one in counts(0, (CHANNELS, 16))]


def test_what_is_taken_for_spectra() -> None:
    assert is_spectra(spectra(0))
    assert is_spectra(frame(0, (7,)))
    assert is_spectra(frame(0, (8, 4096)))
    assert not is_spectra(frame(0, (512, 512)))
    assert not is_spectra(frame(0, (8, 100, 100)))
    shown = spectra_of(spectra(0, (CHANNELS, 2, 8)))
    np.testing.assert_array_equal(shown.counts, counts(0, (CHANNELS, 2, 8)).sum(axis=1)[:, :-1])
