"""What can go wrong, as one tree.

    StreamdetError
    ├── ConfigError            the configuration is wrong; names the place and the allowed values
    ├── MalformedMessage       the peer sent what its protocol does not allow; counted, survived
    ├── RequestRefused         a request that cannot be carried out as asked
    │   ├── Busy               another series is armed or running
    │   ├── NoSuchSeries       the id is unknown
    │   ├── NoSuchOutput       no output has the name
    │   ├── PathRefused        a path outside the data directory, or not a file name
    │   ├── FileTaken          the file exists and nobody asked to replace it
    │   │   └── DatasetTaken   the file has a dataset of that name already
    │   └── Unauthorised       a change of state without the key
    ├── WriteFailed            the file system or HDF5 refused; names the file
    │   └── NoRoom             the disk is too full for a series, or for more of it
    ├── HardwareFailed         the detector's own library refused, or reports an error; names call, code and its text
    ├── AddressTaken           a port is in use; names it and who to ask
    ├── ServiceUnreachable     no service answers at that address
    ├── DeadlineExceeded       a wait ended; names detector, frame, file and what to do
    ├── FramesLost             frames that a plan asked for are missing from its series
    └── MissingLibrary         an optional library is not installed; names the extra

Each carries a `code` (stable, for programs), a message that names the value and the limit, and a `hint` that says what
to do next. The REST service sends the three as its one error body, and the client raises the same class again from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LONGEST_DETAIL = 300
"""Characters of what a peer sent, which may be as long as it likes, in a message of ours."""


class StreamdetError(Exception):
    """Base of every error that this package raises on purpose."""

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ConfigError(StreamdetError):
    code = "bad_configuration"


class MalformedMessage(StreamdetError):
    """The peer broke its protocol. `reason` is a short fixed text, fit to be a key of a count; `detail` is cut.

    events: what the message says all the same that brought it to light, when only one before it is lost.
    """

    code = "malformed_message"

    def __init__(self, reason: str, detail: str = "", events: Sequence[Any] = ()) -> None:
        super().__init__(f"{reason}: {detail[:LONGEST_DETAIL]}" if detail else reason)
        self.reason = reason
        self.events = events


class RequestRefused(StreamdetError):
    code = "refused"


class Busy(RequestRefused):
    code = "busy"


class NoSuchSeries(RequestRefused):
    code = "no_such_series"


class NoSuchOutput(RequestRefused):
    code = "no_such_output"


class PathRefused(RequestRefused):
    code = "path_refused"


class FileTaken(RequestRefused):
    code = "file_exists"


class DatasetTaken(FileTaken):
    code = "dataset_taken"


class Unauthorised(RequestRefused):
    code = "unauthorised"


class WriteFailed(StreamdetError):
    code = "write_failed"


class NoRoom(WriteFailed):
    code = "no_room"


class HardwareFailed(StreamdetError):
    code = "hardware_failed"


class AddressTaken(StreamdetError):
    code = "address_taken"


class ServiceUnreachable(StreamdetError):
    code = "service_unreachable"


class DeadlineExceeded(StreamdetError):
    code = "deadline_exceeded"


class FramesLost(StreamdetError):
    code = "frames_lost"


class MissingLibrary(StreamdetError):
    code = "missing_library"


def _with_subclasses(kind: type[StreamdetError]) -> list[type[StreamdetError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _with_subclasses(child))]


BY_CODE: dict[str, type[StreamdetError]] = {kind.code: kind for kind in _with_subclasses(StreamdetError)}
