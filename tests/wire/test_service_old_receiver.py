"""A facility's old configuration, served as it is to the old program's clients, with the stream of a real EIGER."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import httpx
import msgspec
import numpy as np
import pytest

from bluesky_streamdet.streaming.sender import Sender
from tests.conftest import Recordings
from tests.wire.streams import until
from tests.wire.test_pipeline_eiger import Parts, pixels, recorded

pytestmark = pytest.mark.wire

__all__ = ["recorded"]

OLD = """
nanomax-eiger:
  class: Eiger
  dcu_host_purple: 127.0.0.1
  dcu_port_purple: {port}
  api_port: 0
  dset_name: /entry/instrument/eiger/data
danmax-pilatus4:
  class: DectrisStream2
  dcu_host_purple: 172.18.1.1
"""


@contextmanager
def served(old: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`streamdet serve detectors.yaml nanomax-eiger`, and the address of its old interface."""
    file = folder / "detectors.yaml"
    file.write_text(old)
    command = [sys.executable, "-m", "bluesky_streamdet.cli.main", "serve", str(file), "nanomax-eiger"]
    environ = os.environ | {
        "STREAMDET_FILES__DIRECTORY": str(folder / "data"),
        "STREAMDET_WAIT__QUIET_SECONDS": "1",
        "XDG_RUNTIME_DIR": str(folder),
        "LOG_LEVEL": "info",
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            seen = []
            for line in process.stdout:
                seen.append(line)
                if found := re.match(r"compat +http://0\.0\.0\.0:(\d+) answers as the old receiver did", line):
                    yield process, f"http://127.0.0.1:{found[1]}"
                    return
            raise AssertionError(f"it did not start: {seen}")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)


def test_the_recording_goes_through_the_old_configuration(
    test_data: Recordings, recorded: list[Parts], tmp_path: Path
) -> None:
    with Sender("tcp://127.0.0.1:0", linger=0) as sender:
        old = OLD.format(port=sender.address.rpartition(":")[2])
        with served(old, tmp_path) as (_, url), httpx.Client(base_url=url) as client:
            assert client.get("/status").json() == {"state": "idle"}
            assert client.get("/received_frames").json() == {"value": 0}
            for message in recorded:
                sender.send(message, 20.0)  # type: ignore[arg-type]
            until(lambda: client.get("/received_frames").json() == {"value": 9}, lambda: None)

            header, blob = msgspec.msgpack.decode(client.get("/last_frame").content)
            image = np.frombuffer(blob, header["type"]).reshape(header["shape"])
            np.testing.assert_array_equal(image, pixels(recorded[-1]))
            # No end was recorded: it ends by silence.
            until(lambda: client.get("/status").json() == {"state": "idle"}, lambda: None)

    (file,) = (tmp_path / "data").glob("*.h5")
    with h5py.File(file) as content:
        frames = content["/entry/instrument/eiger/data"]
        for row, parts in enumerate(recorded[1:]):
            np.testing.assert_array_equal(frames[row], pixels(parts))
        assert list(content["/entry/instrument/eiger/sequence_number"]) == list(range(9))
