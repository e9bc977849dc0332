"""The page on catalogs is true: its configuration serves runs, with the files where another machine sees them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bluesky.plans as bp
import numpy as np
import pytest
import yaml
from bluesky import RunEngine
from bluesky_tiled_plugins import TiledWriter
from tiled.queries import Key

from bluesky_streamdet.local import open_catalog
from tests.scripted import Documents, ScriptedService, detector

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "catalogs.md"
KEY = "0123456789abcdef"


def block(first_line: str) -> str:
    """A block of code of the page, that begins so."""
    (found,) = re.findall(rf"^```\w+\n({re.escape(first_line)}.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """`tiled serve config` with the page's configuration, in folders of this test; its address."""
    text = block("trees:")
    assert {"/var/lib/tiled", "/mnt/beamline/data"} <= set(re.findall(r"/var/lib/tiled|/mnt/beamline/data", text))
    config = tmp_path / "config.yml"
    config.write_text(text.replace("/var/lib/tiled", f"{tmp_path}/tiled").replace("/mnt/beamline", f"{tmp_path}/mnt"))
    for folder in ("tiled", "mnt/data"):
        (tmp_path / folder).mkdir(parents=True)
    command = [Path(sys.executable).with_name("tiled"), "serve", "config", config, "--port", "0"]
    environment = os.environ | {"TILED_SINGLE_USER_API_KEY": KEY, "NO_COLOR": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while not (running := re.search(r"running on \S*?(http://127\.0\.0\.1:\d+)", said)):
                line = process.stderr.readline()
                assert line, f"the server ended: {said}"
                said += line
            yield running[1]
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_a_server_as_the_page_has_it(RE: RunEngine, server: str, tmp_path: Path) -> None:
    written, seen = tmp_path / "data", tmp_path / "mnt" / "data" / "today"
    db = open_catalog(f"{server}/?api_key={KEY}")
    documents = Documents()
    RE.subscribe(TiledWriter(db, batch_size=1))
    det = detector("classic", ScriptedService(written), path_map={str(written): str(seen)})
    RE(bp.count([det], 3), documents, sample={"name": "water"}, proposal="20260123")
    # As if mounted there; where it was written, nobody else can read it.
    written.rename(seen)
    run = db[-1]
    assert np.asarray(run["primary"]["det"].read())[:, 0, 0].tolist() == [0, 1, 2]
    assert (run.start["sample"], run.start["proposal"]) == ({"name": "water"}, "20260123")
    assert next(name for name, _ in run.documents()) == "start"
    assert len(db.search(Key("proposal") == "20260123")) == len(db.search(Key("sample.name") == "water")) == 1
    assert len(db.search(Key("proposal") == "20260124")) == 0
    with pytest.warns(UserWarning, match="RawMongo will not be supported"):
        assert len(db.search({"proposal": "20260123"})) == 0
    db.context.close()


def test_a_file_outside_of_what_the_server_may_read(RE: RunEngine, server: str, tmp_path: Path) -> None:
    db = open_catalog(f"{server}/?api_key={KEY}")
    RE.subscribe(TiledWriter(db, batch_size=1))
    RE(bp.count([detector("classic", ScriptedService(tmp_path / "data"))], 1))
    with pytest.raises(Exception, match="500"):
        db[-1]["primary"]["det"].read()
    db.context.close()


def test_the_profile_of_the_page() -> None:
    assert yaml.safe_load(block("beamline:")) == {"beamline": {"uri": "http://tiled:8000"}}
