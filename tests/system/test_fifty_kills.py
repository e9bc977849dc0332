"""`kill -9` at random frames, fifty times, in each way in which files are written: what was announced can be read.

Afterwards `recover` makes a file of it that any program opens, with a verdict, and a ledger that balances.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.events import BSLZ4
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.access import LIBRARY
from bluesky_streamdet.streaming.files.inspect import FileReport, inspect
from bluesky_streamdet.streaming.files.mending.amending import redo
from bluesky_streamdet.streaming.files.mending.recovering import recover
from bluesky_streamdet.streaming.files.reader import open_to_read
from bluesky_streamdet.streaming.messages import Arm, ArmRequest, SetParameters
from bluesky_streamdet.streaming.sender import Sender
from bluesky_streamdet.streaming.status import SeriesReport
from tests.system.planes import Plane, configuration
from tests.unit.streaming.frames import pictures
from tests.wire.streams import LOOPBACK, Stream

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


class Way(NamedTuple):
    """How a series is written. first: frames of a series that the file has before."""

    name: str
    request: dict[str, Any] = {}
    files: dict[str, Any] = {}
    frames: dict[str, Any] = {}
    first: int = 0


WAYS = [
    Way("small frames, several in a chunk"),
    Way("compressed", frames={"shape": (64, 64), "encoding": BSLZ4}),
    Way("without SWMR", files={"swmr": "off"}),
    Way("frames of two parts", frames={"shape": (300, 400), "dtype": "<u4", "parts": 2}),
    Way("events", request={"frames_per_event": 7}),
    Way("forty frames a file", request={"frames_per_file": 40}),
    Way("the layout of PSI", request={"layout": "exchange"}),
    Way("behind another series", request={"append": True}, first=21),
    Way("beside another dataset", request={"add": True, "dataset": "data_white"}, first=11),
    Way("the layout of areaDetector", request={"layout": "areadetector"}, frames={"shape": (64, 64)}),
]
KILLS = 5
"""Of each way; that is fifty."""


def started(way: Way, folder: Path) -> tuple[Plane, Sender]:
    """A data plane that need not be ready yet, and its detector."""
    sender = Sender(LOOPBACK, linger=0)
    return Plane(configuration(folder, sender.address, files=way.files), start=False), sender


def send(plane: Plane, sender: Sender, messages: list[Any]) -> None:
    for message in messages:
        plane.until(lambda message=message: sender.offer(message), "room for a message")
        plane.take()


def written_before(plane: Plane, sender: Sender, way: Way, name: str) -> None:
    """A whole series in the file that the next one goes into."""
    plane.ask(Arm(request=ArmRequest(id="before", name=name)))
    send(plane, sender, Stream().whole(range(way.first), **way.frames))
    plane.until(lambda: plane.series["before"].outcome, "the end of the series before")


def killed(plane: Plane, sender: Sender, way: Way, name: str, dice: random.Random) -> SeriesReport:
    """The last news of a series whose writer is killed at some moment."""
    if way.first:
        written_before(plane, sender, way, name)
    armed, _ = plane.ask(Arm(request=ArmRequest.model_validate({"id": "s", "name": name, **way.request})))
    assert armed.problem is None, armed.problem
    stream = Stream()
    send(plane, sender, [stream.start(), stream.frame(0, **way.frames)])
    plane.until(lambda: plane.series["s"].ledger.written, "a frame")
    plane.ask(SetParameters(series="s", parameters={"late": 1}))
    count = dice.randrange(1, 300)
    send(plane, sender, [stream.frame(number, **way.frames) for number in range(1, count)])
    moment = time.perf_counter() + dice.random() * 0.004
    while time.perf_counter() < moment:
        pass
    plane.kill(signal.SIGKILL)
    assert plane.wait() == -signal.SIGKILL
    return plane.series["s"]


def checked(path: Path, way: Way, said: FileReport, opened: Callable[[Path], Any]) -> int:
    """How many frames of the series are in a file, each as it was sent."""
    shape, dtype = way.frames.get("shape", (4, 6)), way.frames.get("dtype", "<u2")
    with opened(path) as file:
        numbers = file[said.columns["sequence_number"]][()].reshape(-1)[said.first_row : said.readable].tolist()
        rows = file[said.data][()].reshape(-1, *shape)[said.first_row : said.readable]
    assert numbers == list(range(len(numbers)))
    assert np.array_equal(rows, pictures(numbers, shape, dtype))
    return len(numbers)


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_kills(tmp_path: Path, way: Way) -> None:
    running = [started(way, tmp_path)]
    try:
        for number in range(KILLS):
            if number < KILLS - 1:
                running.append(started(way, tmp_path))  # while the one before is in use
            plane, sender = running[number]
            plane.until(lambda plane=plane: plane.status is not None, "the first status")
            report = killed(plane, sender, way, f"scan_{number}", random.Random(f"{way.name} {number}"))
            check(report, way)
    finally:
        for plane, sender in running:
            plane.close()
            sender.close()


CHANGES = """
import sys
from pathlib import Path
import numpy as np
from bluesky_streamdet.streaming.files.mending.amending import amended
path = Path(sys.argv[1])
for number in range(10_000):
    with amended(path) as file:
        count = int(file["count"][()])
        file[f"changes/{count}"] = np.full(3000, count)
        file["count"][()] = count + 1
    print(count + 1, flush=True)
"""


def test_kills_while_a_closed_file_is_changed(tmp_path: Path) -> None:
    """The old file or the new one, and never half a change."""
    path, dice = tmp_path / "a.h5", random.Random(3)
    with h5py.File(path, "x", libver=LIBRARY) as file:
        file["count"] = 0
        file.create_group("changes")
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", CHANGES, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = int(process.stdout.readline())
            moment = time.perf_counter() + dice.random() * 0.2
            while time.perf_counter() < moment:
                pass
            process.kill()
            said = int([said, *process.stdout.read().split()][-1])
        redo(path)
        with h5py.File(path, "r") as file:
            count = int(file["count"][()])
            assert count in (said, said + 1)
            assert sorted(map(int, file["changes"])) == list(range(count))
            assert all((one[()] == int(name)).all() and len(one) == 3000 for name, one in file["changes"].items())
        assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


def check(report: SeriesReport, way: Way) -> None:
    """What was announced can be read, before and after the file is mended."""
    announced = report.ledger.written
    assert report.file is not None and announced > 0
    if report.part is None:
        path = Path(report.file)
        assert checked(path, way, inspect(path), open_to_read) >= announced, "before anything is mended"

    found = recover(Path(report.part or report.file)).found
    said = inspect(Path(report.file))
    assert any("no verdict" in one or "does not show all" in one for one in found)
    # As any program opens it, that knows nothing of SWMR.
    assert checked(Path(report.file), way, said, lambda path: h5py.File(path, "r")) >= announced
    assert said.outcome is Outcome.INTERRUPTED and said.series == "s"
    assert said.ledger is not None
    assert said.ledger.received == said.ledger.unique == said.ledger.written == said.written >= announced
    assert [one.outcome for one in said.earlier] == [Outcome.COMPLETE] * len(said.earlier)
    assert not said.journal and not said.redo
    assert recover(Path(report.part or report.file)).found == [], "there is nothing more to mend"
