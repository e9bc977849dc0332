"""Where files go, what they are called, and where readers find them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest
from ophyd_async.core import StaticFilenameProvider, StaticPathProvider

from bluesky_streamdet.devices.paths import PathInfo, SessionPaths, StaticPaths, readers_uri
from bluesky_streamdet.devices.setup import paths_of

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def test_folders_of_proposal_and_session() -> None:
    paths = SessionPaths("p1234", "day1", clock=lambda: NOON)
    chosen = paths("eiger")
    assert chosen.directory_path == PurePosixPath("p1234/day1")
    assert chosen.filename.startswith("eiger_20261121_120000_")


def test_sessions_of_a_day() -> None:
    assert SessionPaths("p1", clock=lambda: NOON)().directory_path == PurePosixPath("p1/2026-11-21")


def test_names_never_repeat() -> None:
    paths = SessionPaths(clock=lambda: NOON)
    assert len({paths("eiger").filename for _ in range(100)}) == 100


def test_a_change_counts_from_the_next_file_on() -> None:
    paths = SessionPaths("p1", "a")
    paths.proposal, paths.session = "p2", "b"
    assert paths().directory_path == PurePosixPath("p2/b")


@pytest.mark.parametrize(("given", "directory"), [(None, "."), ("runs", "runs"), ("/data/runs", "/data/runs")])
def test_a_directory_is_a_path_provider(given: str | None, directory: str) -> None:
    assert str(paths_of(given)("eiger").directory_path) == directory


def test_the_provider_of_ophyd_async_is_one_too() -> None:
    chosen = paths_of(StaticPathProvider(StaticFilenameProvider("x"), "/data/runs"))("eiger")
    assert (str(chosen.directory_path), chosen.filename) == ("/data/runs", "x")
    assert readers_uri("/data/runs/x.h5", chosen, {}) == "file://localhost/data/runs/x.h5"


def test_the_providers_own_uri_of_a_directory() -> None:
    provider = StaticPathProvider(StaticFilenameProvider("x"), "/data/runs", "file://localhost/mnt/runs/")
    assert readers_uri("/data/runs/x.h5", provider(), {}) == "file://localhost/mnt/runs/x.h5"


def test_the_path_map_decides() -> None:
    chosen = PathInfo(PurePosixPath("/data"), "x", "file://localhost/elsewhere/")
    assert readers_uri("/data/x.h5", chosen, {"/data": "/mnt"}) == "file://localhost/mnt/x.h5"


def test_what_they_are_shows() -> None:
    assert repr(SessionPaths("p1", "a")) == "SessionPaths(proposal='p1', session='a')"
    assert repr(StaticPaths("runs")) == "StaticPaths('runs')"
