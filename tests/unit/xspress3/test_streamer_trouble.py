"""The streamer when something goes wrong: every series ends, and says why."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import HardwareFailed
from bluesky_streamdet.core.events import SeriesEnd, SeriesStart
from bluesky_streamdet.xspress3.constants import ErrorFlag
from tests.unit.xspress3.rig import Rig, consistent


@pytest.mark.allow_error_log
@pytest.mark.parametrize("rig", [({"generation": "X3"}, {"max_frames": 16})], indirect=True)
def test_an_overrun_ends_the_series_in_words(rig: Rig) -> None:
    rig.do("arm", exposure=0.001, frames=1000)
    rig.after(0.005)
    rig.after(0.1)

    assert rig.end.error.startswith(f"Overrun: frames {len(rig.frames)} to ")
    assert "keeps 16" in rig.end.error
    state = rig.state
    assert (state["state"], state["overruns"]) == ("idle", 1)
    assert state["error"] == rig.end.error
    consistent(rig.frames)

    rig.do("arm", exposure=0.001, frames=3)
    rig.after(0.01, steps=10)
    assert rig.end.error == ""
    assert rig.state["error"] is None


@pytest.mark.allow_error_log
@pytest.mark.parametrize("rig", [({"generation": "X3"}, {"max_frames": 16})], indirect=True)
def test_an_overrun_ends_a_series_of_which_nobody_takes_frames(rig: Rig) -> None:
    rig.do("arm", exposure=0.001, frames=1000)
    rig.clock.now += 0.0105
    assert list(rig.streamer.take_no_frames()) == []
    assert (rig.state["acquired"], rig.state["taken"]) == (10, 0)
    rig.clock.now += 0.01
    ((events, _),) = rig.streamer.take_no_frames()
    assert [type(event) for event in events] == [SeriesStart, SeriesEnd]
    assert events[1].error.startswith("Overrun: frames 0 to ")
    assert rig.state["state"] == "idle"
    assert list(rig.streamer.take_no_frames()) == []


def test_what_the_sdk_says_it_has_lost_is_said_of_the_series(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = rig.streamer.system
    progress = sdk.progress
    for flags, said in [
        (ErrorFlag.SOCKET_ERROR | ErrorFlag.DESC_COUNT_SCALARS | ErrorFlag.SCOPE, "SOCKET_ERROR, DESC_COUNT_SCALARS:"),
        (ErrorFlag.SCOPE, ""),
    ]:
        monkeypatch.setattr(sdk, "progress", lambda flags=flags: dataclasses.replace(progress(), flags=flags))
        rig.do("arm", exposure=0.001, frames=3)
        rig.after(0.01, steps=5)
        assert rig.end.error.startswith(f"the SDK reports {said}" if said else "")
        assert (rig.state["error"] or "") == rig.end.error
    assert len(rig.frames) == 6, "they are there all the same"


@pytest.mark.parametrize("rig", [({"generation": "Mini", "capacity": 16}, {})], indirect=True)
def test_a_mini_stops_when_its_memory_is_full(rig: Rig) -> None:
    rig.do("arm", exposure=0.001, frames=1000)
    rig.after(0.005)
    taken = len(rig.frames)
    rig.after(0.1)

    assert "the detector stopped" in rig.end.error
    assert [frame.number for frame in rig.frames] == list(range(len(rig.frames)))
    assert taken < len(rig.frames) <= taken + 16, "what it had kept is not lost"


@pytest.mark.parametrize("call", ["xsp3_histogram_read4d", "xsp3_scaler_read", "xsp3_scaler_check_progress_details"])
def test_an_error_of_the_sdk_ends_the_series_and_shows(call: str) -> None:
    rig = Rig({"fail": {call: 4}})
    rig.do("arm", exposure=0.01, frames=100)
    rig.after(0.5, steps=50)

    assert call in rig.end.error
    state = rig.state
    assert (state["state"], state["error"]) == ("fault", rig.end.error)
    assert rig.streamer.trouble == rig.end.error
    assert rig.streamer.report()[0].connected == 0
    with pytest.raises(HardwareFailed, match=call):
        rig.do("arm", exposure=0.01)
    rig.streamer.close()


def test_a_reset_keeps_the_settings(rig: Rig, tmp_path: Path) -> None:
    rig.do("set_threshold", value=70)
    rig.do("save_settings", directory=str(tmp_path))
    rig.do("set_threshold", value=80)
    rig.do("set_window", window=0, low=1, high=9, channel=1)
    rig.do("restore_settings", directory=str(tmp_path))
    rig.do("set_window", window=0, low=3, high=4, channel=1)
    rig.do("set_window", window=1, low=600, high=680)
    rig.do("set_window", window=1, low=20, high=30, channel=0)
    rig.do("set_dead_time", channel=0, all_event_offset=1e-7)
    rig.do("set_dead_time", channel=0, in_window_offset=2e-7)
    rig.do("set_dead_time_energy", kev=8.0)
    rig.do("set_regions", regions=[[600, 680, 81]])
    rig.do("set_range", first=10, bins=60)
    before = rig.state
    assert before["windows"] == [[[0, 4095], [3, 4]], [[20, 30], [600, 680]]]
    assert before["thresholds"] == [70, 70]
    assert rig.do("reset") == before
    assert rig.do("reset") == before


@pytest.mark.allow_error_log
def test_a_reset_goes_on_without_a_setting_that_is_refused_now(rig: Rig, tmp_path: Path) -> None:
    directory = tmp_path / "settings"
    directory.mkdir()
    rig.do("save_settings", directory=str(directory))
    rig.do("restore_settings", directory=str(directory))
    rig.do("set_threshold", value=70)
    shutil.rmtree(directory)
    state = rig.do("reset")
    assert (state["state"], state["error"], state["thresholds"]) == ("idle", None, [70, 70])


def test_reset_in_the_middle_of_a_series(rig: Rig) -> None:
    rig.do("arm", exposure=0.01, frames=100)
    rig.after(0.02)
    rig.do("reset")
    rig.after(0.01)

    assert rig.end.error == "the Xspress3 was reset"
    rig.do("arm", exposure=0.01, frames=2)
    rig.after(0.05, steps=5)
    assert rig.end.error == ""
