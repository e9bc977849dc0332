"""What is legal when: the life of a series as one table.

    idle ──arm──► armed ──header or frame──► running ──end or stop──► finishing ──all there, or time is up──► idle

A detector that knows nothing of the service starts a series by its header alone, from idle to running.
The exceptions stand in the table with their reasons.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    IDLE = "idle"
    ARMED = "armed"
    RUNNING = "running"
    FINISHING = "finishing"


class Happening(StrEnum):
    ARM = "arm"
    HEADER = "header"
    FRAME = "frame"
    END = "end"
    COUNT = "count"
    """All expected frames are there."""
    STOP = "stop"
    ABORT = "abort"
    TIME_UP = "time_up"
    """No data for longer than the series allows, or the wait for what is owed is over."""


class Act(StrEnum):
    """What the receiver does; each is a method of `core.receiver.Receiver`."""

    AWAIT = "await_start"
    BEGIN = "begin"
    SUPERSEDE = "supersede"
    BEGIN_HEADLESS = "begin_headless"
    TAKE = "take"
    FINISH = "finish"
    CLOSE = "close"
    DISCARD = "discard"
    IGNORE = "ignore"
    REFUSE = "refuse"


S, H, A = State, Happening, Act

RULES: dict[tuple[State, Happening], Act] = {
    (S.IDLE, H.ARM): A.AWAIT,
    (S.IDLE, H.HEADER): A.BEGIN,
    # The header may be lost, and the frames are worth keeping; leftovers of the last series are told from them.
    (S.IDLE, H.FRAME): A.BEGIN_HEADLESS,
    # The end of a series that closed before: its count was reached, or somebody stopped it.
    (S.IDLE, H.END): A.IGNORE,
    (S.IDLE, H.COUNT): A.IGNORE,
    # Stopping twice is what people do when they are unsure. It is no error.
    (S.IDLE, H.STOP): A.IGNORE,
    (S.IDLE, H.ABORT): A.IGNORE,
    (S.IDLE, H.TIME_UP): A.IGNORE,
    (S.ARMED, H.ARM): A.REFUSE,
    (S.ARMED, H.HEADER): A.BEGIN,
    (S.ARMED, H.FRAME): A.BEGIN_HEADLESS,
    (S.ARMED, H.END): A.IGNORE,
    (S.ARMED, H.COUNT): A.CLOSE,
    (S.ARMED, H.STOP): A.CLOSE,
    (S.ARMED, H.ABORT): A.DISCARD,
    (S.ARMED, H.TIME_UP): A.CLOSE,
    (S.RUNNING, H.ARM): A.REFUSE,
    # Detectors that are aborted send no end: a header in the middle of a series ends it and starts the next.
    (S.RUNNING, H.HEADER): A.SUPERSEDE,
    (S.RUNNING, H.FRAME): A.TAKE,
    (S.RUNNING, H.END): A.FINISH,
    (S.RUNNING, H.COUNT): A.CLOSE,
    (S.RUNNING, H.STOP): A.FINISH,
    (S.RUNNING, H.ABORT): A.DISCARD,
    (S.RUNNING, H.TIME_UP): A.CLOSE,
    (S.FINISHING, H.ARM): A.REFUSE,
    (S.FINISHING, H.HEADER): A.SUPERSEDE,
    # With several sockets, the end may overtake the last frames.
    (S.FINISHING, H.FRAME): A.TAKE,
    (S.FINISHING, H.END): A.FINISH,
    (S.FINISHING, H.COUNT): A.CLOSE,
    (S.FINISHING, H.STOP): A.FINISH,
    (S.FINISHING, H.ABORT): A.DISCARD,
    (S.FINISHING, H.TIME_UP): A.CLOSE,
}
