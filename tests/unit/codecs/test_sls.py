from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.codecs import sls
from bluesky_streamdet.codecs.codec import Message
from bluesky_streamdet.core.errors import MalformedMessage
from bluesky_streamdet.core.events import RAW, SeriesEnd, SeriesStart
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from bluesky_streamdet.transforms.psi_eiger import psi_eiger
from tests.unit.codecs.buffers import BUFFERS


class TestSls(DecoderContract):
    codec = CODECS["sls"]
    by_hand = Path(__file__).parents[2] / "data/sls-by-hand.yaml"
    dtypes = ("uint8", "uint16", "uint32")
    encodings = (RAW,)
    multipart = False
    buffers = BUFFERS

    def _messages(self) -> list[Message]:
        """Without the end, which is a message here although no header is."""
        return super()._messages()[:-1]

    def test_the_start_says_what_it_was_told(self) -> None:
        assert self._round_trip([self._start(), SeriesEnd()]) == [SeriesEnd()]

    def _round_trip(self, events):  # type: ignore[no-untyped-def]
        frames = super()._round_trip(events)
        return frames if isinstance(events[0], SeriesStart) and len(events) == 2 else frames[:-1]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b'{"bitmode":12,"shape":[2,1],"frameNumber":1}', b"123"], "unknown pixel type"),
        ([b'{"bitmode":16,"shape":[2,1],"frameNumber":1}', b"123"], "payload too short"),
        ([b'{"bitmode":16,"shape":[2,1],"frameNumber":1}'], "wrong number of parts"),
        ([b'{"bitmode":16,"frameNumber":1}', b"1234"], "header without what it needs"),
        ([b'{"bitmode":16,"shape":[2,1],"frameNumber":-1}', b"1234"], "impossible frame number"),
        ([b"{"], "header is no JSON"),
        ([], "empty message"),
    ],
)
def test_each_fault_has_its_reason(parts: Message, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        sls.Decoder().decode(parts, 0)
    assert caught.value.reason == reason


def test_the_picture_of_two_halves() -> None:
    upper = np.arange(256 * 512, dtype=np.uint32).reshape(256, 512) + 1
    lower = upper + upper.size

    picture = psi_eiger(np.stack([upper, lower]))[::-1]

    assert picture.shape == (514, 514)
    # Its corners: the upper half is flipped, so that its last row comes first.
    assert picture[0, 0] == upper[255, 0]
    assert picture[255, 513] == upper[0, 511]
    assert picture[258, 0] == lower[0, 0]
    assert picture[513, 513] == lower[255, 511]
    assert picture[0, 258] == upper[255, 256]
    assert not picture[256:258].any() and not picture[:, 256:258].any()
    assert np.count_nonzero(picture) == 2 * upper.size


def test_other_halves_are_refused() -> None:
    with pytest.raises(ValueError, match="two halves of 256 x 512"):
        psi_eiger(np.zeros((2, 512, 256), np.uint16))
