"""What goes wrong below the Tango device: it says so, answers all the time, and Init mends it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.xspress3.config import for_system
from tests.system.tango_server import Client, TangoServer, descendants_of, refused, serving, tango, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]

AT_ONCE = 3.0
"""Seconds after which a Tango client gives up."""


@contextmanager
def client_of(server: TangoServer) -> Iterator[Client]:
    client = Client(server.address)
    try:
        yield client
    finally:
        client.close()


def test_an_error_of_the_sdk_in_a_series(tmp_path: Path) -> None:
    with serving(tmp_path, fail={"xsp3_scaler_read": 1}) as server, client_of(server) as client:
        client.arm(DestinationFileName="one.h5", nTriggers=3)
        client.proxy.SoftwareTrigger()
        client.until(nFramesAcquired=1)
        client.until(ReadyForSwTrigger=True)
        client.proxy.SoftwareTrigger()
        status = client.until_state("FAULT")
        assert "xsp3_scaler_read" in status
        assert "Init opens it anew" in status
        assert client.proxy.nChannels == 2
        with refused("hardware_failed", "Init opens it anew"):
            client.proxy.Arm()

        client.proxy.Init()
        client.until_state("STANDBY")
        client.arm(DestinationFileName="two.h5", TriggerMode="INTERNAL")
        assert "1 of 1 frames are in" in client.until_state("STANDBY")


def test_arm_that_the_hardware_refuses_leaves_nothing_armed(tmp_path: Path) -> None:
    with serving(tmp_path, fail={"xsp3_histogram_arm": 0}) as server, client_of(server) as client:
        client.proxy.DestinationFileName = "one.h5"
        with refused("hardware_failed", "xsp3_histogram_arm"):
            client.proxy.Arm()
        assert client.proxy.State() != tango.DevState.RUNNING
        client.proxy.Init()
        client.arm(DestinationFileName="one.h5")
        client.proxy.SoftwareTrigger()
        client.until_state("STANDBY")


def test_an_overrun_is_a_fault_until_the_next_series(tmp_path: Path) -> None:
    with serving(tmp_path, capacity=8) as server, client_of(server) as client:
        client.arm(TriggerMode="INTERNAL", ExposureTime=1e-5, nFramesPerTrigger=2000, DestinationFileName="lost.h5")
        status = client.until_state("FAULT")
        assert "ended incomplete" in status
        assert client.proxy.nOverruns > 0
        client.arm(TriggerMode="INTERNAL")
        assert "1 of 1 frames were sent" in client.until_state("STANDBY")


def test_hardware_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    with serving(tmp_path, fail={"xsp3_config": 0}) as server, client_of(server) as client:
        assert "xsp3_config" in client.until_state("FAULT")
        with pytest.raises(tango.DevFailed):
            client.proxy.Arm()


def test_a_port_that_somebody_has_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(tmp_path, f"--property=StreamerPort={port}") as server, client_of(server) as client:
            assert str(port) in client.until_state("FAULT")
            taken.close()
            client.proxy.Init()
            client.until_state("STANDBY")
            assert client.proxy.nChannels == 2
            assert client.proxy.Window1_Ch1.tolist() == [0, 4095]


def test_a_property_that_makes_no_sense(tmp_path: Path) -> None:
    with serving(tmp_path, "--property=Cards=0") as server, client_of(server) as client:
        assert "cards" in client.until_state("FAULT")


def test_the_service_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as server, client_of(server) as client:
        client.arm(nTriggers=2)
        (service,) = server.services()
        os.kill(service, signal.SIGKILL)
        assert "No service answers" in client.until_state("FAULT")
        with refused("service_unreachable"):
            client.proxy.Arm()
        client.proxy.Init()
        client.until_state("STANDBY")
        client.arm(TriggerMode="INTERNAL")
        client.until_state("STANDBY")


def test_the_data_plane_is_killed_and_comes_back_by_itself(tmp_path: Path) -> None:
    with serving(tmp_path) as server, client_of(server) as client:
        client.arm(nTriggers=2)
        (service,) = server.services()
        (data_plane,) = descendants_of(service)
        os.kill(data_plane, signal.SIGKILL)
        until(lambda: client.proxy.State() != tango.DevState.RUNNING, "the series reads as interrupted")
        until(lambda: descendants_of(service) not in ([], [data_plane]), "a new data plane")
        until(lambda: client.proxy.nBins == 4096 and "interrupted" in client.proxy.Status(), "what it says of it")
        client.arm(TriggerMode="INTERNAL")
        client.until_state("STANDBY")


def test_a_data_plane_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    with serving(tmp_path) as server, client_of(server) as client:
        client.proxy.set_timeout_millis(60_000)
        (service,) = server.services()
        (data_plane,) = descendants_of(service)
        os.kill(data_plane, signal.SIGSTOP)
        try:
            for _ in range(3):
                started = time.monotonic()
                client.proxy.State()
                client.proxy.Status()
                assert time.monotonic() - started < AT_ONCE
            assert "did not answer" in client.until_state("FAULT")
            started = time.monotonic()
            for command in ("Arm", "SoftwareTrigger", "Stop", "Abort"):
                with refused("service_unreachable"):
                    client.proxy.command_inout(command)
            assert time.monotonic() - started < AT_ONCE
        finally:
            os.kill(data_plane, signal.SIGCONT)
        client.until_state("STANDBY")
        client.arm(TriggerMode="INTERNAL")
        client.until_state("STANDBY")


def test_in_front_of_a_service_that_runs(tmp_path: Path) -> None:
    config = for_system(
        {
            "system": {"simulate": {"channels": 3}},
            "files": {"directory": str(tmp_path)},
            "outputs": [],
            "monitor": None,
            "rest": {"port": 0},
            "log_level": "WARNING",
        },
        environ={},
    )
    with ServiceProcess(config) as service, serving(tmp_path, "--service", service.url) as server:
        assert server.services() == []
        with client_of(server) as client, ServiceClient(service.url, service.api_key) as rest:
            assert (client.proxy.nChannels, client.proxy.ServiceAddress) == (3, service.url)
            rest.arm(ArmRequest(id="somebodys", name="theirs"))
            assert "somebodys" in client.until_state("RUNNING")
            client.proxy.DestinationFileName = "ours.h5"
            with refused("busy", "Another client has armed series somebodys"):
                client.proxy.Arm()
            client.proxy.DestinationFileName = ""
            client.proxy.Arm()
            client.proxy.SoftwareTrigger()
            client.until_state("STANDBY")
            assert (tmp_path / "theirs.h5").is_file()
            client.arm(DestinationFileName="one.h5")
            client.proxy.SoftwareTrigger()
            client.until_state("STANDBY")
            assert (tmp_path / "one.h5").is_file()


def test_a_service_that_comes_later(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    config = for_system(
        {
            "system": {"simulate": {"channels": 1}},
            "files": {"directory": str(tmp_path)},
            "outputs": [],
            "monitor": None,
            "rest": {"port": port},
            "log_level": "WARNING",
        },
        environ={},
    )
    with serving(tmp_path, "--service", f"http://127.0.0.1:{port}") as server, client_of(server) as client:
        assert "No service answers" in client.until_state("FAULT")
        with ServiceProcess(config):
            client.until_state("STANDBY")
            assert client.proxy.Window1_Ch0.tolist() == [0, 4095]
        client.until_state("FAULT")
