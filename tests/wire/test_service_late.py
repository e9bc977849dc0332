"""Parameters after the end of a series, through a whole service: into its file, also while another series is in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import h5py
import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded, RequestRefused
from bluesky_streamdet.service import late
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.service.late import FOLDER
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.status import SeriesReport
from tests.wire.service_parts import TIMEOUT, Detector, config_for, until

pytestmark = pytest.mark.wire

COLLECTION = "/entry/instrument/camera/collection"


@pytest.fixture
def detector() -> Iterator[Detector]:
    detector = Detector()
    yield detector
    detector.close()


@pytest.fixture
async def supervisor(detector: Detector, tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(config_for(detector, tmp_path))
    await supervisor.start()
    yield supervisor
    await supervisor.close()


async def ended(supervisor: Supervisor, id: str) -> SeriesReport:
    status = await until(
        supervisor.board, lambda status: status.last_series is not None and status.last_series.id == id
    )
    assert status.last_series is not None
    return status.last_series


def value_of(report: SeriesReport, name: str) -> object:
    with h5py.File(str(report.file)) as file:
        return file[f"{COLLECTION}/parameters/{name}"][()]


async def until_nothing_is_kept(directory: Path) -> None:
    async with asyncio.timeout(TIMEOUT):
        while list((directory / FOLDER).glob("*.json")):
            await asyncio.sleep(0.01)


async def test_before_during_and_after(supervisor: Supervisor, detector: Detector) -> None:
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one", metadata={"when": 0, "first": 0}))
    await control.set_parameters("one", {"when": 1, "second": 1})
    detector.start(2)
    detector.frames([0])
    await until(supervisor.board, lambda status: status.series is not None and status.series.ledger.written == 1)
    await control.set_parameters("one", {"when": 2, "third": 2})
    detector.frames([1])
    report = await ended(supervisor, "one")
    assert [value_of(report, name) for name in ("first", "second", "third", "when")] == [0, 1, 2, 2]

    await control.set_parameters("one", {"when": 3, "fourth": 3})
    assert [value_of(report, name) for name in ("fourth", "when")] == [3, 3]
    await control.arm(ArmRequest(id="live", save=False))
    detector.series(1)
    await ended(supervisor, "live")
    with pytest.raises(RequestRefused, match="was not written"):
        await control.set_parameters("live", {"a": 1})


async def test_while_another_series_is_written_into_the_file(
    supervisor: Supervisor, detector: Detector, tmp_path: Path
) -> None:
    """They are kept, come into the file at its end, and outlive the service in between."""
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one", name="both"))
    detector.series(2)
    await ended(supervisor, "one")
    await control.arm(ArmRequest(id="two", name="both", append=True))
    detector.start()
    detector.frames([0])
    await until(supervisor.board, lambda status: status.series is not None and status.series.ledger.written == 1)
    await control.set_parameters("one", {"a": 1, "b": 1})
    await control.set_parameters("one", {"b": 2})
    assert len(list((tmp_path / FOLDER).glob("*.json"))) == 1
    await control.set_parameters("two", {"a": 5})
    detector.end()
    report = await ended(supervisor, "two")
    await until_nothing_is_kept(tmp_path)

    assert (value_of(report, "a"), value_of(report, "b"), report.outcome) == (1, 2, "complete")
    with h5py.File(str(report.file)) as file:
        assert file[f"{COLLECTION}/appended/two/parameters/a"][()] == 5


async def test_those_of_several_files_go_into_the_master(supervisor: Supervisor, detector: Detector) -> None:
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one", name="many_{index:03d}", frames_per_file=2, metadata={"early": 1}))
    detector.series(3)
    report = await ended(supervisor, "one")
    await control.set_parameters("one", {"early": 2, "late": 3})

    assert (report.parts, value_of(report, "early"), value_of(report, "late")) == (2, 2, 3)
    assert inspect(Path(str(report.file))).complete


async def test_what_was_kept_when_the_service_ended(supervisor: Supervisor, detector: Detector, tmp_path: Path) -> None:
    control = Control(supervisor)
    for id in ("two", "one"):
        await control.arm(ArmRequest(id=id))
        detector.series(1)
        report = await ended(supervisor, id)
    await supervisor.close()
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "camera.one.json").write_text('{"kept": 1}')
    (tmp_path / FOLDER / "camera.never.json").write_text('{"kept": 1}')
    (tmp_path / FOLDER / "other.one.json").write_text('{"kept": 2}')
    (tmp_path / FOLDER / "camera.two.json").write_text("no parameters")
    again = Supervisor(config_for(detector, tmp_path))
    await again.start()
    await again.close()

    assert value_of(report, "kept") == 1
    assert {one.name for one in (tmp_path / FOLDER).iterdir()} == {
        "camera.never.refused",
        "camera.two.refused",
        "other.one.json",
    }


async def test_a_disk_that_hangs_is_reported_in_time(
    supervisor: Supervisor, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Control(supervisor)
    await control.arm(ArmRequest(id="one"))
    detector.series(1)
    report = await ended(supervisor, "one")
    free, put = asyncio.Event(), late._put
    loop = asyncio.get_running_loop()

    def slow(*rest: object) -> None:
        asyncio.run_coroutine_threadsafe(free.wait(), loop).result(TIMEOUT)
        put(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(late, "_put", slow)
    monkeypatch.setattr(supervisor.late, "_timeout", 0.1)
    with pytest.raises(DeadlineExceeded, match=r"not written within 0.1 s"):
        await control.set_parameters("one", {"late": 1})
    free.set()
    monkeypatch.setattr(supervisor.late, "_timeout", TIMEOUT)
    await control.set_parameters("one", {"later": 2})

    assert (value_of(report, "late"), value_of(report, "later")) == (1, 2)
