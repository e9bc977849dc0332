"""A stand-in of a control unit, and a service that hears what it streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.devices.eiger.standin import StandIn, StreamedService


@pytest.fixture
def unit() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def service(tmp_path: Path, unit: StandIn) -> StreamedService:
    return StreamedService(tmp_path, unit)
