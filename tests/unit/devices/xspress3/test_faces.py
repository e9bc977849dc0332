"""Both faces of an Xspress3 in step scans, bursts and flights: what is announced, what is shown, what the hardware is
told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.callbacks import LiveTable
from bluesky.callbacks.mpl_plotting import LivePlot
from bluesky.utils import FailedStatus
from matplotlib.figure import Figure
from ophyd.sim import SynAxis
from ophyd_async.core import DetectorTrigger, TriggerInfo

from bluesky_streamdet.core.errors import ConfigError, StreamdetError
from bluesky_streamdet.plans import burst_scan, fly
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.scripted import Documents
from tests.unit.devices.xspress3.scripted import BINS, CHANNELS, IRON, ScriptedXspress3, detector

FACES = pytest.mark.parametrize("face", ["classic", "async"])
REGIONS = {"Fe": (6300, 6500), "low": {"bins": (90, 110)}}
TIMING = {"gap": 25e-9, "invert": False, "debounce": 80, "triggers_per_frame": 1, "gate_input": "ttl_veto"}


def total_key(face: str) -> str:
    return "xsp_total" if face == "classic" else "xsp-total"


def region_key(face: str, name: str = "Fe") -> str:
    return f"xsp_{name}" if face == "classic" else f"xsp-regions-{name}"


def channel_key(face: str, channel: int, name: str) -> str:
    if face == "classic":
        return f"xsp_channel{channel}_{name}"
    return f"xsp-channels-{channel}-{name if name in ('total', 'dead_time') else f'regions-{name}'}"


def configured(document: dict[str, Any]) -> dict[str, Any]:
    """Configuration values by their last names, of a descriptor."""
    values = document["configuration"]["xsp"]["data"]
    return {key.removeprefix("xsp").lstrip("_-").removeprefix("hardware-"): value for key, value in values.items()}


@FACES
def test_regions_are_counted_with_dead_time(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service, regions=REGIONS), Documents()
    RE(bp.count([xsp], 2), documents)
    values = [one["data"] for one in documents.of("event")]
    # Channels have 1, 2 and 3 counts, times 1, 1.25 and 2, and twice as many in the second frame.
    assert [one[region_key(face)] for one in values] == [9.5, 19.0]
    assert [one[region_key(face, "low")] for one in values] == [4.25, 4.25]
    assert [one[total_key(face)] for one in values] == [13.75, 23.25]
    assert [values[1][channel_key(face, one, "Fe")] for one in range(CHANNELS)] == [2.0, 5.0, 12.0]
    assert [values[1][channel_key(face, one, "total")] for one in range(CHANNELS)] == [3.0, 6.25, 14.0]
    assert [values[1][channel_key(face, one, "dead_time")] for one in range(CHANNELS)] == pytest.approx([0, 20, 50])


@pytest.mark.parametrize(("correction", "counts"), [("none", 6.0), ("sdk", 18.0), ("event_width", 9.5)])
@FACES
def test_the_correction_is_a_choice(
    RE: RunEngine, service: ScriptedXspress3, face: str, correction: Any, counts: float
) -> None:
    xsp, documents = detector(face, service, regions=REGIONS, correction=correction), Documents()
    RE(bp.count([xsp]), documents)
    assert documents.of("event")[0]["data"][region_key(face)] == counts
    assert configured(documents.of("descriptor")[0])["correction"] == correction


@FACES
def test_a_channel_can_be_left_out(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service, regions=REGIONS, exclude=[2]), Documents()
    RE(bp.count([xsp]), documents)
    values = documents.of("event")[0]["data"]
    assert values[region_key(face)] == 3.5
    assert values[channel_key(face, 2, "Fe")] == 6.0


@FACES
def test_tables_show_totals_and_regions(
    RE: RunEngine, service: ScriptedXspress3, face: str, capsys: pytest.CaptureFixture[str]
) -> None:
    xsp, documents = detector(face, service, regions=REGIONS), Documents()
    table: Any = LiveTable([total_key(face), region_key(face)])
    RE(bp.count([xsp], 2), [documents, table])
    hinted = documents.of("descriptor")[0]["hints"]["xsp"]["fields"]
    assert {total_key(face), region_key(face), region_key(face, "low")} <= set(hinted)
    assert "xsp" not in hinted
    shown = capsys.readouterr().out
    assert "23.25" in shown and "9.5" in shown


@FACES
def test_plots_show_regions(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    plot: Any = LivePlot(region_key(face), ax=Figure().subplots())
    RE(bp.count([detector(face, service, regions=REGIONS)], 3), plot)
    assert plot.y_data == [9.5, 19.0, 28.5]


@FACES
def test_spectra_and_scalars_are_announced(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    columns = ("all_events", "window_counts", "dead_time_correction", "sequence_number")
    xsp, documents = detector(face, service, columns=columns), Documents()
    RE(bp.count([xsp], 3), documents)
    keys = documents.of("descriptor")[0]["data_keys"]
    separator = "_" if face == "classic" else "-"
    assert (keys["xsp"]["shape"], keys["xsp"]["dims"]) == ([CHANNELS, BINS], ["channel", "bin"])
    for name, shape, dims, dtype in (
        ("all_events", [CHANNELS], ["channel"], "<u4"),
        ("window_counts", [2, CHANNELS], ["window", "channel"], "<u4"),
        ("dead_time_correction", [CHANNELS], ["channel"], "<f8"),
    ):
        key = keys[f"xsp{separator}{name}"]
        assert (key["shape"], key["dims"], key["dtype_numpy"]) == (shape, dims, dtype)
        assert documents.ranges(f"xsp{separator}{name}") == [(0, 1), (1, 2), (2, 3)]
    assert documents.ranges(f"xsp{separator}sequence_number") == [(0, 1), (1, 2), (2, 3)]
    resource = next(one for one in documents.of("stream_resource") if one["data_key"].endswith("all_events"))
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        assert np.asarray(file[resource["parameters"]["dataset"]]).tolist() == [[n] * CHANNELS for n in (1, 2, 3)]


@FACES
def test_a_step_scan_arms_once(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    RE(bp.count([detector(face, service, exposure=0.2)], 3))
    assert service.commands == ["arm", "trigger", "trigger", "trigger", "stop"]
    (arm,) = service.arguments_of("arm")
    assert arm.pop("triggers") >= 1000
    assert arm == {**TIMING, "mode": "software", "exposure": 0.2, "frames": 1}


@FACES
def test_bursts(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service, frames_per_event=4), Documents()
    RE(bp.count([xsp], 2), documents)
    assert service.commands == ["arm", "trigger", "trigger", "stop"]
    assert [one["frames"] for one in service.arguments_of("arm")] == [4]
    assert documents.of("descriptor")[0]["data_keys"]["xsp"]["shape"] == [4, CHANNELS, BINS]
    assert documents.ranges("xsp") == [(0, 1), (1, 2)]
    assert documents.stop["num_events"] == {"primary": 2}


@FACES
def test_a_flight_is_one_burst(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    """It can be the first thing that the detector does: the hardware says what its frames are like."""
    xsp, documents = detector(face, service), Documents()
    RE(fly([xsp], 8, exposure=0.05, flush_period=0.01), documents)
    assert service.commands == ["arm", "trigger", "stop"]
    (arm,) = service.arguments_of("arm")
    assert arm.pop("triggers") >= 1
    assert arm == {**TIMING, "mode": "software", "exposure": 0.05, "frames": 8}
    assert documents.ranges("xsp")[-1][1] == 8
    assert documents.of("event") == documents.of("event_page") == []


@pytest.mark.parametrize(
    ("trigger", "mode"), [(DetectorTrigger.EXTERNAL_EDGE, "hardware"), (DetectorTrigger.EXTERNAL_LEVEL, "gate")]
)
@FACES
def test_triggers_from_outside(
    RE: RunEngine, service: ScriptedXspress3, face: str, trigger: DetectorTrigger, mode: str
) -> None:
    xsp, documents = detector(face, service), Documents()

    @bpp.stage_decorator([xsp])
    @bpp.run_decorator()
    def plan() -> Any:
        yield from bps.mv(xsp.invert, True, xsp.debounce, 10, xsp.triggers_per_frame, 3, xsp.gap, 2e-7)
        yield from bps.mv(xsp.gate_input, "lvds_veto")
        yield from bps.prepare(xsp, TriggerInfo(number_of_events=4, trigger=trigger), wait=True)
        yield from bps.declare_stream(xsp, name="primary", collect=True)
        yield from bps.kickoff(xsp, wait=True)
        service.give(4)
        yield from bps.complete(xsp, wait=True)
        yield from bps.collect(xsp, name="primary")

    RE(plan(), documents)
    assert service.commands == ["arm", "stop"]
    (arm,) = service.arguments_of("arm")
    assert (arm["mode"], arm["frames"], arm["triggers"]) == (mode, 1, 4)
    assert (arm["invert"], arm["debounce"], arm["gap"]) == (True, 10, 2e-7)
    assert (arm["triggers_per_frame"], arm["gate_input"]) == (3, "lvds_veto")
    assert documents.ranges("xsp") == [(0, 4)]


@FACES
def test_the_descriptor_has_the_settings(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service, regions=REGIONS), Documents()
    service.state["thresholds"] = [20, 30, 40]
    RE(bps.mv(xsp.debounce, 33, xsp.ev_offset, -20.0))
    RE(bp.count([xsp]), documents)
    values = configured(documents.of("descriptor")[0])
    assert (values["generation"], values["debounce"], values["ev_offset"]) == ("X3", 33, -20.0)
    assert list(values["thresholds"]) == [20, 30, 40]
    assert np.shape(values["windows"]) == (2, CHANNELS, 2)
    assert np.shape(values["dead_time_parameters"]) == (CHANNELS, 4)
    assert list(values["region_names"]) == ["Fe", "low"]
    assert list(values["region_low"]) == [6300.0, 880.0]
    assert list(values["region_first_bin"]) == [632, 90]


@FACES
def test_windows_are_set_at_the_start_of_a_run(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp = detector(face, service)
    RE(bps.mv(xsp.window0, [600, 680], xsp.window1, [1, 2, 3, 4, 5, 6]))
    RE(bp.count([xsp]))
    assert service.arguments_of("set_window") == [
        {"window": 0, "low": 600, "high": 680, "channel": -1},
        *({"window": 1, "low": 2 * c + 1, "high": 2 * c + 2, "channel": c} for c in range(CHANNELS)),
    ]


@pytest.mark.parametrize(
    ("keywords", "changes", "message"),
    [
        ({"channels": 8}, {}, "has 3 channels; the device was made for 8"),
        ({"exclude": [3]}, {}, "no channels .3. to exclude"),
        ({"regions": {"far": (39_000, 50_000)}}, {}, "Region far"),
        ({"regions": REGIONS}, {"bins": 512}, "Region Fe, bins 630 to 650, is not in the part"),
        ({"correction": "magic"}, {}, "no correction 'magic'"),
    ],
)
@FACES
@pytest.mark.allow_error_log
def test_what_does_not_fit_the_hardware(
    RE: RunEngine, service: ScriptedXspress3, face: str, keywords: Any, changes: Any, message: str
) -> None:
    """The plan fails before anything is armed, and says why."""
    service.state |= changes

    def made_and_counted() -> None:
        RE(bp.count([detector(face, service, **keywords)]))

    with pytest.raises((ConfigError, FailedStatus)) as caught:
        made_and_counted()
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, StreamdetError):
        error = error.__cause__
    assert error is not None
    assert message.replace(".3.", "[3]") in str(error)
    assert service.calls == []


@FACES
def test_regions_change_between_runs(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service, regions=REGIONS), Documents()

    def do(called: Callable[[], Any]) -> Any:
        return called() if face == "classic" else asyncio.run_coroutine_threadsafe(called(), RE.loop).result()

    RE(bp.count([xsp]))
    do(lambda: xsp.set_regions({"iron": {"bins": [IRON, IRON]}}))
    with pytest.raises(ConfigError, match="Region far"):
        do(lambda: xsp.set_regions({"far": (39_000, 50_000)}))
    RE(bp.count([xsp]), documents)
    (descriptor,), (event,) = documents.of("descriptor"), documents.of("event")
    assert configured(descriptor)["region_names"] == ["iron"]
    assert event["data"][region_key(face, "iron")] == 19.0
    channels = [key for key in event["data"] if "channel" in key and key.endswith("iron")]
    assert (len(channels), sum(event["data"][key] for key in channels)) == (CHANNELS, 19.0)
    assert region_key(face, "iron") in descriptor["hints"]["xsp"]["fields"]
    assert not [key for key in (*event["data"], *descriptor["hints"]["xsp"]["fields"]) if key.endswith("Fe")]
    do(xsp.stage) if face == "classic" else RE(bps.stage(xsp))
    if face == "async":
        RE(bps.prepare(xsp, TriggerInfo(), wait=True))
    with pytest.raises(ConfigError, match="in the middle of a run"):
        do(lambda: xsp.set_regions({}))
    RE(bps.unstage(xsp))


@FACES
def test_signals_show_spectra_and_scalers(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp = detector(face, service, regions=REGIONS)
    RE(bp.count([xsp]))
    if face == "classic":
        channel = xsp.channels[2]
        shown = channel.spectrum.get(), channel.all_events.get(), xsp.sum_spectrum.get(), channel.window_counts.get()
    else:
        channel = xsp.channels[2]
        signals = channel.spectrum, channel.scalers.all_events, xsp.sum_spectrum, channel.scalers.window_counts

        async def values() -> Any:
            return await asyncio.gather(*(one.get_value() for one in signals))

        shown = asyncio.run_coroutine_threadsafe(values(), RE.loop).result()
    assert (shown[0][IRON], shown[1], shown[2][IRON], shown[3].tolist()) == (6.0, 1, 9.5, [1, 1])


@FACES
def test_settings_are_saved_and_restored(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp = detector(face, service)

    def do(called: Any) -> Any:
        return called if face == "classic" else asyncio.run_coroutine_threadsafe(called, RE.loop).result()

    do(xsp.save_settings("/settings/today"))
    do(xsp.restore_settings("/settings/best", force=True))
    do(xsp.set_window(1, 10, 20, channel=2))
    assert do(xsp.state())["generation"] == "X3"
    assert service.instructions == [
        ("save_settings", {"directory": "/settings/today"}),
        ("restore_settings", {"directory": "/settings/best", "force": True}),
        ("set_window", {"window": 1, "low": 10, "high": 20, "channel": 2}),
    ]


@FACES
def test_what_somebody_has_left_running(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    """Such as a session that died: both the service and the hardware are freed."""
    service.arm_series(ArmRequest(name="left"))
    xsp = detector(face, service)
    called = xsp.abort()
    if face == "async":
        asyncio.run_coroutine_threadsafe(called, RE.loop).result()
    assert service.current is None
    assert service.commands == ["stop"]
    RE(bp.count([xsp]))


@FACES
def test_without_totals_an_event_costs_no_frame(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    xsp, documents = detector(face, service, regions=REGIONS, totals=False), Documents()
    RE(bp.count([xsp]), documents)
    assert region_key(face) not in documents.of("event")[0]["data"]
    assert documents.of("descriptor")[0]["hints"]["xsp"]["fields"] == [
        "xsp_frames_written" if face == "classic" else "xsp-frames_written"
    ]


def test_documents_for_handlers_of_xspress3_files(RE: RunEngine, service: ScriptedXspress3) -> None:
    xsp, documents = detector("classic", service, asset_docs="resource"), Documents()
    RE(bp.count([xsp], 2), documents)
    (resource,) = documents.of("resource")
    assert (resource["spec"], resource["resource_kwargs"]) == ("XSP3", {})
    assert documents.of("descriptor")[0]["data_keys"]["xsp_channel1_spectrum"]["shape"] == [BINS]
    datums = {one["datum_id"]: one["datum_kwargs"] for one in documents.of("datum")}
    for frame, event in enumerate(documents.of("event")):
        for channel in range(CHANNELS):
            found = datums[event["data"][f"xsp_channel{channel}_spectrum"]]
            assert found == {"frame": frame, "channel": channel + 1}


@pytest.mark.allow_error_log
def test_handlers_can_not_tell_of_bursts(RE: RunEngine, service: ScriptedXspress3) -> None:
    with pytest.raises(ConfigError, match="several frames an event"):
        detector("classic", service, asset_docs="resource", frames_per_event=2)
    xsp = detector("classic", service, asset_docs="resource")
    with pytest.raises(ConfigError, match="several frames an event; xsp takes 2"):
        RE(burst_scan([xsp], SynAxis(name="motor"), 0, 1, num=2, frames=2))
    RE(bp.count([xsp]))


@FACES
def test_scalars_of_bursts(RE: RunEngine, service: ScriptedXspress3, face: str) -> None:
    """Each frame of an event has its own."""
    xsp, documents = detector(face, service, frames_per_event=2), Documents()
    RE(bp.count([xsp], 3), documents)
    separator = "_" if face == "classic" else "-"
    key = documents.of("descriptor")[0]["data_keys"][f"xsp{separator}window_counts"]
    assert (key["shape"], key["dims"]) == ([2, 2, CHANNELS], ["frame", "window", "channel"])
    resource = next(one for one in documents.of("stream_resource") if one["data_key"].endswith("all_events"))
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        found = np.asarray(file[resource["parameters"]["dataset"]])
    assert found.tolist() == [[[n] * CHANNELS, [n + 1] * CHANNELS] for n in (1, 3, 5)]
