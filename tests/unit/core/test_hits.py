from __future__ import annotations

from bluesky_streamdet.core.hits import HitRate


def test_rates_of_all_and_of_the_last_frames() -> None:
    rate = HitRate(recent=4)
    assert (rate.total, rate.recent) == (None, None)
    for hit in (True, True, True, False, False, True):
        rate.add(hit)
    assert (rate.frames, rate.hits) == (6, 4)
    assert rate.total == 4 / 6
    assert rate.recent == 2 / 4
