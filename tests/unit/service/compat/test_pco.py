"""What the PCO's old client asks and is told, without a service."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from bluesky_streamdet.core.errors import ConfigError, RequestRefused
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.compat.listed import application
from bluesky_streamdet.service.compat.pco_account import Account, Asked, ctime, lost
from bluesky_streamdet.service.compat.pco_journal import LINES, Journal
from bluesky_streamdet.service.compat.pco_request import read
from bluesky_streamdet.service.compat.pco_supervisor import PcoSupervisor
from bluesky_streamdet.service.config import load
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.messages import Pause
from bluesky_streamdet.streaming.status import DatasetReport, LedgerReport, SeriesReport, Statistics, Status
from tests.unit.service.fakes import FakeSupervisor
from tests.wire.repeating import free_ports

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BODY = {
    "connection_address": "tcp://10.10.1.26:8080",
    "output_file": "/data/e18600/scan.h5",
    "n_frames": "50",
    "user_id": "503",
    "dataset_name": "data_white",
    "max_frames_per_file": "20000",
    "rest_api_port": "9901",
    "n_modules": "1",
    "writer_rest_port": "9555",
    "flask_api_address": "http://xbl-daq-34:9901",
}


def compat(**changes: Any) -> CompatConfig:
    return CompatConfig.model_validate({"dialect": "pco-supervisor", **changes})


def order(settings: CompatConfig | None = None, /, **changes: Any) -> dict[str, Any]:
    """What is asked of a series, without what nobody set."""
    return read({**BODY, **changes}).order(settings or compat()).model_dump(exclude_unset=True)


def test_a_series_in_one_file_beside_others() -> None:
    assert order() == {
        "directory": "/data/e18600",
        "name": "scan.h5",
        "expected_frames": 50,
        "open_ended": False,
        "save": True,
        "add": True,
        "dataset": "data_white",
        "frames_per_file": 0,
        "owner": None,
    }


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"n_frames": "0"}, {"expected_frames": None, "open_ended": True, "frames_per_file": 0}),
        ({"output_file": "scan.h5"}, {"directory": None, "name": "scan.h5"}),
        ({"output_file": "/scan.h5"}, {"directory": "/", "name": "scan.h5"}),
        ({"output_file": "/dev/null"}, {"save": False}),
        (
            {"output_file": "a/x_%03d.h5", "max_frames_per_file": "20"},
            {"name": "x_%03d.h5", "frames_per_file": 20, "add": False},
        ),
        ({"output_file": "x_%d.h5", "n_frames": "0"}, {"frames_per_file": 20000, "add": False}),
        ({"output_file": "x_%d.h5", "max_frames_per_file": "50"}, {"frames_per_file": 0, "add": True}),
        ({"output_file": "x_%d.h5", "max_frames_per_file": "0"}, {"name": "x_%d.h5", "frames_per_file": 0}),
        ({"max_frames_per_file": "50"}, {"frames_per_file": 0}),
    ],
)
def test_what_a_request_means(changes: dict[str, str], found: dict[str, Any]) -> None:
    assert order(**changes).items() >= found.items()


def test_files_belong_to_whom_the_client_says_if_that_is_allowed() -> None:
    assert order()["owner"] is None
    assert order(compat(users=[18600]), user_id="-1")["owner"] is None
    assert order(compat(users=[18600]), user_id="18600")["owner"] == 18600
    for user in ("503", "0"):
        with pytest.raises(RequestRefused, match="user_id"):
            order(compat(users=[18600]), user_id=user)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        read({**BODY, "n_frames": "many", "dataset_name": "a b", "output_file": "x;y.h5", "user_id": None})
    assert all(name in str(error.value) for name in ("n_frames", "dataset_name", "output_file", "user_id"))


def test_the_writer_of_the_other_camera_is_somewhere_else() -> None:
    with pytest.raises(RequestRefused, match="has 9556"):
        order(compat(writer_port=9556))


# The configuration.


def configured(folder: Path, text: str) -> Any:
    file = folder / "pco.yaml"
    file.write_text("detectors:\n  pco1:\n    type: pco\n    source: {endpoints: [tcp://camera:8080]}\n" + text)
    return load(file, environ={})


def test_the_supervisor_implies_what_its_writer_did(tmp_path: Path) -> None:
    config = configured(tmp_path, "    compat: pco-supervisor\n    files: {directory: here}\n")
    assert (config.paused, config.unarmed, config.source.let_go, config.source.socket) == (True, "ignore", True, "pull")
    assert (config.files.layout, config.files.directory.name) == ("exchange", "here")
    assert config.compat is not None
    assert (config.compat.port, config.compat.writer_port) == (9901, 9555)
    assert config.changed(paused=False).paused is False


def test_what_somebody_asks_for_goes_before(tmp_path: Path) -> None:
    config = configured(tmp_path, "    compat: {dialect: pco-writer}\n    files: {layout: nexus}\n    paused: true\n")
    assert (config.files.layout, config.paused, config.source.let_go, config.unarmed) == ("nexus", True, False, "write")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("users: [0]", "greater than or equal to 1"),
        ("writer_port: 0", "greater than or equal to 1"),
        ("sources: [camera]", "no ZeroMQ address"),
        ("users: [503], dialect: pco-writer", "for dialect: pco-supervisor only"),
    ],
)
def test_an_impossible_setting(tmp_path: Path, setting: str, complaint: str) -> None:
    settings = setting if "dialect" in setting else f"dialect: pco-supervisor, {setting}"
    with pytest.raises(ConfigError, match=complaint):
        configured(tmp_path, f"    compat: {{{settings}}}\n")


# What is told.


def report(**changes: Any) -> SeriesReport:
    ledger = LedgerReport(expected=20, received=19, unique=18, duplicate=1, written=17, missing_ranges=[(380, 381)])
    values: dict[str, Any] = {
        "id": "one",
        "detector": "pco1",
        "file": "/data/one.h5",
        "armed_at": NOON,
        "started_at": NOON + timedelta(seconds=60),
        "ledger": ledger,
        "statistics": Statistics(first_number=375, received_per_second=10.5, written_per_second=9.5),
    }
    return SeriesReport(**values | changes)


def account(**status: Any) -> Account:
    return Account(StatusBoard(Status(detector="pco1", **status)))


def test_the_statistics_of_a_series_that_runs() -> None:
    told = account(state=State.RUNNING, series=report())
    told.note("one", Asked("/data/x.h5", "data", 503))
    assert told.statistics() == {
        "success": "True",
        "status": "receiving",
        "n_frames": 20,
        "n_received_frames": 18,
        "n_written_frames": 17,
        "n_lost_frames": 2,
        "first_frame_id": 375,
        "user_id": 503,
        "start_time": ctime(NOON + timedelta(seconds=60)),
        "end_time": ctime(0),
        "receiving_rate": 10.5,
        "writing_rate": 9.5,
    }
    assert told.summary() is None


def test_the_summary_of_a_series_that_ended() -> None:
    data = DatasetReport(dataset="/exchange/data_white", shape=(4, 6), dtype="<u2", chunk_shape=(1, 4, 6))
    ended = report(outcome=Outcome.INCOMPLETE, ended_at=NOON + timedelta(seconds=62.341), data=data)
    assert account(last_series=ended).summary() == {
        "n_frames": "20",
        "n_written_frames": "17",
        "n_lost_frames": "2",
        "first_frame_id": "375",
        "user_id": "-1",
        "writing_rate": "9.5",
        "start_time": ctime(NOON + timedelta(seconds=60)),
        "end_time": ctime(NOON + timedelta(seconds=62)),
        "duration_sec": "2.35",
        "output_file": "/data/one.h5",
        "dataset_name": "data_white",
        "status": "finished",
        "success": True,
    }


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "unknown"),
        ({"state": State.ARMED, "series": report()}, "receiving"),
        ({"state": State.FINISHING, "series": report()}, "writing"),
        ({"last_series": report(outcome=Outcome.COMPLETE)}, "finished"),
        ({"last_series": report(outcome=Outcome.ABORTED)}, "finished"),
        ({"last_series": report(outcome=Outcome.INTERRUPTED)}, "error"),
        ({"last_series": report(outcome=Outcome.INCOMPLETE, ledger=LedgerReport(failed={"write_failed": 3}))}, "error"),
    ],
)
def test_the_state_in_the_old_words(status: dict[str, Any], said: str) -> None:
    assert account(**status).state == said


@pytest.mark.parametrize(
    ("ledger", "count"),
    [
        (LedgerReport(expected=20, unique=15, missing=5), 0),
        (LedgerReport(expected=20, unique=15, missing=5, missing_ranges=[(380, 381)]), 2),
        (LedgerReport(expected=20, unique=20, missing=0, missing_ranges=[(380, 380)]), 1),
        (LedgerReport(missing=3000, missing_ranges=[(2 * one, 2 * one) for one in range(1000)]), 3000),
    ],
)
def test_lost_are_frames_that_the_camera_has_numbered(ledger: LedgerReport, count: int) -> None:
    assert lost(ledger) == count


def test_a_series_that_was_refused_is_not_taken_for_the_one_before() -> None:
    told = account(last_series=report(outcome=Outcome.COMPLETE))
    told.refused = True
    assert (told.state, told.summary()) == ("error", None)
    told.note("two", Asked("", "", -1))
    assert told.state == "finished"


def test_the_last_lines_and_the_last_error() -> None:
    journal = Journal()
    for number in range(20):
        journal.handle(logging.makeLogRecord({"name": "test", "msg": f"line {number}\nand its end"}))
    assert len(journal.log.splitlines()) == LINES
    assert journal.log.endswith("and its end")
    assert journal.error is None
    said = journal.complain("The disk is full.")
    assert (said, said["error"], said["status"]) == (journal.error, "The disk is full.", "error")
    journal.forgive()
    assert journal.error is None


# What happens while a series runs.


async def test_a_file_that_takes_no_more_is_told_of_while_the_series_goes_on(tmp_path: Path) -> None:
    fake = FakeSupervisor(tmp_path)
    (port,) = free_ports(1)
    fake.config = fake.config.changed(compat={"dialect": "pco-supervisor", "writer_port": port})
    supervisor = PcoSupervisor(Control(cast(Supervisor, fake)), fake.board)
    async with supervisor.living(), asyncio.timeout(10):
        fake.become(State.RUNNING, report())
        while supervisor.status(str(port)) != "receiving" or not fake.asked:
            await asyncio.sleep(0)
        fake.become(State.RUNNING, report(reason="The disk is full."))
        while supervisor.journal.error is None:
            await asyncio.sleep(0)
        assert supervisor.journal.error["error"] == "The disk is full."
        fake.end(Outcome.INCOMPLETE)
        while fake.asked[-1] != Pause(paused=True):
            await asyncio.sleep(0)
    fake.board.close()


# Who may ask.


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("10.1.2.3", {}, 200),
        ("10.2.0.1", {}, 403),
        ("127.0.0.1", {"Sec-Fetch-Site": "none"}, 200),
        ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("127.0.0.1", {"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_who_may_stop_a_series_by_get(address: str, headers: dict[str, str], status: int) -> None:
    from fastapi import APIRouter

    routes = APIRouter()

    @routes.get("/stop")
    async def stop() -> str:
        return "stopped"

    app = application(routes, compat(allow=["127.0.0.0/8", "10.1.0.0/16"]), "pco-writer", [])
    transport = httpx.ASGITransport(app=app, client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9555") as client:
        assert (await client.get("/stop", headers=headers)).status_code == status
