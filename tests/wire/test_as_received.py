"""Outputs that hand messages on as they came: byte by byte, in order, and only to whom they belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from pydantic import ValidationError

from bluesky_streamdet.streaming.config import DataPlaneConfig
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.fanout import EARLIER, Output
from tests.unit.streaming.frames import frame
from tests.wire.streams import LOOPBACK, Client, Rig, Stream

Rigs = Callable[..., Rig]
pytestmark = pytest.mark.wire

VERBATIM = {"name": "raw", "address": LOOPBACK, "encoder": "as-received"}


def gigafrost(number: int) -> list[bytes]:
    """A message with keys and an order of keys that no encoder of ours would send."""
    header = {
        "image_attributes": {"image_number": number, "scan_index": 0, "scan_datetime": 1631087755, "x": None},
        "tags": ["0"], "endianess": "little", "frame": number, "source": "gigafrost", "shape": [4, 6],
        "htype": ["array-1.0"], "type": "uint16", "nobody knows": [1, {"a": 2}],
    }  # fmt: skip
    return [json.dumps(header, indent=1).encode(), np.full((4, 6), number, "<u2").tobytes()]


def taken(client: Client, turn: Callable[[], Any], count: int) -> list[list[bytes]]:
    return [client.message(turn) for _ in range(count)]


@pytest.mark.parametrize("codec", ["array-1.0", "gigafrost"])
def test_every_byte_arrives(rigs: Rigs, codec: str) -> None:
    rig = rigs(codec=codec, unarmed="forward", outputs=[VERBATIM])
    client = rig.client()
    messages = [gigafrost(number) for number in range(100, 130)]
    rig.send(messages)

    assert taken(client, rig.turn, 30) == messages


def test_headers_and_ends_too_and_others_in_their_own_format(rigs: Rigs) -> None:
    other = {"name": "array", "address": LOOPBACK, "encoder": "array-1.0"}
    rig, stream = rigs(outputs=[VERBATIM, other]), Stream()
    raw, array = rig.client(0), rig.client(1)
    messages = [[bytes(part) for part in message] for message in stream.whole(range(5), filename="x")]
    rig.send(messages)

    assert taken(raw, rig.turn, 7) == messages
    assert [json.loads(header)["frame"] for header, _ in taken(array, rig.turn, 5)] == list(range(5))


def test_only_the_frames_of_the_rule(rigs: Rigs) -> None:
    rig = rigs(codec="array-1.0", unarmed="forward", outputs=[{**VERBATIM, "send": {"every": 10}}])
    client = rig.client()
    rig.send([gigafrost(number) for number in range(375, 425)])

    assert [json.loads(header)["frame"] for header, _ in taken(client, rig.turn, 5)] == [380, 390, 400, 410, 420]
    report = rig.pipeline.outputs[0].report()
    rig.until(lambda: rig.pipeline.outputs[0].report().seen == 50)
    assert (report.sent, report.dropped) == (5, {})
    assert rig.pipeline.outputs[0].report().skipped == 45


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"endpoints": ["tcp://a:1", "tcp://b:1"], "modules": True}, "codec": "stins-module"},
        {"codec": "xspress3-pickled"},
    ],
)
def test_is_refused_where_frames_are_no_messages(changes: dict[str, Any], tmp_path: Path) -> None:
    values = {"detector": "one", "codec": "stins", "source": {"endpoints": ["tcp://a:1"]}, "outputs": [VERBATIM]}
    with pytest.raises(ValidationError, match="each frame as one message"):
        DataPlaneConfig.model_validate(values | changes)


def test_a_frame_whose_message_was_not_kept_is_counted() -> None:
    with zmq.Context() as context:
        output = Output(OutputConfig.model_validate(VERBATIM), context)
        try:
            kept = msgspec.structs.replace(frame(1), message=(b"header", b"pixels"))
            output.send([frame(0), kept])
            assert output.report().dropped[EARLIER] == 1
        finally:
            output.close()
