from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.core.errors import ConfigError, PathRefused
from bluesky_streamdet.service.remote.settings import WriterSettings

SETTINGS = WriterSettings().changed(output_file="scan.h5", n_frames=10)


def test_only_what_is_given_changes() -> None:
    assert WriterSettings().changed() == WriterSettings()
    settings = SETTINGS.changed(dataset_name="data_white", n_frames=np.int64(5), output_file=Path("/data/e1/scan.h5"))

    assert settings.changed() == settings
    assert dict(settings) == {
        "output_file": "/data/e1/scan.h5",
        "dataset_name": "data_white",
        "n_frames": 5,
        "connection_address": None,
        "user_id": None,
        "max_frames_per_file": 0,
        "layout": None,
        "parameters": {},
    }
    assert settings["n_frames"] == 5
    assert (settings.get("n_frames"), settings.get("model_fields"), len(settings)) == (5, None, 8)
    assert "n_frames" in settings
    with pytest.raises(KeyError):
        settings["model_fields"]
    assert SETTINGS.output_file == "scan.h5"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".h5",
        "   .h5",
        "scan",
        "xh5",
        "/data/x.h5; touch p",
        "../../etc/x.h5",
        "/data/../x.h5",
        "~/x.h5",
        "a\0.h5",
        "a\nb.h5",
        "%s%n.h5",
        "%030d.h5",
        "{detector.__class__}.h5",
        "%d_%d.h5",
        "/data/" + 5000 * "x" + ".h5",
        300 * "é" + ".h5",
    ],
)
def test_what_is_no_path_of_a_file_is_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        SETTINGS.changed(output_file=path)


@pytest.mark.parametrize("path", ["scan.h5", "/data/a b/scan;1.hdf5", "scan_%03d.h5", "{detector}.nxs", "é.h5"])
def test_what_is_a_path_of_a_file(path: str) -> None:
    assert SETTINGS.changed(output_file=path).output_file == path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_file": 5}, "output_file is 5: it should be the path of a file"),
        ({"n_frames": "100"}, "n_frames is '100': it should be a whole number"),
        ({"n_frames": 2.0}, "n_frames is 2.0: it should be a whole number"),
        ({"n_frames": True}, "n_frames is True: it should be a whole number"),
        ({"n_frames": -1}, "n_frames is -1; it should be greater than or equal to 0"),
        ({"n_frames": 1 << 60}, "n_frames"),
        ({"max_frames_per_file": -1}, "max_frames_per_file"),
        ({"user_id": "root"}, "user_id is 'root'"),
        ({"user_id": 0}, "user_id is 0: it should be the number of a user, who is not root"),
        ({"dataset_name": "a/../b"}, "dataset is 'a/../b'"),
        ({"dataset_name": 7}, "dataset_name"),
        ({"connection_address": "camera:8080"}, "write it as tcp://HOST:PORT"),
        ({"connection_address": "tcp://a:99999"}, "no port from 1 to 65535"),
        ({"connection_address": 8080}, "it should be an address"),
        ({"parameters": [1]}, "parameters"),
        ({"n_frame": 5}, "did you mean n_frames?"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SETTINGS.changed(**changes)
    assert said in str(caught.value)


def test_a_request() -> None:
    request = SETTINGS.changed(
        output_file="/data/e1/scan.h5", user_id=503, parameters={"sample": "x"}, layout="exchange"
    ).request("one")

    assert (request.id, request.directory, request.name) == ("one", "/data/e1", "scan.h5")
    assert (request.expected_frames, request.open_ended, request.add) == (10, False, True)
    assert (request.layout, request.dataset, request.frames_per_file) == ("exchange", "data", 0)
    assert (request.owner, request.metadata) == (503, {"sample": "x"})
    assert SETTINGS.changed(user_id=-1).request("one").owner is None


def test_without_a_number_it_goes_on_until_stop() -> None:
    request = SETTINGS.changed(n_frames=0).request("one")

    assert (request.expected_frames, request.open_ended, request.directory) == (None, True, None)


@pytest.mark.parametrize(
    ("frames", "most", "asked"),
    [(10, 0, 0), (10, 10, 0), (10, 20000, 0), (11, 10, 10), (0, 10, 10), (0, 0, 0)],
)
def test_a_series_that_one_file_can_take_has_one(frames: int, most: int, asked: int) -> None:
    request = SETTINGS.changed(n_frames=frames, max_frames_per_file=most).request("one")

    assert request.frames_per_file == asked
    assert request.add == (not asked)
