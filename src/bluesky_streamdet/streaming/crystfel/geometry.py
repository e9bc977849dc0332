"""Geometry files for CrystFEL, as its manual page crystfel_geometry(5) has them, for the frames that we send.

    photon_energy = beam_energy eV
    clen = detector_distance mm
    data = detector_data
    flag_equal = -1
    p0/min_fs = 0 …

Here x points to the right and y down in the picture as it is seen along the beam. That is CrystFEL's own frame, turned
by half a turn about the beam, which changes nothing of what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bluesky_streamdet.codecs.crystfel import DATA, DISTANCE, ENERGY, PEAKS
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import DetectorGeometry, Panel
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.image import DATASET, GROUP

LARGEST_EXACT = 1 << 24
"""CrystFEL keeps pixels as floats of 32 bits; above this, not each integer is one."""


class MaskFile(NamedTuple):
    """A mask on the disk of who runs indexamajig: HDF5, not 0 where a pixel is bad, of the shape of a frame."""

    path: str
    dataset: str


def geometry_file(
    geometry: DetectorGeometry,
    config: CrystfelConfig,
    *,
    dtype: str | None = None,
    fixed: Sequence[str] = (),
    mask: MaskFile | None = None,
) -> str:
    """The text of the file.

    config: of the endpoint that sends the frames. dtype: of the detector's pixels, which the format "hdf5" sends as
    they are. fixed: of "photon_energy" and "distance", those that are written as numbers rather than found in each
    message. Raises `ConfigError` for one of them that nobody has said, and for a mask in a form that CrystFEL does not
    read.
    """
    hdf5 = config.format == "hdf5"
    rows, columns = geometry.shape
    lines = [
        f"; {columns} x {rows} pixels of {geometry.pixel * 1e6:g} um, {config.format} from {config.address}",
        f"; the beam meets column {geometry.beam[0]:g}, row {geometry.beam[1]:g} of the picture",
        "; x points to the right in the picture, y down",
        f"photon_energy = {_quantity(geometry.photon_energy, 'photon_energy', fixed, ENERGY, 'eV', 1.0, hdf5)}",
        f"clen = {_quantity(geometry.distance, 'distance', fixed, DISTANCE, 'mm', 1e3, hdf5)}",
        f"res = {1 / geometry.pixel:.6f}",
        "adu_per_photon = 1",
        f"data = {DATASET if hdf5 else DATA}",
    ]
    if not hdf5:
        lines.append(f"peak_list = {PEAKS}")
    lines += _bad_pixels(geometry, config, dtype)
    if mask is not None:
        if not mask.dataset.startswith("/"):
            raise ConfigError(f"{mask.dataset!r} is no path in an HDF5 file.", "It begins with /, such as /mask.")
        lines += [f"mask = {mask.dataset}", f"mask_file = {mask.path}", "mask_good = 0x0", "mask_bad = 0xffffffff"]
    for panel in geometry.panels:
        lines += ["", *_panel(geometry, panel)]
    return "\n".join(lines) + "\n"


def _quantity(
    value: float | None, name: str, fixed: Sequence[str], key: str, unit: str, scale: float, hdf5: bool
) -> str:
    if name not in fixed:
        return f"{GROUP}/{key} {unit}" if hdf5 else f"{key} {unit}"
    if value is None:
        raise ConfigError(f"Nobody has said the {name.replace('_', ' ')}.", "Give it.")
    return f"{value * scale:.10g} {unit}"


def _bad_pixels(geometry: DetectorGeometry, config: CrystfelConfig, dtype: str | None) -> list[str]:
    """By what values pixels without counts are known. Floats that are no numbers are so without a word."""
    if config.format == "msgpack":
        return [f"flag_equal = {config.flag}"] if config.type == "i4" else []
    if dtype is None:
        raise ConfigError("Nobody has said of which type the pixels are.", "Give it, such as uint16.")
    kind = np.dtype(dtype)
    saturation = [] if geometry.saturation is None else [f"flag_morethan = {geometry.saturation:.10g}"]
    if kind.kind == "u":
        most = int(np.iinfo(kind).max)
        # The highest values of a large type are all the same to CrystFEL.
        above = most - 1 if most < LARGEST_EXACT else most - most // LARGEST_EXACT
        limit = above if geometry.saturation is None else min(above, geometry.saturation)
        return [f"flag_morethan = {limit:.10g}"]
    return ["flag_lessthan = 0", *saturation] if kind.kind == "i" else saturation


def _panel(geometry: DetectorGeometry, panel: Panel) -> list[str]:
    right, down = geometry.from_beam(panel)
    values = {
        "min_fs": panel.left,
        "max_fs": panel.left + panel.columns - 1,
        "min_ss": panel.top,
        "max_ss": panel.top + panel.rows - 1,
        "corner_x": f"{right:.6f}",
        "corner_y": f"{down:.6f}",
        "fs": "{:+.1f}x {:+.1f}y".format(*panel.along_columns),
        "ss": "{:+.1f}x {:+.1f}y".format(*panel.along_rows),
    }
    assert all(math.isfinite(one) for one in (right, down))
    return [f"{panel.name}/{key} = {value}" for key, value in values.items()]
