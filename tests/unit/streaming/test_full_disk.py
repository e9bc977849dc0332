"""A disk that is full: the series fails loudly, what was announced stays readable, and the next one works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.core.ledger import Ledger

PROGRAM = [sys.executable, "-m", "tests.unit.streaming.writing"]
REPOSITORY = Path(__file__).parents[3]


def on_a_small_disk(root: Path, side: int, encoding: str) -> dict[str, Any]:
    """Run the program on a file system of 4 MiB, that only it sees."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    script = f'mount -t tmpfs -o size=4m none {root} || exit 77; exec "$@"'
    return _run(["unshare", "--mount", "sh", "-c", script, "sh"], root, 0, side, encoding)


def with_a_limit(root: Path, side: int, encoding: str) -> dict[str, Any]:
    """Run the program with files of at most 4 MB."""
    return _run([], root, 4_000_000, side, encoding)


def _run(prefix: list[str], root: Path, limit: int, side: int, encoding: str) -> dict[str, Any]:
    command = [*prefix, *PROGRAM, str(root), str(limit), str(side), encoding]
    try:
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=50, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"needs {error.filename}")
    if prefix and (ended.returncode == 77 or "unshare failed" in ended.stderr):
        pytest.skip("may not mount a file system here")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def assert_balanced(report: dict[str, Any]) -> None:
    ledger = report["ledger"]
    settled = ledger["written"] + sum(ledger["failed"].values())
    assert ledger["received"] == ledger["unique"] == settled
    assert ledger["pending"] == 0
    assert Ledger(received=ledger["received"], unique=ledger["unique"], written=ledger["written"]).imbalance() == []


@pytest.mark.parametrize(("side", "encoding"), [(100, "none"), (250, "none"), (300, "bslz4")])
@pytest.mark.parametrize("run", [on_a_small_disk, with_a_limit])
def test_a_full_disk(tmp_path: Path, run: Any, side: int, encoding: str) -> None:
    said = run(tmp_path, side, encoding)

    report = said["first"]["report"]
    assert_balanced(report)
    assert report["outcome"] == "incomplete"
    assert report["ledger"]["failed"]["write_failed"] > 0
    assert report["ledger"]["written"] > 0
    words = "No space left on device" if run is on_a_small_disk else "File too large"
    assert f"a.h5 can't be {'flushed' if side == 100 else 'written'}: {words}. Make room" in report["reason"]
    assert report["reason"].startswith(said["first"]["reason while it ran"]) and said["first"]["reason while it ran"]
    assert said["first"]["equal"]

    assert_balanced(said["second"]["report"])
    if run is on_a_small_disk:
        # Not even the verdict needs room; and what could not be begun leaves nothing behind.
        assert said["first"]["inspect"]["outcome"] == "incomplete"
        assert said["first"]["inspect"]["readable"] == report["ledger"]["written"]
        assert not said["second"]["exists"]
        assert said["second"]["report"]["file"] is None
        assert "b.h5 can't be created: No space left on device" in said["second"]["report"]["reason"]

    third = said["third"]
    assert third["report"]["outcome"] == "complete"
    assert third["equal"]
    assert third["inspect"]["outcome"] == "complete"
