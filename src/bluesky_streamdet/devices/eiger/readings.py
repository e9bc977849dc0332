"""What a detector says of itself at the start of a run, for the run's configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

from bluesky_streamdet.devices.eiger.simplon import Simplon, UnknownParameter

NAN = float("nan")


class Reading(NamedTuple):
    """names: under which detectors have it; the first that one has counts. default: of detectors that have none.

    unit: where the detector says none.
    """

    names: tuple[str, ...]
    default: Any
    unit: str = ""


READINGS: dict[str, Reading] = {
    "description": Reading(("detector/config/description",), ""),
    "serial_number": Reading(("detector/config/detector_number",), ""),
    "firmware_version": Reading(("detector/config/eiger_fw_version",), ""),
    "software_version": Reading(("detector/config/software_version",), ""),
    "columns": Reading(("detector/config/x_pixels_in_detector",), 0),
    "rows": Reading(("detector/config/y_pixels_in_detector",), 0),
    "x_pixel_size": Reading(("detector/config/x_pixel_size",), NAN, "m"),
    "y_pixel_size": Reading(("detector/config/y_pixel_size",), NAN, "m"),
    "sensor_material": Reading(("detector/config/sensor_material",), ""),
    "sensor_thickness": Reading(("detector/config/sensor_thickness",), NAN, "m"),
    "bit_depth_image": Reading(("detector/config/bit_depth_image",), 0),
    "bit_depth_readout": Reading(("detector/config/bit_depth_readout",), 0),
    "photon_energy": Reading(("detector/config/photon_energy",), NAN, "eV"),
    "threshold_energy": Reading(("detector/config/threshold_energy",), NAN, "eV"),
    "count_time": Reading(("detector/config/count_time",), NAN, "s"),
    "frame_time": Reading(("detector/config/frame_time",), NAN, "s"),
    "roi_mode": Reading(("detector/config/roi_mode",), ""),
    "state": Reading(("detector/status/state",), ""),
    "temperature": Reading(("detector/status/temperature", "detector/status/board_000/th0_temp"), NAN, "degC"),
    "humidity": Reading(("detector/status/humidity", "detector/status/board_000/th0_humidity"), NAN, "%"),
    "high_voltage": Reading(("detector/status/high_voltage/state",), ""),
}
"""By our names of them."""


def read_all(simplon: Simplon) -> dict[str, Any]:
    """All readings now. Raises what asking raises, but for what the detector does not have."""
    return {name: _read(simplon, reading) for name, reading in READINGS.items()}


def _read(simplon: Simplon, reading: Reading) -> Any:
    for name in reading.names:
        try:
            value = simplon.value(name)
        except UnknownParameter:
            continue
        try:
            return type(reading.default)(value)
        except (TypeError, ValueError):
            break  # No number as yet, as of a sensor that warms up.
    return reading.default
