"""Xspress3 streams through the whole pipeline: what is recorded, what is lost, what is forwarded, who comes late."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from bluesky_streamdet.catalog import CODECS, DETECTORS, OUTPUTS
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.codecs.xspress3 import PICKLED
from bluesky_streamdet.codecs.xspress3_pickled import LOST
from bluesky_streamdet.core.events import Event, Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.recordfile import read_recording
from bluesky_streamdet.streaming.status import SeriesReport
from bluesky_streamdet.transforms import pixels
from bluesky_streamdet.transforms.deadtime import event_width_correction
from tests.conftest import Recordings
from tests.unit.codecs.test_pickled import CARRIED_OUT, HOSTILE
from tests.unit.streaming.spectra import counts, record, scalars, spectra
from tests.wire.streams import Client, Rig, balanced, numbers_of, rows_of

Rigs = Callable[..., Rig]
OUTPUT = {"address": "tcp://127.0.0.1:*"}
LEGACY = ["xspress3-2021", "xspress3-2024"]


def whole(dialect: str, numbers: list[int], **start: Any) -> list[Message]:
    """Header, frames and end, as a sender of that dialect has them."""
    form = OUTPUTS[dialect]
    encoder = form.encoder()
    messages = [
        encoder.start(SeriesStart("s1", filename="scan.h5", **start)),
        *(encoder.frame(spectra(number, series="s1")) for number in numbers),
        encoder.end(SeriesEnd("s1")),
    ]
    return [[part] for message in messages for part in message] if form.loose else messages


def columns_of(report: SeriesReport) -> dict[str, NDArray[Any]]:
    assert report.file is not None and report.data is not None
    with h5py.File(report.file, "r") as file:
        group = file[f"/entry/instrument/{report.detector}"]
        return {one.name: group[one.name][()] for one in report.data.scalars}


def holds(report: SeriesReport, numbers: list[int]) -> bool:
    """Whether the file has just these frames, spectra and scalars, in this order."""
    columns = columns_of(report)
    wanted = np.concatenate([record(number) for number in numbers])
    shared = [one.name for one in scalars() if one.name in columns and one.name != "output_count_rate"]
    return (
        numbers_of(report) == numbers
        and np.array_equal(rows_of(report), [counts(number) for number in numbers])
        and len(shared) >= 7
        and all(np.array_equal(columns[name], wanted[name]) for name in shared)
    )


def taken(rig: Rig, client: Client, codec: str) -> list[Event]:
    """What a client gets, up to the end of a series."""
    decoder = CODECS[codec].decoder()
    events: list[Event] = []

    def ended() -> bool:
        message = client.take(rig.turn)
        if message is not None:
            events.extend(decoder.decode(message, 0))
        return bool(events) and isinstance(events[-1], SeriesEnd)

    rig.until(ended, "the end for a client")
    return events


@pytest.mark.parametrize("dialect", ["xspress3", *LEGACY])
@pytest.mark.parametrize("kind", ["push", "pub"])
def test_spectra_and_scalars_reach_the_file(rigs: Rigs, dialect: str, kind: str) -> None:
    rig = rigs(codec="xspress3" if dialect == "xspress3" else "xspress3-pickled", kind=kind)
    report = rig.run(whole(dialect, list(range(150)), frames=150))
    assert report.outcome is Outcome.COMPLETE, report.reason
    assert report.ledger.written == 150 and balanced(report.ledger)
    assert holds(report, list(range(150)))
    names = [one.name for one in report.data.scalars]  # type: ignore[union-attr]
    assert ("recorded_output_count_rate" in names) == (dialect != "xspress3")
    if dialect == "xspress3":
        assert names == [one.name for one in scalars()]
        np.testing.assert_array_equal(columns_of(report)["output_count_rate"][149], record(149)[0]["output_count_rate"])


@pytest.mark.parametrize("dialect", ["xspress3", *LEGACY])
def test_numbers_that_begin_anew_under_one_header(rigs: Rigs, dialect: str) -> None:
    """As a real recording has them: 0 to 10, twice. Frames differ, as they are of different times."""
    form = OUTPUTS[dialect]
    encoder = form.encoder()
    twice = [msgspec.structs.replace(spectra(index), number=index % 11) for index in range(22)]
    messages = [encoder.start(SeriesStart("s1")), *map(encoder.frame, twice), encoder.end(SeriesEnd("s1"))]
    rig = rigs(codec="xspress3" if dialect == "xspress3" else "xspress3-pickled")
    report = rig.run([[part] for message in messages for part in message] if form.loose else messages)
    assert report.outcome is Outcome.COMPLETE, report.reason
    assert (report.ledger.written, report.ledger.passes, report.ledger.duplicate) == (22, 2, 0)
    assert numbers_of(report) == 2 * list(range(11))
    np.testing.assert_array_equal(rows_of(report), [counts(index) for index in range(22)])
    assert np.array_equal(columns_of(report)["all_good"], [record(index)[0]["all_good"] for index in range(22)])


@pytest.mark.parametrize("lost", ["header", "spectra", "scalars", "all"])
@pytest.mark.parametrize("number", [0, 4, 9])
def test_a_lost_message_of_three_is_told(rigs: Rigs, lost: str, number: int) -> None:
    messages = whole("xspress3-2021", list(range(10)), frames=10)
    first = 1 + 3 * number
    gone = {"header": {first}, "spectra": {first + 1}, "scalars": {first + 2}}.get(lost, {first, first + 1, first + 2})
    rig = rigs(codec="xspress3-pickled")
    report = rig.run([message for index, message in enumerate(messages) if index not in gone])
    assert report.outcome is Outcome.INCOMPLETE
    assert report.ledger.malformed == ({} if lost == "all" else {LOST: 1})
    assert report.ledger.missing == 1 and balanced(report.ledger)
    assert holds(report, [one for one in range(10) if one != number])


def test_the_last_frame_is_missed_though_nobody_said_how_many_come(rigs: Rigs) -> None:
    rig = rigs(codec="xspress3-pickled")
    *messages, _, end = whole("xspress3-2021", [0, 1, 2])
    report = rig.run([*messages, end])
    assert (report.outcome, report.ledger.malformed) == (Outcome.INCOMPLETE, {LOST: 1})
    assert holds(report, [0, 1]) and balanced(report.ledger)


@pytest.mark.parametrize("dialect", LEGACY)
def test_nothing_pickled_is_read_unless_it_is_asked_for(rigs: Rigs, dialect: str) -> None:
    rig = rigs(codec="xspress3")
    rig.pipeline.arm(ArmRequest(id="a"))
    messages = whole(dialect, [0, 1])
    rig.send(messages)
    between = rig.pipeline.receiver.between.malformed
    rig.until(lambda: between.total() == len(messages), "all messages")
    # The header and both images; the rest says nothing of itself.
    assert between[PICKLED] == 3
    rig.pipeline.abort()
    assert rig.last.ledger.written == 0


def test_the_rows_of_the_catalogue() -> None:
    rows = {name: (row.codec, row.socket) for name, row in DETECTORS.items() if name.startswith("xspress3")}
    assert rows == {
        "xspress3": ("xspress3", "pull"),
        "xspress3-legacy": ("xspress3-pickled", "sub"),
        "xspress3-stins": ("stins", "pull"),
    }


def test_an_end_before_its_time_says_why(rigs: Rigs) -> None:
    rig = rigs(codec="xspress3")
    encoder = CODECS["xspress3"].encoder()
    messages = [encoder.start(SeriesStart("s1", frames=9)), encoder.frame(spectra(0))]
    report = rig.run([*messages, encoder.end(SeriesEnd("s1", error="the circular buffer overran at frame 1"))])
    assert report.outcome is Outcome.INCOMPLETE
    assert "the circular buffer overran at frame 1" in report.reason
    assert report.ledger.missing == 8
    assert holds(report, [0])


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [
        *(product(["", "xspress3", "xspress3-2024", "stins"], ["push", "pub"])),
        ("xspress3-2021", "pub"),
    ],
)
def test_what_outputs_send(rigs: Rigs, kind: str, encoder: str) -> None:
    rig = rigs(codec="xspress3", outputs=[{**OUTPUT, "kind": kind, "encoder": encoder}])
    client = rig.client()
    rig.run(whole("xspress3", list(range(20)), frames=20))
    codec = "xspress3-pickled" if encoder.startswith("xspress3-") else encoder or "xspress3"
    start, *frames, end = taken(rig, client, codec)
    assert isinstance(start, SeriesStart) and isinstance(end, SeriesEnd)
    for number, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        np.testing.assert_array_equal(pixels.decode(frame), counts(number))
        if encoder == "stins":
            assert frame.scalars is None
            continue
        assert frame.scalars is not None
        (values,) = np.frombuffer(frame.scalars, frame.format.record)
        for name in ("all_good", "dead_time_correction", "event_width"):
            np.testing.assert_array_equal(values[name], record(number)[0][name])
    (output,) = rig.pipeline.outputs
    assert output.report().sent == output.report().seen == 20
    assert start.series == ("s1" if codec == "xspress3" else None)


def test_a_receiver_that_joins_late_gets_the_header_first(rigs: Rigs) -> None:
    rig = rigs(codec="xspress3", outputs=[{**OUTPUT, "kind": "pub"}])
    header, *frames, end = whole("xspress3", list(range(20)), frames=20)
    rig.send([header, *frames[:10]])
    rig.settle(10)
    client = rig.client()
    rig.send([*frames[10:], end])
    headers = client.rest(rig.turn)
    assert [one["htype"] for one in headers] == ["header", *["image"] * 10, "series_end"]
    assert headers[0]["series"] == "s1"
    (output,) = rig.pipeline.outputs
    assert output.report().dropped == {"nobody connected": 10}


def test_a_receiver_that_joins_a_stream_late_writes_what_comes(rigs: Rigs) -> None:
    rig = rigs(codec="xspress3")
    *messages, end = whole("xspress3", list(range(20)), frames=20)
    report = rig.run([*messages[8:], end])
    assert report.outcome is Outcome.INCOMPLETE
    assert "the header was lost" in report.reason
    assert holds(report, list(range(7, 20))) and balanced(report.ledger)


@pytest.mark.parametrize("encoder", ["xspress3", "xspress3-2021"])
def test_a_receiver_that_never_reads_costs_nobody_else(rigs: Rigs, encoder: str) -> None:
    """Its frames are dropped and counted; the file, and who reads, have them all."""
    port = {**OUTPUT, "queue": 5, "kind": "pub", "encoder": encoder}
    rig = rigs(codec="xspress3", outputs=[port, {**OUTPUT, "name": "other", "queue": 5000}])
    rig.client(0, queue=1)
    reader = rig.client(1, queue=5000)
    shape, numbers = (8, 4096), list(range(300))
    encoded = CODECS["xspress3"].encoder()
    report = rig.run(
        [
            encoded.start(SeriesStart("s1")),
            *(encoded.frame(spectra(number, shape)) for number in numbers),
            encoded.end(SeriesEnd("s1")),
        ]
    )
    assert report.outcome is Outcome.COMPLETE and report.ledger.written == 300
    headers = reader.rest(rig.turn)
    assert len(headers) == 302
    unread = rig.pipeline.outputs[0].report()
    assert unread.dropped["queue full"] > 0
    assert unread.seen == 300 == unread.sent + unread.queued + sum(unread.dropped.values())


def test_an_abort_leaves_no_frame_in_three_messages_half_sent(rigs: Rigs) -> None:
    rig = rigs(codec="xspress3", outputs=[{**OUTPUT, "kind": "pub", "encoder": "xspress3-2021", "queue": 500}])
    client = rig.client(queue=1)
    encoded = CODECS["xspress3"].encoder()
    rig.send([encoded.start(SeriesStart("s1")), *(encoded.frame(spectra(n, (8, 4096))) for n in range(200))])
    rig.settle(200)
    (output,) = rig.pipeline.outputs
    assert output.report().queued > 0
    rig.pipeline.abort()
    events = taken(rig, client, "xspress3-pickled")
    report = output.report()
    frames = [one for one in events if isinstance(one, Frame)]
    assert len(frames) == report.sent == 200 - report.dropped["aborted"]


@pytest.mark.parametrize("count", [2, 3, 50])
def test_scalars_of_a_wrong_size_are_malformed(rigs: Rigs, count: int) -> None:
    rig = rigs(codec="xspress3")
    messages = whole("xspress3", list(range(count)), frames=count)
    header, payload, values = messages[1]
    messages[1] = [header, payload, bytes(memoryview(values)[:-1])]
    report = rig.run(messages)
    assert report.ledger.malformed == {"scalars of another size": 1}
    assert report.ledger.missing == 1
    assert holds(report, list(range(1, count)))


@pytest.mark.parametrize("hostile", [data for _, data in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_a_hostile_pickle_costs_its_frame_and_no_other(rigs: Rigs, hostile: bytes) -> None:
    rig = rigs(codec="xspress3-pickled")
    messages = whole("xspress3-2024", list(range(3)), frames=3)
    messages[2][2] = hostile
    report = rig.run(messages)
    assert sum(report.ledger.malformed.values()) == 1 and balanced(report.ledger)
    assert holds(report, [0, 2])
    assert not CARRIED_OUT


def test_three_messages_of_a_frame_go_to_one_receiver() -> None:
    with pytest.raises(ValidationError, match="needs kind: pub"):
        OutputConfig(encoder="xspress3-2021")
    with pytest.raises(ValidationError, match=r"no such format; allowed: .*stins, .*xspress3"):
        OutputConfig(encoder="pickle")


@pytest.mark.parametrize(
    ("name", "frames", "ticks"), [("xspress3-dump", 20, 7_999_990), ("xspress3-multipart", 5, 3_999_990)]
)
def test_recordings_of_real_detectors(
    rigs: Rigs, test_data: Recordings, tmp_path: Path, name: str, frames: int, ticks: int
) -> None:
    recorded = [one.parts for one in read_recording(test_data / f"xspress3/{name}.cbors")]
    rig = rigs(codec="xspress3-pickled", kind="pub")
    report = rig.run(recorded)
    assert report.outcome is Outcome.COMPLETE, report.reason
    assert report.ledger.written == frames and balanced(report.ledger)
    # The spectra as they are in the recording, by nothing of ours.
    sent = [part for parts in recorded for part in parts if len(part) == 4 * 4 * 4096]
    data, values = rows_of(report), columns_of(report)
    np.testing.assert_array_equal(data, [np.frombuffer(part, "<u4").reshape(4, 4096) for part in sent])
    np.testing.assert_array_equal(data.sum(axis=2), values["all_good"])
    assert (values["clock_ticks"] == ticks).all() and (values["total_ticks"] == ticks).all()
    recomputed = event_width_correction(
        values["all_events"], values["reset_ticks"], values["clock_ticks"], values["event_width"]
    )
    np.testing.assert_array_equal(recomputed, values["dead_time_correction"])
    np.testing.assert_allclose(values["output_count_rate"], values["all_good"] / (ticks / 80e6), rtol=1e-12)
    np.testing.assert_allclose(values["recorded_output_count_rate"] * 80e6 * 80e6, values["output_count_rate"])
    with h5py.File(report.file, "r") as file:
        assert file["/entry/instrument/xspress3/data"].shape == (frames, 4, 4096)
        exposures = file["/entry/instrument/detector/real_time"][()]
        assert (exposures == round(ticks * 12.5)).all()
