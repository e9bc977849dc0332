"""Recorded messages on disk: one CBOR item after another, as dranspose writes and reads them.

    55799(42877([event number, {stream: 42878([type, [part, ...]])}, time of arrival]))     what is written
    [part, ...]                                                                            read as well

Tags and the time may be missing in what is read; event 0 is the header. A file may be compressed by gzip, or lie in a
zip archive; a folder holds each part as NNNNNN_00k.raw. Source: https://github.com/dranspose/dranspose, dump and
replay.

It is written by cbor2. It is read an item at a time by `codecs.cbor`, as a general decoder builds whatever a file asks
for.
"""

from __future__ import annotations

import gzip
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, cast

import cbor2
from typing_extensions import Buffer

from bluesky_streamdet.codecs.cbor import ARRAY, BYTES, MAP, SELF_DESCRIBED, TEXT, UNSIGNED, Cut, Reader
from bluesky_streamdet.core.errors import ConfigError, FileTaken, MalformedMessage, WriteFailed
from bluesky_streamdet.streaming.source import LARGEST_MESSAGE

log = logging.getLogger(__name__)

EVENT, STREAM = 42877, 42878
"""dranspose's tags."""

MOST_PARTS = 4096
MOST_STREAMS = 100
LONGEST_TEXT = 1000
LEAST, PIECE = 64 << 10, 16 << 20
"""Bytes that are read at once: more than the least item, and no more for a length which the file does not hold."""
RAW_PART = re.compile(r"(\d{1,12})_(\d{1,6})\.raw")


File = IO[bytes] | gzip.GzipFile


_Viewed = tuple[str, str, list[memoryview]]
"""Stream, kind and parts of a message, in the memory that was read."""


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


def _open(path: Path, opened: ExitStack) -> Iterator[io.BufferedIOBase]:
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
                    yield cast(io.BufferedIOBase, member)
    else:
        yield file


class _Items:
    """The messages in one open file, which `path` names for the user."""

    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        self._file = file
        self._path = path
        self._window = b""  # what was read last of the file, from byte `_start` on
        self._start = 0
        self._begun = 0  # where in the window the next item begins
        self._cut = False

    def __iter__(self) -> Iterator[Recorded]:
        count = 0
        while True:
            messages, needed = self._next()
            if messages:
                yield from messages
                count += len(messages)
            elif needed and not self._grow(needed):
                if self._cut or self._window:
                    log.warning(
                        "%s is cut in its last item, which begins at byte %d; the %d messages before it are whole",
                        self._path, self._start, count,
                    )  # fmt: skip
                return

    def _next(self) -> tuple[list[Recorded], int]:
        """The messages of the next item; where the window ends in it, how many bytes the window has to have."""
        reader = Reader(self._window, self._begun)
        try:
            messages = _item(reader)
        except Cut as cut:
            return [], cut.needed
        except MalformedMessage as error:
            place = self._start + reader.position
            raise MalformedMessage("no recording", f"{self._path} holds {error}, near byte {place}") from error
        self._begun = reader.position
        return [Recorded([bytes(part) for part in parts], name, kind) for name, kind, parts in messages], 0

    def _grow(self, needed: int) -> bool:
        """Have the window begin with the item, and read on. False when the file ends before it has `needed` bytes."""
        rest = self._window[self._begun :]
        self._window = b""  # Its memory may be wanted.
        self._start += self._begun
        needed, self._begun = needed - self._begun, 0
        pieces = [rest] if rest else []
        # Somewhat more than is needed, so that a message of many parts is not copied for each of them.
        left = max(needed - len(rest), len(rest) // 2, LEAST)
        try:
            # Not `read`: it loses what came before an end that is missing.
            while left > 0 and (piece := self._file.read1(min(left, PIECE))):
                pieces.append(piece)
                left -= len(piece)
        except EOFError:  # What is compressed ends without its end mark.
            self._cut = True
        self._window = b"".join(pieces)
        return len(self._window) >= needed


def _item(reader: Reader) -> list[_Viewed]:
    """One item: usually one message, several when the event is of several streams."""
    count = _head(reader, ARRAY, MOST_PARTS)
    if count == 0:
        raise MalformedMessage("an item without parts")
    major, number = reader.untagged()
    if major == BYTES:
        return [("", "", _parts(reader, count, number))]
    if major != UNSIGNED or count not in (2, 3):
        raise MalformedMessage(f"an array of {count} elements that is neither an event nor a list of parts")
    messages = [_stream(reader) for _ in range(_head(reader, MAP, MOST_STREAMS))]
    if count == 3:
        _skip_time(reader)
    return messages


def _stream(reader: Reader) -> _Viewed:
    name = _text(reader)
    if _head(reader, ARRAY, 2) != 2:
        raise MalformedMessage("a stream that is no pair of type and parts")
    kind = _text(reader)
    count = _head(reader, ARRAY, MOST_PARTS)
    first = _head(reader, BYTES, LARGEST_MESSAGE) if count else 0
    return name, kind, _parts(reader, count, first)


def _parts(reader: Reader, count: int, first: int) -> list[memoryview]:
    """`count` byte strings, of which the first has `first` bytes, its head being read."""
    parts: list[memoryview] = []
    size, total = first, 0
    while len(parts) < count:
        if parts:
            size = _head(reader, BYTES, LARGEST_MESSAGE)
        total += size
        if not 0 <= size <= total <= LARGEST_MESSAGE:
            raise MalformedMessage(f"a message of more than {LARGEST_MESSAGE} bytes")
        parts.append(reader.content(size))
    return parts


def _skip_time(reader: Reader) -> None:
    """The time of arrival: text, or a number of whatever kind."""
    major, argument = reader.untagged()
    if major == TEXT and 0 <= argument <= LONGEST_TEXT:
        reader.content(argument)
    elif major in (BYTES, TEXT, ARRAY, MAP):
        raise MalformedMessage("a time of arrival that is none")


def _text(reader: Reader) -> str:
    size = _head(reader, TEXT, LONGEST_TEXT)
    try:
        return str(reader.content(size), "utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage("text that is no UTF-8") from None


def _head(reader: Reader, wanted: int, most: int) -> int:
    """The length of an item of major type `wanted`, at most `most`."""
    major, argument = reader.untagged()
    if major != wanted:
        raise MalformedMessage(f"an item of CBOR type {major} where type {wanted} belongs")
    if not 0 <= argument <= most:
        length = "indefinite length" if argument < 0 else f"a length of {argument}"
        raise MalformedMessage(f"an item of {length}, where {most} is the limit")
    return argument


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
