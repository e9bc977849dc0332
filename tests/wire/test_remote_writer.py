"""`RemoteWriter` and a real service in another process, through all verbs and what can go wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bluesky_streamdet import RemoteWriter
from bluesky_streamdet.core.errors import (
    Busy,
    ConfigError,
    DatasetTaken,
    DeadlineExceeded,
    FramesLost,
    PathRefused,
    RequestRefused,
    ServiceUnreachable,
    Unauthorised,
)
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.service.predecessor import PidFile
from bluesky_streamdet.service.remote import following
from bluesky_streamdet.service.remote.state import WriterStatus
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.status import Status
from tests.wire.service_parts import TIMEOUT, Detector, config_for, pixels

pytestmark = pytest.mark.wire

WAIT = {"quiet_seconds": 1000, "gap_seconds": 0.1, "finish_seconds": 0.2, "settle_seconds": 0.1}
USER = os.getuid() or 18600
"""Whose files may be: root may give them away."""
HASTY = {"slow": 1.0, "silent": 3.0}
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of tests lie with the tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("STREAMDET_API_KEY", "STREAMDET_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture(scope="module")
def process(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all tests that leave it as they found it."""
    config = config_for(detector, tmp_path_factory.mktemp("data"), unarmed="ignore", wait=WAIT)
    with ServiceProcess(config) as process:
        yield process


@pytest.fixture
def writer(process: ServiceProcess) -> Iterator[RemoteWriter]:
    with RemoteWriter(url=process.url, api_key=process.api_key, progress=False) as writer:
        yield writer
        series = writer.client.status().series
        if series is not None:
            writer.client.abort(series.id)


@pytest.fixture
def own() -> Iterator[Detector]:
    """A detector of the test's own service; two that pull would share its frames."""
    detector = Detector()
    yield detector
    detector.close()


def ended(writer: RemoteWriter) -> Callable[[Status], bool]:
    return lambda status: status.series is None or status.series.id != writer.series


@contextmanager
def in_thread(function: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@contextmanager
def once_waiting(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any]) -> Iterator[None]:
    """Call a function in a thread once somebody waits and has heard of the series."""
    waiting = threading.Event()
    take = following.Following._take

    def noted(self: Any, status: Status | None) -> None:
        take(self, status)
        waiting.set()

    def then() -> None:
        assert waiting.wait(TIMEOUT)
        function()

    with monkeypatch.context() as patch, in_thread(then):
        patch.setattr(following.Following, "_take", noted)
        yield


def test_a_series_through_its_verbs(writer: RemoteWriter, detector: Detector) -> None:
    assert (writer.is_connected(), writer.is_running()) == (True, False)
    assert writer.get_status() is WriterStatus.UNCONFIGURED
    assert not writer.validate_configuration()
    assert writer.get_written_frames() is None
    assert writer.get_progress_message() == "Writer: unconfigured"

    settings = writer.configure("verbs/scan.h5", "data", 6, user_id=USER, parameters={"sample": "bone"})
    assert settings is writer.get_configuration()
    assert writer.get_status() is WriterStatus.CONFIGURED
    assert writer.validate_configuration()
    begun = writer.start()
    assert begun.status is WriterStatus.RECEIVING
    assert begun.output_file is not None
    assert begun.output_file.endswith("/verbs/scan.h5")
    assert (writer.is_running(), writer.get_status(), writer.get_written_frames()) == (True, "receiving", 0)

    detector.start(6)
    detector.frames(range(4))
    assert writer.wait_nframes(4) is True
    writer.set_parameters({"energy": np.float32(12.5)})
    running = writer.get_statistics_writer()
    assert running is not None
    assert (running.n_frames, running.n_written_frames, running.n_lost_frames, running.success) == (6, 4, 0, False)
    assert writer.get_progress_message() == "Writer: receiving, #received:    4 (66.7%), #written:    4 (66.7%)"

    detector.frames([4, 5])
    detector.end()
    final = writer.wait(timeout=TIMEOUT)
    assert final is not None
    assert final.success
    assert (final.status, final.n_written_frames, final.first_frame_id, final.user_id) == ("finished", 6, 0, USER)
    assert final.duration_sec is not None
    assert final.writing_rate > 0
    assert final == writer.get_statistics() == writer.get_statistics_last_run()
    assert writer.get_statistics_writer() is None
    assert (writer.get_status(), writer.get_status_writer(), writer.get_status_last_run()) == 3 * ("finished",)
    assert writer.get_server_error() == ""
    assert f"series {final.series} complete. 6 of 6 frames are readable in" in writer.get_server_log()
    uptime = writer.get_server_uptime()
    assert uptime is not None
    assert timedelta() < uptime < timedelta(hours=1)

    writer.set_parameters({"remark": "after the end"})

    np.testing.assert_array_equal(read_frames(begun.output_file), [pixels(number) for number in range(6)])
    with h5py.File(begun.output_file) as file:
        parameters = file["/entry/instrument/camera/collection/parameters"]
        assert [parameters[name].asstr()[()] for name in ("sample", "remark")] == ["bone", "after the end"]
        assert parameters["energy"][()] == 12.5
    assert os.stat(begun.output_file).st_uid == USER
    writer.configure(dataset_name="other")
    assert writer.get_status() is WriterStatus.CONFIGURED


def test_without_a_number_of_frames_it_goes_on_until_stop(writer: RemoteWriter, detector: Detector) -> None:
    writer.configure("endless.h5")
    writer.start()
    detector.start(3)
    detector.frames(range(3))
    assert writer.wait_nframes(3) is True
    assert writer.get_progress_message() == "Writer: receiving, #received:    3, #written:    3"
    final = writer.stop()

    assert final is not None
    assert (final.success, final.n_written_frames, final.n_frames) == (True, 3, 0)
    assert writer.stop() is None
    assert writer.kill() is None


def test_without_a_series(writer: RemoteWriter) -> None:
    """What others have measured before is read, and neither waited for nor changed."""
    assert writer.wait() is None
    assert writer.wait_nframes(1) is None
    assert writer.get_statistics_writer() is None
    assert writer.get_statistics_last_run() is not None
    with pytest.raises(ConfigError, match="no series whose parameters"):
        writer.set_parameters({"remark": "too late"})


def test_stop_without_waiting(writer: RemoteWriter) -> None:
    writer.configure("stopped.h5", n_frames=5)
    writer.start()
    stopped = writer.stop(wait=False)
    assert stopped is not None
    writer.client.wait(ended(writer), TIMEOUT, "the end")

    final = writer.wait()
    assert final is not None
    assert (final.status, final.success, final.n_lost_frames) == ("finished", False, 5)
    assert "5" in final.reason


def test_kill(writer: RemoteWriter, detector: Detector) -> None:
    writer.configure("killed.h5", n_frames=5)
    writer.start()
    detector.start(5)
    detector.frames(range(2))
    assert writer.wait_nframes(2)
    assert writer.kill() is not None
    final = writer.wait()

    assert final is not None
    assert (final.status, final.success, final.n_written_frames) == ("finished", False, 2)


def test_frames_that_did_not_come_are_in_the_figures(writer: RemoteWriter, detector: Detector) -> None:
    writer.configure("lossy.h5", n_frames=5)
    writer.start()
    detector.start(5)
    detector.frames([0, 1, 3, 4])
    detector.end()
    assert writer.wait_nframes(5, timeout=TIMEOUT) is False
    final = writer.wait()

    assert final is not None
    assert (final.success, final.n_written_frames, final.n_lost_frames) == (False, 4, 1)
    assert "missing" in final.reason


def test_what_a_camera_still_holds_is_thrown_away(
    writer: RemoteWriter, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = writer.get_statistics_last_run()

    with once_waiting(monkeypatch, lambda: detector.series(5)):
        assert writer.flush_cam_stream(2000) == 5
    assert writer.flush_cam_stream(50) == 0
    assert not writer.is_running()
    assert writer.get_statistics_last_run() == before


def test_a_camera_that_does_not_stop_can_not_be_flushed(writer: RemoteWriter, detector: Detector) -> None:
    stop = threading.Event()

    def stream() -> None:
        number = 0
        detector.start()
        while not stop.wait(0.02):
            detector.frames([number])
            number += 1
        detector.end()

    with in_thread(stream):
        try:
            with pytest.raises(DeadlineExceeded, match="silence of the camera"):
                writer.flush_cam_stream(2000, longest=2.5)
        finally:
            stop.set()
    assert not writer.is_running()


def test_reset(writer: RemoteWriter) -> None:
    writer.configure("reset.h5")
    writer.start()
    first = writer.series
    assert writer.reset() is WriterStatus.CONFIGURED

    assert writer.series is None
    assert (writer.is_running(), writer.get_status()) == (False, "configured")
    assert writer.client.series(str(first)).outcome == "aborted"


def test_waits_have_deadlines(writer: RemoteWriter, detector: Detector) -> None:
    writer.configure("late.h5", n_frames=5)
    writer.start()

    with pytest.raises(DeadlineExceeded, match=r"Waited 0\.2 s for the end of series .* 0 of 5 frames are readable"):
        writer.wait(timeout=0.2)
    with pytest.raises(DeadlineExceeded, match=r"no frame came for 0\.2 s.* Is the camera on"):
        writer.wait(inactivity_timeout=0.2)
    assert writer.wait_nframes(1, 0.2) is False
    with pytest.raises(DeadlineExceeded, match="for 1 frames of series"):
        writer.wait_nframes(1, -1, timeout=0.2)
    assert writer.wait_nframes(0) is True
    assert writer.is_running()
    for wrong in ("5", 2.5, True, None):
        with pytest.raises(ConfigError, match=r"nframes is .* it should be a whole number"):
            writer.wait_nframes(wrong)  # type: ignore[arg-type]


def test_ctrl_c_ends_the_waiting_alone(
    writer: RemoteWriter, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.configure("interrupted.h5", n_frames=5)
    writer.start()
    detector.start(5)
    detector.frames(range(2))
    assert writer.wait_nframes(2)
    with once_waiting(monkeypatch, lambda: signal.raise_signal(signal.SIGINT)):
        so_far = writer.wait(inactivity_timeout=None)
    assert so_far is not None
    assert (so_far.status, so_far.n_written_frames) == ("receiving", 2)
    with once_waiting(monkeypatch, lambda: signal.raise_signal(signal.SIGINT)):
        assert writer.wait_nframes(5, None) is False
    assert writer.is_running()


def test_two_clients_at_once(writer: RemoteWriter, process: ServiceProcess, detector: Detector) -> None:
    """One that has started nothing means whatever runs; one that has means its own series alone."""
    writer.configure("shared.h5")
    writer.start()
    detector.start()
    detector.frames(range(2))
    assert writer.wait_nframes(2)
    with RemoteWriter("other.h5", url=process.url, api_key=process.api_key, progress=False) as other:
        with pytest.raises(Busy, match=str(writer.series)):
            other.start()
        assert (other.is_running(), other.get_status(), other.get_written_frames()) == (True, "receiving", 2)
        results: list[Any] = []
        with in_thread(lambda: results.append(writer.wait(timeout=TIMEOUT))):
            assert other.stop() is not None
        assert results[0].success
        other.start()
        assert (writer.is_running(), writer.stop(), writer.get_status()) == (False, None, "finished")
        assert other.is_running()
        with RemoteWriter(url=process.url, api_key=process.api_key, series=other.series) as third:
            assert third.kill() is not None


def test_the_camera_may_be_another_one(process: ServiceProcess, tmp_path: Path) -> None:
    first, second = Detector(), Detector()
    source = {"endpoints": [first.address], "queue": 3, "let_go": True}
    config = config_for(first, tmp_path, unarmed="ignore", wait=WAIT, source=source)
    try:
        with ServiceProcess(config) as own, RemoteWriter(url=own.url, api_key=own.api_key, progress=False) as writer:
            writer.configure("other.h5", n_frames=2, connection_address=second.address)
            writer.start()
            second.series(2)
            final = writer.wait(timeout=TIMEOUT)
            assert final is not None
            assert final.success
            assert [one.endpoint for one in writer.client.status().sources] == [second.address]
            # All else that was said of the source still holds.
            assert writer.client.source().model_dump(exclude_defaults=True) == {**source, "endpoints": [second.address]}
    finally:
        first.close()
        second.close()


def test_what_is_refused(writer: RemoteWriter, process: ServiceProcess, detector: Detector) -> None:
    with pytest.raises(ConfigError, match="no output file"):
        writer.start()
    with pytest.raises(ConfigError, match="n_frames"):
        writer.configure("taken.h5", n_frames="5")  # type: ignore[arg-type]
    with pytest.raises(PathRefused):
        writer.configure("../taken.h5")
    assert writer.get_configuration().output_file == ""

    writer.configure("/etc/taken.h5")
    with pytest.raises(PathRefused, match="outside of the data directory"):
        writer.start()
    outside = process.config.files.directory / "outside"
    outside.symlink_to("/tmp")
    writer.configure("outside/taken.h5")
    with pytest.raises(PathRefused, match="outside of the data directory"):
        writer.start()
    writer.configure("taken.h5", n_frames=1, layout="nobodys")
    with pytest.raises((ConfigError, RequestRefused), match="nobodys"):
        writer.start()
    assert not writer.is_running()


def test_a_dataset_is_written_once(writer: RemoteWriter, detector: Detector) -> None:
    writer.configure("once.h5", n_frames=1)
    writer.start()
    detector.series(1)
    writer.wait(timeout=TIMEOUT)

    with pytest.raises(DatasetTaken, match=r"once\.h5"):
        writer.start()
    assert writer.get_status() is WriterStatus.FINISHED


def test_three_series_into_one_file(writer: RemoteWriter, detector: Detector) -> None:
    for frames, name in enumerate(("data_dark", "data_white", "data"), 2):
        writer.configure("three.h5", name, frames, layout="exchange")
        writer.start()
        detector.series(frames)
        final = writer.wait(timeout=TIMEOUT)
        assert final is not None
        assert (final.success, final.dataset, final.dataset_name) == (True, f"/exchange/{name}", name)
    with h5py.File(str(final.output_file)) as file:
        assert {name: len(file["exchange"][name]) for name in file["exchange"]} == {
            "data_dark": 2,
            "data_white": 3,
            "data": 4,
        }


def test_files_of_so_many_frames(writer: RemoteWriter, detector: Detector) -> None:
    writer.configure("many_%03d.h5", n_frames=5, max_frames_per_file=2)
    writer.start()
    detector.series(5)
    final = writer.wait(timeout=TIMEOUT)
    assert final is not None
    assert final.success
    folder = Path(str(final.output_file)).parent
    assert sorted(one.name for one in folder.glob("many*")) == ["many.h5", *(f"many_00{k}.h5" for k in (1, 2, 3))]
    np.testing.assert_array_equal(read_frames(str(final.output_file)), [pixels(number) for number in range(5)])


def test_nobody_there() -> None:
    with RemoteWriter("scan.h5", url=NOBODY) as writer:
        assert (writer.is_connected(), writer.get_status()) == (False, "unknown")
        for verb in (writer.start, writer.stop, writer.kill, writer.wait, writer.is_running, writer.get_statistics):
            with pytest.raises(ServiceUnreachable, match=NOBODY):
                verb()


def test_a_wrong_key(process: ServiceProcess) -> None:
    with RemoteWriter("scan.h5", url=process.url, api_key="another" * 5) as writer:
        assert writer.is_connected()
        with pytest.raises(Unauthorised):
            writer.start()
        assert not writer.is_running()


@contextmanager
def short_lived(detector: Detector, directory: Path, **changes: Any) -> Iterator[ServiceProcess]:
    """A service that the test may kill."""
    process = ServiceProcess(config_for(detector, directory, unarmed="ignore", wait=WAIT, **changes))
    process.start()
    try:
        yield process
    finally:
        process.close()


@contextmanager
def three_of_five(process: ServiceProcess, detector: Detector) -> Iterator[RemoteWriter]:
    with RemoteWriter("killed.h5", n_frames=5, url=process.url, api_key=process.api_key, progress=False) as writer:
        writer.start()
        detector.start(5)
        detector.frames(range(3))
        assert writer.wait_nframes(3)
        yield writer


def kill_data_plane(process: ServiceProcess) -> None:
    pid = PidFile(process.config.files.directory, "camera", DetectorConfig.PLANE).running()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_writer_that_dies_is_noticed(own: Detector, tmp_path: Path) -> None:
    with short_lived(own, tmp_path) as process, three_of_five(process, own) as writer:
        with (
            in_thread(lambda: kill_data_plane(process)),
            pytest.raises(FramesLost, match=r"interrupted.*3 of 5 frames"),
        ):
            writer.wait(timeout=TIMEOUT)
        assert writer.get_status() is WriterStatus.ERROR
        assert "killed" in writer.get_server_error()
        with pytest.raises(FramesLost):
            writer.wait_nframes(5)
        assert writer.wait_nframes(3) is True


def test_a_writer_that_hangs_is_noticed(own: Detector, tmp_path: Path) -> None:
    with short_lived(own, tmp_path, watch=HASTY) as process, three_of_five(process, own) as writer:
        pid = PidFile(tmp_path, "camera", DetectorConfig.PLANE).running()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded, match=r"does not go on: .*silent.* 3 of 5 frames are readable"):
                writer.wait(timeout=TIMEOUT)
            assert writer.get_status() is WriterStatus.ERROR
            assert "Its disk may hang" in writer.get_server_error()
        finally:
            os.kill(pid, signal.SIGCONT)
        writer.client.wait(lambda status: status.state != "error", TIMEOUT, "news of the data plane")
        own.frames([3, 4])
        own.end()
        final = writer.wait(timeout=TIMEOUT)
        assert final is not None
        assert final.success


def test_a_writer_that_hangs_can_be_killed(own: Detector, tmp_path: Path) -> None:
    """It does not answer, so that the service kills its process; the next series works."""
    with short_lived(own, tmp_path, watch={"answer": 3.0}) as process, three_of_five(process, own) as writer:
        pid = PidFile(tmp_path, "camera", DetectorConfig.PLANE).running()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        killed = writer.kill()
        assert killed is not None
        assert (killed.success, killed.n_written_frames) == (False, 3)
        assert "was killed" in killed.reason
        writer.client.wait(lambda status: status.state == "idle", TIMEOUT, "another data plane")
        writer.configure("next.h5", n_frames=1)
        writer.start()
        own.series(1)
        final = writer.wait(timeout=TIMEOUT)
        assert final is not None
        assert final.success


def test_an_answer_that_got_lost(writer: RemoteWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service has armed, and the client never heard of it: it looks, and knows its series."""
    arm = writer.client.arm

    def lost(request: Any) -> Any:
        arm(request)
        raise ServiceUnreachable("the answer got lost")

    monkeypatch.setattr(writer.client, "arm", lost)
    writer.configure("lost-answer.h5")
    begun = writer.start()
    assert (writer.series, writer.is_running()) == (begun.series, True)

    def never(request: Any) -> Any:
        raise ServiceUnreachable("the question got lost")

    writer.kill()
    monkeypatch.setattr(writer.client, "arm", never)
    with pytest.raises(ServiceUnreachable, match="the question got lost"):
        writer.start()
    assert not writer.is_running()


def test_two_that_start_at_once(process: ServiceProcess) -> None:
    """One of them has the writer, whoever it is; the other is told so."""
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def start(name: str) -> None:
        with RemoteWriter(f"{name}.h5", url=process.url, api_key=process.api_key, progress=False) as writer:
            barrier.wait(TIMEOUT)
            try:
                outcomes.append(writer.start().status)
            except Busy:
                outcomes.append("busy")
            barrier.wait(TIMEOUT)
            writer.kill()

    with in_thread(lambda: start("first")), in_thread(lambda: start("second")):
        pass
    assert sorted(outcomes) == ["busy", "receiving"]


def test_a_service_that_is_started_again(own: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while somebody waits, started again at the same address: the series is interrupted, the next one works."""
    monkeypatch.setenv("STREAMDET_API_KEY", "a-key-of-the-test")
    monkeypatch.setattr(following, "AWAY", 2 * TIMEOUT)  # A busy machine takes its time to start a service.
    with short_lived(own, tmp_path) as first, three_of_five(first, own) as writer:
        port = int(first.url.rpartition(":")[2])

        def restart() -> None:
            assert first.pid is not None
            os.kill(first.pid, signal.SIGKILL)
            first.close()
            second.start()

        second = ServiceProcess(config_for(own, tmp_path, unarmed="ignore", wait=WAIT, rest={"port": port}))
        try:
            with (
                once_waiting(monkeypatch, restart),
                pytest.raises(FramesLost, match="the service died while the series ran"),
            ):
                writer.wait(timeout=2 * TIMEOUT)
            assert writer.get_status() is WriterStatus.ERROR
            assert "the service died" in writer.get_server_error()
            writer.configure("next.h5", n_frames=2)
            writer.start()
            own.series(2)
            final = writer.wait(timeout=TIMEOUT)
            assert final is not None
            assert final.success
        finally:
            second.close()


def test_a_service_that_stays_away(own: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AWAY", 0.3)
    with short_lived(own, tmp_path) as process, three_of_five(process, own) as writer:
        pid = process.pid
        assert pid is not None
        with (
            once_waiting(monkeypatch, lambda: os.kill(pid, signal.SIGKILL)),
            pytest.raises(ServiceUnreachable, match=r"gone in the middle of series .* 3 of 5 frames are readable"),
        ):
            writer.wait(timeout=TIMEOUT)
        assert writer.get_status() is WriterStatus.UNKNOWN


def test_a_service_that_knows_nothing_of_the_series(writer: RemoteWriter) -> None:
    writer.series = "of-another-service"

    with pytest.raises(ServiceUnreachable, match="knows no series of-another-service"):
        writer.wait()
    assert writer.get_status() is WriterStatus.UNKNOWN


OLD_SCRIPT = """
from bluesky_streamdet import RemoteWriter as PcoWriter

pco = PcoWriter(output_file="old/scan.h5", dataset_name="data", n_frames=3, cam="pco1", config_file="{file}",
                user_id={user}, max_frames_per_file=20000)
if pco.is_running():
    pco.stop(verbose=True)
pco.flush_cam_stream(timeout=50, verbose=True)
configuration = pco.configure(n_frames=4, verbose=True)
assert pco.validate_configuration() and int(configuration["n_frames"]) == 4
assert configuration == pco.get_configuration() and "dataset_name" in [key for key in configuration]
pco.start(wait=True, timeout=10, verbose=True)
trigger()
pco.wait_nframes(4, inactivity_timeout=10, verbose=True)
pco.wait(verbose=True)
statistics = pco.get_statistics_last_run(verbose=True)
assert statistics["status"] == "finished" and statistics["success"], statistics
assert statistics.get("n_lost_frames") == 0 and statistics["n_written_frames"] == 4
assert pco.get_status() in ["finished", "stopping"] and pco.get_status_last_run() == "finished"
pco.close()
"""


def test_a_script_for_the_old_client_runs_with_its_import_changed(
    process: ServiceProcess, detector: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pco_config.json"
    camera = {
        "name": "pco1",
        "connection_address": detector.address,
        "flask_api_address": process.url,
        "writer_api_address": "http://daq:9555",
    }
    file.write_text(json.dumps({"cameras": [camera]}))
    exec(OLD_SCRIPT.format(file=file, user=USER), {"trigger": lambda: detector.series(4)})


def test_a_plain_line_each_second(
    process: ServiceProcess, detector: Detector, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bluesky_streamdet.service.progress.EVERY", 0.0)
    for progress in (True, False):
        with RemoteWriter(
            f"lines_{progress}.h5", n_frames=2, url=process.url, api_key=process.api_key, progress=progress
        ) as writer:
            writer.start()
            with in_thread(lambda: detector.series(2)):
                writer.wait(timeout=TIMEOUT)
        said = capsys.readouterr().out
        assert ("Writer: finished, #received:    2 (100.0%), #written:    2 (100.0%)\n" in said) == progress
        assert bool(said) == progress
