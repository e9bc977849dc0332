from __future__ import annotations

from ctypes.util import find_library
from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed, MissingLibrary
from bluesky_streamdet.xspress3 import library
from bluesky_streamdet.xspress3.abi import FUNCTIONS
from bluesky_streamdet.xspress3.library import open_library


def test_a_library_is_opened_by_its_file_or_its_directory(sdk_file: Path) -> None:
    for path in (sdk_file, sdk_file.parent):
        assert open_library(str(path)).xsp3_get_num_chan(0) == 2


def test_without_a_setting_directories_are_searched(
    sdk_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "DIRECTORIES", (str(tmp_path), str(sdk_file.parent)))
    assert open_library().xsp3_get_num_chan(0) == 2


def test_without_a_setting_the_system_is_asked(sdk_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "DIRECTORIES", ())
    monkeypatch.setattr(library, "find_library", lambda name: str(sdk_file) if name == "xspress3" else None)
    assert open_library().xsp3_get_num_chan(0) == 2


def test_no_library_tells_all_that_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "libxspress3.so").write_text("not a library")
    monkeypatch.setattr(library, "DIRECTORIES", (str(tmp_path), str(elsewhere)))
    with pytest.raises(MissingLibrary) as failure:
        open_library()
    for part in ("libxspress3.so:", f"{tmp_path}/libxspress3.so:", f"{elsewhere}/libxspress3.so:", "file too short"):
        assert part in failure.value.message
    assert "simulate" in failure.value.hint


def test_a_setting_that_leads_nowhere_names_what_it_says(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "libxspress3.so"):
        with pytest.raises(MissingLibrary, match=f"Tried: {tmp_path}/libxspress3.so: .*No such file"):
            open_library(str(path))


def test_another_library_is_refused_by_the_functions_that_it_lacks() -> None:
    other = find_library("c")
    assert other is not None
    with pytest.raises(ConfigError, match=f"{other} is not the Xspress3 SDK: it has no function xsp3_config, "):
        open_library(other)


def test_a_function_that_this_version_lacks_fails_when_it_is_called(sdk_file: Path) -> None:
    opened = open_library(str(sdk_file))
    with pytest.raises(HardwareFailed, match=r"xsp3_itfg_setup2 is not in .*libxspress3\.so\.1\.0"):
        opened.xsp3_itfg_setup2(5, 0, 1, 1, 0, 0, 0, 0, 0)
    assert all(callable(getattr(opened, name)) for name in FUNCTIONS)
