"""Geometry files and command lines for indexamajig."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.core.geometry import DetectorGeometry, described
from bluesky_streamdet.streaming.crystfel.command import command_line, reachable
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.geometry import MaskFile, geometry_file

HEADER = {"x_pixel_size": 1e-4, "y_pixel_size": 1e-4, "beam_center_x": 2.0, "beam_center_y": 3.0,
          "distance": 0.08, "photon_energy": 9500.0}  # fmt: skip


def detector(**more: Any) -> DetectorGeometry:
    gaps = np.zeros((8, 5), np.bool_)
    gaps[3:5] = True
    return described(HEADER | more, gaps.shape, gaps=gaps)


def lines(text: str) -> dict[str, str]:
    pairs = [
        (line.split(" = ", 1)[0], line.split(" = ", 1)[1])
        for line in text.splitlines()
        if line and not line.startswith(";")
    ]
    return dict(pairs)


def test_a_geometry_file_names_the_keys_of_our_messages() -> None:
    text = lines(geometry_file(detector(), CrystfelConfig()))
    top = {key: value for key, value in text.items() if "/" not in key}
    assert top == {
        "photon_energy": "beam_energy eV",
        "clen": "detector_distance mm",
        "res": "10000.000000",
        "adu_per_photon": "1",
        "data": "detector_data",
        "peak_list": "peak_list",
        "flag_equal": "-1",
    }
    assert list(text).index("data") < list(text).index("p0/min_fs"), "it is the default of the panels behind it"


def test_panels_have_their_rectangles_and_places() -> None:
    text = lines(geometry_file(detector(), CrystfelConfig()))
    panel = {key.partition("/")[2]: value for key, value in text.items() if key.startswith("p1/")}
    assert panel == {
        "min_fs": "0",
        "max_fs": "4",
        "min_ss": "5",
        "max_ss": "7",
        "corner_x": "-2.500000",
        "corner_y": "1.500000",
        "fs": "+1.0x +0.0y",
        "ss": "+0.0x +1.0y",
    }
    assert not any(key.startswith("p2/") for key in text)


def test_modules_are_panels_of_the_slab() -> None:
    places = {"x": [0, 0], "y": [0, 10], "rotation": [0, 180]}
    text = lines(geometry_file(described(HEADER | places, (2, 4, 6)), CrystfelConfig()))
    assert (text["p1/min_ss"], text["p1/max_ss"]) == ("4", "7")
    assert (text["p1/fs"], text["p1/ss"]) == ("-1.0x +0.0y", "+0.0x -1.0y")
    assert (text["p1/corner_x"], text["p1/corner_y"]) == ("3.500000", "10.500000")


@pytest.mark.parametrize(
    ("options", "dtype", "saturation", "flags"),
    [
        ({"type": "i4", "flag": -7}, None, None, {"flag_equal": "-7"}),
        ({"type": "f4"}, None, None, {}),
        ({"format": "hdf5"}, "uint16", None, {"flag_morethan": "65534"}),
        ({"format": "hdf5"}, "<u2", 60000, {"flag_morethan": "60000"}),
        ({"format": "hdf5"}, "<i4", 60000, {"flag_lessthan": "0", "flag_morethan": "60000"}),
        ({"format": "hdf5"}, "<f4", None, {}),
    ],
)
def test_bad_pixels_are_known_by_their_values(
    options: dict[str, Any], dtype: str | None, saturation: float | None, flags: dict[str, str]
) -> None:
    more = {} if saturation is None else {"saturation_value": saturation}
    text = lines(geometry_file(detector(**more), CrystfelConfig(**options), dtype=dtype))
    assert {key: value for key, value in text.items() if key.startswith("flag")} == flags


def test_the_highest_value_of_32_bits_is_one_also_as_a_float() -> None:
    text = lines(geometry_file(detector(), CrystfelConfig(format="hdf5"), dtype="<u4"))
    assert np.float32(2**32 - 1) > np.float32(text["flag_morethan"])


def test_paths_in_files_and_numbers_in_place_of_keys() -> None:
    config = CrystfelConfig(format="hdf5")
    text = lines(geometry_file(detector(), config, dtype="<u2", fixed=["distance"]))
    assert (text["photon_energy"], text["clen"]) == ("/entry/beam_energy eV", "80 mm")
    assert (text["data"], text.get("peak_list")) == ("/entry/data/data", None)
    with pytest.raises(ConfigError, match="of which type the pixels are"):
        geometry_file(detector(), config)
    with pytest.raises(ConfigError, match="said the distance"):
        geometry_file(detector(distance=0), config, dtype="<u2", fixed=["distance"])


def test_a_mask_on_the_disk() -> None:
    text = lines(geometry_file(detector(), CrystfelConfig(), mask=MaskFile("/data/bad.h5", "/mask")))
    assert (text["mask"], text["mask_file"], text["mask_bad"]) == ("/mask", "/data/bad.h5", "0xffffffff")
    with pytest.raises(ConfigError, match="'mask' is no path"):
        geometry_file(detector(), CrystfelConfig(), mask=MaskFile("/data/bad.h5", "mask"))


def words(config: CrystfelConfig, **options: Any) -> list[str]:
    text = command_line(config, **options)
    return shlex.split(text.partition("\n#")[0].replace("\\\n", ""))


def test_the_command_for_workers_that_ask() -> None:
    config = CrystfelConfig(address="tcp://*:23500")
    command = words(config, jobs=4, host="beamline", cell="my cell.pdb", indexing="xgandalf")
    assert command[:7] == [
        "indexamajig", "--zmq-input=tcp://beamline:23500", "--zmq-request=next", "--data-format=msgpack",
        "-g", "detector.geom", "-o"]  # fmt: skip
    assert command[8:10] == ["-j", "4"]
    assert "--peaks=peakfinder8" in command and "--min-snr=5" in command
    assert "--copy-header=frame_number" in command
    assert command[-3:] == ["--indexing=xgandalf", "-p", "my cell.pdb"]
    assert "-j $(nproc)" in command_line(config)


def test_our_peaks_are_not_checked_again() -> None:
    command = words(CrystfelConfig(peaks={"min_peaks": 7}, image=False))  # pyright: ignore[reportArgumentType]
    assert {"--peaks=msgpack", "--no-revalidate", "--min-peaks=7", "--no-image-data"} <= set(command)
    files = words(CrystfelConfig(peaks={"threshold": 20}, format="hdf5"))  # pyright: ignore[reportArgumentType]
    assert {"--peaks=peakfinder8", "--threshold=20", "--copy-header=/entry/frame_number"} <= set(files)


def test_the_command_for_who_subscribes_has_one_worker() -> None:
    command = words(CrystfelConfig(mode="publish", prefix="frames"), jobs=8)
    assert "--zmq-subscribe=frames" in command
    assert command[command.index("-j") + 1] == "1"


def test_addresses_for_others() -> None:
    assert reachable("tcp://0.0.0.0:1", "host") == "tcp://host:1"
    assert reachable("tcp://10.0.0.7:1", "host") == "tcp://10.0.0.7:1"
    assert reachable("ipc:///tmp/x", "host") == "ipc:///tmp/x"
    assert reachable("tcp://*:1", None) == "tcp://*:1"
