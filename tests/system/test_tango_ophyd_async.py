"""ophyd-async's Tango device finds all attributes and commands, and none that it keeps for itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system.tango_server import TangoServer, serving

pytest.importorskip("ophyd_async.tango.core", reason="needs the extras 'bluesky' and 'tango'")

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PATIENCE = 50.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TangoServer]:
    with serving(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.mark.parametrize(
    "story", ["connect_and_read_every_signal", "series_without_polling", "commands_with_arguments"]
)
def test_a_client(server: TangoServer, story: str) -> None:
    command = [sys.executable, "-m", "tests.system.tango_client", server.address, story]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
