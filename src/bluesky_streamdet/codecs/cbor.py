"""CBOR that a stranger sent, read without trust, and CBOR of our own, written.

The reader goes through a buffer item by item. Byte strings are views of it, never copies; nothing is built for what the
buffer does not hold, and no more than `MOST_ITEMS` of what it does. Nesting deeper than `DEEPEST` is refused.
Source: RFC 8949.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from typing_extensions import Buffer

from bluesky_streamdet.core.errors import MalformedMessage

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, OTHER = range(8)
"""The major types; the last holds floats, true, false and null."""
INDEFINITE = -1
"""The length of an item that has none, and ends with a break."""
BREAK = 0xFF
SELF_DESCRIBED = 55799
"""Tag in front of a whole message, which says nothing but that it is CBOR."""

DEEPEST = 24
"""Levels of arrays, maps and tags in one another."""
MOST_ITEMS = 100_000
"""Items of arrays and maps, and tags, of which anything is built."""
MOST_SKIPPED = 1 << 18
"""Items that are passed over."""
LONGEST_TEXT = 16 << 20
"""Bytes of a text."""
LONGEST_KEY = 200
"""Characters of a key that is no text, in words."""

_ARGUMENTS = {24: struct.Struct(">B"), 25: struct.Struct(">H"), 26: struct.Struct(">I"), 27: struct.Struct(">Q")}
"""How an argument of 24 or more is written, by the low five bits of the item's first byte."""
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_SHORT = range(24)
"""Lengths that stand in the first byte of an item."""
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


class Tag(NamedTuple):
    """An item that a tag gives a meaning."""

    number: int
    value: Any


class Cut(MalformedMessage):
    """The data end within an item; it has at least `needed` bytes, counted from where the data begin."""

    def __init__(self, needed: int) -> None:
        super().__init__("CBOR is cut", f"at least {needed} bytes are needed")
        self.needed = needed


def _whole_lengths() -> tuple[int, ...]:
    """For each first byte, the bytes of an item that has no others behind it; 0 for what has to be looked into."""
    lengths = [0] * 256
    for low in range(28):
        head = 1 + (_ARGUMENTS[low].size if low in _ARGUMENTS else 0)
        for major in (UNSIGNED, NEGATIVE, OTHER):
            lengths[major << 5 | low] = head
        if low < 24:
            lengths[BYTES << 5 | low] = lengths[TEXT << 5 | low] = 1 + low
    lengths[ARRAY << 5] = lengths[MAP << 5] = 1
    return tuple(lengths)


_WHOLE = _whole_lengths()


def bytes_of(data: Buffer) -> memoryview:
    """A view of `data` byte by byte."""
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


class Reader:
    """Goes through `data`, from `position` on. All methods raise `MalformedMessage`; `Cut` where the data end too soon.

    position: of the next item, in bytes. byte_strings: where the byte strings in items that were read begin, head
    included, but for those in pieces. After an error, begin anew.
    """

    def __init__(self, data: Buffer, position: int = 0) -> None:
        self._view = bytes_of(data)
        self._size = len(self._view)
        self._left, self._skippable = MOST_ITEMS, MOST_SKIPPED
        self.position = position
        self.byte_strings: list[int] = []

    @property
    def at_end(self) -> bool:
        return self.position >= self._size

    def is_array(self, position: int, length: int) -> bool:
        """Whether an array of `length` below 24 begins at `position`."""
        return self._view[position] == ARRAY << 5 | length

    def head(self) -> tuple[int, int]:
        """Major type and argument of the next item, which is its length or value; `INDEFINITE` for none.

        The position is behind it then: at the content of a string, at the first item of an array, at what is tagged.
        """
        at = self.position
        if at >= self._size:
            raise Cut(at + 1)
        first = self._view[at]
        major, low = first >> 5, first & 31
        if low < 24:
            self.position = at + 1
            return major, low
        if low < 28:
            self.position = end = at + 1 + (1 << low - 24)
            if end > self._size:
                raise Cut(end)
            return major, _ARGUMENTS[low].unpack_from(self._view, at + 1)[0]
        if low == 31 and BYTES <= major <= MAP:
            self.position = at + 1
            return major, INDEFINITE
        raise MalformedMessage("no CBOR", f"byte {first:#04x} at {at}")

    def untagged(self) -> tuple[int, int]:
        """As `head`, of what is behind any tags."""
        major, argument = self.head()
        while major == TAG:
            self._count(1)
            major, argument = self.head()
        return major, argument

    def content(self, length: int) -> memoryview:
        """The content of a string, the next `length` bytes."""
        end = self.position + length
        if end > self._size:
            raise Cut(end)
        view = self._view[self.position : end]
        self.position = end
        return view

    def entries(self) -> Iterator[str]:
        """The keys of the map whose head is next; take or skip the value before you ask for the next key."""
        major, length = self.untagged()
        if major != MAP:
            raise MalformedMessage("no CBOR map", f"an item of major type {major}")
        for _ in self._items(length, 2):
            yield self._key(DEEPEST)

    def item(self, depth: int = DEEPEST) -> Any:
        """The next item: int, float, str, bool, None, list, dict with text for keys, `Tag`, or a view of bytes."""
        at = self.position
        if at >= self._size:
            raise Cut(at + 1)
        first = self._view[at]
        if first < 24:
            self.position = at + 1
            return first
        if first >= OTHER << 5:
            return self._other(first & 31)
        major, argument = self.head()
        if major == UNSIGNED:
            return argument
        if major == TEXT:
            return self._text(argument)
        if major == NEGATIVE:
            return -1 - argument
        if major != BYTES:
            return self._nested(major, argument, depth)
        if argument == INDEFINITE:
            return memoryview(self._joined(BYTES))
        self.byte_strings.append(at)
        return self.content(argument)

    def skip(self) -> None:
        """Pass over the next item, whatever it holds."""
        view, whole, size = self._view, _WHOLE, self._size
        at, budget = self.position, self._skippable
        left = 1  # items to pass over at this level; negative where a break ends it
        levels: list[int] = []
        while left or levels:
            if left == 0:
                left = levels.pop()
                continue
            budget -= 1
            if at >= size or budget < 0:
                break
            length = whole[first := view[at]]
            if length:
                at += length
                left -= 1
            elif first == BREAK and left < 0:
                at += 1
                left = levels.pop()
            else:
                self.position = at
                left -= first >> 5 != TAG
                inner = self._enter()
                at = self.position
                if inner is not None:
                    levels.append(left)
                    left = inner
                    if len(levels) > DEEPEST:
                        raise _too_deep()
        self._skippable = budget
        if budget < 0:
            raise _too_many(MOST_SKIPPED)
        if left or levels or at > size:
            raise Cut(max(at, size + 1))
        self.position = at

    def _enter(self) -> int | None:
        """Pass over the next head, and the content of a string; the number of items in it, negative when unknown."""
        major, argument = self.head()
        if argument == INDEFINITE:
            return INDEFINITE
        if major in (ARRAY, MAP):
            return argument << (major == MAP)
        if major in (BYTES, TEXT):
            self.position += argument
        return None

    def _nested(self, major: int, argument: int, depth: int) -> Any:
        if depth == 0:
            raise _too_deep()
        if major == ARRAY:
            return [self.item(depth - 1) for _ in self._items(argument, 1)]
        if major == MAP:
            return {self._key(depth - 1): self.item(depth - 1) for _ in self._items(argument, 2)}
        self._count(1)
        return Tag(argument, self.item(depth - 1))

    def _items(self, length: int, each: int) -> Iterable[int]:
        """Counts through an array of `length`, or a map with `each` 2."""
        if length < 0:
            return self._until_break()
        if length * each > self._size - self.position:
            raise Cut(self.position + length * each)
        self._count(length * each)
        return range(length)

    def _until_break(self) -> Iterator[int]:
        for index in count():
            if self.at_end:
                raise Cut(self.position + 1)
            if self._view[self.position] == BREAK:
                self.position += 1
                return
            self._count(2)
            yield index

    def _count(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise _too_many(MOST_ITEMS)

    def _key(self, depth: int) -> str:
        at = self.position
        if at < self._size and (length := self._view[at] - (TEXT << 5)) in _SHORT:
            self.position = at + 1
            return self._text(length)
        key = self.item(depth)
        return key if type(key) is str else str(key)[:LONGEST_KEY]

    def _text(self, length: int) -> str:
        if length > LONGEST_TEXT:
            raise MalformedMessage("CBOR text too long", f"{length} bytes; the limit is {LONGEST_TEXT}")
        try:
            return str(self.content(length) if length >= 0 else self._joined(TEXT, LONGEST_TEXT), "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage("CBOR text is no UTF-8", str(error)) from error

    def _joined(self, wanted: int, most: int = 1 << 62) -> bytes:
        """The content of a string that came in pieces."""
        pieces, total = [], 0
        for _ in self._until_break():
            major, length = self.head()
            if major != wanted or length < 0:
                raise MalformedMessage("no CBOR", f"a string in pieces, one of major type {major}")
            total += length
            if total > most:
                raise MalformedMessage("CBOR text too long", f"more than {most} bytes")
            pieces.append(self.content(length))
        return b"".join(pieces)

    def _other(self, low: int) -> Any:
        """A float, true, false or null, by the low five bits of its first byte."""
        start = self.position + 1
        _, argument = self.head()
        if low in _FLOATS:
            return _FLOATS[low].unpack_from(self._view, start)[0]
        if argument not in _SIMPLE:
            raise MalformedMessage("no CBOR", f"a simple value {argument}")
        return _SIMPLE[argument]


def _too_deep() -> MalformedMessage:
    return MalformedMessage("CBOR nested too deep", f"more than {DEEPEST} levels")


def _too_many(most: int) -> MalformedMessage:
    return MalformedMessage("too many CBOR items", f"more than {most}")


def encode(value: Any) -> bytes:
    """`value` as CBOR: what `Reader.item` gives, and any buffer as a byte string.

    Raises `TypeError` for anything else, `OverflowError` for an integer of more than 64 bits.
    """
    pieces: list[Buffer] = []
    _write(value, pieces)
    return b"".join(pieces)


def _write(value: Any, pieces: list[Buffer]) -> None:
    if value is None or isinstance(value, bool):
        pieces.append({None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value])
    elif isinstance(value, int):
        pieces.append(_head(UNSIGNED, value) if value >= 0 else _head(NEGATIVE, -1 - value))
    elif isinstance(value, float):
        pieces.append(b"\xfb" + _FLOATS[27].pack(value))
    elif isinstance(value, str):
        text = value.encode(errors="replace")
        pieces += (_head(TEXT, len(text)), text)
    elif isinstance(value, Tag):
        pieces.append(_head(TAG, value.number))
        _write(value.value, pieces)
    elif isinstance(value, Mapping):
        pieces.append(_head(MAP, len(value)))
        for key, one in value.items():
            _write(str(key), pieces)
            _write(one, pieces)
    elif isinstance(value, list | tuple):
        pieces.append(_head(ARRAY, len(value)))
        for one in value:
            _write(one, pieces)
    else:
        view = memoryview(value)
        pieces += (_head(BYTES, view.nbytes), view)


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for low, form in _ARGUMENTS.items():
        if argument < 1 << 8 * form.size:
            return bytes((major << 5 | low,)) + form.pack(argument)
    raise OverflowError(f"{argument} has more than 64 bits")
