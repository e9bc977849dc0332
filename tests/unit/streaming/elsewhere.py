"""Another process that reads files while this one writes them, as viewers and data brokers do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

READER = """
import json, sys
from bluesky_streamdet.streaming.files.reader import open_to_read, read_frames
for line in sys.stdin:
    ask = json.loads(line)
    try:
        rows = read_frames(ask["path"], ask["dataset"], ask["start"], ask["stop"])
        with open_to_read(ask["path"]) as file:
            length = file[ask["dataset"]].shape[0]
        said = {"shape": rows.shape, "dtype": rows.dtype.str, "hex": rows.tobytes().hex(), "length": length}
    except Exception as error:
        said = {"error": repr(error)}
    print(json.dumps(said), flush=True)
"""


class Elsewhere:
    """Reads on request; ends with `close`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.length = 0

    def rows(
        self, path: Path, dataset: str = "/entry/data/data", start: int = 0, stop: int | None = None
    ) -> NDArray[Any]:
        """Rows of a dataset, as the other process sees them now; `length` is how many it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        ask = {"path": str(path), "dataset": dataset, "start": start, "stop": stop}
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        assert "error" not in said, said
        self.length = said["length"]
        return np.frombuffer(bytes.fromhex(said["hex"]), said["dtype"]).reshape(said["shape"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)
