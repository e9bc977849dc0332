"""A file of each kind that we write, by any layout: what others have to be able to read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bluesky_streamdet.core.events import BSLZ4, Frame
from bluesky_streamdet.core.metadata import UNITS
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.hdf5 import SeriesFile
from bluesky_streamdet.streaming.files.layouts import Chosen
from bluesky_streamdet.streaming.files.mending.recovering import recover
from bluesky_streamdet.streaming.files.several.naming import Name
from bluesky_streamdet.streaming.files.several.parts import Part
from bluesky_streamdet.streaming.files.several.rolling import Rolling, RollingFile
from bluesky_streamdet.streaming.files.several.whole import write_together
from bluesky_streamdet.streaming.messages import START
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport
from tests.unit.streaming.files.laid_out import ENDED, STARTED, opened, report, write
from tests.unit.streaming.frames import frame
from tests.unit.streaming.spectra import spectra
from tests.unit.streaming.test_experiment import FULL

FRAMES = 6
SHAPE = (16, 24)
TEXTS = {"sensor_material": "Si", "description": "Eiger", "serial_number": "E-1", "trigger_mode": "ints"}
MASK = np.zeros(SHAPE, "u4")
WHOLE = {"bit_depth_image": 16, "bit_depth_readout": 16, "saturation_value": 65535, "beam_center_x": 3}
APPLIED = {name: 1 for name in UNITS if name.endswith("_applied")}
HEADER = {
    **dict.fromkeys(UNITS, 1.5),
    **TEXTS,
    **WHOLE,
    **APPLIED,
    "pixel_mask": MASK,
    "flatfield": MASK.astype("f4"),
    "nimages": FRAMES,
}
ASKED: dict[str, Any] = {
    START: FULL,
    "slit": {"value": 0.25, "units": "mm", "dtype": "float32"},
    "mode": "fly",
    "nested": {"list": [1, 2], "texts": ["a", "ü"]},
}


def images(count: int = FRAMES, **way: Any) -> list[Frame]:
    """Of which each says numbers, texts and lists."""
    frames = [frame(number, SHAPE, **way) for number in range(count)]
    for number, one in enumerate(frames):
        times = {"start_time": 1000 * number, "stop_time": 1000 * number + 5, "real_time": 5}
        one.detail = {**times, "name": f"point {number}", "motors": [0.5, number], "nested": {"n": number}}
    return frames


def _images(path: Path, layout: Chosen) -> None:
    late = {"after": {"value": 5, "units": "K"}}
    write(path, layout, images(encoding=BSLZ4), metadata=HEADER, parameters=ASKED, late=late)


def _spectra(path: Path, layout: Chosen) -> None:
    write(
        path, layout, [spectra(number) for number in range(FRAMES)], metadata={"ev_per_bin": 10.0, "clock_period": 1e-8}
    )


def _events(path: Path, layout: Chosen) -> None:
    write(path, layout, images(FRAMES - 1), event=2)


def _with_losses(path: Path, layout: Chosen) -> None:
    file = opened(path, layout)
    file.write([frame(0), frame(3)])
    ledger = LedgerReport(
        expected=5, received=2, unique=2, written=2, missing=3, missing_ranges=[(1, 2)], malformed={"no JSON": 1}
    )
    told = {"id": "s0", "detector": "eiger", "ended_at": ENDED, "reason": "3 are missing"}
    file.close(SeriesReport(outcome=Outcome.INCOMPLETE, ledger=ledger, **told), {})


def _appended(path: Path, layout: Chosen) -> None:
    write(path, layout, images())
    write(path, layout, images(), series="s1", append=True, metadata=HEADER, parameters=ASKED)


def _several_datasets(path: Path, layout: Chosen) -> None:
    write(path, layout, images())
    for number, dataset in enumerate(("data_white", "data_black"), 1):
        write(path, layout, images(2), series=f"s{number}", add=True, dataset=dataset, parameters=ASKED)


def _values_that_change(path: Path, layout: Chosen) -> None:
    frames = images(4)
    frames[1].detail = {"name": "x" * 5000, "late": [1, 2]}
    frames[2].detail = {"name": 5, "motors": "moving", "real_time": 1.5, "later": "text"}
    write(path, layout, frames)


def _recovered(path: Path, layout: Chosen) -> None:
    file = growing(path.with_suffix(".open"), layout)
    shutil.copyfile(file.path, path)  # As a kill leaves it.
    file.close(report("s0", FRAMES), {})
    recover(path)


def _master(path: Path, layout: Chosen) -> None:
    reports: list[SeriesReport] = []
    for index in range(2):
        part = path.with_name(f"{path.stem}_{index}.h5")
        write(part, layout, [frame(number) for number in range(index, FRAMES, 2)], series=part.stem)
        ledger = LedgerReport(received=3, unique=3, written=3, shared=True)
        told = {"id": part.stem, "detector": "eiger", "file": str(part), "ended_at": ENDED}
        reports.append(SeriesReport(outcome=Outcome.COMPLETE, ledger=ledger, **told))
    write_together(path, reports, series="all", expected=FRAMES)


def _rolled(path: Path, layout: Chosen) -> None:
    """The master of three files, in which frames do not all say the same."""

    def make(one: Path, part: Part) -> SeriesFile:
        return SeriesFile(one, "eiger", "s0", layout=layout, part=part)

    frames = images(encoding=BSLZ4)
    frames[3].detail = {"name": "x" * 90, "late": "text"}
    name = Name(path.name).numbered()
    file = RollingFile(Rolling(path, name, 2), "eiger", "s0", make, layout=layout.name)
    file.open(frames[0], STARTED, HEADER, ASKED)
    file.write(frames)
    file.close(report("s0", FRAMES), {"late": 1})


KINDS: dict[str, Callable[[Path, Chosen], None]] = {
    "images": _images,
    "spectra": _spectra,
    "events": _events,
    "losses": _with_losses,
    "appended": _appended,
    "datasets": _several_datasets,
    "changing": _values_that_change,
    "recovered": _recovered,
    "master": _master,
    "rolled": _rolled,
}


def made(kind: str, folder: Path, layout: Chosen) -> Path:
    """A closed file of that kind."""
    path = folder / f"{kind}.h5"
    KINDS[kind](path, layout)
    return path


def growing(path: Path, layout: Chosen) -> SeriesFile:
    """A file that is being written, of which all frames are readable."""
    file = SeriesFile(path, "eiger", "s0", layout=layout)
    frames = images(encoding=BSLZ4)
    file.open(frames[0], STARTED, HEADER, ASKED)
    file.write(frames)
    assert file.flush() == FRAMES
    return file
