"""Arrays that a configuration names by their file: masks, flat fields, calibrations.

mask.npy            NumPy's own
tot.npz#NAME        one of several arrays; the name may be left out when there is only one
flat.h5:/entry/data a dataset of an HDF5 file
flat.edf, .tif, …   what fabio reads, where it is installed
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

import h5py
import numpy as np
from numpy.typing import NDArray

from bluesky_streamdet.core.errors import ConfigError, MissingLibrary

LARGEST = 8 << 30
"""Bytes of an array beyond which a file is taken for the wrong one."""
KINDS = "biuf"
"""NumPy's letters of the types of pixels."""


def load(name: str) -> NDArray[Any]:
    """The array in a file. Raises `ConfigError`; `MissingLibrary` for a format that fabio would read."""
    path, inside = _split(name)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    try:
        match path.suffix.lower():
            case ".npy":
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            case ".npz":
                array = _of_npz(path, inside)
            case ".h5" | ".hdf5" | ".nxs":
                array = _of_hdf5(path, inside)
            case _:
                array = _fabio(path).open(str(path)).data
    except (OSError, ValueError, EOFError, BadZipFile, KeyError, RuntimeError) as error:
        raise ConfigError(f"{name} can't be read: {error}") from error
    if array.dtype.kind not in KINDS or not array.size or array.nbytes > LARGEST:
        raise ConfigError(f"{name} holds no pixels, but an array of shape {array.shape} and type {array.dtype}")
    return np.array(array)


def _split(name: str) -> tuple[Path, str]:
    """File, and what is meant in it."""
    for separator in ("#", ":"):
        path, found, inside = name.rpartition(separator)
        if found and not Path(name).is_file():
            return Path(path).expanduser().absolute(), inside
    return Path(name).expanduser().absolute(), ""


def _of_npz(path: Path, inside: str) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays.files)
        if not inside and len(names) != 1:
            raise ConfigError(
                f"{path} holds several arrays; write one of {', '.join(f'{path.name}#{n}' for n in names)}"
            )
        name = inside or names[0]
        if name not in names:
            raise ConfigError(f"{path} has no array {name!r}; it has {', '.join(names)}")
        return arrays[name]


def _of_hdf5(path: Path, inside: str) -> NDArray[Any]:
    with h5py.File(path) as file:
        data = file.get(inside) if inside else None
        if not isinstance(data, h5py.Dataset):
            raise ConfigError(f"{path} has no dataset {inside!r}; write it as {path.name}:/entry/data/data")
        return data[()]


def _fabio(path: Path) -> ModuleType:
    try:
        return importlib.import_module("fabio")
    except ImportError as error:
        raise MissingLibrary(
            f"Reading {path} needs the library 'fabio'.",
            "`pip install 'bluesky-streamdet[images]'`, or save it as npy.",
        ) from error
