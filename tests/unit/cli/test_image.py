"""Pictures of frames: whole or not at all, whatever the pixels are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.cli.image import need_matplotlib, save_picture
from bluesky_streamdet.core.errors import MissingLibrary, WriteFailed

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "image",
    [
        np.arange(4096, dtype=np.uint16).reshape(64, 64),
        np.zeros((64, 64), np.uint32),
        np.full((16, 16), 255, np.uint8),
        np.array([[np.nan, -5.0], [1e9, np.inf]]),
        np.arange(8 * 4096, dtype=np.int32).reshape(8, 4096),
        np.ones((2000, 20), np.uint16),
    ],
)
def test_any_image_becomes_a_picture(tmp_path: Path, image: np.ndarray) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    save_picture(image, path, "frame 1")
    assert path.read_bytes().startswith(PNG)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(WriteFailed, match="nowhere"):
        save_picture(np.ones((4, 4)), tmp_path / "nowhere" / "picture.png", "")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingLibrary, match=r"bluesky-streamdet\[plots\]"):
        need_matplotlib()
