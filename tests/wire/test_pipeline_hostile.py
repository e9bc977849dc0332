"""What nobody should send: it is counted, costs nothing that it asks for, and the frames around it are kept."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import h5py
import pytest

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.report import resident_megabytes
from bluesky_streamdet.streaming.sender import Sender
from tests.wire.streams import Rig, Stream, balanced, holds, numbers_of, until

Rigs = Callable[..., Rig]
PIXELS = bytes(48)


def stins(**changes: Any) -> bytes:
    """The header of an image, valid but for the changes; None leaves a field out."""
    header = {"htype": "image", "msg_number": 1, "frame": 0, "shape": [4, 6], "type": "uint16", "compression": "none"}
    return json.dumps({name: value for name, value in (header | changes).items() if value is not None}).encode()


def dectris(series: int = 1, **changes: Any) -> list[bytes]:
    """An image in DECTRIS' format, its second part valid but for the changes."""
    data = {"htype": "dimage_d-1.0", "shape": [6, 4], "type": "uint16", "encoding": "<", "size": 48} | changes
    head = {"htype": "dimage-1.0", "series": series, "frame": 0, "hash": ""}
    return [json.dumps(head).encode(), json.dumps(data).encode(), PIXELS, b"{}"]


BLOB = b"\0\0\0\0\0\0\0\x30\0\0\x20\0"
MALFORMED_STINS = [
    [b""],
    [b"{"],
    [b"[]"],
    [b"null"],
    [b'"text"'],
    [b"\xff\xfe\x00"],
    [b"\x80\x04\x95pickle"],
    [b"[" * 100_000],
    [b'{"htype": "surprise"}'],
    [b"{}"],
    [stins(), PIXELS[:-1]],
    [stins(), PIXELS + b"0"],
    [stins(), b""],
    [stins()],
    [stins(), PIXELS, PIXELS],
    [stins(), *[b""] * 5000],
    [stins(shape=[10**9, 10**9]), PIXELS],
    [stins(shape=[10**30]), PIXELS],
    [stins(shape=[1 << 31, 1 << 31, 1 << 31]), PIXELS],
    [stins(shape=[-4, -6]), PIXELS],
    [stins(shape=[0, 6]), b""],
    [stins(shape=[]), b""],
    [stins(shape=[1] * 40), PIXELS],
    [stins(shape="4x6"), PIXELS],
    [stins(shape=[4.5, 6]), PIXELS],
    [stins(type="object"), PIXELS],
    [stins(type="O"), PIXELS],
    [stins(type="<u2,(1000000000,)u8"), PIXELS],
    [stins(type=7), PIXELS],
    [stins(compression="gzip"), PIXELS],
    [stins(compression="bslz4"), PIXELS],
    [stins(compression="bslz4"), BLOB],
    [stins(compression="bslz4"), b"\xff" * 12],
    [stins(compression="bslz4"), BLOB[:8] + b"\0\0\0\0"],
    [stins(chunks=[3, 6]), PIXELS],
    [stins(chunks=[0, 6]), PIXELS],
    [stins(chunks=[4]), PIXELS],
    [stins(frame=-1), PIXELS],
    [stins(frame=1 << 70), PIXELS],
    [stins(frame="0"), PIXELS],
    [stins(frame=None), PIXELS],
    [stins(msg_number=-1), PIXELS],
    [stins(msg_number=1 << 70), PIXELS],
    [b'{"htype": "header", "filename": 7}'],
    [b'{"htype": "header", "filename": "x"}', b"[1]"],
    [b'{"htype": "header", "filename": "x"}', b"{"],
    [b'{"htype": "series_end", "msg_number": 1}', PIXELS],
]
MALFORMED_DECTRIS = [
    [b"{"],
    [b'{"htype": "dimage-1.0", "series": 1}'],
    dectris()[:1],
    dectris()[:3],
    [*dectris(), b"{}", b"{}"],
    dectris(shape=[10**9, 10**9]),
    dectris(type="float128"),
    dectris(encoding="lz4<"),
    dectris(size=47),
    dectris(encoding="bs16-lz4<"),
    [*dectris()[:3], b"none"],
    [*dectris()[:3], b'{"start_time": "now"}'],
    [b'{"htype": "dheader-1.0", "series": 2, "header_detail": "all"}', b"{}"],
    [b'{"htype": "dheader-1.0", "series": "two"}', b"{}"],
    [b'{"htype": "dseries_end-1.0"}'],
]


@pytest.mark.parametrize("codec", ["stins", "dectris_v1"])
def test_malformed_messages_are_counted_and_survived(rigs: Rigs, codec: str) -> None:
    rig, stream = rigs(codec=codec), Stream(codec)
    malformed = MALFORMED_STINS if codec == "stins" else MALFORMED_DECTRIS
    messages: list[Any] = [stream.start()]
    for number, bad in enumerate(malformed):
        messages += [bad, stream.frame(number)]
    report = rig.run([*messages, stream.end()])

    assert holds(report, range(len(malformed)))
    assert sum(report.ledger.malformed.values()) == len(malformed)
    assert balanced(report.ledger)
    assert report.outcome is Outcome.INCOMPLETE
    assert "malformed messages" in report.reason
    good = rig.run(stream.whole(range(3)))
    assert good.outcome is Outcome.COMPLETE
    assert holds(good, range(3))


def test_malformed_messages_between_series_are_counted_too(rigs: Rigs) -> None:
    rig = rigs()
    rig.send(MALFORMED_STINS[:5])
    rig.until(lambda: sum(rig.pipeline.receiver.between.malformed.values()) == 5)

    assert rig.state is State.IDLE
    assert rig.run(Stream().whole(range(3))).outcome is Outcome.COMPLETE


@pytest.mark.parametrize("codec", ["stins", "dectris_v1"])
def test_noise_of_any_kind_is_survived(rigs: Rigs, codec: str) -> None:
    """Valid messages with some bytes changed, parts lost, swapped or doubled."""
    rig = rigs(codec=codec, outputs=[{"address": "tcp://127.0.0.1:*"}], wait={"quiet_seconds": 0.2})
    stream, dice = Stream(codec), random.Random(7)
    client = rig.client()
    for _ in range(40):
        for message in stream.whole(range(5), filename="x", shape=(8, 6)):
            rig.send([_spoilt(message, dice)])
            rig.turn(0)
            client.take(wait=0)
    rig.until(lambda: rig.state is State.IDLE)

    assert balanced(rig.last.ledger)
    rig.pipeline.arm(ArmRequest())
    assert holds(rig.run(Stream(codec).whole(range(10, 13))), range(10, 13))


def _spoilt(message: list[Any], dice: random.Random) -> list[bytes]:
    parts = [bytes(part) for part in message]
    match dice.randrange(5):
        case 0:
            part = bytearray(dice.choice(parts))
            for _ in range(dice.randrange(1, 4)):
                part[dice.randrange(len(part))] = dice.randrange(256)
            parts[dice.randrange(len(parts))] = bytes(part)
        case 1:
            parts.pop(dice.randrange(len(parts)))
        case 2:
            parts.append(dice.choice(parts))
        case 3:
            parts = [part[: dice.randrange(len(part) + 1)] if dice.random() < 0.3 else part for part in parts]
    return parts or [b""]


HOSTILE_SETTINGS = [
    b'{"nframes": 1e400}',
    b'{"nframes": 1' + b"0" * 400 + b"}",
    b'{"nframes": -5, "save_raw": 3}',
    b'{"a": ' + b'{"a": ' * 400 + b"1" + b"}" * 401,
    b'{"a": ' + b"[" * 400 + b"]" * 400 + b"}",
    b'{"outcome": "complete", "ledger": {"written": 5}, "parameters": 1, "reason": null}',
    b'{"data": 1, "sequence_number": 2, "collection": 3, "": 4, ".": 5, "..": 6, "/": 7}',
    b'{"count_time": {"a": {"b": 1}}, "pixel_mask": "none", "flatfield": [[1], [1, 2]]}',
    json.dumps({"x" * 100_000: "y" * 1_000_000}).encode(),
    json.dumps({str(number): number for number in range(3000)}).encode(),
    b'{"nul\\u0000": "nul\\u0000", "big": 123456789012345678901234567890}',
]


@pytest.mark.parametrize("settings", HOSTILE_SETTINGS, ids=lambda text: text[:30].decode())
def test_settings_cost_no_frame(rigs: Rigs, settings: bytes) -> None:
    rig, stream = rigs(outputs=[{"address": "tcp://127.0.0.1:*"}]), Stream()
    client = rig.client()
    messages = stream.whole(range(5))
    messages[0].append(settings)
    rig.send(messages)
    rig.until(lambda: rig.pipeline.last is not None)
    headers = client.rest(rig.turn)

    # As malformed they are counted, and the series goes on without a header.
    assert numbers_of(rig.last) == list(range(5))
    assert rig.last.ledger.written == 5
    assert len(headers) == 7
    with h5py.File(str(rig.last.file)) as file:
        outcome = file["/entry/instrument/eiger/collection/outcome"].asstr()[()]
    assert outcome == rig.last.outcome
    assert holds(rig.run(stream.whole(range(2))), range(2))


def test_a_header_that_is_too_large_is_not_read(rigs: Rigs) -> None:
    rig, stream = rigs(), Stream()
    numbers = b'{"a": [' + b"1," * (10 << 20) + b"1]}"
    before = resident_megabytes()
    report = rig.run([stream.start(), [*stream.start(), numbers], [numbers], stream.frame(0), stream.end()])

    assert report.ledger.malformed == {"header too large": 2}
    assert report.ledger.written == 1
    assert resident_megabytes() - before < 100


def test_a_message_that_is_too_large_is_not_taken(rigs: Rigs) -> None:
    """Who announces a terabyte in ZeroMQ's own framing is disconnected, and nothing is allocated."""
    rig = rigs(senders=0, source={"endpoints": ["tcp://127.0.0.1:*"], "bind": True})
    port = int(rig.pipeline.source.report()[0].endpoint.rpartition(":")[2])
    before = resident_megabytes()
    greeting = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
    ready = b"\x05READY\x0bSocket-Type\0\0\0\x04PUSH"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stranger:
        stranger.sendall(greeting + b"\x04" + bytes([len(ready)]) + ready)
        stranger.sendall(b"\x02" + (1 << 40).to_bytes(8, "big") + b"x" * 1000)
        # It hangs up on us: the rest of its own greeting, then the end.
        closed: list[bool] = []
        stranger.setblocking(False)

        def read() -> None:
            rig.turn()
            try:
                closed.extend([True] if not stranger.recv(4096) else [])
            except BlockingIOError:
                pass
            except ConnectionResetError:
                closed.append(True)

        until(lambda: closed, read, "the end of the connection")

    assert resident_megabytes() - before < 50
    assert rig.pipeline.receiver.between.received == 0


def test_a_stranger_at_the_port_is_no_harm(rigs: Rigs) -> None:
    rig = rigs(senders=0, source={"endpoints": ["tcp://127.0.0.1:*"], "bind": True})
    port = int(rig.pipeline.source.report()[0].endpoint.rpartition(":")[2])
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(os.urandom(200))
    rig.turn()
    with Sender(rig.pipeline.source.report()[0].endpoint, bind=False) as sender:
        rig.senders.append(sender)
        rig.until(sender.has_peer)
        assert holds(rig.run(Stream().whole(range(5))), range(5))
        rig.senders.clear()
