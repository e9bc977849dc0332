"""Series of a pipeline whose configuration or client names a layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.files.inspect import inspect
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.unit.streaming.files.laid_out import LEAST, SHIPPED
from tests.wire.streams import Rig, Stream

Rigs = Callable[..., Rig]
OWN = (
    LEAST
    + """
header: {exptime: {path: /setup/exposure, units: s, dtype: float64}}
parameters: {energy: {path: /beam/energy, units: keV, dtype: float64, required: true}}
"""
)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_client_chooses_the_layout(rigs: Rigs, name: str) -> None:
    rig, stream = rigs(), Stream()
    rig.pipeline.arm(ArmRequest(name="scan", layout=name, dataset="proj"))
    report = rig.run(stream.whole(range(5)))
    assert (report.outcome, report.layout) == (Outcome.COMPLETE, name)
    assert report.data is not None
    said = inspect(Path(str(report.file)))
    assert (said.layout, said.dataset, said.data) == (name, "proj", report.data.dataset)
    assert (said.first_number, said.last_number, said.outcome) == (0, 4, Outcome.COMPLETE)


def test_the_layout_of_the_configuration_is_that_of_all_others(rigs: Rigs, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(OWN)
    rig, stream = rigs(files={"layout": "mine", "layouts": {"mine": own}}), Stream()

    unarmed = rig.run(stream.whole(range(3)))
    assert (unarmed.outcome, unarmed.layout) == (Outcome.COMPLETE, "mine")
    assert unarmed.reason == "parameters that the layout mine requires were not given: energy"
    assert inspect(Path(str(unarmed.file))).reason == unarmed.reason

    armed = rig.pipeline.arm(ArmRequest(name="given"))
    start, *frames, end = stream.whole(range(3))
    rig.send([start, *frames])
    rig.until(lambda: rig.series is not None and rig.ledger.received == 3, "the frames")
    rig.pipeline.set_parameters(armed.id, {"energy": {"value": 12.5, "units": "keV"}})
    rig.send([end])
    rig.until(lambda: rig.last.id != unarmed.id, "the end of the series")
    assert (rig.last.outcome, rig.last.reason) == (Outcome.COMPLETE, "")
    with h5py.File(str(rig.last.file)) as content:
        assert (content["/beam/energy"][()], content["/beam/energy"].attrs["units"]) == (12.5, "keV")
        assert np.ravel(content["/raw/of_data/sequence_number"][()]).tolist() == [0, 1, 2]
