from __future__ import annotations

from pathlib import Path

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.core.events import BSLZ4, LZ4, RAW
from bluesky_streamdet.testing.decoder_contract import DecoderContract
from tests.unit.codecs.buffers import BUFFERS


class TestDectrisVersion2(DecoderContract):
    codec = CODECS["dectris_v2"]
    by_hand = Path(__file__).parents[2] / "data/dectris-v2-by-hand.yaml"
    series = "14"
    encodings = (RAW, BSLZ4, LZ4)
    buffers = BUFFERS
