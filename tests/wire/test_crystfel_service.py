"""The same in a data plane, in a service with its status and metrics, and in `streamdet crystfel serve`."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import zmq

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import for_row
from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.sim.settings import SimulatorSettings, simulator
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.system.station import Process
from tests.unit.streaming.frames import picture
from tests.wire.streams import LOOPBACK, Rig, Stream, until
from tests.wire.strict_client import Reader, StrictClient

pytestmark = [pytest.mark.wire, pytest.mark.timeout(120)]
Rigs = Callable[..., Rig]


def test_a_data_plane_gives_what_it_receives(rigs: Rigs) -> None:
    rig = rigs(crystfel=[{"address": LOOPBACK, "policy": "complete", "queue": 4}])
    responder = rig.pipeline.crystfel[0]
    stream = Stream()
    reader = Reader((4, 6), ["frame_number", "series_id", "proposal.name", "flag"])
    worker = StrictClient(rig.context, responder.address, reader, poll=0)
    got = []

    def step() -> None:
        rig.turn()
        if (one := worker.next()) is not None:
            got.append(one)
            worker.ask()

    try:
        id = rig.pipeline.arm(ArmRequest(metadata={"proposal": {"name": "p1"}, "flag": False})).id
        rig.send([stream.start(), *(stream.frame(number) for number in range(4))])
        rig.until(lambda: responder.blocked, "four frames that nobody took")
        assert rig.pipeline.blocked_by is responder
        assert rig.reporter.status().slow == "'crystfel' waits for workers of CrystFEL; none is connected"
        rig.pipeline.set_parameters(id, {"flag": True})
        until(lambda: len(got) == 4, step, "the first four")
        rig.send([*(stream.frame(number) for number in range(4, 9)), stream.end()])
        until(lambda: rig.pipeline.last is not None and len(got) == 9, step, "the rest, and the end of the series")
        until(lambda: responder.report().all_wait, step, "the worker to be done")

        assert [one.number for one in got] == list(range(9))
        assert {one.headers["series_id"] for one in got} == {id}
        assert [one.headers["flag"] for one in got] == [0] * 4 + [1] * 5
        np.testing.assert_array_equal(got[5].image, picture(5))
        report = rig.reporter.status().crystfel[0]
        assert (report.seen, report.delivered, report.done, report.asking) == (9, 9, 9, 1)
        assert rig.last.ledger.written == 9
    finally:
        worker.close()


def test_an_abort_lets_go_of_frames_that_wait(rigs: Rigs) -> None:
    rig = rigs(crystfel=[{"address": LOOPBACK, "policy": "complete", "queue": 2}])
    stream = Stream()
    rig.send([stream.start(), *(stream.frame(number) for number in range(5))])
    rig.until(lambda: rig.pipeline.blocked_by is not None, "a queue that is full")

    rig.pipeline.abort()

    assert rig.pipeline.blocked_by is None
    assert rig.pipeline.crystfel[0].report().dropped >= 2


def test_a_service_counts_them_in_status_and_metrics(tmp_path: Path) -> None:
    settings = SimulatorSettings(detector="eiger", endpoint="tcp://127.0.0.1:0", shape=(64, 48), linger=0)
    with simulator(settings) as running, zmq.Context() as context:
        config = for_row("eiger", running.address, tmp_path, environ={})
        config.rest.port = 0
        config.crystfel = [CrystfelConfig(address=LOOPBACK, policy="complete")]
        with ServiceProcess(config) as service, ServiceClient(service.url) as client:
            worker = StrictClient(context, client.status().crystfel[0].address, poll=0.01)
            try:
                running.detector.arm(Arm(frames=20, exposure=0.0))
                running.detector.trigger()
                numbers: list[int] = []

                def step() -> None:
                    if (one := worker.next()) is not None:
                        numbers.append(one.number)
                        worker.ask()

                until(lambda: len(numbers) == 20, step, "20 frames")
                until(lambda: client.status().crystfel[0].done == 20, step, "the count of all")
                text = httpx.get(f"{service.url}/metrics").text
            finally:
                worker.close()
    assert numbers == list(range(20))
    assert 'streamdet_crystfel_frames_delivered_total{detector="eiger",endpoint="crystfel"} 20.0' in text
    assert 'streamdet_crystfel_all_wait{detector="eiger",endpoint="crystfel"} 1.0' in text
    assert 'streamdet_crystfel_worker_frames_per_second{detector="eiger",endpoint="crystfel",worker="127.0.0.1#' in text


def test_serve_gives_a_simulated_detectors_frames_to_its_workers(tmp_path: Path) -> None:
    """300 frames, 4 workers, each frame once; the service is stopped and says what became of them."""
    settings = SimulatorSettings(detector="eiger", endpoint="tcp://127.0.0.1:0", shape=(64, 48), linger=0)
    with simulator(settings) as running, zmq.Context() as context:
        arguments = ["crystfel", "serve", "--from", running.address, "--type", "eiger", "--policy", "complete"]
        arguments += ["--address", "tcp://127.0.0.1:*", "--header", "laser=1", "--distance", "120"]
        serve = Process(arguments, r"at (tcp://\S+),", {})
        workers = []
        numbers: list[list[int]] = []
        try:
            reader = Reader((64, 48), ["frame_number", "laser", "series_id"], "beam_energy", "detector_distance")
            workers = [StrictClient(context, serve.said[0], reader, poll=0) for _ in range(4)]
            numbers = [[] for _ in workers]
            for worker in workers:
                worker.ask()
            running.detector.arm(Arm(frames=300, exposure=0.0))
            running.detector.trigger()

            def step() -> None:
                for worker, got in zip(workers, numbers, strict=True):
                    if (one := worker.next()) is not None:
                        got.append(one.number)
                        assert one.headers["laser"] == 1
                        worker.ask()

            until(lambda: sum(map(len, numbers)) == 300, step, "300 frames")
            until(lambda: any("300 delivered" in one and "all wait" in one for one in serve.lines), step, "the account")
            serve.kill(signal.SIGINT)
            serve.wait()
        finally:
            serve.end()
            for worker in workers:
                worker.close()
    assert sorted(one for got in numbers for one in got) == list(range(300))
    assert re.search(r"300 delivered .*, 0 waiting, 0 in hand, 0 lost, 0 dropped; 4 workers", serve.lines[-1])
