"""Frames from documents: streams and resources, several frames an event, files behind, missing or elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd.sim import SynSignal

from bluesky_streamdet.callbacks.frames import FrameCallback
from bluesky_streamdet.plans import fly
from tests.scripted import DTYPE, SHAPE, ScriptedService, detector
from tests.unit.devices.xspress3 import scripted as xspress3


class Seen:
    def __init__(self) -> None:
        self.all: list[tuple[str, range, Any]] = []

    def __call__(self, key: str, seq_nums: range, frames: Any) -> None:
        self.all.append((key, seq_nums, frames))

    @property
    def numbers(self) -> list[int]:
        """Of all frames seen, each of which holds one number in all its pixels."""
        return [int(frame.flat[0]) for _, _, frames in self.all for frame in frames.reshape(-1, *SHAPE)]


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path)


@pytest.mark.parametrize("face", ["classic", "async"])
def test_frames_of_a_count(RE: RunEngine, service: ScriptedService, face: str) -> None:
    det, seen = detector(face, service), Seen()
    RE(bp.count([det], 3), FrameCallback(seen))
    assert [(key, list(seq_nums), frames.shape) for key, seq_nums, frames in seen.all] == [
        ("det", [1], (1, *SHAPE)),
        ("det", [2], (1, *SHAPE)),
        ("det", [3], (1, *SHAPE)),
    ]
    assert seen.numbers == [0, 1, 2]


def test_frames_of_a_flight_with_several_an_event(RE: RunEngine, service: ScriptedService) -> None:
    det, seen = detector("classic", service, frames_per_event=3, shape=SHAPE, dtype=DTYPE), Seen()
    RE(fly([det], 2), FrameCallback(seen))
    assert [frames.shape for _, _, frames in seen.all] == [(2, 3, *SHAPE)]
    assert seen.numbers == list(range(6))


def test_chosen_keys(RE: RunEngine, service: ScriptedService) -> None:
    det, seen = detector("classic", service), Seen()
    RE(bp.count([det], 2), FrameCallback(seen, keys=["det_sequence_number"]))
    assert [frames.tolist() for _, _, frames in seen.all] == [[0], [1]]


@pytest.mark.parametrize("face", ["classic", "async"])
def test_what_comes_beside_frames_is_no_frame(RE: RunEngine, tmp_path: Path, face: str) -> None:
    """Such as numbers of the channels of spectra, which are arrays too; unless it is asked for."""
    service, seen, counts = xspress3.ScriptedXspress3(tmp_path), Seen(), Seen()
    column = "xsp_all_events" if face == "classic" else "xsp-all_events"
    plan = bp.count([xspress3.detector(face, service)], 1)
    RE(plan, [FrameCallback(seen), FrameCallback(counts, keys=[column])])
    assert [(key, frames.shape) for key, _, frames in seen.all] == [("xsp", (1, *xspress3.ScriptedXspress3.shape))]
    assert [(key, frames.tolist()) for key, _, frames in counts.all] == [(column, [[1] * xspress3.CHANNELS])]


@pytest.mark.parametrize("frames_per_event", [1, 2])
def test_frames_of_resource_documents(RE: RunEngine, service: ScriptedService, frames_per_event: int) -> None:
    det, seen = detector("classic", service, asset_docs="resource", frames_per_event=frames_per_event), Seen()
    RE(bp.count([det], 2), FrameCallback(seen))
    assert [frames.shape for _, _, frames in seen.all] == [(frames_per_event, *SHAPE)] * 2
    assert seen.numbers == list(range(2 * frames_per_event))


def test_files_that_this_machine_calls_otherwise(RE: RunEngine, service: ScriptedService, tmp_path: Path) -> None:
    det, seen = detector("classic", service, path_map={str(tmp_path): "/net/daq1"}), Seen()
    RE(bp.count([det], 1), FrameCallback(seen, path_map={"/net/daq1": str(tmp_path)}))
    assert seen.numbers == [0]


def test_a_file_with_a_space_in_its_name_however_written(
    RE: RunEngine, service: ScriptedService, tmp_path: Path
) -> None:
    det, seen = detector("classic", service, path_provider="my runs"), Seen()
    callback = FrameCallback(seen)

    def quoted(name: str, document: Any) -> None:
        callback(name, document | {"uri": document["uri"].replace(" ", "%20")} if "uri" in document else document)

    RE(bp.count([det], 1), [callback, quoted])
    assert seen.numbers == [0, 0]


def test_a_file_that_is_behind_is_waited_for(RE: RunEngine, service: ScriptedService, tmp_path: Path) -> None:
    det, seen = detector("classic", service), Seen()
    paths: list[Path] = []

    def hide(name: str, document: Any) -> None:
        if name == "stream_resource" and not paths:
            paths.append(Path(document["uri"].removeprefix("file://localhost")))
            paths[0].rename(tmp_path / "hidden.h5")

    def show(seconds: float) -> None:
        (tmp_path / "hidden.h5").rename(paths[0])

    callback = FrameCallback(seen, patience=5.0, sleep=show)
    RE(bp.count([det], 1), [hide, callback])
    assert seen.numbers == [0]
    assert callback.missed == 0


def test_frames_that_never_come_are_counted(
    RE: RunEngine, service: ScriptedService, caplog: pytest.LogCaptureFixture
) -> None:
    service.behind = 1
    det, seen = detector("classic", service), Seen()
    callback = FrameCallback(seen, patience=0.0)
    RE(bp.count([det], 3), callback)
    assert callback.missed == 3
    assert len([one for one in caplog.records if "not shown" in one.message]) == 1


def test_other_documents_and_files_do_not_disturb(RE: RunEngine) -> None:
    seen = Seen()
    diode: Any = SynSignal(name="diode")
    RE(bp.count([diode], 1), FrameCallback(seen))
    assert seen.all == []


def test_runs_one_after_the_other(RE: RunEngine, service: ScriptedService) -> None:
    det, seen = detector("classic", service), Seen()
    callback = FrameCallback(seen)
    for _ in range(2):
        RE(bp.count([det], 1), callback)
    assert seen.numbers == [0, 1]
    assert np.all(seen.all[1][2] == 1)
