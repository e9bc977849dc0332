"""What follows from a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from bluesky_streamdet.streaming.config import DataPlaneConfig


def config(endpoints: int = 1, **changes: Any) -> DataPlaneConfig:
    source = {"endpoints": ["tcp://127.0.0.1:9"] * endpoints}
    return DataPlaneConfig.model_validate({"detector": "camera", "codec": "stins", "source": source, **changes})


@pytest.mark.parametrize("endpoints", [1, 4])
def test_each_endpoint_may_run_ahead_as_far(endpoints: int) -> None:
    limits = config(endpoints, wait={"gap_bytes": 1000, "quiet_seconds": 7}).limits
    assert (limits.gap_bytes, limits.quiet_seconds) == (endpoints * 1000, 7)


@pytest.mark.parametrize(("codec", "announced"), [("stins", True), ("array-1.0", False), ("gigafrost", False)])
def test_the_codec_says_whether_there_are_headers(codec: str, announced: bool) -> None:
    assert config(codec=codec).announced is announced
