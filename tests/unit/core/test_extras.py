"""A base install says which extra is missing, and installs nothing by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bluesky_streamdet.core.errors import MissingLibrary
from bluesky_streamdet.core.extras import extra


@pytest.mark.parametrize(
    ("module", "missing", "wanted"),
    [
        ("analysis", "xarray", "analysis"),
        ("analysis", "dask", "analysis"),
        ("callbacks.image", "event_model", "bluesky"),
        ("callbacks.livemap", "event_model", "bluesky"),
        ("plans", "bluesky", "bluesky"),
        ("plans.raster", "bluesky", "bluesky"),
        ("beamline", "bluesky", "demo"),
    ],
)
def test_an_import_without_its_extra(module: str, missing: str, wanted: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import bluesky_streamdet.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("bluesky_streamdet.core.errors.MissingLibrary: ")
    assert f"need the library '{missing}" in last and f"'bluesky-streamdet[{wanted}]'" in last


def test_a_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra 'plots'")
    pytest.importorskip("event_model", reason="needs the extra 'bluesky'")
    from bluesky_streamdet.callbacks.image import LiveImage

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingLibrary, match=r"'bluesky-streamdet\[plots\]'"):
        LiveImage("x.png")


def test_what_is_wrong_in_our_own_modules_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such"), extra("plots", "Plots"):
        import bluesky_streamdet.no_such  # type: ignore[import-not-found]  # noqa: F401
