"""Streams kept as they came, message by message, to be sent again.

Written as dranspose writes them: CBOR items one after another, each 42877([number, {stream: 42878([kind, [parts]])}, time]). Read
in that form, as a bare list of parts for each message, and as a folder of files `NNNNNN_00k.raw`, one for each part; packed
by zip or gzip too. Reading takes one message at a time, so that a recording may be larger than the memory.
"""

from __future__ import annotations

import gzip
import io
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import cbor2
from typing_extensions import Buffer

from bluesky_streamdet.core.errors import FileTaken, StreamdetError, WriteFailed

log = logging.getLogger(__name__)

SELF_DESCRIBED, EVENT, STREAM = 55799, 42877, 42878
"""CBOR tags: "this is CBOR" (RFC 8949, section 3.4.6), and dranspose's two."""
RAW_PART = re.compile(r"(\d+)_(\d+)\.raw")

Parts = list[bytes]


class NotARecording(StreamdetError):
    """The file is no recording, or one of a form that is not known."""

    code = "not_a_recording"


class Recorder:
    """Appends messages to a new file. Raises `FileTaken` unless `replace`, `WriteFailed` when the disk refuses.

    stream, kind: names that dranspose gives a stream and its format, such as "eiger" and "STINS".
    """

    def __init__(self, path: Path, stream: str, kind: str, *, replace: bool = False) -> None:
        self.path = path
        self.messages = self.nbytes = 0
        self._stream, self._kind = stream, kind
        try:
            self._file = open(path, "wb" if replace else "xb")  # noqa: SIM115, it is closed by `close`
        except FileExistsError as error:
            raise FileTaken(f"The file {path} exists.", "Choose another name, or add --replace.") from error
        except OSError as error:
            raise WriteFailed(f"The file {path} can't be written: {error.strerror}.") from error

    def write(self, parts: Sequence[Buffer]) -> None:
        """Append one message."""
        plain = [bytes(part) for part in parts]
        stream = {self._stream: cbor2.CBORTag(STREAM, [self._kind, plain])}
        event = cbor2.CBORTag(EVENT, [self.messages, stream, datetime.now(UTC)])
        try:
            cbor2.dump(cbor2.CBORTag(SELF_DESCRIBED, event), self._file)
        except OSError as error:
            raise WriteFailed(f"The file {self.path} can't be written: {error.strerror}.") from error
        self.messages += 1
        self.nbytes += sum(map(len, plain))

    def flush(self) -> None:
        """Hand everything to the operating system, so that it survives this process."""
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_messages(path: Path) -> Iterator[Parts]:
    """The messages of a recording, in their order.

    One that breaks off in its last message is read up to there, with a warning. Raises `NotARecording`.
    """
    if path.is_dir():
        yield from _read_folder(path)
        return
    try:
        with closing(_opened(path)) as file:
            yield from _read_items(file, path)
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise NotARecording(f"The recording {path} can't be read: {error}.") from error


def _opened(path: Path) -> io.BufferedReader:
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            archive.close()
            raise NotARecording(f"{path} holds {len(names)} files instead of one.", "Unpack it, and name the one you want.")
        return io.BufferedReader(_Forward(archive.open(names[0]), archive))
    if path.suffix == ".gz":
        packed = gzip.open(path)
        return io.BufferedReader(_Forward(packed, packed))
    file = open(path, "rb")  # noqa: SIM115, the reader closes it
    return io.BufferedReader(_Forward(file, file))


class _Forward(io.RawIOBase):
    """A file that can only be read on, so that cbor2 takes no byte of the item after."""

    def __init__(self, file: IO[bytes], owner: Any) -> None:
        self._file, self._owner = file, owner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._owner.close()
        super().close()


def _read_items(file: io.BufferedReader, path: Path) -> Iterator[Parts]:
    number = 0
    while file.peek(1):
        try:
            item = cbor2.load(file, tag_hook=_unpack)
        except (cbor2.CBORDecodeEOF, EOFError) as error:
            if number == 0:
                raise NotARecording(f"{path} is no recording, or breaks off in its first message.") from error
            log.warning("%s breaks off in message %d; what is before it was read", path, number)
            return
        except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise NotARecording(f"Message {number} of {path} is no CBOR item: {error}.") from error
        for parts in _messages_in(item):
            if not parts or not all(isinstance(part, bytes) for part in parts):
                raise NotARecording(
                    f"Message {number} of {path} is no list of parts.", "Known are dranspose's form and a bare list."
                )
            yield parts
        number += 1
    if number == 0:
        raise NotARecording(f"{path} is empty.")


def _unpack(*arguments: Any) -> Any:
    """What a tag holds. cbor2 5 calls this with (decoder, tag), cbor2 6 with (tag, immutable)."""
    tag = next(one for one in arguments if isinstance(one, cbor2.CBORTag))
    return tag.value if tag.tag in (SELF_DESCRIBED, EVENT, STREAM) else tag


def _messages_in(item: Any) -> list[Parts]:
    """The messages of one item: a bare list of parts, or [number, {stream: [kind, parts]}, …]."""
    if not isinstance(item, list | tuple):
        return [[]]
    if len(item) >= 2 and hasattr(item[1], "values"):
        streams = [stream for stream in item[1].values() if isinstance(stream, list | tuple) and len(stream) == 2]
        return [list(stream[1]) if isinstance(stream[1], list | tuple) else [] for stream in streams] or [[]]
    return [list(item)]


def _read_folder(folder: Path) -> Iterator[Parts]:
    found = [(match, path) for path in folder.iterdir() if (match := RAW_PART.fullmatch(path.name))]
    if not found:
        raise NotARecording(f"The folder {folder} holds no files like 000000_000.raw.")
    numbered = sorted((int(match[1]), int(match[2]), path) for match, path in found)
    for _, parts in groupby(numbered, key=lambda one: one[0]):
        yield [path.read_bytes() for _, _, path in parts]
