"""Recorded messages on disk: one CBOR item after another, as dranspose writes and reads them.

    55799(42877([event number, {stream: 42878([type, [part, ...]])}, time of arrival]))     what is written
    [part, ...]                                                                            read as well

Tags and the time may be missing in what is read; event 0 is the header. A file may be compressed by gzip, or lie in a
zip archive; a folder holds each part as NNNNNN_00k.raw. Source: https://github.com/dranspose/dranspose, dump and
replay.

It is written by cbor2. It is read by the few lines below, an item at a time, as a general decoder builds whatever a
file asks for, and these allocate nothing before they have checked it.
"""

from __future__ import annotations

import gzip
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import cbor2
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import ConfigError, FileTaken, MalformedMessage, WriteFailed
from bluesky_streamdet.streaming.source import LARGEST_MESSAGE

log = logging.getLogger(__name__)

SELF_DESCRIBED, EVENT, STREAM = 55799, 42877, 42878
"""Tags: of CBOR itself, and dranspose's two."""
UNSIGNED, BYTES, TEXT, ARRAY, MAP, TAG = 0, 2, 3, 4, 5, 6
"""CBOR's major types that occur."""
WIDTHS = {24: ">B", 25: ">H", 26: ">I", 27: ">Q"}
"""How the length of an item is written, by the low five bits of its first byte."""

MOST_PARTS = 4096
MOST_STREAMS = 100
LONGEST_TEXT = 1000
PIECE = 16 << 20
"""Bytes that are read at once, so that a length which the file does not hold costs no more."""
RAW_PART = re.compile(r"(\d{1,12})_(\d{1,6})\.raw")


File = IO[bytes] | gzip.GzipFile


class Recorded(NamedTuple):
    """One message of a recording. stream, kind: names that the recording gives it, empty when it gives none."""

    parts: list[bytes]
    stream: str = ""
    kind: str = ""


class RecordingWriter:
    """Writes messages to the new file `path`, gzipped when it is called *.gz.

    stream: name of the stream in the file. replace: whether an existing file may be overwritten.
    Raises `FileTaken` or `WriteFailed`.
    """

    def __init__(self, path: Path, stream: str = "detector", *, replace: bool = False) -> None:
        self.path = path
        self._stream = stream
        self._count = 0
        mode = "wb" if replace else "xb"
        try:
            self._file: File = gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode)  # noqa: SIM115
        except FileExistsError:
            raise FileTaken(f"The file {path} exists.", "Take another name, or add --replace.") from None
        except OSError as error:
            raise WriteFailed(f"Can't write {path}: {error.strerror}.") from error

    def write(self, parts: Sequence[Buffer], kind: str) -> None:
        """Append a message; `kind` is dranspose's name of its format. Raises `WriteFailed`."""
        stream = cbor2.CBORTag(STREAM, [kind, [bytes(part) for part in parts]])
        event = cbor2.CBORTag(EVENT, [self._count, {self._stream: stream}, datetime.now(UTC)])
        item = cbor2.dumps(cbor2.CBORTag(SELF_DESCRIBED, event))
        self._try(lambda: self._file.write(item))
        self._count += 1

    def flush(self) -> None:
        """Let others read what has been written. Raises `WriteFailed`."""
        self._try(self._file.flush)

    def close(self) -> None:
        """Close the file; it holds whole messages. One that holds none is removed. Raises `WriteFailed`."""
        self._try(self._file.close)
        if self._count == 0 and self.path.is_file():
            self.path.unlink(missing_ok=True)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            raise WriteFailed(
                f"Can't write {self.path}: {error.strerror}.", "Its whole messages can be read."
            ) from error

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_recording(path: Path, stream: str | None = None) -> Iterator[Recorded]:
    """The messages of a file or folder, in order, one in memory at a time.

    stream: which one, when the recording holds several. A file that is cut in its last item is read up to there, with
    a warning in the log. Raises `ConfigError` when there is no such file, or several streams and none was named;
    `MalformedMessage` for what is no recording.
    """
    if path.is_dir():
        yield from _read_folder(path)
        return
    chosen = stream
    for message in _read_file(path):
        if chosen is None and message.stream:
            chosen = message.stream
        if message.stream == chosen or not message.stream:
            yield message
        elif stream is None:
            raise ConfigError(
                f"{path} holds several streams, such as {chosen!r} and {message.stream!r}.", "Name one with --stream."
            )


def _read_file(path: Path) -> Iterator[Recorded]:
    with ExitStack() as opened:
        try:
            files = _open(path, opened)
            for file in files:
                yield from _Items(file, path)
        except FileNotFoundError:
            raise ConfigError(f"There is no file {path}.") from None
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
            raise MalformedMessage("damaged archive", f"{path}: {error}") from error
        except OSError as error:
            raise ConfigError(f"Can't read {path}: {error.strerror}.") from error


def _open(path: Path, opened: ExitStack) -> Iterator[File]:
    """The file, unpacked; several when it is an archive of several."""
    file = opened.enter_context(path.open("rb"))
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        yield opened.enter_context(gzip.GzipFile(fileobj=file))
    elif magic == b"PK\x03\x04":
        archive = opened.enter_context(zipfile.ZipFile(file))
        for name in sorted(archive.namelist()):
            if not name.endswith("/"):
                with archive.open(name) as member:
                    yield member
    else:
        yield file


class _Items:
    """The messages in one open file, which `path` names for the user."""

    def __init__(self, file: File, path: Path) -> None:
        self._file = file
        self._path = path
        self._position = 0
        self._cut = False

    def __iter__(self) -> Iterator[Recorded]:
        count = 0
        while True:
            begun = self._position
            try:
                messages = self._item()
            except EOFError:
                if self._cut or self._position > begun:
                    log.warning(
                        "%s is cut in its last item, which begins at byte %d; the %d messages before it are whole",
                        self._path, begun, count,
                    )  # fmt: skip
                return
            yield from messages
            count += len(messages)

    def _item(self) -> list[Recorded]:
        """One item: usually one message, several when the event is of several streams."""
        count = self._head(ARRAY, MOST_PARTS)
        if count == 0:
            raise self._malformed("an item without parts")
        major, number = self._any_head()
        if major == BYTES:
            return [Recorded(self._parts(count, number))]
        if major != UNSIGNED or count not in (2, 3):
            raise self._malformed(f"an array of {count} elements that is neither an event nor a list of parts")
        messages = [self._stream() for _ in range(self._head(MAP, MOST_STREAMS))]
        if count == 3:
            self._skip_time()
        return messages

    def _stream(self) -> Recorded:
        name = self._text()
        if self._head(ARRAY, 2) != 2:
            raise self._malformed("a stream that is no pair of type and parts")
        kind = self._text()
        count = self._head(ARRAY, MOST_PARTS)
        return Recorded(self._parts(count, self._head(BYTES, LARGEST_MESSAGE)) if count else [], name, kind)

    def _parts(self, count: int, first: int) -> list[bytes]:
        """`count` byte strings, of which the first has `first` bytes, its head being read."""
        parts: list[bytes] = []
        size, total = first, 0
        while True:
            total += size
            if total > LARGEST_MESSAGE:
                raise self._malformed(f"a message of more than {LARGEST_MESSAGE} bytes")
            parts.append(self._read(size))
            if len(parts) == count:
                return parts
            size = self._head(BYTES, LARGEST_MESSAGE)

    def _skip_time(self) -> None:
        """The time of arrival: text, or a number of whatever kind."""
        major, argument = self._any_head(float_allowed=True)
        if major == TEXT and argument <= LONGEST_TEXT:
            self._read(argument)
        elif major in (BYTES, TEXT, ARRAY, MAP):
            raise self._malformed("a time of arrival that is none")

    def _text(self) -> str:
        size = self._head(TEXT, LONGEST_TEXT)
        try:
            return self._read(size).decode()
        except UnicodeDecodeError:
            raise self._malformed("text that is no UTF-8") from None

    def _head(self, wanted: int, most: int) -> int:
        """The length of an item of major type `wanted`, at most `most`."""
        major, argument = self._any_head()
        if major != wanted:
            raise self._malformed(f"an item of CBOR type {major} where type {wanted} belongs")
        if argument > most:
            raise self._malformed(f"a length of {argument}, where {most} is the limit")
        return argument

    def _any_head(self, *, float_allowed: bool = False) -> tuple[int, int]:
        """Major type and argument of the next item; its tags are passed over."""
        for _ in range(4):
            first = self._read(1)[0]
            major, low = first >> 5, first & 31
            if low in WIDTHS:
                layout = WIDTHS[low]
                (argument,) = struct.unpack(layout, self._read(struct.calcsize(layout)))
            elif low < 24:
                argument = low
            else:
                raise self._malformed("an item of indefinite length")
            if major == 7 and not float_allowed:
                raise self._malformed("a simple value")
            if major != TAG:
                return major, argument
        raise self._malformed("too many tags")

    def _read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises `EOFError` when the file ends before."""
        pieces: list[bytes] = []
        left = size
        while left:
            try:
                piece = self._file.read(min(left, PIECE))
            except EOFError:  # What is compressed ends without its end mark.
                self._cut = True
                raise
            if not piece:
                raise EOFError
            self._position += len(piece)
            left -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _malformed(self, what: str) -> MalformedMessage:
        return MalformedMessage("no recording", f"{self._path} holds {what}, near byte {self._position}")


def _read_folder(folder: Path) -> Iterator[Recorded]:
    """The messages of a folder of NNNNNN_00k.raw, part k of message N."""
    found: dict[int, dict[int, Path]] = {}
    for path in folder.iterdir():
        if match := RAW_PART.fullmatch(path.name):
            found.setdefault(int(match[1]), {})[int(match[2])] = path
    if not found:
        raise ConfigError(f"The folder {folder} holds no recording.", "Its files would be called as 000000_000.raw.")
    for number, parts in sorted(found.items()):
        if sorted(parts) != list(range(len(parts))):
            raise MalformedMessage("part missing", f"message {number} in {folder} has parts {sorted(parts)}")
        yield Recorded([_read_part(parts[index]) for index in range(len(parts))])


def _read_part(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_MESSAGE:
        raise MalformedMessage("no recording", f"{path} has {size} bytes, where {LARGEST_MESSAGE} is the limit")
    return path.read_bytes()
