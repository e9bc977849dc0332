"""A real shared library with some of the SDK's functions; a streamer over a simulated one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.xspress3.rig import Rig

SOURCE = Path(__file__).with_name("sdk_stub.c")


@pytest.fixture(scope="session")
def sdk_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stub."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    target = tmp_path_factory.mktemp("sdk") / "libxspress3.so.1.0"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-o", str(target), str(SOURCE)], check=True, timeout=60)
    return target


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    simulate, system = getattr(request, "param", ({}, {}))
    rig = Rig(simulate, **system)
    yield rig
    rig.streamer.close()
