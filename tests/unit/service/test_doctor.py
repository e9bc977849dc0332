"""What the doctor finds, of machines and folders that are really so."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.cli.main import main
from bluesky_streamdet.service.config import DetectorConfig, for_row
from bluesky_streamdet.service.doctor import Finding, Verdict, examine
from bluesky_streamdet.streaming import trial
from bluesky_streamdet.streaming.files.config import FileConfig


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def config(tmp_path: Path, **changes: Any) -> DetectorConfig:
    made = for_row("eiger", "tcp://127.0.0.1:1", tmp_path / "data", {})
    return made.model_copy(update=changes)


def findings(config: DetectorConfig, about: str) -> list[Finding]:
    found = [one for one in examine(config) if about in one.what]
    assert found, f"nothing was said of {about}"
    return found


def test_a_port_that_is_taken(tmp_path: Path, listener: int) -> None:
    made = config(tmp_path)
    made.rest.port = listener

    (found,) = findings(made, "rest.port")
    assert found.verdict is Verdict.BAD
    assert f"sport = :{listener}" in found.hint


def test_a_port_that_is_free(tmp_path: Path) -> None:
    made = config(tmp_path)
    made.rest.port = 0

    assert findings(made, "rest.port")[0].verdict is Verdict.FINE


def test_a_detector_that_listens(tmp_path: Path, listener: int) -> None:
    made = for_row("eiger", f"tcp://127.0.0.1:{listener}", tmp_path, {})

    assert findings(made, f"127.0.0.1:{listener}")[0].verdict is Verdict.FINE


def test_a_detector_that_is_off_may_come_later(tmp_path: Path) -> None:
    assert findings(config(tmp_path), "tcp://127.0.0.1:1")[0].verdict is Verdict.DOUBTFUL


def test_a_name_that_no_machine_has(tmp_path: Path) -> None:
    made = for_row("eiger", "tcp://no-such-machine.invalid:9999", tmp_path, {})

    assert findings(made, "no-such-machine.invalid")[0].verdict is Verdict.BAD


def test_a_directory_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert findings(config(tmp_path), "read while it was open")[0].verdict is Verdict.FINE
    assert list(tmp_path.iterdir()) == []


def test_a_directory_where_no_file_can_be(tmp_path: Path) -> None:
    made = config(tmp_path)
    made.files.directory = Path("/proc")

    assert any(one.verdict is Verdict.BAD for one in findings(made, "/proc"))


def test_a_directory_that_others_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "data"
    closed.mkdir(mode=0o700)

    (found,) = findings(config(tmp_path), "other users")
    assert found.verdict is Verdict.DOUBTFUL
    assert str(closed) in found.hint


def test_the_command_for_closed_series(tmp_path: Path) -> None:
    missing, found = FileConfig(hook=["no-such-program", "{file}"]), FileConfig(hook=["sha256sum", "{file}"])

    assert findings(config(tmp_path, files=missing), "files.hook")[0].verdict is Verdict.BAD
    assert findings(config(tmp_path, files=found), "after each series")[0].verdict is Verdict.FINE


def test_filters_and_libraries(tmp_path: Path) -> None:
    assert trial.missing_filters() == []
    assert findings(config(tmp_path), "compression")[0].verdict is Verdict.FINE


def test_a_file_of_a_step_that_is_not_there(tmp_path: Path) -> None:
    (found,) = findings(config(tmp_path, transforms=[{"tot": {"tensor": f"{tmp_path}/tot.npz"}}]), "transforms")
    assert found.verdict is Verdict.BAD
    assert f"there is no file {tmp_path}/tot.npz" in found.what

    (found,) = findings(config(tmp_path, transforms=[{"rotate": {"quarter_turns": 1}}]), "transforms")
    assert found == Finding(Verdict.FINE, "transforms: rotate")


def test_clocks_that_disagree(tmp_path: Path) -> None:
    assert abs(trial.clock_skew(tmp_path, 0.0)) > 1e9
    assert os.listdir(tmp_path) == []


def test_a_key_that_others_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMDET_API_KEY", raising=False)
    file = tmp_path / "key"
    file.write_text("long-enough-to-be-a-key")
    file.chmod(0o644)
    made = config(tmp_path)
    made.rest.api_key_file = file

    assert findings(made, "can be read by others")[0].verdict is Verdict.BAD


def test_the_command_says_all_and_ends_with_1_for_what_is_bad(
    tmp_path: Path, listener: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMDET_REST__PORT", str(listener))
    monkeypatch.chdir(tmp_path)

    assert main(["doctor", "eiger"]) == 1
    said = capsys.readouterr().out
    assert "NO  rest.port" in said
    assert "1 thing to mend" in said


def test_a_disk_with_less_than_is_asked_for(tmp_path: Path) -> None:
    made = config(tmp_path, files=FileConfig(directory=tmp_path, least_free_megabytes=1e12))

    (found,) = findings(made, "no series begins")
    assert found.verdict is Verdict.BAD


def test_a_second_directory(tmp_path: Path) -> None:
    made = config(tmp_path, files=FileConfig(directory=tmp_path, spill=tmp_path / "second"))
    (found,) = findings(made, "second directory")
    assert found.verdict is Verdict.DOUBTFUL and "same disk" in found.what
    elsewhere = config(tmp_path, files=FileConfig(directory=tmp_path, spill=Path("/dev/shm/streamdet")))
    (found,) = findings(elsewhere, "can take no more")
    assert found.verdict is Verdict.FINE
    assert not Path("/dev/shm/streamdet").exists()


def test_files_that_can_not_be_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = config(tmp_path, files=FileConfig(directory=tmp_path, owner="nobody"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    (found,) = findings(made, "whom they should")
    assert found.verdict is Verdict.BAD and "only root" in found.what
