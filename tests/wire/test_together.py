"""Services in processes of their own that pull from one detector: each writes a share, and a master shows the whole."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded, FileTaken, RequestRefused, ServiceUnreachable
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.together import Progress, Together, share_name
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.files.reader import read_frames
from bluesky_streamdet.streaming.files.several.whole import write_together
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status
from tests.wire.service_parts import TIMEOUT, Detector, config_for, pixels

pytestmark = pytest.mark.wire


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


class Station:
    """Several services of one detector."""

    def __init__(self, detector: Detector, folder: Path, services: int) -> None:
        self._stack = ExitStack()
        self.services: list[ServiceProcess] = []
        self.clients: list[ServiceClient] = []
        source = {"endpoints": [detector.address], "shared": True}
        for number in range(services):
            config = config_for(detector, folder, source=source).model_copy(update={"detector": f"camera_{number}"})
            service = self._stack.enter_context(ServiceProcess(config))
            self.services.append(service)
            self.clients.append(self._stack.enter_context(ServiceClient(service.url, service.api_key)))
        for client in self.clients:
            client.wait(lambda status: bool(status.sources and status.sources[0].connected), TIMEOUT, "the detector")

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def stations(detector: Detector, tmp_path: Path) -> Iterator[list[Station]]:
    made: list[Station] = []
    yield made
    for one in made:
        one.close()


def kill_data_plane(service: ServiceProcess) -> None:
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    assert children
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def is_last(status: Status, id: str) -> bool:
    return status.series is None and status.last_series is not None and status.last_series.id == id


def shown(path: Path) -> list[int]:
    frames = read_frames(path)
    assert (frames == frames[:, :1, :1]).all()
    return frames[:, 0, 0].tolist()


@pytest.mark.parametrize("services", [2, 4])
def test_services_that_share_a_stream_write_one_series(
    detector: Detector, tmp_path: Path, stations: list[Station], services: int
) -> None:
    stations.append(station := Station(detector, tmp_path, services))
    together = Together(station.clients)
    seen: list[Progress] = []
    for run, name in enumerate(("scan", "again_{index:02d}")):
        together.arm(ArmRequest(name=name, expected_frames=300, frames_per_file=0 if run == 0 else 40))
        detector.series(300)
        together.wait(300, TIMEOUT, show=seen.append)
        report = together.stop(expected=300)

        assert (report.outcome, report.ledger.written, report.ledger.missing) == (Outcome.COMPLETE, 300, 0)
        path = tmp_path / ("scan.h5" if run == 0 else "again.h5")
        assert report.file == str(path)
        assert shown(path) == list(range(300))
        said = inspect(path)
        assert (said.complete, said.series, said.ledger) == (True, together.id, report.ledger)
        for number, client in enumerate(station.clients, 1):
            own = client.series(f"{together.id}-{number}")
            assert own.ledger.shared
            assert (own.ledger.expected, own.ledger.missing, own.outcome) == (None, 0, Outcome.COMPLETE)
            assert 0 < own.ledger.written < 300
            assert "only all of them together tell what is missing" in own.reason
    assert seen[-1].received == 300
    assert read_frames(tmp_path / "again_1_01.h5").shape[0] == 40


def test_what_a_service_takes_with_it_when_it_dies_is_missing_in_the_whole(
    detector: Detector, tmp_path: Path, stations: list[Station]
) -> None:
    stations.append(station := Station(detector, tmp_path, 2))
    together = Together(station.clients)
    together.arm(ArmRequest(name="scan"))
    detector.start()
    detector.frames(range(100))
    together.wait(100, TIMEOUT)
    before = station.clients[1].wait(
        lambda status: status.series is not None and status.series.ledger.pending == 0, TIMEOUT, "the flush"
    )
    assert before.series is not None
    kill_data_plane(station.services[1])
    station.clients[1].wait(lambda status: status.series is None, TIMEOUT, "the death of a data plane")
    report = together.stop(expected=120)

    assert (report.outcome, report.ledger.written, report.ledger.missing) == (Outcome.INTERRUPTED, 100, 20)
    assert "20 of 120 frames are missing" in report.reason
    assert shown(Path(str(report.file))) == list(range(100))


def test_one_that_can_not_be_asked_does_not_keep_the_others_from_ending(
    detector: Detector, tmp_path: Path, stations: list[Station]
) -> None:
    stations.append(station := Station(detector, tmp_path, 2))
    together = Together(station.clients)
    pid = station.services[0].pid
    assert pid is not None
    together.arm(ArmRequest(name="scan"))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ServiceUnreachable):
        together.stop()
    station.clients[1].wait(lambda status: status.series is None, TIMEOUT, "the end of the other share")


def test_no_share_stays_armed_when_an_answer_gets_lost(
    detector: Detector, tmp_path: Path, stations: list[Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    stations.append(station := Station(detector, tmp_path, 2))
    last = station.clients[1]
    arm = last.arm

    def lost(request: ArmRequest) -> SeriesReport:
        arm(request)
        raise ServiceUnreachable("the answer got lost")

    monkeypatch.setattr(last, "arm", lost)
    with pytest.raises(ServiceUnreachable, match="the answer got lost"):
        Together(station.clients).arm(ArmRequest(name="scan"))
    assert all(client.status().series is None for client in station.clients)


def test_a_wait_ends_when_nothing_comes_any_more(detector: Detector, tmp_path: Path, stations: list[Station]) -> None:
    stations.append(station := Station(detector, tmp_path, 2))
    together = Together(station.clients)
    together.arm(ArmRequest(name="scan"))
    detector.start()
    detector.frames(range(0, 90, 3))
    assert together.wait(30, TIMEOUT).received == 30
    assert together.wait(90, TIMEOUT, quiet=0.3).received == 30
    with pytest.raises(DeadlineExceeded, match="30 have come to 2 services"):
        together.wait(90, 0.2)
    report = together.stop(expected=90)
    assert (report.outcome, report.ledger.missing) == (Outcome.INCOMPLETE, 60)
    assert report.ledger.missing_ranges[:2] == [(1, 2), (4, 5)]

    # One service has a file of that name: none stays armed.
    (tmp_path / "other_2.h5").write_text("mine")
    with pytest.raises(FileTaken):
        together.arm(ArmRequest(name="other"))
    assert all(client.status().series is None for client in station.clients)
    with pytest.raises(RequestRefused, match="none of replace, append"):
        together.arm(ArmRequest(name="scan", append=True))
    assert np.array_equal(read_frames(tmp_path / "scan.h5")[1], pixels(3))


def test_names_of_shares_are_numbered() -> None:
    names = ["scan", "scan.h5", "a/scan_{index:03d}.nxs", "scan_%03d.h5", "{index}"]
    assert [share_name(name, 2) for name in names] == [
        "scan_2",
        "scan_2.h5",
        "a/scan_2_{index:03d}.nxs",
        "scan_2_%03d.h5",
        "2_{index}",
    ]


@pytest.mark.parametrize("each", [20, 1000])
def test_a_series_of_several_files_is_whole_again_when_its_writer_was_killed(
    detector: Detector, tmp_path: Path, each: int
) -> None:
    """The service mends the file that was open, and shows what is there: after the third roll-over, and before any."""
    config = config_for(detector, tmp_path)
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        id = client.arm(ArmRequest(name="scan_%02d", frames_per_file=each)).id
        detector.start()
        detector.frames(range(75))
        client.wait(lambda status: status.series is not None and status.series.ledger.written == 75, TIMEOUT, "frames")
        kill_data_plane(service)
        client.wait(lambda status: status.series is None and status.state == "idle", TIMEOUT, "another data plane")
        report = client.series(id)

    assert (report.outcome, report.ledger.written) == (Outcome.INTERRUPTED, 75)
    assert report.file == str(tmp_path / "scan.h5")
    assert shown(tmp_path / "scan.h5") == list(range(75))
    said = inspect(tmp_path / "scan.h5")
    assert (said.outcome, said.readable) == (Outcome.INTERRUPTED, 75)
    assert [one.frames for one in said.parts] == ([20, 20, 20, 15] if each == 20 else [75])
    assert not said.faults


def test_shares_in_folders_of_their_own_move_together(tmp_path: Path, detector: Detector) -> None:
    config = config_for(detector, tmp_path / "data")
    reports = []
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        for one in range(2):
            client.arm(ArmRequest(id=f"s{one}", name="scan", directory=f"w{one}"))
            detector.start(10)
            detector.frames(range(one, 20, 2))
            detector.end()
            client.wait(lambda status, one=one: is_last(status, f"s{one}"), TIMEOUT, "the end")
            reports.append(client.series(f"s{one}"))
    write_together(tmp_path / "data/scan.h5", reports, series="s", expected=20)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")

    assert shown(tmp_path / "elsewhere/scan.h5") == list(range(20))
    (tmp_path / "elsewhere/w1/scan.h5").unlink()
    with pytest.raises(OSError, match=r"w1/scan\.h5: No such file"):
        read_frames(tmp_path / "elsewhere/scan.h5")
