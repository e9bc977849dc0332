"""Frames straight from where they are published, or by REST; and strangers, and services that are not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bluesky_streamdet.callbacks.direct import LatestByRest, PublishedFrames, direct_of
from bluesky_streamdet.callbacks.live import Shot
from bluesky_streamdet.callbacks.spectrum import LiveSpectrum
from bluesky_streamdet.catalog import OUTPUTS
from bluesky_streamdet.core.errors import ConfigError, ServiceUnreachable
from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.streaming.sender import Sender
from tests.scripted import ScriptedService
from tests.unit.callbacks.shown import Kept
from tests.unit.devices.xspress3.scripted import ScriptedXspress3
from tests.unit.streaming.frames import frame
from tests.unit.streaming.spectra import counts, record, spectra

pytestmark = pytest.mark.wire
PATIENCE = 20.0
METADATA = {"ev_per_bin": 10.0, "first_bin": 100}


def test_spectra_as_they_are_published() -> None:
    """With what their header says: where the first bin is, and how wide one is."""
    encoder = OUTPUTS["xspress3"].encoder()
    messages = [encoder.start(SeriesStart("s1", metadata=METADATA, frames=5))]
    messages += [encoder.frame(spectra(number, series="s1")) for number in range(5)]
    shown = Kept()
    with (
        Sender("tcp://127.0.0.1:0", "pub") as sender,
        LiveSpectrum(show=shown, frames=sender.address, correction="sdk") as live,
    ):
        live.follow()
        sender.wait_for_peer(PATIENCE)
        for message in messages:
            sender.send(message, PATIENCE)
        shown.wait_for(lambda: shown.pictures[-1].title.startswith("frames, event 5"))
    last = shown.pictures[-1]
    assert np.allclose(last.counts, counts(4) * record(4)["dead_time_correction_sdk"][0][:, np.newaxis])
    assert last.energies.tolist() == [10.0 * (100 + place) for place in range(16)]


def test_every_frame_that_is_published() -> None:
    """And what is no message of a detector is left out."""
    encoder, source = OUTPUTS["stins"].encoder(), None
    with Sender("tcp://127.0.0.1:0", "pub") as sender:
        source = PublishedFrames(sender.address)
        came: list[Shot] = []
        assert source.take(0.0, newest=False) == []
        sender.wait_for_peer(PATIENCE)
        sender.send([b"noise"], PATIENCE)
        sender.send(encoder.start(SeriesStart("1", metadata={})), PATIENCE)
        for number in range(3):
            sender.send(encoder.frame(frame(number)), PATIENCE)
        sender.send([b"noise"], PATIENCE)
        while len(came) < 3:
            came += source.take(PATIENCE, newest=False)
        assert [shot.seq_nums for shot in came] == [range(number, number + 1) for number in (1, 2, 3)]
        source.close()


def test_the_latest_frame_by_rest(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluesky_streamdet.callbacks.direct.PERIOD", 0.0)
    service = ScriptedXspress3(tmp_path)
    service.numbers = 5
    source = LatestByRest("http://here", connect=service.connect)
    (shot,) = source.take(0.0, newest=True)
    assert shot.seq_nums == range(5, 6)
    assert shot.frames.shape == (1, *ScriptedXspress3.shape)
    assert shot.columns["dead_time_correction"].tolist() == [[1.0, 1.25, 2.0]]
    assert source.take(0.0, newest=True) == [], "the same once more"
    source.close()


def test_a_service_that_is_not_there_is_told_of_once(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bluesky_streamdet.callbacks.direct.PERIOD", 0.0)
    service = ScriptedService(tmp_path)
    source = LatestByRest("http://here", connect=service.connect)

    def gone() -> Any:
        raise ServiceUnreachable("No service answers.", "Start it.")

    source._connect = lambda url: type("Client", (), {"frame": staticmethod(gone), "close": lambda self: None})()
    assert source.take(0.0, newest=True) == source.take(0.0, newest=True) == []
    assert caplog.text.count("No service answers") == 1
    source.close()


def test_kinds_of_addresses() -> None:
    assert isinstance(direct_of("http://127.0.0.1:8010"), LatestByRest)
    assert isinstance(direct_of("tcp://127.0.0.1:23000"), PublishedFrames)
    with pytest.raises(ConfigError):
        direct_of("file.h5")
