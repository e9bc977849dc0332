"""The streamer over the simulated SDK: series of every timing, and all that it is told."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import Busy, ConfigError, RequestRefused
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.series import is_later
from bluesky_streamdet.transforms.pixels import decode
from bluesky_streamdet.xspress3.config import SystemConfig, Xspress3Plane
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from bluesky_streamdet.xspress3.streamer import LOOK, Streamer
from tests.unit.xspress3.rig import Rig, consistent, record
from tests.unit.xspress3.systems import Clock


def test_a_series_from_start_to_end(rig: Rig) -> None:
    rig.do("arm", exposure=0.01, frames=5, filename="scan_1.h5")
    rig.after(0.06, steps=12)

    start, *_, end = rig.events
    assert isinstance(start, SeriesStart) and isinstance(end, SeriesEnd)
    assert (start.frames, start.filename, start.save) == (5, "scan_1.h5", True)
    assert start.metadata["count_time"] == 0.01
    assert [frame.number for frame in rig.frames] == list(range(5))
    assert [event.position for event in rig.events] == list(range(7))
    assert (end.series, end.error) == (start.series, "")
    consistent(rig.frames)
    assert {int(ticks) for frame in rig.frames for ticks in record(frame)["total_ticks"]} == {800_000}
    assert rig.state["state"] == "idle"


def test_series_of_a_streamer_that_was_started_anew_have_later_names() -> None:
    """Or a receiver would take their frames for those of a series that it has closed."""
    names = []
    for _ in range(2):
        rig = Rig({})
        for _ in range(2):
            names.append(rig.do("arm", exposure=0.01)["series"])
            rig.after(0.02)
        rig.streamer.close()
    assert all(is_later(later, earlier) for earlier, later in pairwise(names)), names


@pytest.mark.parametrize("rig", [({"clock_period": 1e-8}, {})], indirect=True)
@pytest.mark.parametrize(
    ("exposure", "times"),
    [(0.010_000_003, [0.01, 0.010_000_02]), (0.1, [0.1, 0.100_000_02]), (42.9, [42.9, 42.900_000_02])],
)
def test_the_times_in_the_header_are_those_of_the_hardware(rig: Rig, exposure: float, times: list[float]) -> None:
    """The exposure as rounded to clock cycles of 10 ns, and a gap of two of them."""
    rig.do("arm", exposure=exposure)
    rig.take()
    start = rig.events[0]
    assert isinstance(start, SeriesStart)
    assert [start.metadata[name] for name in ("count_time", "frame_time")] == times


def test_it_asks_to_be_looked_at_only_while_something_may_come(rig: Rig) -> None:
    assert rig.streamer.patience == math.inf
    rig.do("arm", exposure=0.01, frames=1)
    assert rig.streamer.patience == LOOK
    rig.after(0.02)
    assert rig.streamer.patience == math.inf


def test_as_many_frames_are_read_at_once_as_are_there(rig: Rig) -> None:
    rig.do("arm", exposure=0.001, frames=200)
    rig.after(0.0, steps=1)
    rig.clock.now += 1.0
    sizes = []
    while taken := list(rig.streamer.take(0)):
        sizes += [len(one.events) for one in taken]
        rig.events += [event for one in taken for event in one.events]

    assert sizes == [64, 64, 64, 8 + 1]
    assert [frame.number for frame in rig.frames] == list(range(200))
    consistent(rig.frames)


def test_frames_that_somebody_keeps_are_not_overwritten(rig: Rig) -> None:
    rig.do("arm", exposure=0.0001, frames=640)
    rig.clock.now += 1.0
    contents = []
    while taken := list(rig.streamer.take(0)):
        frames = [event for one in taken for event in one.events if isinstance(event, Frame)]
        rig.events += frames
        contents += [bytes(frame.parts[0]) for frame in frames]

    assert [bytes(frame.parts[0]) for frame in rig.frames] == contents
    assert len(set(contents)) > 600, "frames differ, or nothing would show"


def test_a_software_trigger_for_each_frame(rig: Rig) -> None:
    rig.do("arm", mode="software", exposure=0.01, triggers=3)
    assert rig.state["state"] == "armed"
    rig.after(1.0)
    assert rig.frames == []
    for number in range(3):
        assert rig.state["ready_for_trigger"]
        rig.do("trigger")
        assert rig.state["state"] == "running"
        assert len([one for one in rig.after(0.02, steps=4) if isinstance(one, Frame)]) == 1, number

    assert rig.end.error == ""
    consistent(rig.frames)


def test_a_trigger_that_comes_too_early_is_refused(rig: Rig) -> None:
    rig.do("arm", mode="software", exposure=0.01, triggers=3)
    rig.do("trigger")
    rig.clock.now += 0.001

    with pytest.raises(Busy, match="too early"):
        rig.do("trigger")


def test_bursts_of_frames_for_each_of_several_triggers(rig: Rig) -> None:
    rig.do("arm", mode="software", exposure=0.01, frames=4, triggers=3)
    for _ in range(3):
        rig.do("trigger")
        rig.after(0.05, steps=5)

    assert [frame.number for frame in rig.frames] == list(range(12))
    assert len({bytes(frame.parts[0]) for frame in rig.frames}) == 12
    assert rig.end.error == ""
    consistent(rig.frames)


def test_the_next_burst_waits_for_the_frames_of_the_last(rig: Rig) -> None:
    rig.do("arm", mode="software", exposure=0.01, frames=4, triggers=3)
    rig.do("trigger")
    rig.after(0.025)

    with pytest.raises(RequestRefused, match="4 frames of trigger 1"):
        rig.do("trigger")


@pytest.mark.parametrize("frames", [1, 5])
def test_hardware_triggers(rig: Rig, frames: int) -> None:
    rig.do("arm", mode="hardware", exposure=0.01, **({"frames": 5} if frames == 5 else {"triggers": 5}))
    rig.after(0.5)
    assert rig.frames == []
    rig.do("pulse", count=5 if frames == 1 else 1, period=0.02)
    rig.after(0.2, steps=20)

    assert [frame.number for frame in rig.frames] == list(range(5))
    assert rig.end.error == ""


def test_gates_measure_their_frames(rig: Rig) -> None:
    rig.do("arm", mode="gate", triggers=3)
    rig.do("gate", seconds=0.002, count=3, period=0.01)
    rig.after(0.1, steps=20)

    ticks = [int(record(frame)["total_ticks"][0]) for frame in rig.frames]
    assert ticks == pytest.approx([160_000] * 3, abs=200)
    assert rig.end.error == "", "the last frame is flushed by a stop, as no further gate comes"


def test_frames_from_trigger_to_release(rig: Rig) -> None:
    rig.do("arm", mode="software_timed", triggers=2)
    for seconds in (0.003, 0.005):
        rig.do("trigger")
        rig.after(seconds)
        rig.do("release")
        rig.after(0.01, steps=3)

    assert [int(record(frame)["total_ticks"][0]) for frame in rig.frames] == pytest.approx([240_000, 400_000], abs=100)
    assert rig.end.error == ""


def test_stopped_in_the_middle(rig: Rig) -> None:
    rig.do("arm", exposure=0.01, frames=100)
    rig.after(0.0355, steps=3)
    rig.do("stop")
    rig.after(0.01, steps=3)

    assert 3 <= len(rig.frames) <= 4, "the frame that was cut may be delivered"
    assert rig.end == SeriesEnd(rig.frames[0].series, len(rig.frames) + 1, "")
    assert rig.do("stop")["state"] == "idle", "stopping twice is no error"


def test_nobody_wants_more(rig: Rig) -> None:
    rig.do("arm", mode="software", exposure=0.01, triggers=10)
    rig.streamer.end()
    rig.after(0.01, steps=3)

    assert rig.end.error == ""
    assert rig.state["state"] == "idle"


def test_one_series_at_a_time(rig: Rig) -> None:
    rig.do("arm", mode="software", exposure=0.01)

    with pytest.raises(Busy, match=r"Series \d+ of the Xspress3 runs"):
        rig.do("arm", exposure=0.01)
    with pytest.raises(Busy):
        rig.do("set_range", first=0, bins=100)


@pytest.mark.parametrize("command", ["trigger", "release"])
def test_not_armed(rig: Rig, command: str) -> None:
    with pytest.raises(RequestRefused, match="not armed"):
        rig.do(command)


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("arm", {"exposure": 60.0}, "longest is 53.687"),
        ("arm", {"mode": "hardware", "frames": 3, "triggers": 2}, "3 frames for each of 2 triggers"),
        ("arm", {"mode": "sideways"}, "mode is 'sideways'"),
        ("arm", {"exposure": "long"}, "exposure is 'long'"),
        ("arm", {"speed": 3}, "no setting speed; there may stand debounce, exposure"),
        ("set_window", {"window": 0, "low": 200, "high": 100}, "low may not be above high"),
        ("set_window", {"window": 2, "low": 1, "high": 100}, "no window 2"),
        ("set_window", {"window": 0, "low": 1, "high": 100, "channel": 9}, "no channel 9"),
        ("set_window", {"window": 0, "low": 1}, r"^set_window: high is missing\.$"),
        ("set_window", {"window": 0, "low": 1, "high": 2, "loud": 3}, r"^set_window: there is no argument loud\.$"),
        ("set_regions", {"regions": [[10, 5, 3]]}, "low may not be above high"),
        ("set_range", {"first": 4000, "bins": 100}, "not within the spectrum"),
        ("restore_settings", {"directory": "/nowhere/at/all"}, "does not exist"),
        ("read", {"streamer": 1}, "no argument streamer"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(rig: Rig, command: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rig.do(command, **arguments)
    assert rig.state["state"] == "idle"
    rig.do("arm", exposure=0.01, frames=1)
    rig.after(0.02)
    assert len(rig.frames) == 1


def test_an_unknown_instruction_is_answered_with_those_there_are(rig: Rig) -> None:
    with pytest.raises(RequestRefused, match=r"no 'dance'.*arm, trigger"):
        rig.do("dance")


def test_windows_are_in_the_scalars(rig: Rig) -> None:
    rig.do("set_window", window=0, low=300, high=700)
    rig.do("set_window", window=1, low=0, high=4095, channel=1)
    rig.do("arm", exposure=0.01, frames=2)
    rig.after(0.03, steps=3)

    for frame in rig.frames:
        spectra, counts = decode(frame), record(frame)["window_counts"]
        np.testing.assert_array_equal(counts[0], spectra[:, 300:701].sum(axis=-1))
        assert counts[1, 1] == spectra[1].sum()
    assert rig.state["windows"][0] == [[300, 700]] * 2


def test_part_of_the_spectrum(rig: Rig) -> None:
    whole = rig.do("set_range", first=500, bins=300)
    rig.do("arm", exposure=0.01, frames=2)
    rig.after(0.03, steps=3)

    assert (whole["bins"], whole["first_bin"]) == (300, 500)
    assert {frame.format.shape for frame in rig.frames} == {(2, 300)}


def test_regions_of_the_hardware(rig: Rig) -> None:
    rig.do("set_regions", regions=[[300, 399, 100], [600, 699, 50]])
    rig.do("arm", exposure=0.01, frames=2)
    rig.after(0.03, steps=3)

    (bins,) = {frame.format.shape[-1] for frame in rig.frames}
    assert bins == 256
    consistent(rig.frames)
    rig.do("set_regions", regions=[])
    assert rig.state["bins"] == 4096


def test_an_auxiliary_axis(rig: Rig) -> None:
    rig.do("set_axes", aux1="RES_GRADE_MINDIV8")
    rig.do("arm", exposure=0.01, frames=2)
    rig.after(0.03, steps=3)

    for frame in rig.frames:
        assert frame.format.shape == (2, 16, 4096)
        np.testing.assert_array_equal(decode(frame).sum(axis=(1, 2)), record(frame)["all_good"])
    with pytest.raises(ConfigError, match="no auxiliary axis 'COLOUR'"):
        rig.do("set_axes", aux1="COLOUR")


def test_frames_are_read_back(rig: Rig) -> None:
    rig.do("set_window", window=0, low=100, high=900)
    rig.do("arm", exposure=0.01, frames=5)
    rig.after(0.06, steps=6)

    latest, third = rig.do("read"), rig.do("read", frame=2, channel=1)
    assert (latest["frame"], third["frame"]) == (4, 2)
    assert latest["spectra"] == decode(rig.frames[4]).tolist()
    assert third["spectra"] == decode(rig.frames[2])[1].tolist()
    assert third["scalars"]["all_good"] == int(record(rig.frames[2])["all_good"][1])
    assert rig.do("total")["spectra"] == sum(decode(frame).astype(int) for frame in rig.frames).tolist()
    expected = [int(record(frame)["window_counts"][0, 1]) for frame in rig.frames]
    assert rig.do("counts", window=0, channel=1, first=0, last=5)["counts"] == [*expected, -1]


def test_a_first_series_can_be_configured() -> None:
    simulation = SimulationConfig(channels=1)
    clock = Clock()
    system = SystemConfig(simulate=simulation)
    streamer = Streamer(
        Xspress3Plane(detector="x", outputs=[], system=system, start={"frames": 7, "exposure": 0.1}), clock
    )
    (taken,) = streamer.take(0)

    assert isinstance(taken.events[0], SeriesStart)
    assert taken.events[0].frames == 7
    streamer.close()
