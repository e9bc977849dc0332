"""Where each number of the SDK's memory comes out, and into which arrays it may go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed
from bluesky_streamdet.transforms.deadtime import (
    event_time,
    event_width_correction,
    input_count_rate,
    paralysable_correction,
)
from bluesky_streamdet.xspress3 import Timing, Xspress3
from bluesky_streamdet.xspress3.config import SystemConfig
from bluesky_streamdet.xspress3.constants import Aux1Mode, Scaler
from bluesky_streamdet.xspress3.histograms import AuxiliaryAxes
from bluesky_streamdet.xspress3.simulation.config import SimulationConfig
from tests.unit.xspress3.systems import System


def distinct(frame: Any, channel: Any, aux: Any, energy: Any) -> Any:
    return frame << 24 | channel << 20 | aux << 14 | energy


def fill(_path: int, buffer: Any, *place: int) -> int:
    """The SDK's order by its manual, number by number: energy runs fastest, then aux, channel and frame."""
    eng, aux, chan, tf, num_eng, num_aux, num_chan, num_tf = place
    at = 0
    for frame in range(tf, tf + num_tf):
        for channel in range(chan, chan + num_chan):
            for grade in range(aux, aux + num_aux):
                for energy in range(eng, eng + num_eng):
                    buffer[at] = distinct(frame, channel, grade, energy)
                    at += 1
    return 0


@pytest.fixture
def system() -> System:
    system = System(channels=3, capacity=8)
    system.library.replace("xsp3_histogram_read4d", fill)
    return system


def test_every_number_of_a_spectrum_comes_out_where_it_belongs(system: System) -> None:
    system.sdk.set_range(70, 5)
    spectra = system.sdk.read_spectra(2, 4)
    assert (spectra.shape, spectra.dtype) == ((4, 3, 5), np.uint32)
    frame, channel, energy = np.ogrid[2:6, 0:3, 70:75]
    assert (spectra == distinct(frame, channel, 0, energy)).all()
    assert len(np.unique(spectra)) == spectra.size
    assert spectra.flags.c_contiguous


def test_an_auxiliary_axis_has_its_own_place() -> None:
    system = System(channels=3, capacity=128)
    system.library.replace("xsp3_histogram_read4d", fill)
    system.sdk.set_axes(AuxiliaryAxes(aux1=Aux1Mode.RES_GRADE_MINDIV8))
    system.sdk.set_range(0, 6)
    spectra = system.sdk.read_spectra(1, 2)
    assert spectra.shape == (2, 3, 16, 6)
    frame, channel, aux, energy = np.ogrid[1:3, 0:3, 0:16, 0:6]
    assert (spectra == distinct(frame, channel, aux, energy)).all()


def test_frames_of_the_simulation_come_whole_and_in_order() -> None:
    system = System(channels=3, cards=3, rate=[1e3, 2e4, 3e5], capacity=16)
    system.sdk.arm(Timing(frames=5, exposure=0.05, gap=1e-6))
    system.wait(1)
    spectra, scalers = system.sdk.read_spectra(0, 5), system.sdk.read_scalers(0, 5)
    assert len({one.tobytes() for frame in spectra for one in frame}) == 15
    for frame in range(5):
        truth, counted = system.simulation.contents(frame)
        assert (spectra[frame] == truth[:, 0]).all()
        assert (scalers[frame] == counted).all()


def test_every_scaler_comes_out_where_it_belongs(system: System) -> None:
    def scalers(_path: int, dest: Any, *place: int) -> int:
        scaler, chan, t, n_scalers, n_chan, dt = place
        numbers = (
            f << 16 | c << 8 | s
            for f in range(t, t + dt)
            for c in range(chan, chan + n_chan)
            for s in range(scaler, scaler + n_scalers)
        )
        for at, number in enumerate(numbers):
            dest[at] = number
        return 0

    system.library.replace("xsp3_scaler_read", scalers)
    read = system.sdk.read_scalers(3, 2)
    frame, channel, scaler = np.ogrid[3:5, 0:3, 0:9]
    assert (read == (frame << 16 | channel << 8 | scaler)).all()
    assert read.shape == (2, 3, len(Scaler))


def test_frames_around_the_end_of_the_circular_buffer_are_read_in_two_pieces() -> None:
    system = System(channels=2, capacity=8)
    sdk = system.sdk
    sdk.set_range(600, 40)
    sdk.arm(Timing(frames=12, exposure=0.01))
    for first in (0, 3):
        system.wait(0.0501)
        sdk.acknowledge(first, 3 if first == 0 else 2)
    system.library.noted.clear()
    spectra, scalers = sdk.read_spectra(6, 4), sdk.read_scalers(6, 4)
    sdk.acknowledge(6, 4)
    reads = [call[2:] for call in system.library.named("histogram_read4d")]
    assert reads == [(600, 0, 0, 6, 40, 1, 2, 2), (600, 0, 0, 8, 40, 1, 2, 2)]
    assert [call[2:] for call in system.library.named("scaler_read")] == [(0, 0, 6, 9, 2, 2), (0, 0, 8, 9, 2, 2)]
    assert system.library.named("histogram_circ_ack") == [
        ("histogram_circ_ack", 0, 6, 2, 2),
        ("histogram_circ_ack", 0, 8, 2, 2),
    ]
    alone = [sdk.read_spectra(frame, 1)[0] for frame in range(6, 10)]
    assert (spectra == alone).all()
    assert (scalers == [sdk.read_scalers(frame, 1)[0] for frame in range(6, 10)]).all()


def test_an_array_is_filled_in_place(system: System) -> None:
    system.sdk.set_range(0, 5)
    memory = np.zeros((6, 3, 5), np.uint32)
    given = memory[1:3]
    assert system.sdk.read_spectra(2, 2, given) is given
    assert not memory[0].any()
    assert not memory[3:].any()
    frame, channel, energy = np.ogrid[2:4, 0:3, 0:5]
    assert (memory[1:3] == distinct(frame, channel, 0, energy)).all()


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((2, 3, 4), np.uint32),
        np.zeros((2, 3, 5), np.int32),
        np.zeros((2, 3, 5), np.uint64),
        np.zeros((2, 3, 10), np.uint32)[:, :, ::2],
        np.zeros((5, 3, 2), np.uint32).T,
        np.frombuffer(bytes(120), np.uint32).reshape(2, 3, 5),
    ],
)
def test_an_array_that_does_not_fit_is_never_written_to(system: System, given: Any) -> None:
    system.sdk.set_range(0, 5)
    system.library.noted.clear()
    with pytest.raises(ConfigError, match=r"it has to be uint32 of shape \(2, 3, 5\), contiguous and writeable"):
        system.sdk.read_spectra(0, 2, given)
    with pytest.raises(ConfigError, match=r"it has to be uint32 of shape \(2, 3, 9\)"):
        system.sdk.read_scalers(0, 2, given)
    assert system.library.noted == []


@pytest.mark.parametrize(("first", "frames"), [(-1, 1), (0, 0), (0, -1), (0, 9)])
def test_frames_that_the_memory_cannot_hold_are_refused(system: System, first: int, frames: int) -> None:
    for use in (system.sdk.read_spectra, system.sdk.read_scalers, system.sdk.acknowledge):
        with pytest.raises(ConfigError, match=f"{frames} frames from {first} on cannot be read: .* 1 to 8 frames"):
            use(first, frames)
    assert system.library.noted == []


def test_frames_that_have_not_come_are_refused_by_the_sdk() -> None:
    system = System()
    system.sdk.arm(Timing(frames=2, exposure=0.1))
    with pytest.raises(HardwareFailed, match=r"xsp3_histogram_read4d failed with RANGE_CHECK \(-6\): .*\w"):
        system.sdk.read_spectra(0, 1)


def test_frame_numbers_of_64_bits_are_cut_to_the_32_that_the_sdk_takes() -> None:
    system = System(channels=1, capacity=8)
    seen: list[int] = []
    system.library.replace("xsp3_histogram_read4d", lambda *place: seen.append(place[5]) or 0)
    system.sdk.read_spectra((1 << 32) + 24, 1)
    assert seen == [24]


def test_the_sdk_corrects_by_the_model_that_is_written_down() -> None:
    system = System(channels=2, rate=[1e4, 3e5])
    sdk = system.sdk
    sdk.set_dead_time(-1, all_event_offset=1e-7, all_event_gradient=1e-9, in_window_offset=8e-8, in_window_gradient=0)
    sdk.set_dead_time(1, use_good=True)
    sdk.set_dead_time_energy(10)
    sdk.arm(Timing(frames=3, exposure=0.1))
    system.wait(1)
    scalers = sdk.read_scalers(0, 3)
    factors, inputs = sdk.dead_time_factors(scalers)
    assert factors.shape == inputs.shape == (3, 2)
    events = np.stack([scalers[:, 0, Scaler.ALL_EVENT], scalers[:, 1, Scaler.ALL_GOOD]], axis=1)
    resets, clock = scalers[..., Scaler.RESET_TICKS], scalers[..., Scaler.LIVE_TICKS]
    tau = event_time(1e-7, 1e-9, 10)
    assert factors == pytest.approx(paralysable_correction(events, resets, clock, 12.5e-9, tau, 8e-8))
    assert inputs == pytest.approx(input_count_rate(events, resets, clock, 12.5e-9, tau) * clock * 12.5e-9)


@pytest.mark.parametrize("rate", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("model", ["event_width", "paralysable"])
def test_the_rate_that_came_in_is_recovered(model: str, rate: float) -> None:
    system = System(channels=4, rate=rate, dead_time={"model": model}, response={"good": 1})
    sdk = system.sdk
    sdk.arm(Timing(frames=10, exposure=1))
    system.wait(11)
    scalers = sdk.read_scalers(0, 10)
    events, resets, clock = (scalers[..., one] for one in (Scaler.ALL_EVENT, Scaler.RESET_TICKS, Scaler.LIVE_TICKS))
    if model == "event_width":
        factor = event_width_correction(events, resets, clock, sdk.event_widths)
        found = events * factor / (clock * sdk.clock_period)
    else:
        tau = [one.all_event_offset for one in sdk.dead_time]
        found = input_count_rate(events, resets, clock, sdk.clock_period, tau)
    assert found.mean() == pytest.approx(rate, rel=4 / np.sqrt(rate * 40))


def test_a_reader_and_who_asks_and_changes_do_not_disturb_each_other() -> None:
    def ask(sdk: Xspress3) -> None:
        for high in range(100, 300):
            sdk.set_window(0, 0, high)
            assert sdk.windows[0] == [(0, high)] * 2
            with pytest.raises(ConfigError):
                sdk.set_window(0, 5, 4)

    system = SystemConfig(simulate=SimulationConfig(channels=2))
    with Xspress3(system) as sdk, ThreadPoolExecutor(1) as pool:
        sdk.set_range(0, 64)
        sdk.arm(Timing(frames=200, exposure=1e-3))
        asked = pool.submit(ask, sdk)
        taken = 0
        while taken < 200:
            ready = sdk.progress().complete - taken
            if ready:
                assert sdk.read_spectra(taken, ready).shape == (ready, 2, 64)
                sdk.acknowledge(taken, ready)
                taken += ready
        asked.result(30)


@pytest.mark.parametrize("shape", [(9,), (2, 9), (1, 2, 8), (1, 4, 9)])
def test_scalers_of_another_shape_are_not_corrected(shape: tuple[int, ...]) -> None:
    system = System(channels=2)
    with pytest.raises(ConfigError, match=r"it is \(frames, 2, 9\)"):
        system.sdk.dead_time_factors(np.zeros(shape, np.uint32))
