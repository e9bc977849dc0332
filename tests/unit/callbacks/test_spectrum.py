"""The live spectrum: channels and their sum, corrected or not, with regions and lines in their places."""

from __future__ import annotations

from pathlib import Path

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.figure import Figure

from bluesky_streamdet.callbacks.spectrum import LiveSpectrum, Marked, SpectrumPicture, main_lines
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.plans import fly
from tests.unit.callbacks.shown import Kept
from tests.unit.devices.xspress3.scripted import BINS, IRON, ScriptedXspress3, detector

REGIONS = {"Fe": {"bins": (630, 650)}, "light": (900, 1100)}
FACES = pytest.mark.parametrize("face", ["classic", "async"])


@pytest.fixture
def service(tmp_path: Path) -> ScriptedXspress3:
    return ScriptedXspress3(tmp_path)


@FACES
def test_the_newest_spectrum_with_the_regions_of_the_device(
    RE: RunEngine, service: ScriptedXspress3, face: str
) -> None:
    live = LiveSpectrum(show=(shown := Kept()))
    RE(bp.count([detector(face, service, regions=REGIONS)], 3), live)
    live.close()
    last = shown.pictures[-1]
    assert last.counts[:, IRON].tolist() == [3, 6, 9]
    assert last.energies[IRON] == 6400
    assert last.regions == {"Fe": (6300, 6500), "light": (900, 1100)}
    assert last.title.startswith("scan 1, xsp, event 3")
    assert last.title.endswith("as counted")


@FACES
def test_corrected_for_dead_time(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    live = LiveSpectrum(show=(shown := Kept()), correction="event_width", regions={"iron": {"bins": (630, 650)}})
    RE(fly([detector(face, service)], 2), live)
    live.close()
    assert shown.pictures[-1].counts[:, IRON].tolist() == [2, 5, 12]
    assert list(shown.pictures[-1].regions) == ["iron"]
    assert shown.titles[-1].endswith("corrected for dead time")


def test_several_frames_an_event_are_summed(RE: RunEngine, service: ScriptedXspress3) -> None:
    counted = LiveSpectrum(show=(one := Kept()))
    corrected = LiveSpectrum(show=(two := Kept()), correction="event_width")
    RE(bp.count([detector("classic", service, frames_per_event=2)], 1), [counted, corrected])
    for live in (counted, corrected):
        live.close()
    assert one.pictures[-1].counts[:, IRON].tolist() == [1 + 2, 2 + 4, 3 + 6]
    assert two.pictures[-1].counts[:, IRON].tolist() == [3 * 1, 3 * 2.5, 3 * 6]


def test_other_calibrations(RE: RunEngine, service: ScriptedXspress3) -> None:
    live = LiveSpectrum(show=(shown := Kept()))
    RE(bp.count([detector("classic", service, ev_per_bin=5.0, ev_offset=-20.0)], 1), live)
    live.close()
    assert shown.pictures[-1].energies[IRON] == 5.0 * IRON - 20.0


def test_lines_by_name() -> None:
    iron = main_lines("Fe")
    assert [one.label for one in iron[:2]] == ["Fe K\N{GREEK SMALL LETTER ALPHA}", "Fe Kβ"]
    assert [round(one.energy) for one in iron[:2]] == [6405, 7059]
    assert not any(one.label.startswith("Fe K") for one in main_lines("Fe", excitation=6000))
    with pytest.raises(ConfigError):
        main_lines("Xx")


def test_what_is_drawn() -> None:
    counts = np.zeros((2, BINS))
    counts[:, IRON] = 100, 200
    counts[0, -1] = 1e6
    regions = {"Fe": (6300.0, 6500.0), "beyond": (30_000.0, 31_000.0)}
    lines = [Marked("Fe Ka", 6404.0), Marked("Mo Ka", 17_480.0)]
    picture = SpectrumPicture("title", np.arange(BINS) * 10.0, counts, regions, lines)
    figure = Figure()
    picture.draw(figure)
    picture.draw(figure)
    (axes,) = figure.axes
    words = {text.get_text() for text in axes.texts}
    assert words == {"Fe", "Fe Ka"}, "what lies outside has no name"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["channel 0: 100", "channel 1: 200", "sum: 300"]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[1] < 1e6, "what was off the scale is no part of the spectrum"


def test_linear_and_between_energies() -> None:
    counts = np.full((1, 100), 5.0)
    figure = Figure()
    SpectrumPicture("", np.arange(100) * 10.0, counts, limits=(100, 500), log=False).draw(figure)
    (axes,) = figure.axes
    assert (axes.get_xlim(), axes.get_yscale()) == ((0.1, 0.5), "linear")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_spectra_of_nothing(value: float) -> None:
    SpectrumPicture("", np.arange(50) * 10.0, np.full((3, 50), value)).draw(Figure())
