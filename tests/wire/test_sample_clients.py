"""Programs that people have, at the secondary port: the one that the stream receiver was documented with, and ours."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.sim.commands import Arm
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.pipeline import Pipeline
from tests.wire.simulated import FRAMES, received, sent
from tests.wire.streams import until

pytestmark = pytest.mark.wire

THEIRS = """
import zmq
import json
import numpy as np
from bitshuffle import decompress_lz4
hostname = 'localhost'
context = zmq.Context()
pull = context.socket(zmq.PULL)
pull.connect('tcp://%s:9999' %hostname)
while True:
    parts = pull.recv_multipart(copy=False)
    header = json.loads(parts[0].bytes)
    print(header)
    if header['htype'] == 'image':
        if header['compression'] == 'bslz4':
            img = decompress_lz4(parts[1].buffer,
                                 header['shape'],
                                 np.dtype(header['type']))
        else:
            img = np.frombuffer(parts[1], dtype=header['type'])
            img = img.reshape(header['shape'])
"""
"""Of the stream receiver's documentation, with a bracket closed."""

SITE_BITSHUFFLE = '''
"""As the build of the site where that program runs: it takes the blob with the 12 bytes of HDF5's filter."""
import importlib.util, struct, sys
import numpy as np

sys.path.remove(__path_of_this__)
del sys.modules["bitshuffle"]
import bitshuffle as _pypi

def decompress_lz4(blob, shape, dtype):
    _, block = struct.unpack_from(">QI", blob)
    return _pypi.decompress_lz4(np.frombuffer(blob, np.uint8, offset=12), tuple(shape), dtype, block // dtype.itemsize)

sys.modules["bitshuffle"] = sys.modules[__name__] = type(sys)("bitshuffle")
sys.modules["bitshuffle"].decompress_lz4 = decompress_lz4
'''


def ours() -> str:
    """What the reference page of the standard format prints."""
    page = Path(__file__).parents[2] / "docs/reference/stins.md"
    (program,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return program


def keeping(program: str, port: str, image: str, folder: Path) -> str:
    """The program, at another port; it keeps each image, and ends with the series."""
    program = re.sub(r":(9999|23000)'|:(9999|23000)\"", lambda match: f":{port}{match.group()[-1]}", program)
    indent = " " * (8 if "with zmq" in program else 4)
    end = f"{indent}if header['htype'] == 'series_end': break\n"
    keep = f"{indent}if header['htype'] == 'image': np.save(f'{folder}/{{header[\"frame\"]}}.npy', {image})\n"
    # The end where the program has read the header, the image where the loop ends.
    head, read, rest = re.split(r"(header = json.loads\(.*?\)\n)", program)
    return head + read + end + rest.rstrip() + "\n" + keep


@contextmanager
def running(program: str, folder: Path, *path: Path) -> Iterator[subprocess.Popen[str]]:
    file = folder / "client.py"
    file.write_text(program, encoding="utf-8")
    environ = {"PYTHONPATH": ":".join(map(str, path)), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, str(file)], text=True, env=environ, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def check(program: str, image: str, detector: str, tmp_path: Path, *path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    with received(detector, tmp_path / "data") as (simulator, pipeline):
        port = pipeline.outputs[0].report().address.rpartition(":")[2]
        with running(keeping(program, port, image, folder), tmp_path, *path) as client:
            stream_to(client, pipeline, simulator.detector)
            assert client.wait(20) == 0, client.stderr.read() if client.stderr else ""
        for number, picture in enumerate(sent(simulator)):
            np.testing.assert_array_equal(np.load(folder / f"{number}.npy"), picture)


def stream_to(client: subprocess.Popen[str], pipeline: Pipeline, detector: object) -> None:
    """Send a series when the client is there, until it has ended."""

    def ended() -> bool:
        return client.poll() is not None

    until(lambda: ended() or pipeline.outputs[0].report().clients, lambda: pipeline.turn(0.01), "the connection")
    pipeline.arm(ArmRequest(expected_frames=FRAMES))
    detector.arm(Arm(frames=FRAMES, exposure=0.0))  # type: ignore[attr-defined]
    detector.trigger()  # type: ignore[attr-defined]
    until(ended, lambda: pipeline.turn(0.01), "the end of the client")


@pytest.mark.parametrize("detector", ["eiger", "ximea"])
def test_the_sample_of_the_stream_receiver(detector: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    text = SITE_BITSHUFFLE.replace("__path_of_this__", repr(str(site)))
    (site / "bitshuffle.py").write_text(text, encoding="utf-8")

    check(THEIRS, "img", detector, tmp_path, site)


@pytest.mark.parametrize("detector", ["eiger", "ximea"])
def test_the_sample_of_our_own_page(detector: str, tmp_path: Path) -> None:
    check(ours().replace("print(header)\n            continue", "continue"), "image", detector, tmp_path)
