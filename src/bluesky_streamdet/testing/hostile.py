"""Messages as a broken or hostile peer would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

MEGABYTE = 1 << 20
DEPTH = 100_000

NASTY_JSON = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"{",
    b'"x"',
    b"1e999",
    b"NaN",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"htype":null}',
    b'{"htype":"image"}',
    b'{"type":"image"}',
    b"[" * DEPTH,
    b'{"a":' * DEPTH,
    b"9" * 10_000,
    b'{"htype":"' + b"x" * MEGABYTE + b'"}',
]
"""Parts that are no header of anything, or only begin like one."""

NASTY_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    10**9,
    2**53,
    2**63,
    2**64,
    10**4000,
    "",
    "x",
    "../../etc/passwd\0",
    "\ud800",
    "y" * MEGABYTE,
    [],
    [0],
    [-1, -1],
    [10**9, 10**9],
    [2**62] * 4,
    [10**4000] * 4,
    [1.5, 2],
    [None],
    [1] * 100_000,
    [[[1]]],
    {},
    {"a": {"b": None}},
]

_NO_NUMBERS = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"00", b"[" * 5000 + b"]" * 5000]
_MARK = "a value to be replaced"


def bad_documents(part: bytes, only: Sequence[Any] | None = None) -> Iterator[bytes]:
    """`part` with each of its values missing, or replaced by each nasty one or by `only` these.

    A part that is no JSON object gives none.
    """
    try:
        document = json.loads(part)
    except ValueError:
        return
    if not isinstance(document, dict):
        return
    for name in document:
        for value in NASTY_VALUES if only is None else only:
            yield json.dumps({**document, name: value}).encode()
        if only is not None:
            continue
        yield json.dumps({other: value for other, value in document.items() if other != name}).encode()
        for token in _NO_NUMBERS:
            yield json.dumps({**document, name: _MARK}).encode().replace(f'"{_MARK}"'.encode(), token)


def mutated(messages: Sequence[Sequence[bytes]], random: Random, count: int) -> Iterator[list[bytes]]:
    """`count` messages, each one of `messages` after one to four changes."""
    everything = [part for parts in messages for part in parts]
    for _ in range(count):
        parts = list(random.choice(messages))
        for _ in range(random.randint(1, 4)):
            if parts and random.random() < 0.8:
                index = random.randrange(len(parts))
                parts[index] = _changed(parts[index], random)
            else:
                _shuffle(parts, everything, random)
        yield parts


def _changed(part: bytes, random: Random) -> bytes:
    """`part` with some bytes flipped, removed, repeated, or replaced by a number."""
    if not part:
        return random.randbytes(random.randint(0, 20))
    # Beginnings matter more: headers are there, in JSON as in blobs.
    start = random.randrange(min(len(part), 64) if random.random() < 0.5 else len(part))
    end = min(len(part), start + random.randint(1, 8))
    match random.randrange(5):
        case 0:
            flipped = bytes(byte ^ (1 << random.randrange(8)) for byte in part[start:end])
            return part[:start] + flipped + part[end:]
        case 1:
            return part[:start] + part[end:]
        case 2:
            return part[:end] + part[start:]
        case 3:
            digits = str(random.choice([-1, 0, 1, 2**31, 2**32, 2**63, 10**30])).encode()
            return part[:start] + digits + part[end:]
        case _:
            number = random.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
            return part[:start] + number.to_bytes(4, "big") + part[start + 4 :]


def _shuffle(parts: list[bytes], everything: Sequence[bytes], random: Random) -> None:
    """Drop, repeat, exchange or replace a part."""
    index = random.randrange(len(parts)) if parts else 0
    match random.randrange(4):
        case 0 if parts:
            del parts[index]
        case 1 if parts:
            parts.insert(index, parts[index])
        case 2 if parts:
            other = random.randrange(len(parts))
            parts[index], parts[other] = parts[other], parts[index]
        case _:
            parts[index : index + 1] = [random.choice(everything)]
