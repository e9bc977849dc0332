"""Documents of files by any layout lead to what they promise."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.paths import StaticPaths
from bluesky_streamdet.devices.runfile import RunFile, expected_layout, layout_of
from bluesky_streamdet.devices.setup import Setup
from bluesky_streamdet.devices.watch import SeriesWatch
from bluesky_streamdet.documents import column_key, data_keys
from bluesky_streamdet.streaming.status import SeriesReport
from tests.scripted import ScriptedService
from tests.unit.streaming.files.laid_out import SHIPPED, opened, report, shipped, write
from tests.unit.streaming.frames import frame, pictures
from tests.unit.streaming.spectra import counts, record, spectra

COLUMNS = ("sequence_number", "receive_time")


@pytest.mark.parametrize("name", SHIPPED)
def test_what_documents_promise_is_in_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scan.h5"
    file = write(path, shipped(name), [frame(number) for number in range(3)])
    assert file.data is not None
    told = SeriesReport(id="s0", detector="eiger", file=str(path), layout=name, data=file.data)
    layout = layout_of(told, file.data, 1, Setup(columns=COLUMNS))
    with h5py.File(path) as content:
        assert np.array_equal(content[layout.dataset][()], pictures(range(3)))
        for column in layout.columns.values():
            found = content[column.dataset]
            own = (1,) if column.second_axis else ()
            assert (found.shape, found.dtype.str) == ((3, *column.shape, *own), column.dtype)
            assert column_key(column, "")["shape"] == []
        assert content[layout.columns["sequence_number"].dataset][()].ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_expected_is_what_comes(tmp_path: Path, name: str) -> None:
    """A fly scan is described before its first frame."""
    file = opened(tmp_path / "scan.h5", shipped(name))
    file.close(report("s0", 0), {})
    setup = Setup(columns=COLUMNS, shape=(4, 6), dtype="<u2")
    armed = SeriesReport(id="s0", detector="eiger", layout=name, columns=file.columns)
    told = armed.model_copy(update={"data": file.data})
    assert file.data is not None
    assert all(one.second_axis is (name == "exchange") for one in layout_of(told, file.data, 1, setup).columns.values())
    before, after = expected_layout(armed, None, 1, setup), layout_of(told, file.data, 1, setup)
    assert before.same_frames(after)
    assert data_keys(before, "det", "") == data_keys(after, "det", "")


@pytest.mark.parametrize("name", SHIPPED)
def test_scalars_are_where_documents_say(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scan.h5"
    file = write(path, shipped(name), [spectra(number) for number in range(3)])
    assert file.data is not None
    told = SeriesReport(id="s0", detector="eiger", file=str(path), layout=name, data=file.data)
    layout = layout_of(told, file.data, 1, Setup(scalars=("all_good", "window_counts")))
    with h5py.File(path) as content:
        assert np.array_equal(content[layout.dataset][()], [counts(number) for number in range(3)])
        for key in ("all_good", "window_counts"):
            wanted = np.concatenate([record(number)[key] for number in range(3)])
            assert np.array_equal(content[layout.columns[key].dataset][()], wanted)


HANDLERS = [("nexus", 0, True), ("nexus", 4, True), ("areadetector", 0, True), ("exchange", 0, False)]
HANDLERS += [("exchange", 4, False), ("maxiv", 0, False), ("maxiv", 4, True)]


@pytest.mark.parametrize(("name", "channels", "good"), HANDLERS)
def test_documents_for_handlers_that_would_find_nothing_are_refused(
    tmp_path: Path, service: ScriptedService, name: str, channels: int, good: bool
) -> None:
    path = tmp_path / "scan.h5"
    file = write(path, shipped(name), [spectra(0) if channels else frame(0)])
    assert file.data is not None
    told = SeriesReport(id="s0", detector="eiger", file=str(path), layout=name, data=file.data)
    run = RunFile(SeriesWatch(service.connect(), told), StaticPaths("")("det"), 1, 0, asked=1)
    setup = Setup(asset_docs="resource", channels=channels)
    if good:
        assert run.hand_out(1, setup, "det", None)[0][0] == "resource"
        with h5py.File(path) as content:
            wanted = "/entry/instrument/detector/data" if channels else "/entry/data/data"
            assert content[wanted] == content[file.data.dataset]
    else:
        with pytest.raises(ConfigError, match=rf"where a file of the layout {name} has none.* files\.also_at"):
            run.hand_out(1, setup, "det", None)
