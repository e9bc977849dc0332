"""The names by which codecs hand on what a header says of the detector, with their units.

The names are those of NeXus (NXdetector, NXbeam); a layout says where each goes. What a header says and is not listed
here is handed on under its own name, and kept with the other particulars.
"""

from __future__ import annotations

UNITS: dict[str, str] = {
    "count_time": "s",
    "frame_time": "s",
    "detector_readout_time": "s",
    "threshold_energy": "eV",
    "photon_energy": "eV",
    "wavelength": "angstrom",
    "distance": "m",
    "x_pixel_size": "m",
    "y_pixel_size": "m",
    "beam_center_x": "pixel",
    "beam_center_y": "pixel",
    "sensor_thickness": "m",
    "sensor_material": "",
    "description": "",
    "serial_number": "",
    "firmware_version": "",
    "software_version": "",
    "bit_depth_image": "",
    "bit_depth_readout": "",
    "saturation_value": "",
    "countrate_correction_applied": "",
    "flatfield_applied": "",
    "pixel_mask_applied": "",
    "virtual_pixel_interpolation_applied": "",
    "trigger_mode": "",
    "clock_period": "s",
    "ev_per_bin": "eV",
    "dead_time_energy": "keV",
    "flatfield": "",
    "pixel_mask": "",
}
"""Unit of each quantity; an empty one for what has none."""

AXES = ("chi", "kappa", "omega", "phi", "two_theta")
OTHER_UNITS: dict[str, str] = {
    **{f"{axis}_{what}": "degree" for axis in AXES for what in ("start", "increment")},
    "detector_translation": "m",
    "exptime": "s",
    "frame_count_time": "s",
    "frame_period": "s",
}
"""Units of what detectors say besides, under names of their own."""


def unit_of(name: str) -> str:
    """The unit of what a header calls so; empty where it has none, or nobody knows."""
    return UNITS.get(name) or OTHER_UNITS.get(name, "")
