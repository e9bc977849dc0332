"""The whole service that owns an Xspress3, in its processes, over the simulated SDK: files, ports, faults."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmq

from bluesky_streamdet.core.errors import Busy, ConfigError, HardwareFailed, RequestRefused
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.predecessor import PidFile
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport, Status
from bluesky_streamdet.xspress3.config import Xspress3Config, for_system

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PATIENCE = 30.0
GROUP = "/entry/instrument/xspress3"


def config_in(directory: Path, **changes: Any) -> Xspress3Config:
    """A service of two simulated channels on free ports."""
    values: dict[str, Any] = {
        "system": {"simulate": {"channels": 2, "rate": 1e5}},
        "files": {"directory": str(directory)},
        "rest": {"port": 0},
        "outputs": [],
        "monitor": None,
        "log_level": "ERROR",
    }
    return for_system(values | changes, environ={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("xspress3")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(config_in(folder)) as process:
        yield process


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[ServiceClient]:
    with ServiceClient(service.url, service.api_key) as client:
        yield client
        client.instruct("stop")
        status = client.status()
        if status.series is not None:
            client.abort(status.series.id)


def ended(client: ServiceClient, id: str) -> SeriesReport:
    """The report of a series that is over."""
    client.wait(lambda status: _is_over(status, id), PATIENCE, f"the end of series {id}")
    return client.series(id)


def _is_over(status: Status, id: str) -> bool:
    return status.series is None and status.last_series is not None and status.last_series.id == id


def taken(client: ServiceClient, request: ArmRequest | None = None, **timing: Any) -> SeriesReport:
    """A whole series."""
    series = client.arm(request or ArmRequest())
    client.instruct("arm", **timing)
    return ended(client, series.id)


def test_a_series_in_its_file(client: ServiceClient) -> None:
    report = taken(client, ArmRequest(name="first"), exposure=0.002, frames=50)

    assert (report.outcome, report.ledger.written, report.reason) == (Outcome.COMPLETE, 50, "")
    assert report.file is not None and report.data is not None
    assert (report.data.shape, report.data.dtype) == ((2, 4096), "<u4")
    names = {one.name: one for one in report.data.scalars}
    assert names["window_counts"].shape == (2, 2)
    with h5py.File(report.file) as file:
        spectra = file["/entry/data/data"][()]
        group = file[GROUP]
        np.testing.assert_array_equal(spectra.sum(axis=-1), group["all_good"][()])
        assert {int(one) for one in group["total_ticks"][()].ravel()} == {160_000}
        for name, one in names.items():
            assert group[name].shape == (50, *one.shape), name
            assert group[name].dtype == np.dtype(one.dtype), name
        assert file["/entry/instrument/detector/data"].shape == (50, 2, 4096)
        np.testing.assert_array_equal(group["sequence_number"][()], np.arange(50))


def test_the_latest_frame_comes_with_its_scalars(client: ServiceClient) -> None:
    taken(client, ArmRequest(save=False), exposure=0.002, frames=3)

    header, spectra, scalars = client.frame()

    assert header.number == 2
    np.testing.assert_array_equal(spectra.sum(axis=-1), scalars["all_good"])
    assert client.instruct("read")["spectra"] == spectra.tolist()


def test_a_step_scan(client: ServiceClient) -> None:
    series = client.arm(ArmRequest(open_ended=True))
    client.instruct("arm", mode="software", exposure=0.002, triggers=1_000_000)
    for point in range(1, 6):
        client.instruct("trigger")
        client.wait(lambda status, point=point: _written(status) >= point, PATIENCE, f"frame {point}")
    client.instruct("stop")
    client.stop(series.id)

    report = ended(client, series.id)
    assert (report.outcome, report.ledger.written) == (Outcome.COMPLETE, 5)


def _written(status: Status) -> int:
    return status.series.ledger.written if status.series is not None else 0


def test_hardware_triggers_and_gates(client: ServiceClient) -> None:
    series = client.arm(ArmRequest())
    client.instruct("arm", mode="hardware", exposure=0.002, triggers=10)
    client.instruct("pulse", count=10, period=0.005)
    assert ended(client, series.id).ledger.written == 10
    series = client.arm(ArmRequest())
    client.instruct("arm", mode="gate", triggers=4)
    client.instruct("gate", seconds=0.002, count=4, period=0.01)
    assert ended(client, series.id).ledger.written == 4


def test_stopping_the_series_stops_the_hardware(client: ServiceClient) -> None:
    series = client.arm(ArmRequest(open_ended=True))
    client.instruct("arm", exposure=0.01, frames=100_000)
    client.wait(lambda status: _written(status) > 3, PATIENCE, "frames")
    client.stop(series.id)

    report = ended(client, series.id)
    assert client.detector()["state"] == "idle"
    assert report.ledger.written == report.ledger.unique > 3
    assert taken(client, exposure=0.002, frames=3).outcome is Outcome.COMPLETE


def test_aborting_the_series_stops_the_hardware(client: ServiceClient) -> None:
    series = client.arm(ArmRequest())
    client.instruct("arm", exposure=0.01, frames=100_000)
    client.wait(lambda status: _written(status) > 3, PATIENCE, "frames")
    assert client.abort(series.id).outcome in (None, Outcome.ABORTED)
    assert ended(client, series.id).outcome is Outcome.ABORTED

    assert taken(client, exposure=0.002, frames=3).outcome is Outcome.COMPLETE


def test_what_is_refused_arrives_as_the_same_error(client: ServiceClient) -> None:
    with pytest.raises(ConfigError, match="low may not be above high"):
        client.instruct("set_window", window=0, low=10, high=5)
    with pytest.raises(RequestRefused, match="not armed"):
        client.instruct("trigger")
    with pytest.raises(RequestRefused, match="no 'dance'"):
        client.instruct("dance")
    client.instruct("arm", mode="software", exposure=0.01)
    with pytest.raises(Busy):
        client.instruct("arm", exposure=0.01)


def test_series_that_nobody_armed_are_written_or_only_shown(client: ServiceClient) -> None:
    client.instruct("arm", exposure=0.002, frames=5, save=False)
    status = client.wait(lambda status: _last_frames(status) == 5, PATIENCE, "the series")
    assert status.last_series is not None
    assert (status.last_series.file, status.last_series.ledger.live_only) == (None, 5)
    client.instruct("arm", exposure=0.002, frames=6)
    status = client.wait(lambda status: _last_frames(status) == 6, PATIENCE, "the series")
    assert status.last_series is not None and status.last_series.file is not None


def _last_frames(status: Status) -> int:
    return status.last_series.ledger.unique if status.series is None and status.last_series is not None else 0


def test_an_overrun_ends_the_series(tmp_path: Path) -> None:
    system = {"max_frames": 8, "simulate": {"channels": 2, "rate": 1e5}}
    with (
        ServiceProcess(config_in(tmp_path, system=system)) as service,
        ServiceClient(service.url, service.api_key) as client,
    ):
        report = taken(client, exposure=1e-6, frames=100_000)

        assert report.outcome is Outcome.INCOMPLETE
        assert "Overrun: frames" in report.reason
        assert report.ledger.missing == 100_000 - report.ledger.written
        assert client.detector()["overruns"] == 1
        assert taken(client, exposure=0.02, frames=3).outcome is Outcome.COMPLETE


def test_a_receiver_that_never_reads_holds_up_no_more_than_the_memory_of_the_detector(tmp_path: Path) -> None:
    outputs = [{"name": "data", "address": "tcp://127.0.0.1:0", "kind": "push", "overflow": "wait", "queue": 4}]
    system = {"max_frames": 64, "simulate": {"channels": 2, "rate": 1e5}}
    with (
        ServiceProcess(config_in(tmp_path, system=system, outputs=outputs)) as service,
        ServiceClient(service.url, service.api_key) as client,
        zmq.Context() as context,
        context.socket(zmq.PULL) as receiver,
    ):
        receiver.linger, receiver.rcvhwm = 0, 1
        receiver.connect(client.status().outputs[0].address)
        client.wait(lambda status: status.outputs[0].clients == 1, PATIENCE, "the receiver")
        report = taken(client, exposure=0.002, frames=100_000)
        ledger = report.ledger

        assert (report.outcome, "Overrun: frames" in report.reason) == (Outcome.INCOMPLETE, True)
        assert 0 < ledger.written == ledger.received == ledger.expected - ledger.missing
        (output,) = client.status().outputs
        assert output.seen == output.sent + output.queued == ledger.written
        assert not output.dropped


def test_a_fault_and_the_way_out_of_it(tmp_path: Path) -> None:
    system = {"simulate": {"channels": 2, "fail": {"xsp3_histogram_read4d": 5}}}
    with (
        ServiceProcess(config_in(tmp_path, system=system)) as service,
        ServiceClient(service.url, service.api_key) as client,
    ):
        report = taken(client, exposure=0.01, frames=1000)

        assert report.outcome is Outcome.INCOMPLETE
        assert "xsp3_histogram_read4d" in report.reason
        assert client.detector()["state"] == "fault"
        status = client.status()
        assert status.state == "error" and "xsp3_histogram_read4d" in str(status.error)
        with pytest.raises(HardwareFailed, match="xsp3_histogram_read4d"):
            client.instruct("arm", exposure=0.01)
        client.instruct("reset")
        assert client.status().error is None
        assert taken(client, exposure=0.002, frames=3).outcome is Outcome.COMPLETE


def test_a_system_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HardwareFailed, match="xsp3_config failed"):
        ServiceProcess(config_in(tmp_path, system={"simulate": {"fail": {"xsp3_config": 0}}})).start()


def test_a_first_series_is_not_begun_again_after_a_crash(tmp_path: Path) -> None:
    config = config_in(tmp_path, start={"exposure": 0.005, "frames": 100_000})
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        client.wait(lambda status: _written(status) > 5, PATIENCE, "frames")
        pid = PidFile(config.files.directory, config.detector, config.PLANE).running()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        client.wait(lambda status: status.state == "error", PATIENCE, "the crash")
        client.wait(lambda status: status.state != "error" or bool(status.sources), PATIENCE, "the next data plane")
        assert client.detector()["state"] == "idle"


def test_a_data_plane_that_is_killed(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with ServiceProcess(config) as service, ServiceClient(service.url, service.api_key) as client:
        series = client.arm(ArmRequest(open_ended=True))
        client.instruct("arm", exposure=0.005, frames=100_000)
        client.wait(lambda status: _written(status) > 5, PATIENCE, "frames")
        pid = PidFile(config.files.directory, config.detector, config.PLANE).running()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        report = ended(client, series.id)
        assert report.outcome is Outcome.INTERRUPTED
        client.wait(lambda status: status.state != "error" or bool(status.sources), PATIENCE, "the next data plane")
        assert taken(client, exposure=0.002, frames=3).outcome is Outcome.COMPLETE
