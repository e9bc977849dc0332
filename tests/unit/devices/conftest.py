"""A scripted service, and devices on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripted import ScriptedService


@pytest.fixture
def service(tmp_path: Path) -> ScriptedService:
    return ScriptedService(tmp_path)
