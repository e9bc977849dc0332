"""Arrays in a Python pickle, read without unpickling, and written without pickling.

A pickle is a program, and whoever runs it does what its sender wants. This reader knows the few instructions that make
a list of NumPy arrays, and the four names that occur in it; it refuses everything else, calls nothing, and makes no
object but tuples, lists and notes of where in the pickle the bytes of each array lie. It allocates no more than the
pickle is long. Source: Python's pickletools, and what NumPy's arrays and types say when they are pickled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import Enum, auto
from math import prod
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import Buffer

from bluesky_streamdet.codecs.codec import DTYPES
from bluesky_streamdet.core.errors import MalformedMessage

LARGEST_PICKLE = 64 << 10
"""Bytes; the values of 500 channels need 30 kB."""
MOST_AXES = 3

_TYPES = {np.dtype(dtype).str[1:]: dtype for dtype in DTYPES.values()}
"""NumPy's codes of types without their byte order, such as "u4", and its little-endian type string of each."""


class PickledArray(NamedTuple):
    """An array of a pickle: what it is like, and where its bytes are."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class _Known(Enum):
    """The names that may occur."""

    ARRAY = auto()
    TYPE = auto()
    NEW_ARRAY = auto()
    FROM_BUFFER = auto()


_NAMES = {
    ("numpy", "ndarray"): _Known.ARRAY,
    ("numpy", "dtype"): _Known.TYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Known.NEW_ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _Known.NEW_ARRAY,
    ("numpy.core.numeric", "_frombuffer"): _Known.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Known.FROM_BUFFER,
}


class _Span(NamedTuple):
    """Bytes in the pickle. What they are is never looked at."""

    start: int
    end: int


class _Type:
    """A type that is being made; its byte order is said after its code."""

    def __init__(self, code: str) -> None:
        self.dtype = _TYPES[code]
        self.is_known = code[1:] == "1"


class _Array:
    """An array that is being made."""

    made: PickledArray | None = None


class ArrayReader:
    """Reads pickled lists of arrays, one after another.

    In a stream they differ in the bytes of the arrays alone: then the instructions need not be gone through again.
    """

    def __init__(self) -> None:
        self._arrays: tuple[PickledArray, ...] = ()
        self._size = -1
        self._gaps: list[slice] = []
        self._between: list[bytes] = []

    def read(self, part: Buffer) -> tuple[tuple[PickledArray, ...], bytes]:
        """The arrays, and the pickle that their places refer to. Raises `MalformedMessage`."""
        if (size := memoryview(part).nbytes) > LARGEST_PICKLE:
            raise MalformedMessage("pickle too large", f"{size} bytes")
        pickle = bytes(part)
        if size != self._size or [pickle[gap] for gap in self._gaps] != self._between:
            self._learn(pickle)
        return self._arrays, pickle

    def _learn(self, pickle: bytes) -> None:
        self._arrays, self._size = arrays_in(pickle), len(pickle)
        spans = sorted({(one.start, one.end) for one in self._arrays})
        starts, ends = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(pickle)]
        self._gaps = [slice(*gap) for gap in zip(starts, ends, strict=True)]
        self._between = [pickle[gap] for gap in self._gaps]


def arrays_in(pickle: bytes) -> tuple[PickledArray, ...]:
    """The arrays of a pickled list. Raises `MalformedMessage`."""
    try:
        made = _Machine(pickle).run()
    except _Refused as error:
        raise MalformedMessage("a pickle of something else than arrays", str(error)) from error
    except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
        raise MalformedMessage("broken pickle", f"{type(error).__name__} at one of its instructions") from error
    if not isinstance(made, list) or not all(isinstance(one, _Array) for one in made):
        raise MalformedMessage("a pickle of something else than arrays", "it is no list of arrays")
    arrays = tuple(one.made for one in made if one.made is not None)
    if len(arrays) != len(made):
        raise MalformedMessage("broken pickle", "an array without its values")
    return arrays


class _Refused(Exception):
    """The pickle does what no list of arrays needs."""


_MARK = object()


class _Machine:
    """The instructions that are allowed, on a stack and a memo as pickle has them."""

    def __init__(self, pickle: bytes) -> None:
        self._pickle = pickle
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle makes. Raises `_Refused`, or what a stack that is too short raises."""
        pickle, instructions = self._pickle, _INSTRUCTIONS
        while (code := pickle[self._at]) != 0x2E:  # STOP
            self._at += 1
            instruction = instructions.get(code)
            if instruction is None:
                raise _Refused(f"instruction 0x{code:02x}")
            instruction(self)
        if self._at + 1 != len(pickle) or len(self._stack) != 1:
            raise ValueError("it ends too early or too late")
        return self._stack.pop()

    # Arguments in the pickle itself.

    def _number(self, form: str) -> int:
        size = struct.calcsize(form)
        (number,) = struct.unpack_from(form, self._pickle, self._at)
        self._at += size
        return int(number)

    def _span(self, length: str) -> _Span:
        size = self._number(length)
        start = self._at
        if size > len(self._pickle) - start:
            raise ValueError("cut short")
        self._at = start + size
        return _Span(start, self._at)

    def _line(self) -> str:
        end = self._pickle.index(b"\n", self._at)
        line = self._pickle[self._at : end].decode()
        self._at = end + 1
        return line

    # The instructions.

    def protocol(self) -> None:
        if self._number("<B") > 5:
            raise _Refused("a protocol past 5")

    def frame(self) -> None:
        if self._number("<Q") > len(self._pickle) - self._at:
            raise ValueError("cut short")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_number(self, form: str) -> None:
        self._stack.append(self._number(form))

    def push_text(self, length: str) -> None:
        start, end = self._span(length)
        self._stack.append(self._pickle[start:end].decode())

    def push_span(self, length: str) -> None:
        self._stack.append(self._span(length))

    def pop_to_mark(self) -> list[Any]:
        stack = self._stack
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is _MARK:
                popped = stack[index + 1 :]
                del stack[index:]
                return popped
        raise ValueError("no mark")

    def make_tuple(self, size: int | None) -> None:
        if size is None:
            self._stack.append(tuple(self.pop_to_mark()))
            return
        if size > len(self._stack):
            raise IndexError
        items = tuple(self._stack[len(self._stack) - size :])
        del self._stack[len(self._stack) - size :]
        self._stack.append(items)

    def extend(self, *, marked: bool) -> None:
        items = self.pop_to_mark() if marked else [self._stack.pop()]
        target = self._stack[-1]
        if not isinstance(target, list):
            raise _Refused("something is added to what is no list")
        target += items

    def put(self, form: str | None) -> None:
        self._memo[len(self._memo) if form is None else self._number(form)] = self._stack[-1]

    def get(self, form: str) -> None:
        self._stack.append(self._memo[self._number(form)])

    def name(self, *, on_stack: bool) -> None:
        if on_stack:
            name, module = self._stack.pop(), self._stack.pop()
        else:
            module, name = self._line(), self._line()
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Refused("a name that is no text")
        if (module, name) not in _NAMES:
            raise _Refused(f"the name {module[:60]!r} {name[:60]!r}")
        self._stack.append(_NAMES[module, name])

    def reduce(self) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        match what, arguments:
            case _Known.TYPE, (str(code), bool() | int(), bool() | int()) if code in _TYPES:
                self._stack.append(_Type(code))
            case _Known.NEW_ARRAY, (_Known.ARRAY, (0,), _Span()):
                self._stack.append(_Array())
            case _Known.FROM_BUFFER, (_Span() as data, _Type() as kind, tuple() as shape, "C"):
                array = _Array()
                array.made = _checked(kind, shape, data)
                self._stack.append(array)
            case _:
                raise _Refused("a call that makes no array of numbers")

    def build(self) -> None:
        state, what = self._stack.pop(), self._stack[-1]
        match what, state:
            case _Type(), (3, "<" | "|" as order, None, None, None, -1, -1, int()) if order == what.dtype[0]:
                what.is_known = True
            case _Array(made=None), (1, tuple() as shape, _Type() as kind, False, _Span() as data):
                what.made = _checked(kind, shape, data)
            case _:
                raise _Refused("an array of another kind than C-ordered, little-endian numbers")


def _checked(kind: _Type, shape: tuple[Any, ...], data: _Span) -> PickledArray:
    if not kind.is_known:
        raise ValueError("a type without its byte order")
    if len(shape) > MOST_AXES or not all(type(size) is int and 0 < size <= LARGEST_PICKLE for size in shape):
        raise ValueError("impossible shape")
    if prod(shape) * np.dtype(kind.dtype).itemsize != data.end - data.start:
        raise ValueError("values of another size")
    return PickledArray(kind.dtype, shape, data.start, data.end)


_Instruction = Callable[[_Machine], None]

_INSTRUCTIONS: dict[int, _Instruction] = {
    ord("("): lambda machine: machine.push(_MARK),
    ord(")"): lambda machine: machine.push(()),
    ord("]"): lambda machine: machine.push([]),
    ord("N"): lambda machine: machine.push(None),
    ord("J"): lambda machine: machine.push_number("<i"),
    ord("K"): lambda machine: machine.push_number("<B"),
    ord("M"): lambda machine: machine.push_number("<H"),
    ord("X"): lambda machine: machine.push_text("<I"),
    ord("B"): lambda machine: machine.push_span("<I"),
    ord("C"): lambda machine: machine.push_span("<B"),
    ord("c"): lambda machine: machine.name(on_stack=False),
    ord("q"): lambda machine: machine.put("<B"),
    ord("r"): lambda machine: machine.put("<I"),
    ord("h"): lambda machine: machine.get("<B"),
    ord("j"): lambda machine: machine.get("<I"),
    ord("a"): lambda machine: machine.extend(marked=False),
    ord("e"): lambda machine: machine.extend(marked=True),
    ord("t"): lambda machine: machine.make_tuple(None),
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
    0x80: _Machine.protocol,
    0x85: lambda machine: machine.make_tuple(1),
    0x86: lambda machine: machine.make_tuple(2),
    0x87: lambda machine: machine.make_tuple(3),
    0x88: lambda machine: machine.push(True),
    0x89: lambda machine: machine.push(False),
    0x8C: lambda machine: machine.push_text("<B"),
    0x93: lambda machine: machine.name(on_stack=True),
    0x94: lambda machine: machine.put(None),
    0x95: _Machine.frame,
    0x96: lambda machine: machine.push_span("<Q"),
}
"""By their codes. STOP is not among them, as it ends the program."""


class ArrayWriter:
    """Writes the arrays of one kind of record as the pickle of a list, of protocol 3, which each NumPy reads.

    arrays: type string and shape of each. All but their bytes is the same each time.
    """

    def __init__(self, arrays: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        memo: dict[str, int] = {}
        gap = b"\x80\x03]("
        self._between = []
        for dtype, shape in arrays:
            size = prod(shape) * np.dtype(dtype).itemsize
            gap += _name(memo, "numpy.core.multiarray", "_reconstruct") + _name(memo, "numpy", "ndarray")
            gap += b"K\0\x85C\x01b\x87R(K\x01" + _shape(shape) + _type(memo, dtype) + b"\x89B" + struct.pack("<I", size)
            self._between.append(gap)
            gap = b"tb"
        self._end = gap + b"e."

    def write(self, values: Sequence[Buffer]) -> bytes:
        """The pickle of arrays with these bytes."""
        pieces: list[Buffer] = []
        for between, value in zip(self._between, values, strict=True):
            pieces += (between, value)
        return b"".join([*pieces, self._end])


def _name(memo: dict[str, int], module: str, name: str) -> bytes:
    if name in memo:
        return b"h%c" % memo[name]
    memo[name] = len(memo)
    return b"c%b\n%b\nq%c" % (module.encode(), name.encode(), memo[name])


def _shape(shape: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", size) for size in shape) + b"t"


def _type(memo: dict[str, int], dtype: str) -> bytes:
    if dtype in memo:
        return b"h%c" % memo[dtype]
    code, order = dtype[1:].encode(), dtype[:1].encode()
    made = _name(memo, "numpy", "dtype") + b"X" + struct.pack("<I", len(code)) + code + b"K\0K\x01\x87R"
    state = b"(K\x03X" + struct.pack("<I", len(order)) + order + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\0tb"
    memo[dtype] = len(memo)
    return made + state + b"q%c" % memo[dtype]
