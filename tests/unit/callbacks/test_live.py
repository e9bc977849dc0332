"""The base of live plots: never in the plan's way, the newest only or all, several runs, late, from other places."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from matplotlib.figure import Figure
from ophyd.sim import SynAxis, SynSignal

from bluesky_streamdet.callbacks import live
from bluesky_streamdet.callbacks.live import Live, Shot
from bluesky_streamdet.plans import fly
from bluesky_streamdet.streaming.openruns import OpenRuns
from tests.scripted import DTYPE, SHAPE, ScriptedService, detector
from tests.unit.callbacks.shown import PATIENCE, Held, Kept
from tests.unit.devices.xspress3 import scripted as xspress3

FACES = pytest.mark.parametrize("face", ["classic", "async"])


class Words:
    """A picture of a text."""

    size = (1.0, 1.0)

    def __init__(self, title: str) -> None:
        self.title = title

    def draw(self, figure: Figure) -> None:
        figure.clear()


class Newest(Live):
    """Keeps the shots that it takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shots: list[Shot] = []

    def take(self, shot: Shot) -> None:
        self.shots.append(shot)

    def picture(self) -> Words:
        return Words(self.title(self.shots[-1]))

    @property
    def numbers(self) -> list[int]:
        """Of the frames taken, each of which holds one number in all its pixels."""
        return [int(frame.flat[0]) for shot in self.shots for frame in shot.frames.reshape(-1, *SHAPE)]


class All(Newest):
    every_row = True


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path)


@FACES
def test_a_plot_that_hangs_does_not_hold_up_the_plan(RE: RunEngine, service: ScriptedService, face: str) -> None:
    """It hangs from its first picture on until two whole runs are over; and then shows the very last frame."""
    held = Held()
    plot = Newest(show=held)
    det = detector(face, service)
    RE.subscribe(plot)

    def started(name: str, document: Any) -> None:
        if name in {"event", "stream_datum"}:
            assert held.entered.wait(PATIENCE)

    RE(bp.count([det], 5), started)
    RE(bp.count([det], 3))
    assert not held.pictures, "the plot hangs still"
    held.release()
    plot.close()
    assert plot.numbers == [0, 7]


def test_what_is_skipped_is_counted_and_shown(RE: RunEngine, service: ScriptedService) -> None:
    held = Held()
    plot = Newest(show=held)
    seen = []

    def after_the_first(name: str, document: Any) -> None:
        if name == "event" and not seen:
            seen.append(document)
            assert held.entered.wait(PATIENCE)

    RE(bp.count([detector("classic", service)], 5), [plot, after_the_first])
    held.release()
    plot.close()
    assert held.titles == ["scan 1, det, event 1", "scan 1, det, event 5, 3 skipped"]
    assert (plot.drawn, plot.skipped, plot.missed) == (2, 3, 0)


def test_a_keyword_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"^Newest takes no colour, kyes$"):
        Newest(show=Kept(), colour="red", kyes=["det"])  # type: ignore[call-arg]


@FACES
def test_one_of_all_frames_skips_none(RE: RunEngine, service: ScriptedService, face: str) -> None:
    held = Held()
    plot = All(show=held)
    det = detector(face, service, shape=SHAPE, dtype=DTYPE)
    RE(fly([det], 20), plot)
    held.release()
    plot.close()
    assert plot.numbers == list(range(20))
    assert [number for shot in plot.shots for number in shot.seq_nums] == list(range(1, 21))
    assert plot.skipped == plot.missed == 0


def test_many_frames_are_read_in_blocks(
    RE: RunEngine, service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BLOCK", 8 * 24 * 7)
    plot = All(show=Kept())
    RE(fly([detector("classic", service, shape=SHAPE, dtype=DTYPE)], 20), plot)
    plot.close()
    assert max(len(shot.frames) for shot in plot.shots) <= 7
    assert plot.numbers == list(range(20))


def test_several_frames_an_event(RE: RunEngine, service: ScriptedService) -> None:
    for docs in ("stream", "resource"):
        det = detector("classic", service, frames_per_event=3, shape=SHAPE, dtype=DTYPE, asset_docs=docs)
        plot = All(show=Kept())
        RE(bp.count([det], 2), plot)
        plot.close()
        assert [shot.frames.shape for shot in plot.shots if len(shot.frames) == 1] in ([(1, 3, *SHAPE)] * 2, [])
        assert sum(shot.frames.shape[0] for shot in plot.shots) == 2


def test_resource_documents(RE: RunEngine, service: ScriptedService) -> None:
    plot = All(show=Kept())
    RE(bp.count([detector("classic", service, asset_docs="resource")], 3), plot)
    plot.close()
    assert plot.numbers == [0, 1, 2]


def test_spectra_of_each_channel_by_resource_documents_are_one_frame(RE: RunEngine, tmp_path: Path) -> None:
    service = xspress3.ScriptedXspress3(tmp_path)
    plot = All(show=Kept())
    plot.columns = ("dead_time_correction",)
    RE(bp.count([xspress3.detector("classic", service, asset_docs="resource")], 2), plot)
    plot.close()
    frames = np.concatenate([shot.frames for shot in plot.shots])
    assert frames.shape == (2, xspress3.CHANNELS, xspress3.BINS)
    assert frames[:, :, xspress3.IRON].tolist() == [[1, 2, 3], [2, 4, 6]]
    assert {shot.key for shot in plot.shots} == {"xsp"}
    assert plot.shots[0].columns["dead_time_correction"].tolist()[0] == xspress3.FACTORS


@FACES
def test_what_comes_beside_the_frames(RE: RunEngine, tmp_path: Path, face: str) -> None:
    service = xspress3.ScriptedXspress3(tmp_path)
    plot = All(show=Kept())
    plot.columns = ("dead_time_correction", "no such thing")
    RE(bp.count([xspress3.detector(face, service)], 2), plot)
    plot.close()
    (values,) = {tuple(shot.columns) for shot in plot.shots}
    assert values == ("dead_time_correction",)
    assert plot.shots[-1].columns["dead_time_correction"].tolist()[-1] == xspress3.FACTORS
    assert plot.shots[0].run["plan_name"] == "count"
    assert "xsp" in plot.shots[0].described["configuration"]


@FACES
def test_late_subscription(RE: RunEngine, service: ScriptedService, face: str) -> None:
    """In the middle of a run: nobody says where its frames are; those of the next run are shown."""
    plot = All(show=Kept())
    det = detector(face, service)
    tokens: list[int] = []

    def subscribe(name: str, document: Any) -> None:
        if name == "event" and not tokens:
            tokens.append(RE.subscribe(plot))

    RE(bp.count([det], 3), subscribe)
    assert plot.unknown > 0
    assert plot.shots == []
    RE(bp.count([det], 2))
    plot.close()
    assert plot.numbers == [3, 4]


def test_a_start_that_nobody_heard(RE: RunEngine, service: ScriptedService) -> None:
    plot = All(show=Kept())
    documents: list[tuple[str, Any]] = []
    RE(bp.count([detector("classic", service)], 2), lambda name, document: documents.append((name, document)))
    for name, document in documents[1:]:
        plot(name, document)
    plot.close()
    assert plot.numbers == [0, 1]


def test_two_runs_at_a_time(RE: RunEngine, tmp_path: Path) -> None:
    """One plan measures with two detectors in two runs, by turns."""
    ours, theirs = (detector("classic", ScriptedService(tmp_path / name), name) for name in ("one", "two"))
    plot = All(show=Kept())

    def both() -> Any:
        yield from bps.open_run()
        yield from bpp.set_run_key_wrapper(bps.open_run(), "other")
        for _ in range(2):
            yield from bps.trigger_and_read([ours])
            yield from bpp.set_run_key_wrapper(bps.trigger_and_read([theirs]), "other")
        yield from bps.close_run()
        yield from bpp.set_run_key_wrapper(bps.trigger_and_read([theirs]), "other")
        yield from bpp.set_run_key_wrapper(bps.close_run(), "other")

    RE(bpp.stage_wrapper(both(), [ours, theirs]), plot)
    plot.close()
    frames = {key: [] for key in ("one", "two")}
    for shot in plot.shots:
        frames[shot.key] += list(shot.seq_nums)
    assert frames == {"one": [1, 2], "two": [1, 2, 3]}
    assert len({shot.run["uid"] for shot in plot.shots}) == 2


def test_only_the_first_images_of_a_run(RE: RunEngine, tmp_path: Path) -> None:
    both = [detector("classic", ScriptedService(tmp_path / name), name) for name in ("one", "two")]
    plot, wanted = All(show=Kept()), All(show=Kept(), keys=["two"])
    RE(bp.count(both, 2), [plot, wanted])
    for each in (plot, wanted):
        each.close()
    assert len({shot.key for shot in plot.shots}) == 1
    assert {shot.key for shot in wanted.shots} == {"two"}


def test_a_scan(RE: RunEngine, service: ScriptedService) -> None:
    plot = Newest(show=Kept())
    RE(bp.grid_scan([detector("classic", service)], SynAxis(name="y"), 0, 1, 2, SynAxis(name="x"), 0, 1, 2), plot)
    plot.close()
    assert plot.numbers[-1] == 3
    assert plot.drawn + plot.skipped == 4


def test_runs_without_frames(RE: RunEngine) -> None:
    plot = Newest(show=Kept())
    diode: Any = SynSignal(name="diode")
    RE(bp.count([diode], 2), plot)
    plot.close()
    assert plot.drawn == 0


def test_frames_that_never_come_are_counted(
    RE: RunEngine,
    service: ScriptedService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.0)
    plot = All(show=Kept(), path_map={str(tmp_path): str(tmp_path / "elsewhere")})
    RE(bp.count([detector("classic", service)], 2), plot)
    plot.close()
    assert plot.missed == 2
    assert "has no frame" in caplog.text


@pytest.mark.allow_error_log
def test_a_picture_that_can_not_be_drawn_stops_nothing(
    RE: RunEngine, service: ScriptedService, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Newest):
        def picture(self) -> Words:
            raise ValueError("no ink")

    plot = Broken(show=Kept())
    RE(bp.count([detector("classic", service)], 2), plot)
    plot.close()
    assert "no ink" in caplog.text


@pytest.mark.allow_error_log
def test_documents_that_make_no_sense_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    plot = Newest(show=Kept())
    for name in ("start", "descriptor", "event", "stream_resource", "stream_datum", "resource", "datum", "stop"):
        plot(name, {})
    plot("nonsense", {})
    plot.close()
    assert "is not understood" in caplog.text


class Scripted:
    """A source of frames by number; after them, nothing."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.empty = threading.Event()
        self.closed = False

    def take(self, timeout: float, *, newest: bool) -> list[Shot]:
        if not self.numbers:
            self.empty.set()
            threading.Event().wait(timeout)
            return []
        number = self.numbers.pop(0)
        return [Shot("frames", range(number, number + 1), np.full((1, *SHAPE), number, DTYPE))]

    def close(self) -> None:
        self.closed = True


def test_frames_straight_from_a_source_without_any_documents() -> None:
    source, shown = Scripted(1, 2, 5), Kept()
    with Newest(show=shown, frames=source) as plot:
        plot.follow()
        assert source.empty.wait(PATIENCE)
    assert plot.numbers == [1, 2, 5]
    assert shown.titles[-1] == "frames, event 5, 2 skipped"
    assert source.closed


def test_frames_straight_from_a_source_with_what_documents_say(RE: RunEngine, service: ScriptedService) -> None:
    """Also those that were there only after the run."""
    source = Scripted()
    plot = All(show=Kept(), frames=source)

    def late(name: str, document: Any) -> None:
        if name == "stop":
            source.numbers += [1, 2, 3]

    RE(bp.count([detector("classic", service)], 1), [late, plot])
    plot.close()
    assert plot.numbers == [1, 2, 3]
    assert {shot.key for shot in plot.shots} == {"det"}
    assert plot.shots[-1].run["plan_name"] == "count"


def test_frames_that_are_there_before_their_descriptor_wait_for_it() -> None:
    source, shown = Scripted(1, 2), Kept()
    with All(show=shown, frames=source) as plot:
        plot("start", {"uid": "run", "time": 0.0})
        assert source.empty.wait(PATIENCE)
        assert plot.shots == []
        key = {"source": "", "dtype": "array", "shape": list(SHAPE), "external": "STREAM:"}
        plot("descriptor", {"uid": "d", "run_start": "run", "time": 0.0, "data_keys": {"det": key}})
        shown.wait(1)
    assert [(shot.key, shot.run["uid"], shot.described["uid"]) for shot in plot.shots] == [("det", "run", "d")] * 2


def test_a_program_ends_in_the_middle_of_a_run(tmp_path: Path) -> None:
    script = (
        "from bluesky_streamdet.callbacks.image import LiveImage\n"
        f"plot = LiveImage({str(tmp_path / 'x.png')!r})\n"
        "plot('start', {'uid': 'run', 'time': 0.0})\n"
        "print('over')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_the_plot_of_the_documentation(RE: RunEngine, service: ScriptedService, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "live-plots.md").read_text()
    code = page[page.index("from bluesky_streamdet.callbacks.live import Live") :].partition("```")[0]
    made: dict[str, Any] = {}
    exec(code, made)
    plot = made["LiveTotal"](tmp_path / "x.png")
    RE(bp.count([detector("classic", service)], 3), plot)
    plot.close()
    assert list(plot.totals) == [0, 24, 48]
    assert (tmp_path / "x.png").exists()


def test_late_with_the_documents_of_the_open_run(RE: RunEngine, service: ScriptedService) -> None:
    """Who kept them hands them to the plot, which then has all of the run."""
    open_runs, plot = OpenRuns(), All(show=Kept())
    tokens: list[int] = []

    def subscribe(name: str, document: Any) -> None:
        if name == "event" and not tokens:
            for kept, one in open_runs.documents():
                plot(kept, one)
            tokens.append(RE.subscribe(plot))

    RE(bp.count([detector("classic", service)], 3), [open_runs, subscribe])
    plot.close()
    assert plot.numbers == [0, 1, 2]
    assert plot.unknown == 0
