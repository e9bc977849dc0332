"""A scripted Xspress3 behind its service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.devices.xspress3.scripted import ScriptedXspress3


@pytest.fixture
def service(tmp_path: Path) -> ScriptedXspress3:
    return ScriptedXspress3(tmp_path)
