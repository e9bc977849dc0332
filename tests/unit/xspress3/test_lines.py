"""Emission lines by name."""

from __future__ import annotations

import sys
import threading

import pytest

from bluesky_streamdet.core.errors import ConfigError, MissingLibrary
from bluesky_streamdet.xspress3 import lines
from bluesky_streamdet.xspress3.lines import elements, line_energy, lines_of


def test_elements_from_the_light_to_the_heavy() -> None:
    known = elements()
    assert known[0] == "Li"
    assert {"Ca", "Fe", "Pb", "U"} <= set(known)
    assert "H" not in known


@pytest.mark.parametrize(
    ("name", "energy"),
    # Bearden's values, which xraydb's agree with to within a few eV.
    [
        ("Fe Ka1", 6403.8),
        ("Fe Ka", 6399.0),
        ("Cu Ka", 8041.0),
        ("Ca Kb", 4012.7),
        ("Pb La1", 10551.5),
        ("Pb La", 10540.0),
    ],
)
def test_energies(name: str, energy: float) -> None:
    assert line_energy(name) == pytest.approx(energy, abs=5)


@pytest.mark.parametrize("name", ["FeKa", "Fe-Ka", "Fe_Ka", " Fe  Ka ", "Fe K\N{GREEK SMALL LETTER ALPHA}"])
def test_ways_to_write_it(name: str) -> None:
    assert line_energy(name) == line_energy("Fe Ka")


def test_a_line_of_several_transitions_has_both_names() -> None:
    assert line_energy("Pb Lb2") == line_energy("Pb Lb2,15")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "no emission line"),
        ("Fe", "no emission line"),
        ("Fe Xa", "no emission line"),
        ("Zz Ka", "no element 'Zz'"),
        ("Fe Kz", "no line of Fe 'Kz'"),
        ("He Ka", "no element 'He'"),
    ],
)
def test_names_that_are_none(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        line_energy(name)
    assert raised.value.hint


def test_intensities_are_shares() -> None:
    iron = lines_of("Fe")
    assert sum(line.intensity for line in iron) == pytest.approx(1)
    assert [line.name for line in iron[:2]] == ["Ka1", "Ka2"]
    assert iron == sorted(iron, key=lambda line: -line.intensity)


def test_a_beam_excites_the_edges_below_it() -> None:
    assert lines_of("Fe", 7200)[0].name == "Ka1"
    assert all(not line.name.startswith("K") for line in lines_of("Fe", 7000))
    assert {line.name[0] for line in lines_of("Pb", 15100)} == {"L", "M"}
    assert all(not line.name.startswith("Lb3") for line in lines_of("Pb", 15100))
    assert lines_of("Fe", 10) == []
    lines_of("Fe").clear()
    assert lines_of("Fe")


def test_from_any_thread() -> None:
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(line_energy("Ti Ka")))
    thread.start()
    thread.join()
    assert found == [line_energy("Ti Ka")]


def test_without_xraydb_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xraydb", None)
    lines._lines_of.cache_clear()
    elements.cache_clear()
    with pytest.raises(MissingLibrary, match=r"\[xspress3\]"):
        line_energy("Fe Ka")
