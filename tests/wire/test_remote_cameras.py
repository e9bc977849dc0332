"""`RemoteWriter` and the cameras of a supervisor, each with a writer process for each series."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet import RemoteWriter
from bluesky_streamdet.core.errors import FramesLost, RequestRefused
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.service.predecessor import PidFile
from bluesky_streamdet.service.remote.state import WriterStatus
from bluesky_streamdet.streaming.files.reader import read_frames
from tests.wire.service_parts import TIMEOUT, Detector, pixels
from tests.wire.test_service_cameras import NAMES, supervising, text_of

pytestmark = pytest.mark.wire


@pytest.fixture(scope="module")
def detectors() -> Iterator[list[Detector]]:
    with ExitStack() as stack:
        made = [Detector() for _ in NAMES]
        for one in made:
            stack.callback(one.close)
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hall")


@pytest.fixture(scope="module")
def url(detectors: list[Detector], folder: Path) -> Iterator[str]:
    (folder / "hall.yaml").write_text(text_of(detectors, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("STREAMDET_API_KEY", "a-key-of-the-test")
        patch.delenv("STREAMDET_URL", raising=False)
        with supervising(str(folder / "hall.yaml")) as process:
            assert process.stdout is not None
            page = next(line for line in process.stdout if "page" in line)
            yield page.split()[1].rstrip("/")
            process.terminate()
            process.stdout.read()
            assert process.wait(TIMEOUT) == 0


@pytest.fixture
def writers(url: str) -> Iterator[list[RemoteWriter]]:
    made = [RemoteWriter(cam=name, url=url, progress=False) for name in NAMES]
    yield made
    for one in made:
        one.kill()
        one.close()


def test_two_cameras_at_once(writers: list[RemoteWriter], detectors: list[Detector]) -> None:
    for number, writer in enumerate(writers, 2):
        assert writer.is_connected()
        writer.configure("both.h5", n_frames=number)
        writer.start()
    for number, detector in enumerate(detectors, 2):
        detector.series(number)
    for number, (name, writer) in enumerate(zip(NAMES, writers, strict=True), 2):
        final = writer.wait(timeout=TIMEOUT)
        assert final is not None
        assert (final.success, final.n_written_frames) == (True, number)
        assert f"/{name}/" in str(final.output_file)
        np.testing.assert_array_equal(read_frames(str(final.output_file)), [pixels(one) for one in range(number)])
        assert writer.get_status() is WriterStatus.FINISHED


def test_one_after_another_with_the_address_of_the_camera(
    writers: list[RemoteWriter], detectors: list[Detector]
) -> None:
    writer, detector = writers[0], detectors[0]
    for name in ("data_dark", "data"):
        writer.configure("two.h5", name, 3, connection_address=detector.address)
        writer.start()
        detector.series(3)
        final = writer.wait(timeout=TIMEOUT)
        assert final is not None
        assert final.success, final.reason


def test_what_a_camera_still_holds(writers: list[RemoteWriter], detectors: list[Detector]) -> None:
    """Nobody takes frames between series, so they wait in the camera."""
    sending = threading.Thread(target=detectors[0].frames, args=[range(4)])
    sending.start()
    assert writers[0].flush_cam_stream(2000) == 4
    sending.join()


def test_a_writer_that_dies(writers: list[RemoteWriter], detectors: list[Detector], folder: Path) -> None:
    writer, detector = writers[1], detectors[1]
    writer.configure("dies.h5", n_frames=5)
    writer.start()
    detector.start(5)
    detector.frames(range(2))
    assert writer.wait_nframes(2, timeout=TIMEOUT)
    pid = PidFile(folder / "pco2", "pco2", DetectorConfig.PLANE).running()
    assert pid is not None
    killer = threading.Timer(0.1, os.kill, [pid, signal.SIGKILL])
    killer.start()
    with pytest.raises(FramesLost, match=r"interrupted.* 2 of 5 frames are readable"):
        writer.wait(timeout=TIMEOUT)
    killer.join()
    assert writer.get_status() is WriterStatus.ERROR


def test_a_camera_that_is_not_there(url: str) -> None:
    with RemoteWriter("x.h5", cam="pco7", url=url) as writer, pytest.raises(RequestRefused, match="no camera 'pco7'"):
        writer.start()
