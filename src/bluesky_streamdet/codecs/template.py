"""Messages that differ from one another in a few numbers: the first is read with care, those like it by comparison."""

from __future__ import annotations

from collections.abc import Sequence

from bluesky_streamdet.codecs.cbor import BYTES, UNSIGNED, Reader


class Template:
    """A CBOR message as it was read, all of it fixed but for the items that begin at `marks`, in ascending order.

    What may differ is an unsigned integer, or the content of a byte string. Raises `ValueError` for a mark at anything
    else.
    """

    def __init__(self, message: memoryview, marks: Sequence[int]) -> None:
        self._steps: list[tuple[bytes, int]] = []
        reader = Reader(message)
        for mark in marks:
            fixed = bytes(message[reader.position : mark])
            reader.position = mark
            major, argument = reader.head()
            if major not in (UNSIGNED, BYTES) or argument < 0:
                raise ValueError(f"an item of major type {major} at {mark}")
            self._steps.append((fixed, major << 5))
            if major == BYTES:
                reader.content(argument)
        self._end = bytes(message[reader.position :])

    def match(self, message: memoryview) -> list[int | memoryview] | None:
        """What `message` has at the marks; None when it is not like the other."""
        values: list[int | memoryview] = []
        at = 0
        try:
            for fixed, kind in self._steps:
                start = at + len(fixed)
                if message[at:start] != fixed:
                    return None
                low = message[start] - kind
                if 0 <= low < 24:
                    value, at = low, start + 1
                elif 24 <= low < 28:
                    at = start + 1 + (1 << low - 24)
                    value = int.from_bytes(message[start + 1 : at])
                else:
                    return None
                if kind:
                    start, at = at, at + value
                    values.append(message[start:at])
                else:
                    values.append(value)
        except IndexError:
            return None
        # A slice that reaches beyond the end is shorter than it should be; so is the end then.
        return values if at <= len(message) and message[at:] == self._end else None
