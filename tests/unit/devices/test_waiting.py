"""When a wait for frames ends, and with which words."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet.core.errors import DeadlineExceeded, FramesLost
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.devices.waiting import FrameWait
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport


def report(written: int = 0, outcome: Outcome | None = None, reason: str = "", **ledger: Any) -> SeriesReport:
    counts = LedgerReport.model_validate({"written": written, "unique": written, **ledger})
    return SeriesReport(id="s1", detector="eiger", file="/data/x.h5", outcome=outcome, reason=reason, ledger=counts)


def wait(target: int = 3, base: int = 0, **ledger: Any) -> FrameWait:
    return FrameWait(report(base, **ledger), base, target, exposure=1.0, patience=2.0, now=0.0)


def test_it_ends_with_the_last_frame() -> None:
    waiting = wait()
    assert not waiting.see(report(2), 1.0)
    assert waiting.short
    assert waiting.see(report(3), 1.5)
    assert not waiting.short


def test_each_frame_starts_the_patience_anew() -> None:
    waiting = wait()
    assert not waiting.see(report(1), 1.9)
    assert not waiting.see(report(1), 3.8)
    assert waiting.remaining(3.8) == pytest.approx(0.1)
    with pytest.raises(DeadlineExceeded) as caught:
        waiting.see(report(1), 3.9)
    for word in ("eiger", "frame 1 (counted from 0)", "s1", "/data/x.h5", "2 s", "exposure 1 s", "1 of 3 frames"):
        assert word in str(caught.value)


def test_who_holds_it_up_is_said() -> None:
    with pytest.raises(DeadlineExceeded, match="The service is held up by the disk") as caught:
        wait().see(report(), 2.0, held_up="the disk")
    assert "Is the detector on" not in str(caught.value)


def test_a_frame_that_comes_at_the_deadline_counts() -> None:
    assert wait(target=1).see(report(1), 100.0)


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        ({"missing": 2, "missing_ranges": [(4, 5)]}, "2 missing (lost in transit, numbers 4-5)"),
        ({"failed": {"write_failed": 1}}, "1 failed (write_failed)"),
        ({"malformed": {"wrong length": 1}}, "1 malformed (wrong length)"),
        ({"discarded": {"flagged": 1}}, "1 discarded (flagged)"),
    ],
)
def test_a_loss_fails_at_once(ledger: dict[str, Any], words: str) -> None:
    with pytest.raises(FramesLost) as caught:
        wait().see(report(1, **ledger), 0.1)
    for word in ("eiger", words, "1 of 3 frames", "/data/x.h5"):
        assert word in str(caught.value)


def test_a_loss_of_before_is_no_loss_of_now() -> None:
    waiting = wait(target=5, base=4, missing=2)
    assert not waiting.see(report(4, missing=2), 0.1)
    with pytest.raises(FramesLost, match="4 of 5 frames"):
        waiting.see(report(4, missing=3), 0.2)


def test_frames_that_are_there_are_there_whatever_else_was_lost() -> None:
    assert wait(target=1).see(report(1, missing=5), 0.1)


def test_a_series_that_ends_early_says_why() -> None:
    with pytest.raises(FramesLost) as caught:
        wait().see(report(1, Outcome.INTERRUPTED, "the service died"), 0.1)
    for word in ("s1", "interrupted", "the service died", "1 of 3 frames"):
        assert word in str(caught.value)


def test_it_fails_again_with_the_same_error() -> None:
    waiting = wait()
    with pytest.raises(DeadlineExceeded) as first:
        waiting.see(report(), 2.0)
    with pytest.raises(DeadlineExceeded) as second:
        waiting.see(report(3), 2.1)
    assert first.value is second.value


def test_a_pause_holds_the_deadline() -> None:
    waiting = wait()
    waiting.pause()
    assert waiting.remaining(100.0) is None
    assert not waiting.see(report(1), 100.0)
    waiting.resume(100.0)
    assert not waiting.see(report(1), 101.9)
    with pytest.raises(DeadlineExceeded):
        waiting.see(report(1), 102.0)


def test_an_ended_wait_is_over_without_an_error() -> None:
    waiting = wait()
    waiting.end()
    assert waiting.see(report(1, missing=2), 100.0)
    assert waiting.short
