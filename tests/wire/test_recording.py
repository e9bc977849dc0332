"""Recording a stream and playing it again, on real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import ConfigError, DeadlineExceeded, MalformedMessage, WriteFailed
from bluesky_streamdet.streaming.listener import Listener
from bluesky_streamdet.streaming.recordfile import RecordingWriter, read_recording
from bluesky_streamdet.streaming.recording import Traffic, record, replay
from bluesky_streamdet.streaming.sender import Sender
from tests.conftest import Recordings

pytestmark = pytest.mark.wire

ANY = "tcp://127.0.0.1:0"
TIMEOUT = 10.0
SOON = 0.05
MESSAGES = [
    [b'{"htype":"header","msg_number":0}'],
    *([b'{"htype":"image","frame":%d,"shape":[300],"type":"uint8"}' % n, bytes(300)] for n in range(20)),
    [b'{"htype":"series_end","msg_number":21}'],
]


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "stream.cbors"
    with RecordingWriter(path) as writer:
        for parts in MESSAGES:
            writer.write(parts, "STINS")
    return path


class Playing:
    """Plays a recording in a thread, into a listener of this one."""

    def __init__(self, listener: Listener, path: Path, stop: threading.Event, **how: float) -> None:
        self._stop = stop
        self.traffic: Traffic | None = None
        self._thread = threading.Thread(target=self._run, args=(listener.address, path, how))
        self._thread.start()

    def _run(self, address: str, path: Path, how: dict[str, float]) -> None:
        with Sender(address, bind=False) as sender:
            self.traffic = replay(path, sender, self._stop, **how)  # type: ignore[arg-type]

    def end(self) -> Traffic:
        self._thread.join()
        assert self.traffic is not None
        return self.traffic


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(ANY, bind=True) as listener:
        yield listener


def parts_in(path: Path) -> list[list[bytes]]:
    return [message.parts for message in read_recording(path)]


def test_what_is_played_and_recorded_again_is_the_same(
    listener: Listener, recording: Path, tmp_path: Path, stop: threading.Event
) -> None:
    playing = Playing(listener, recording, stop)
    copy = tmp_path / "copy.cbors"
    with RecordingWriter(copy, "again") as writer:
        traffic = record(listener, writer, stop, count=len(MESSAGES))
    played = playing.end()
    assert (played.messages, played.bytes) == (traffic.messages, traffic.bytes)
    assert traffic.messages == len(MESSAGES)
    assert parts_in(copy) == MESSAGES
    assert {(message.stream, message.kind) for message in read_recording(copy)} == {("again", "STINS")}


def test_a_recording_is_played_several_times(listener: Listener, recording: Path, stop: threading.Event) -> None:
    playing = Playing(listener, recording, stop, loops=3)
    messages: list[list[bytes]] = []
    while len(messages) < 3 * len(MESSAGES):
        messages += [[bytes(part) for part in parts] for parts in listener.receive(TIMEOUT)]
    assert messages == 3 * MESSAGES
    playing.end()


def test_for_ever_lasts_until_it_is_stopped(listener: Listener, recording: Path, stop: threading.Event) -> None:
    playing = Playing(listener, recording, stop, loops=0)
    seen = 0
    while seen < 2 * len(MESSAGES):
        seen += len(listener.receive(TIMEOUT))
    stop.set()
    assert playing.end().messages >= seen


def test_the_rate_is_kept(listener: Listener, recording: Path, stop: threading.Event) -> None:
    now, waits = 100.0, []

    def pause(event: threading.Event, seconds: float) -> bool:
        nonlocal now
        now += seconds
        waits.append(seconds)
        return event.is_set()

    with Sender(listener.address, bind=False) as sender:
        sender.wait_for_peer(TIMEOUT)
        replay(recording, sender, stop, rate=4.0, clock=lambda: now, pause=pause)
    assert waits == [0.0, *[0.25] * (len(MESSAGES) - 1)]


def test_without_a_receiver_playing_ends_with_a_word(recording: Path, stop: threading.Event) -> None:
    said: list[bool] = []
    with Sender(ANY) as sender, pytest.raises(DeadlineExceeded, match=rf"{sender.address}.*0 were sent"):
        replay(recording, sender, stop, patience=SOON, report=lambda traffic: said.append(traffic.waiting))
    assert any(said)


def test_what_is_published_waits_for_the_first_subscriber(recording: Path, stop: threading.Event) -> None:
    with Sender(ANY, "pub") as sender:
        with pytest.raises(DeadlineExceeded):
            replay(recording, sender, stop, patience=SOON)
        with Listener(sender.address, "sub") as listener:
            replay(recording, sender, stop)
            messages: list[list[bytes]] = []
            while len(messages) < len(MESSAGES):
                messages += [[bytes(part) for part in parts] for parts in listener.receive(TIMEOUT)]
    assert messages == MESSAGES


def test_playing_can_be_stopped_while_nobody_takes_anything(recording: Path, stop: threading.Event) -> None:
    def end(traffic: Traffic) -> None:
        stop.set()

    with Sender(ANY) as sender:
        assert replay(recording, sender, stop, report=end).messages == 0


def test_an_empty_recording_is_said(tmp_path: Path, stop: threading.Event) -> None:
    (tmp_path / "empty.cbors").touch()
    with Sender(ANY) as sender:
        with pytest.raises(MalformedMessage, match="holds no message"):
            replay(tmp_path / "empty.cbors", sender, stop, loops=0)
        with pytest.raises(ConfigError, match="no file"):
            replay(tmp_path / "nowhere.cbors", sender, stop)


def test_a_recording_that_is_stopped_keeps_what_had_come(
    listener: Listener, recording: Path, tmp_path: Path, stop: threading.Event
) -> None:
    playing = Playing(listener, recording, threading.Event())
    copy = tmp_path / "copy.cbors"

    def stop_after_the_first(traffic: Traffic) -> None:
        if traffic.messages:
            playing.end()
            stop.set()

    with RecordingWriter(copy) as writer:
        record(listener, writer, stop, report=stop_after_the_first)
    assert parts_in(copy) == MESSAGES


def test_a_recording_ends_when_its_time_is_over(listener: Listener, tmp_path: Path, stop: threading.Event) -> None:
    with RecordingWriter(tmp_path / "none.cbors") as writer:
        said: list[bool] = []
        traffic = record(listener, writer, stop, seconds=SOON, report=lambda one: said.append(one.waiting))
    assert traffic.messages == 0
    assert all(said)


def test_a_full_disk_ends_a_recording_with_its_name(listener: Listener, recording: Path, stop: threading.Event) -> None:
    playing = Playing(listener, recording, stop)
    with pytest.raises(WriteFailed, match="/dev/full"), RecordingWriter(Path("/dev/full"), replace=True) as writer:
        record(listener, writer, stop, count=len(MESSAGES))
    stop.set()
    playing.end()


def test_the_recorded_eiger_is_played(test_data: Recordings, listener: Listener, stop: threading.Event) -> None:
    path = test_data / "eiger1/eiger1-1M-9frames.cbors.zip"
    playing = Playing(listener, path, stop)
    messages: list[list[bytes]] = []
    while len(messages) < 10:
        messages += [[bytes(part) for part in parts] for parts in listener.receive(TIMEOUT)]
    assert messages == parts_in(path)
    assert playing.end().messages == 10
