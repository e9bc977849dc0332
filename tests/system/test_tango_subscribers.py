"""A program that has subscribed to all that the device announces, and hangs or dies, holds up nobody else."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bluesky_streamdet.xspress3.tango_attributes import MOST_IN_EVENT
from tests.system.tango_server import TIMEOUT, Client, TangoServer, serving, tango

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.keeps_sockets("Tango's client keeps its connections for the life of the process"),
]

CHANNELS = 16
SERIES = 12
"""So many, of so many channels, fill all buffers between server and subscriber if spectra go into events."""


class Follower:
    """A program that follows the device."""

    def __init__(self, address: str) -> None:
        command = [sys.executable, "-m", "tests.system.tango_follower", address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.followed: dict[str, list[str]] = json.loads(self._process.stdout.readline())

    def hang(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def follower_of(server: TangoServer) -> Iterator[Follower]:
    follower = Follower(server.address)
    try:
        yield follower
    finally:
        follower.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TangoServer]:
    with serving(tmp_path_factory.mktemp("data"), channels=CHANNELS) as server:
        yield server


@pytest.fixture
def client(server: TangoServer) -> Iterator[Client]:
    client = Client(server.address)
    client.until_state("STANDBY")
    yield client
    client.close()


def take_a_frame(client: Client) -> None:
    client.arm(TriggerMode="INTERNAL", ExposureTime=1e-3)
    assert "1 of 1 frames were sent" in client.until_state("STANDBY")


def test_a_subscriber_that_hangs_and_is_killed(server: TangoServer, client: Client) -> None:
    with follower_of(server) as follower:
        follower.hang()
        for _ in range(SERIES):
            take_a_frame(client)
    take_a_frame(client)
    assert client.proxy.Spectra.shape == (CHANNELS, 4096)


def test_spectra_are_announced_without_their_values(server: TangoServer, client: Client) -> None:
    attributes = client.proxy.attribute_list_query()
    large = {one.name for one in attributes if one.max_dim_x * max(one.max_dim_y, 1) > MOST_IN_EVENT}
    assert {"Spectra", "SumSpectrum"} <= large
    with follower_of(server) as follower:
        assert set(follower.followed["ready"]) == large
        assert set(follower.followed["change"]) == {one.name for one in attributes} - large


def test_new_spectra_are_announced_with_the_number_of_the_frame(client: Client) -> None:
    told: queue.Queue[Any] = queue.Queue()
    subscription = client.proxy.subscribe_event("TotalSpectra", tango.EventType.DATA_READY_EVENT, told.put)
    client.arm(TriggerMode="INTERNAL", ExposureTime=1e-3, nFramesPerTrigger=3)
    event = told.get(timeout=TIMEOUT)
    client.proxy.unsubscribe_event(subscription)

    assert (event.err, event.ctr) == (False, 2)
    assert client.proxy.TotalSpectra.sum() > client.proxy.Spectra.sum() > 0
