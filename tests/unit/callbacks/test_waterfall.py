"""The waterfall: the last lines of a run, of spectra or of anything with one dimension."""

from __future__ import annotations

from pathlib import Path

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.figure import Figure

from bluesky_streamdet.callbacks import waterfall
from bluesky_streamdet.callbacks.live import Shot
from bluesky_streamdet.callbacks.waterfall import LiveWaterfall, WaterfallPicture
from bluesky_streamdet.core.errors import ConfigError
from tests.unit.callbacks.shown import Kept
from tests.unit.devices.xspress3.scripted import IRON, ScriptedXspress3, detector


@pytest.mark.parametrize("face", ["classic", "async"])
def test_the_last_spectra(RE: RunEngine, tmp_path: Path, face: str) -> None:
    shown = Kept()
    live = LiveWaterfall(rows=3, show=shown)
    xsp = detector(face, ScriptedXspress3(tmp_path))
    RE(bp.count([xsp], 5), live)
    live.close()
    assert live.lines[:, IRON].tolist() == [18.0, 24.0, 30.0], "the sum over channels"
    assert shown.pictures[-1].axis == ("energy / keV", 0.0, 40.95)
    assert shown.pictures[-1].last == 5
    RE(bp.count([xsp], 1), live)
    live.close()
    assert len(live.lines) == 1, "a run begins anew"


def test_lines_of_one_dimension_and_too_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waterfall, "WIDEST", 4)
    live = LiveWaterfall(show=Kept())
    live.take(Shot("profile", range(1, 3), np.array([[1, 3, 5, 7, 9], [2, 4, 6, 8, 10]])))
    assert live.lines.tolist() == [[2.0, 6.0, 9.0], [3.0, 7.0, 10.0]]
    picture = live.picture()
    assert picture is not None
    assert picture.axis == ("place", -0.5, 4.5)
    live.take(Shot("profile", range(3, 4), np.ones((1, 2))))
    assert live.lines.tolist() == [[1.0, 1.0]], "lines of another length begin anew"
    live.close()


def test_none_are_no_waterfall() -> None:
    with pytest.raises(ConfigError):
        LiveWaterfall(rows=0)


def test_the_newest_is_below() -> None:
    figure = Figure()
    WaterfallPicture("title", np.zeros((10, 4)), 42, ("place", -0.5, 3.5)).draw(figure)
    assert figure.axes[0].get_ylim() == (42.5, 32.5)
