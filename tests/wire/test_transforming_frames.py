"""What is done to frames on the way, and what fails: each by its name, and none holds up the others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.core.events import BSLZ4, RAW
from bluesky_streamdet.core.series import Outcome
from tests.unit.streaming.frames import picture, pictures
from tests.wire.streams import Rig, Stream, balanced, frame_numbers, holds, numbers_of, rows_of
from tests.wire.test_transforming import dataset, step

Rigs = Callable[..., Rig]


# What fails.


def test_a_frame_that_fails_is_counted_and_the_series_goes_on(rigs: Rigs, monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(image: NDArray[Any]) -> NDArray[Any]:
        if image.flat[0] == picture(3).flat[0]:
            raise RuntimeError("not this one")
        return image

    step(monkeypatch, "picky", picky)
    rig, stream = rigs(transforms=["picky"]), Stream()
    report = rig.run(stream.whole(range(8)))

    assert report.ledger.malformed == {"transform picky failed": 1}
    assert numbers_of(report) == [0, 1, 2, 4, 5, 6, 7]
    assert "1 malformed messages (transform picky failed)" in report.reason
    assert rig.reporter.status().transforms.failed == 1  # type: ignore[union-attr]


def test_a_step_that_would_end_the_process_fails_for_its_frame_only(
    rigs: Rigs, monkeypatch: pytest.MonkeyPatch
) -> None:
    step(monkeypatch, "leaving", lambda image: sys.exit(3))
    rig, stream = rigs(transforms=["leaving"], workers=1), Stream()

    assert rig.run(stream.whole(range(3))).ledger.malformed == {"transform leaving failed": 3}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "transform odd returned no picture"),
        (np.zeros((2, 2), complex), "transform odd returned no picture"),
        (np.zeros((0, 2)), "transform odd returned no picture"),
        (np.broadcast_to(np.uint8(1), (1 << 16, 1 << 15)), "transformed to a picture that is too large"),
        (np.zeros((2, 2), np.longdouble), "transformed to pixels of a type that no file has"),
    ],
)
def test_what_is_no_picture_is_refused(
    rigs: Rigs, monkeypatch: pytest.MonkeyPatch, result: object, reason: str
) -> None:
    step(monkeypatch, "odd", lambda image: result)
    rig, stream = rigs(transforms=["odd"]), Stream()
    report = rig.run(stream.whole(range(2)))
    assert (report.ledger.malformed, report.ledger.written) == ({reason: 2}, 0)


def test_a_header_that_does_not_say_what_a_step_needs(rigs: Rigs) -> None:
    rig, stream = rigs(transforms=["rotate"]), Stream()
    report = rig.run(stream.whole(range(2)))
    assert report.ledger.malformed == {"header without what a transform needs": 2}
    # The next header says it.
    report = rig.run([stream.start(metadata={"quarter_turns": 1}), stream.frame(0), stream.end()])
    np.testing.assert_array_equal(rows_of(report), [np.rot90(picture(0))])


def test_frames_ahead_of_the_header_that_says_how_to_turn_them(rigs: Rigs) -> None:
    rig, stream = rigs(codec="dectris_v1", transforms=["rotate"]), Stream("dectris_v1")
    appendix = {"header_appendix": {"rotate": 1}}
    first = rig.run([stream.start(metadata=appendix), stream.frame(0), stream.end()])
    late = stream.start(metadata={"header_appendix": {"rotate": 2}})
    report = rig.run([stream.frame(0), late, stream.frame(1), stream.end()])
    assert rows_of(first).shape == (1, 6, 4)
    assert report.ledger.malformed == {} or report.ledger.written == 1
    np.testing.assert_array_equal(rows_of(report), [picture(1)[::-1, ::-1]])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_what_the_header_says_of_a_turn_holds_for_its_series_only(rigs: Rigs, turns: int) -> None:
    rig, stream = rigs(codec="dectris_v1", transforms=["rotate_if_told"]), Stream("dectris_v1")
    for told, wanted in ((None, 0), (turns, turns), (0, 0)):
        metadata = {} if told is None else {"header_appendix": {"filename": "x", "rotate": told}}
        report = rig.run([stream.start(metadata=metadata), *map(stream.frame, range(3)), stream.end()])
        assert report.outcome is Outcome.COMPLETE
        np.testing.assert_array_equal(rows_of(report), np.rot90(pictures(range(3)), wanted, axes=(1, 2)))


# What passes.


@pytest.mark.parametrize("encoding", [RAW, BSLZ4])
@pytest.mark.parametrize("appendix", [None, {"filename": "x"}, {"rotate": 0}, {"rotate": 4}])
def test_a_header_that_asks_for_no_turn_costs_nothing(
    rigs: Rigs, appendix: dict[str, Any] | None, encoding: str
) -> None:
    rig, stream = rigs(codec="dectris_v1", transforms=["rotate_if_told"]), Stream("dectris_v1")
    header = stream.start(metadata={} if appendix is None else {"header_appendix": appendix})
    report = rig.run([header, *(stream.frame(number, encoding=encoding) for number in range(5)), stream.end()])

    assert holds(report, range(5))
    assert rig.reporter.status().transforms.frames == 0  # type: ignore[union-attr]
    assert not [one for one in threading.enumerate() if one.name.startswith("transforms")]


def test_frames_without_any_header_are_not_lost(rigs: Rigs) -> None:
    """As when the service is started while a series runs."""
    rig = rigs(codec="dectris_v1", transforms=["rotate_if_told"], wait={"quiet_seconds": 0.2})
    stream = Stream("dectris_v1")
    stream.start()
    rig.send([stream.frame(number) for number in range(3)])
    rig.until(lambda: rig.pipeline.last is not None)
    assert holds(rig.last, range(3))


def test_what_needs_nothing_done_starts_no_thread(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    for encoding in (RAW, BSLZ4):
        assert holds(rig.run(stream.whole(range(10), encoding=encoding)), range(10))
    assert rig.reporter.status().transforms.frames == 0  # type: ignore[union-attr]
    assert not [one for one in threading.enumerate() if one.name.startswith("transforms")]


@pytest.mark.parametrize("encoding", [RAW, BSLZ4])
def test_only_what_is_otherwise_compressed_is_compressed_anew(rigs: Rigs, encoding: str) -> None:
    rig, stream = rigs(compress=BSLZ4), Stream()
    assert holds(rig.run(stream.whole(range(10), encoding=encoding)), range(10))
    assert rig.reporter.status().transforms.frames == (10 if encoding == RAW else 0)  # type: ignore[union-attr]


def test_tables_of_the_header_turn_with_the_frames(rigs: Rigs) -> None:
    """An EIGER whose header appendix asks for a turn."""
    mask, flat = picture(1, dtype="<u4"), picture(2).astype("<f4")
    rig, stream = rigs(codec="dectris_v1", transforms=["rotate"]), Stream("dectris_v1")
    header = {
        "pixel_mask": mask,
        "flatfield": flat,
        "countrate_correction_table": np.ones((2, 5), "<f4"),
        "header_appendix": {"filename": "x", "rotate": 1},
    }
    report = rig.run([stream.start(metadata=header), stream.frame(0), stream.end()])

    assert rows_of(report).shape == (1, 6, 4)
    np.testing.assert_array_equal(rows_of(report), [np.rot90(picture(0))])
    np.testing.assert_array_equal(dataset(rig, "pixel_mask"), np.rot90(mask))
    np.testing.assert_array_equal(dataset(rig, "flatfield"), np.rot90(flat))
    assert dataset(rig, "collection/countrate_correction_table").shape == (2, 5)


def test_parts_stay_parts(rigs: Rigs) -> None:
    rig, stream = rigs(transforms=[{"rotate": {"quarter_turns": 1}}]), Stream()
    report = rig.run(stream.whole(range(4), shape=(3, 4, 6), parts=3))
    np.testing.assert_array_equal(rows_of(report), np.rot90(pictures(range(4), (3, 4, 6)), axes=(2, 3)))
    assert report.data is not None
    assert report.data.chunk_shape[-3:] == (1, 6, 4)


def test_flagged_frames_are_shown_and_not_written(rigs: Rigs) -> None:
    rig = rigs(transforms=[{"rotate": {"quarter_turns": 1}}], outputs=[{"address": "tcp://127.0.0.1:*"}])
    stream, client = Stream(), rig.client()
    report = rig.run([stream.start(), stream.frame(0), stream.frame(1, discard=True), stream.end()])
    assert (numbers_of(report), frame_numbers(client.rest(rig.turn))) == ([0], [0, 1])
    assert balanced(report.ledger)
