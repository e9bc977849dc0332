"""Windows, thresholds, regions, dead time and settings on disk: as asked, or refused before the SDK is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import Busy, ConfigError, HardwareFailed, RequestRefused
from bluesky_streamdet.xspress3 import Timing, Xspress3
from bluesky_streamdet.xspress3.abi import TRIGGER_B_FIELDS, TriggerB
from bluesky_streamdet.xspress3.channels import DEAD_TIMES, DeadTime
from bluesky_streamdet.xspress3.constants import Aux1Mode, Scaler
from bluesky_streamdet.xspress3.histograms import AuxiliaryAxes, Region
from tests.unit.xspress3.systems import System


@pytest.fixture
def system() -> System:
    return System(channels=4, rate=1e5)


def test_windows_of_one_channel_and_of_all(system: System) -> None:
    sdk = system.sdk
    sdk.set_window(0, 600, 680)
    sdk.set_window(1, 7, 7, channel=2)
    assert sdk.windows[0] == [(600, 680)] * 4
    assert sdk.windows[1][2] == (7, 7)
    assert sdk.windows[1][1] != (7, 7)
    assert system.library.named("set_window") == [("set_window", -1, 0, 600, 680), ("set_window", 2, 1, 7, 7)]


def test_windows_include_both_ends(system: System) -> None:
    sdk = system.sdk
    sdk.set_window(0, 630, 650)
    sdk.arm(Timing(exposure=0.1))
    system.wait(1)
    spectra, scalers = sdk.read_spectra(0, 1), sdk.read_scalers(0, 1)
    assert scalers[0, :, Scaler.IN_WINDOW0].tolist() == spectra[0, :, 630:651].sum(axis=1).tolist()
    assert spectra[0, :, [630, 650]].any()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda sdk: sdk.set_window(2, 0, 1), "There is no window 2: they are 0 to 1"),
        (lambda sdk: sdk.set_window(-1, 0, 1), "There is no window -1"),
        (lambda sdk: sdk.set_window(0, 5, 4), "Window 0 of 5 to 4: low may not be above high"),
        (lambda sdk: sdk.set_window(0, -1, 4), "bins are 0 to 4095"),
        (lambda sdk: sdk.set_window(0, 0, 4096), "bins are 0 to 4095"),
        (lambda sdk: sdk.set_window(0, 0, 1, channel=4), "There is no channel 4: they are 0 to 3, or -1 for all"),
        (lambda sdk: sdk.set_window(0, 0, 1, channel=-2), "There is no channel -2"),
        (lambda sdk: sdk.set_threshold(4096), "The threshold 4096 is not a bin"),
        (lambda sdk: sdk.set_threshold(-1), "The threshold -1 is not a bin"),
        (lambda sdk: sdk.set_threshold(1, channel=9), "There is no channel 9"),
        (lambda sdk: sdk.trigger_b(4), "There is no channel 4: they are 0 to 3"),
        (lambda sdk: sdk.trigger_b(-1), "There is no channel -1"),
        (lambda sdk: sdk.set_range(4000, 97), "97 bins from 4000 on are not within the spectrum of 4096 bins"),
        (lambda sdk: sdk.set_range(-1, 5), "5 bins from -1 on"),
        (lambda sdk: sdk.set_range(4096, 0), "0 bins from 4096 on"),
        (lambda sdk: sdk.set_range(0, -5), "-5 bins from 0 on"),
        (lambda sdk: sdk.set_regions([Region(5, 4, 1)]), "Region 5 to 4: low may not be above high"),
        (lambda sdk: sdk.set_regions([Region(0, 4096, 1)]), "Region 0 to 4096"),
        (lambda sdk: sdk.set_regions([Region(0, 9, 11)]), "Region 0 to 9 cannot make 11 bins: 1 to 10"),
        (lambda sdk: sdk.set_regions([Region(0, 9, 0)]), "cannot make 0 bins"),
        (lambda sdk: sdk.set_regions([Region(9, 20, 3), Region(0, 9, 3)]), "Regions 0 to 9 and 9 to 20 overlap"),
        (lambda sdk: sdk.set_regions([Region(i, i, 1) for i in range(9)]), "9 regions are more than the hardware's 8"),
        (lambda sdk: sdk.set_regions([Region(0, 4000, 2048)]), "The regions have more than 2047 bins together"),
        (lambda sdk: sdk.set_dead_time(4, use_good=True), "There is no channel 4"),
        (lambda sdk: sdk.set_dead_time(0, all_event=1e-7), "there is no setting all_event"),
        (lambda sdk: sdk.set_dead_time(0, in_window_offset=float("nan")), "in_window_offset is nan"),
        (lambda sdk: sdk.set_dead_time_energy(0), "An energy of 0 keV"),
        (lambda sdk: sdk.set_dead_time_energy(-5), "An energy of -5 keV"),
        (lambda sdk: sdk.set_dead_time_energy(float("inf")), "An energy of inf keV"),
        (lambda sdk: sdk.set_dead_time_energy(6400), "An energy of 6400 keV is not within 0 to 1000 keV"),
    ],
)
def test_what_is_out_of_range_is_refused_without_asking_the_sdk(
    system: System, change: Callable[[Xspress3], Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        change(system.sdk)
    assert system.library.noted == []


@pytest.mark.parametrize(
    "change",
    [
        lambda sdk, _: sdk.arm(Timing()),
        lambda sdk, _: sdk.set_threshold(5),
        lambda sdk, _: sdk.set_regions([]),
        lambda sdk, _: sdk.set_range(0, 5),
        lambda sdk, _: sdk.set_axes(AuxiliaryAxes()),
        lambda sdk, _: sdk.set_dead_time(0, use_good=True),
        lambda sdk, _: sdk.set_dead_time_energy(5),
        lambda sdk, path: sdk.save_settings(path),
        lambda sdk, path: sdk.restore_settings(path),
    ],
)
def test_nothing_but_windows_is_changed_while_frames_are_taken(
    system: System, tmp_path: Path, change: Callable[[Xspress3, Path], Any]
) -> None:
    system.sdk.arm(Timing(exposure=10))
    with pytest.raises(Busy, match=r"frames are being taken\. Wait for the last one, or stop first"):
        change(system.sdk, tmp_path)
    system.sdk.set_window(0, 1, 2)
    system.sdk.stop()
    system.sdk.set_threshold(5)


def test_numbers_of_numpy_are_numbers(system: System) -> None:
    sdk, one = system.sdk, np.int64(1)
    sdk.set_window(one, one, np.uint16(5), channel=np.int32(2))
    assert sdk.windows[1][2] == (1, 5)
    sdk.set_threshold(np.uint32(7), channel=one)
    sdk.set_dead_time(one, use_good=np.True_, all_event_offset=np.float32(0.5))
    sdk.set_dead_time_energy(np.float32(6.5))
    sdk.set_regions([Region(np.int64(0), np.int64(99), np.int64(10))])
    sdk.set_range(np.int64(2), np.int64(3))
    sdk.arm(Timing(exposure=np.float64(0.1), frames=2))
    system.wait(1)
    assert sdk.read_spectra(one, one).shape == (1, 4, 3)
    assert sdk.read_scalers(one, one).shape == (1, 4, 9)
    sdk.acknowledge(one, one)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda sdk: sdk.set_window(0, 1.5, 2), "low is 1.5; it has to be a whole number"),
        (lambda sdk: sdk.set_window("0", 1, 2), "window is '0'; it has to be a whole number"),
        (lambda sdk: sdk.set_threshold(None), "threshold is None"),
        (lambda sdk: sdk.set_range(0, 10.0), "bins is 10.0"),
        (lambda sdk: sdk.read_spectra(0, 1.0), "frames is 1.0"),
        (lambda sdk: sdk.trigger_b("all"), "channel is 'all'"),
    ],
)
def test_what_is_no_whole_number_is_not_rounded(system: System, change: Callable[[Any], Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        change(system.sdk)


def test_thresholds(system: System) -> None:
    before = system.sdk.thresholds
    system.sdk.set_threshold(123, channel=1)
    assert system.sdk.thresholds == [before[0], 123, *before[2:]]
    system.sdk.set_threshold(0)
    assert system.sdk.thresholds == [0] * 4


def test_settings_are_asked_for_once_until_they_change(system: System, tmp_path: Path) -> None:
    """Whoever watches the state of a system would hold up its frames with hundreds of registers."""
    sdk, asked = system.sdk, ("get_window", "get_good_thres", "getDeadtimeCorrectionParameters2")

    def settings() -> Any:
        return sdk.windows, sdk.thresholds, sdk.dead_time

    before = settings()
    sdk.save_settings(tmp_path)
    system.library.noted.clear()
    assert settings() == before
    assert system.library.named(*asked) == []
    sdk.set_window(1, 5, 6, channel=1)
    sdk.set_threshold(9)
    sdk.set_dead_time(2, all_event_offset=1e-6)
    windows, thresholds, dead_time = settings()
    assert (windows[1][1], thresholds, dead_time[2].all_event_offset) == ((5, 6), [9] * 4, 1e-6)
    sdk.restore_settings(tmp_path)
    assert settings() == before


def test_trigger_b_by_its_names_and_the_width_of_events(system: System) -> None:
    settings = system.sdk.trigger_b(3)
    assert tuple(settings) == TRIGGER_B_FIELDS
    assert settings["event_time"] == 6


def test_where_widths_vary_an_event_is_shorter_than_its_time(system: System) -> None:
    def variable(_path: int, channel: int, settings: Any) -> int:
        settings[0] = TriggerB(event_time=10 + channel, enb_variable_width=channel % 2)
        return 0

    system.library.replace("xsp3_get_trigger_b", variable)
    assert Xspress3(system.sdk.config, system.library).event_widths == [10, 8, 12, 10]


def test_all_dead_time_parameters_keep_their_places(system: System) -> None:
    sdk = system.sdk
    values = {name: 1e-9 * (place + 1) for place, name in enumerate(DEAD_TIMES)}
    sdk.set_dead_time(2, **values, use_good=True)
    assert sdk.dead_time[2] == DeadTime(**values, use_good=True)
    assert system.library.named("setDeadtimeCorrectionParameters2") == [
        ("setDeadtimeCorrectionParameters2", 2, 2, *values.values())
    ]
    sdk.set_dead_time(-1, omit=True)
    assert [one.omit for one in sdk.dead_time] == [True] * 4
    assert sdk.dead_time[2].in_window_rate_gradient == pytest.approx(8e-9)
    sdk.set_dead_time(2, omit=False)
    assert sdk.dead_time[2] == DeadTime(**values, use_good=True)


def test_dead_time_energy(system: System) -> None:
    assert system.sdk.dead_time_energy is None
    system.sdk.set_dead_time_energy(6.4)
    assert system.sdk.dead_time_energy == 6.4
    assert system.library.named("setDeadtimeCalculationEnergy") == [("setDeadtimeCalculationEnergy", 6.4)]


def test_regions_make_the_smallest_spectrum_that_holds_them_and_the_rest(system: System) -> None:
    sdk = system.sdk
    capacity = sdk.capacity
    sdk.set_range(100, 50)
    sdk.set_regions([Region(800, 839, 20), Region(600, 699, 100)])
    assert sdk.regions == (Region(600, 699, 100), Region(800, 839, 20))
    assert (sdk.bins, sdk.first_bin, sdk.frame_shape) == (128, 0, (4, 128))
    assert sdk.capacity >= capacity
    sdk.arm(Timing(exposure=0.1))
    system.wait(1)
    spectra, scalers = sdk.read_spectra(0, 1)[0], sdk.read_scalers(0, 1)[0]
    assert spectra.sum(axis=1).tolist() == scalers[:, Scaler.ALL_GOOD].tolist()
    assert (spectra[:, 127] > 0).all()
    assert not spectra[:, 120:127].any()
    sdk.set_regions([])
    assert (sdk.regions, sdk.bins, sdk.capacity) == ((), 4096, capacity)


@pytest.mark.parametrize(("out_bins", "bins"), [(1, 2), (3, 4), (4, 8), (127, 128), (128, 256), (2047, 2048)])
def test_the_last_bin_is_kept_for_the_rest(system: System, out_bins: int, bins: int) -> None:
    system.sdk.set_regions([Region(0, 3999, out_bins)])
    assert system.sdk.bins == bins


def test_firmware_without_regions_says_what_to_do_instead(system: System) -> None:
    system.library.replace("xsp3_has_roi", lambda *_: 0)
    with pytest.raises(RequestRefused, match=r"no look-up of regions\. Keep a range of the spectrum instead"):
        system.sdk.set_regions([Region(0, 9, 10)])
    assert system.sdk.bins == 4096


def test_regions_that_the_sdk_refuses_are_not_kept(system: System) -> None:
    system.library.replace("xsp3_set_roi", lambda *_: -6)
    with pytest.raises(HardwareFailed, match=r"xsp3_set_roi failed with RANGE_CHECK \(-6\)"):
        system.sdk.set_regions([Region(0, 9, 10)])
    assert system.sdk.regions == ()
    system.sdk.arm(Timing())
    assert system.sdk.frame_shape == (4, 4096)


def test_a_range_is_what_is_read(system: System) -> None:
    sdk = system.sdk
    sdk.arm(Timing(exposure=0.1))
    system.wait(1)
    whole = sdk.read_spectra(0, 1)
    sdk.set_range(600, 100)
    assert (sdk.first_bin, sdk.bins, sdk.frame_shape) == (600, 100, (4, 100))
    assert (sdk.read_spectra(0, 1) == whole[:, :, 600:700]).all()
    sdk.arm(Timing(exposure=0.1))
    assert sdk.frame_shape == (4, 100)
    sdk.stop()
    sdk.set_range(4000, 0)
    assert sdk.bins == 96
    sdk.set_range(0, 0)
    assert sdk.frame_shape == (4, 4096)


def test_an_auxiliary_axis_comes_between_channel_and_energy(system: System) -> None:
    sdk = system.sdk
    sdk.set_axes(AuxiliaryAxes(aux1=Aux1Mode.RES_GRADE_MINDIV8))
    assert sdk.aux == 16
    assert sdk.frame_shape == (4, 16, 4096)
    assert system.library.named("format_run") == [("format_run", -1, 1, 0, 0, 0, 0, 12)]
    sdk.set_axes(AuxiliaryAxes())
    assert sdk.frame_shape == (4, 4096)
    with pytest.raises(HardwareFailed, match="xsp3_format_run failed with"):
        sdk.set_axes(AuxiliaryAxes(aux1=99))  # type: ignore[arg-type]
    assert sdk.axes == AuxiliaryAxes()


def test_settings_are_saved_and_restored(system: System, tmp_path: Path) -> None:
    sdk = system.sdk
    sdk.set_window(0, 5, 6)
    sdk.set_threshold(77)
    sdk.save_settings(str(tmp_path))
    sdk.set_window(0, 1, 2)
    sdk.set_threshold(1)
    sdk.restore_settings(tmp_path)
    assert sdk.windows[0] == [(5, 6)] * 4
    assert sdk.thresholds == [77] * 4


def test_settings_are_restored_when_a_system_is_opened(system: System, tmp_path: Path) -> None:
    system.sdk.set_threshold(77)
    system.sdk.save_settings(tmp_path)
    system.sdk.close()
    config = system.sdk.config.model_copy(update={"settings": tmp_path})
    with Xspress3(config, system.library) as sdk:
        assert sdk.thresholds == [77] * 4


def test_settings_are_not_replaced_unless_asked(system: System, tmp_path: Path) -> None:
    system.sdk.save_settings(tmp_path)
    with pytest.raises(ConfigError, match=f"The directory {tmp_path} is not empty"):
        system.sdk.save_settings(tmp_path)
    system.sdk.save_settings(tmp_path, overwrite=True)


def test_directories_that_are_none(system: System, tmp_path: Path) -> None:
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.touch()
    for use in (system.sdk.save_settings, system.sdk.restore_settings):
        with pytest.raises(ConfigError, match=f"{missing} does not exist"):
            use(missing)
        with pytest.raises(ConfigError, match=f"{file} is not a directory"):
            use(file)
    assert system.library.noted == []


def test_a_directory_that_is_closed_to_us(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=f"{tmp_path} cannot be read by this user"):
        system.sdk.restore_settings(tmp_path)


def test_an_empty_directory_is_refused_by_the_sdk(system: System, tmp_path: Path) -> None:
    with pytest.raises(HardwareFailed, match=r"xsp3_restore_settings failed with [A-Z_]+ \(-1[01]\): .*") as failure:
        system.sdk.restore_settings(tmp_path)
    assert failure.value.hint


def test_settings_of_another_major_revision_need_force(tmp_path: Path) -> None:
    System(generation="X3", channels=2).sdk.save_settings(tmp_path)
    mini = System(generation="X3V7", channels=2)
    with pytest.raises(HardwareFailed, match=r"xsp3_restore_settings failed with ERROR \(-1\): .*revision"):
        mini.sdk.restore_settings(tmp_path)
    mini.sdk.restore_settings(tmp_path, force=True)
