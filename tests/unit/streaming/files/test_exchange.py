"""The recording of a PCO camera, three times in one file, as the tomography scripts take it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet.codecs import array10
from bluesky_streamdet.core.events import Frame
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from tests.conftest import Recordings
from tests.unit.streaming.elsewhere import Elsewhere
from tests.unit.streaming.files.laid_out import opened, report, shipped
from tests.unit.streaming.frames import NOON

DATASETS = ("data", "data_white", "data_black")
TEXTS = {"htype": b"array-1.0", "tag": b"", "source": b"", "type": b"uint16", "endianess": b"little"}


@pytest.fixture
def frames(test_data: Recordings) -> list[Frame]:
    """Numbers 375 to 424, of 64 rows and 250 columns."""
    decoder, folder = array10.Decoder(), test_data / "pco/pco-50frames"
    events = []
    for header in sorted(folder.glob("*_000.raw")):
        pixels = header.with_name(header.name.replace("_000", "_001"))
        events += decoder.decode([header.read_bytes(), pixels.read_bytes()], NOON + len(events))
    return [event for event in events if isinstance(event, Frame)]


def test_the_recording_is_what_the_old_writer_made_of_it_and_more(
    tmp_path: Path, frames: list[Frame], elsewhere: Elsewhere
) -> None:
    path = tmp_path / "scan.h5"
    pixels = np.stack([np.frombuffer(one.parts[0], "<u2").reshape(64, 250) for one in frames])
    for index, dataset in enumerate(DATASETS):
        file = opened(path, shipped("exchange"), f"s{index}", frames[0], detector="pco", add=True, dataset=dataset)
        file.write(frames[:20])
        file.flush()
        assert np.array_equal(elsewhere.rows(path, f"/exchange/{dataset}"), pixels[:20])
        assert elsewhere.rows(path, f"/measurement/acquisition/{dataset}/frame")[:, 0].tolist() == list(range(375, 395))
        file.write(frames[20:])
        file.close(report(f"s{index}", 50), {})

    with h5py.File(path) as content:
        for dataset in DATASETS:
            data = content[f"/exchange/{dataset}"]
            assert (data.shape, data.dtype, data.chunks) == ((50, 64, 250), np.dtype("<u2"), (1, 64, 250))
            assert np.array_equal(data[()], pixels)
            group = content[f"/measurement/acquisition/{dataset}"]
            assert group["frame"].dtype == np.dtype("<u8")
            assert group["frame"][()].tolist() == [[number] for number in range(375, 425)]
            assert group["shape"][()].tolist() == [[64, 250]] * 50
            for name, text in TEXTS.items():
                assert group[name].shape == (50, 1), name
                assert [bytes(one) for one in group[name][()].ravel()] == [text] * 50, name
            for one in (data, *group.values()):
                said = one.attrs["image_nr_low"], one.attrs["image_nr_high"]
                assert said == (1, 50), one.name
                assert all(number.dtype == np.dtype("<i4") for number in said)
    for dataset in DATASETS:
        said = inspect(path, dataset)
        assert (said.readable, said.outcome) == (50, Outcome.COMPLETE)
        assert said.ledger is not None
        assert said.ledger.written == 50
