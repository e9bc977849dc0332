"""Who has never heard of us reads our files, by every layout: HDF5's tools, old libraries, silx, Tiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import pytest
from numpy.typing import NDArray

from bluesky_streamdet.streaming.files.layouts import places
from tests.unit.streaming.files.every_kind import FRAMES, KINDS, SHAPE, growing, made
from tests.unit.streaming.files.laid_out import SHIPPED, report, shipped
from tests.unit.streaming.frames import pictures

SEVERAL = ("images", "datasets", "rolled")
WITH_FILTERS = {**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGINS_PATH}

CONTENT = """
import json, sys, zlib
import numpy as np

def content(file):
    found = {}
    def note(name, node):
        if hasattr(node, "dtype"):
            value = node[()]
            if getattr(value, "dtype", np.dtype(object)).kind == "O":
                text = np.asarray(value).tolist()
                found[name] = repr(text.decode() if isinstance(text, bytes) else text)
            else:
                found[name] = [list(node.shape), zlib.crc32(np.ascontiguousarray(value).tobytes())]
    file.visititems(note)
    return found
"""
OF_H5PY = f"""{CONTENT}
import h5py
said = {{}}
for path in sys.argv[1:]:
    with h5py.File(path, "r") as file:
        said[path] = content(file)
print(json.dumps([h5py.version.hdf5_version, said]))
"""
OF_SILX = f"""{CONTENT}
import hdf5plugin  # as `silx view` does
import silx.io
from silx.io import nxdata
said = {{}}
for path in sys.argv[1:]:
    with silx.io.open(path) as file:
        plot = nxdata.get_default(file)
        said[path] = [content(file), None if plot is None else [plot.is_valid, plot.signal.name]]
print(json.dumps(said))
"""
OF_TILED = """
import json, sys, zlib
import hdf5plugin
from tiled.adapters.hdf5 import HDF5Adapter

def content(node, prefix=""):
    found = {{}}
    for name, one in node.items():
        if hasattr(one, "items"):
            found.update(content(one, f"{{prefix}}{{name}}/"))
        else:
            value = one.read()
            found[prefix + name] = [list(value.shape), zlib.crc32(value.tobytes())]
    return found

said = {{}}
for path in sys.argv[1:]:
    said[path] = content(HDF5Adapter.from_uris(f"file://localhost{{path}}", swmr={swmr}))
print(json.dumps(said))
"""
space: dict[str, Any] = {}
exec(CONTENT, space)  # the very same here, as what it finds is compared


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Closed files of each kind, by layout."""
    return {
        layout: [made(kind, tmp_path_factory.mktemp(f"{layout}_{kind}"), shipped(layout)) for kind in KINDS]
        for layout in SHIPPED
    }


@pytest.fixture(scope="module")
def open_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Path, str]]:
    """A file by each layout that is being written, and what a kill would leave of it; with where their frames are."""
    found: dict[Path, str] = {}
    growing_files = []
    for layout in SHIPPED:
        folder = tmp_path_factory.mktemp(layout)
        file = growing(folder / "scan.h5", shipped(layout))
        growing_files.append(file)
        frames = places.places_by(shipped(layout), "eiger", "data").frames.strip("/")
        found[file.path] = found[Path(shutil.copy(file.path, folder / "killed.h5"))] = frames
    yield found
    for file in growing_files:
        file.close(report("s0", FRAMES), {})


def said_by(python: Path, code: str, paths: list[Path]) -> Any:
    """What the code prints as JSON, run by another interpreter."""
    command = [str(python), "-W", "ignore", "-c", code, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False, env=WITH_FILTERS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def ours(path: Path) -> Any:
    with h5py.File(path) as file:
        return space["content"](file)


@pytest.mark.parametrize("layout", SHIPPED)
def test_debians_h5dump_prints_closed_files(files: dict[str, list[Path]], layout: str, h5dump: Path) -> None:
    for path in files[layout]:
        done = subprocess.run(
            [h5dump, path.name],
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
            env=WITH_FILTERS,
            cwd=path.parent,
        )
        assert (done.returncode, done.stderr) == (0, ""), path
        with h5py.File(path) as file:
            for name in places.datasets(file):
                assert f'DATASET "{name.rpartition("/")[2]}"' in done.stdout


@pytest.mark.peers
def test_an_older_library_reads_closed_files(files: dict[str, list[Path]], hdf5_1_12_python: Path) -> None:
    paths = [path for some in files.values() for path in some]
    version, found = said_by(hdf5_1_12_python, OF_H5PY, paths)
    assert version.startswith("1.12.")
    assert {Path(path): values for path, values in found.items()} == {path: ours(path) for path in paths}


@pytest.mark.peers
def test_silx_reads_closed_files_and_plots_those_that_are_nexus(
    files: dict[str, list[Path]], viewers_python: Path
) -> None:
    paths = [path for some in files.values() for path in some]
    found = said_by(viewers_python, OF_SILX, paths)
    for path in paths:
        content, plot = found[str(path)]
        assert content == ours(path), path
        if path in files["nexus"]:
            with h5py.File(path) as file:
                default = file.attrs["default"]
            assert plot == [True, f"/{default}/data/data"], path


def test_who_follows_by_swmr_reads_all_of_files_that_are_written(open_files: dict[Path, str]) -> None:
    code = OF_H5PY.replace('(path, "r")', '(path, "r", libver="latest", swmr=True, locking=False)')
    _, found = said_by(Path(sys.executable), f"import hdf5plugin\n{code}", list(open_files))
    all_is_there(open_files, found)


@pytest.mark.peers
def test_who_follows_with_an_older_library_reads_them_too(open_files: dict[Path, str], hdf5_1_12_python: Path) -> None:
    code = OF_H5PY.replace('(path, "r")', '(path, "r", libver="latest", swmr=True)')
    _, found = said_by(hdf5_1_12_python, code, list(open_files))
    all_is_there(open_files, found)


def all_is_there(open_files: dict[Path, str], found: dict[str, Any]) -> None:
    for path, frames in open_files.items():
        assert found[str(path)][frames] == summed(pictures(range(FRAMES), SHAPE)), path
        with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
            assert found[str(path)] == json.loads(json.dumps(space["content"](file))), path


def test_tiled_reads_closed_files(files: dict[str, list[Path]]) -> None:
    pytest.importorskip("tiled", reason="needs the extra 'tiled'")
    # It opens a file anew for each dataset; so of the other layouts only some kinds.
    paths = [path for layout, some in files.items() for path in some if layout == "nexus" or path.stem in SEVERAL]
    found = said_by(Path(sys.executable), OF_TILED.format(swmr=False), paths)
    for path in paths:
        with h5py.File(path) as file:
            for frames in places.datasets(file):
                assert found[str(path)][frames.strip("/")] == summed(file[frames][()]), path


def test_tiled_reads_files_that_are_written(open_files: dict[Path, str]) -> None:
    pytest.importorskip("tiled", reason="needs the extra 'tiled'")
    found = said_by(Path(sys.executable), OF_TILED.format(swmr=True), list(open_files))
    for path, frames in open_files.items():
        assert found[str(path)][frames] == summed(pictures(range(FRAMES), SHAPE)), path


def summed(array: NDArray[Any]) -> list[Any]:
    return [list(array.shape), zlib.crc32(array.tobytes())]
