"""A beamline of hardware: nothing is started or asked, until something is wanted of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted

from bluesky_streamdet.beamline import Beamline, BeamlineConfig
from bluesky_streamdet.beamline.catalog import LateCatalog
from bluesky_streamdet.core.errors import ConfigError
from tests.scripted import Documents


class Driver:
    """Of a detector, as somebody may write one."""

    arms = True

    def __init__(self, host: str) -> None:
        self.host = host


def made(RE: RunEngine, tmp_path: Path, **values: Any) -> Beamline:
    given = {"catalog": "none", "folder": tmp_path, "table": False, **values}
    return Beamline(BeamlineConfig.model_validate(given), RE)


def test_detectors_of_all_kinds(RE: RunEngine, tmp_path: Path) -> None:
    detectors = {
        "one": {"type": "stream", "url": "http://a:1", "driver": {"class": f"{__name__}.Driver", "host": "b"}},
        "two": {"type": "stream", "face": "async", "url": "http://a:2", "driver": "tcp://127.0.0.1:1"},
        "three": {"type": "xspress3", "url": "http://a:3", "channels": 2, "regions": {"iron": [6260, 6550]}},
        "four": {"type": "xspress3", "face": "async", "url": "http://a:4", "channels": 2},
    }
    with_all = made(RE, tmp_path, detectors=detectors)
    space = with_all.namespace
    assert [(space[name].name, type(space[name]).__module__.split(".")[-1]) for name in detectors] == [
        *[("one", "classic"), ("two", "asynchronous"), ("three", "classic"), ("four", "asynchronous")]
    ]
    assert space["one"]._acquisition.setup.driver.host == "b"
    assert space["one"]._ophyd_labels_ == {"detectors"}
    assert "db" not in space
    with_all.close()
    with_all.close()


def test_what_there_is(RE: RunEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, Any] = {
        "name": "X01",
        "detectors": {"eiger": {"type": "stream", "url": "http://daq:8010"}},
        "devices": {"motor": {"class": "ophyd.sim.SynAxis", "labels": ["motors"]}},
    }
    made(RE, tmp_path, **values).overview()
    said = capsys.readouterr().out
    assert "Beamline X01." in said
    assert "eiger  StreamDetector, http://daq:8010" in said
    assert "motor  SynAxis" in said
    assert "time_series" in said


def test_metadata_of_each_run(RE: RunEngine, tmp_path: Path) -> None:
    values = {"name": "X01", "metadata": {"facility": "here"}, "required_metadata": ["sample"]}
    devices = {"motor": {"class": "ophyd.sim.SynAxis"}}
    axis = made(RE, tmp_path, devices=devices, record={"angle": "motor"}, **values).devices["motor"]
    axis.set(2.5)
    documents = Documents()
    RE(bp.count([axis]), documents, sample="LaB6")
    start = documents.of("start")[0]
    assert (start["beamline"], start["facility"], start["sample"]) == ("X01", "here", "LaB6")
    assert start["angle"] == 2.5


@pytest.mark.allow_error_log
def test_plans_that_need_not_say_anything(RE: RunEngine, tmp_path: Path) -> None:
    values = {"required_metadata": ["sample"], "required_metadata_but_not": ["count"]}
    axis = made(RE, tmp_path, devices={"motor": {"class": "ophyd.sim.SynAxis"}}, **values).devices["motor"]
    RE(bp.count([axis]))
    with pytest.raises(ConfigError, match="'sample' is missing"):
        RE(bp.scan([], axis, 0, 1, 2))


@pytest.mark.allow_error_log
@pytest.mark.parametrize(("reason", "status"), [("wrong sample", "abort"), ("", "success")])
def test_why_a_run_was_aborted(RE: RunEngine, tmp_path: Path, reason: str, status: str) -> None:
    axis = made(RE, tmp_path, devices={"motor": {"class": "ophyd.sim.SynAxis"}}).devices["motor"]
    documents, asking = Documents(), threading.Thread(target=RE.request_pause)

    def pause(name: str, document: Any) -> None:
        if name == "event" and asking.ident is None:
            asking.start()

    with pytest.raises(RunEngineInterrupted):
        RE(bp.count([axis], 100, delay=0.01), [documents, pause])
    asking.join()
    RE.abort(reason) if reason else RE.stop()
    assert (documents.stop["exit_status"], documents.stop["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"devices": {"a": {"class": "ophyd.sim.Nothing"}}}, r"There is no ophyd.sim.Nothing"),
        ({"devices": {"a": {"class": "nowhere.at.All"}}}, r"There is no nowhere.at.All"),
        ({"devices": {"a": {"class": "ophyd.sim.SynAxis", "colour": 1}}}, r"a can't be made: .*colour"),
        ({"detectors": {"a": {"type": "stream", "url": "b", "framse": 1}}}, r"a can't be made: .*framse"),
        ({"detectors": {"a": {"type": "stream", "url": "b", "driver": {"host": 1}}}}, r"A driver is the control port"),
        ({"detectors": {"a": {"type": "stream", "simulate": {"colour": 1}}}}, r"The simulation of a .*colour"),
        (
            {"plots": {"a": {"class": "bluesky_streamdet.callbacks.image.LiveImage", "colour": 1}}},
            r"a can.t be made: .*colour",
        ),
    ],
)
def test_what_can_not_be_made(RE: RunEngine, tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(RE, tmp_path, **values)


def test_two_sessions_in_one_folder(RE: RunEngine, tmp_path: Path) -> None:
    first = made(RE, tmp_path, catalog="embedded")
    with pytest.raises(ConfigError, match=r"Another session keeps its catalog in .*\. End it, or give"):
        made(RE, tmp_path, catalog="embedded")
    first.close()
    made(RE, tmp_path, catalog="embedded").close()


def test_a_folder_that_can_not_be(RE: RunEngine, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(ConfigError, match=r"taken/frames can't be made: Not a directory\. Name another"):
        made(RE, tmp_path / "taken")


def test_a_catalog_is_opened_when_it_is_wanted() -> None:
    opened: list[int] = []

    def open_it() -> list[str]:
        opened.append(1)
        return ["first", "last"]

    db = LateCatalog(open_it)
    assert not hasattr(db, "_repr_html_")
    assert opened == []
    assert (db[-1], len(db), list(db), db.index("last")) == ("last", 2, ["first", "last"], 1)
    assert "last" in db
    assert repr(db) == "['first', 'last']"
    assert opened == [1]
