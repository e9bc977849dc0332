"""What is legal when: the life of a series as one table.

    idle ──arm──► armed ──header or frame──► running ──end or stop──► finishing ──all there, or time is up──► idle

A detector that knows nothing of the service starts a series by its header alone, from idle to running; one whose format
has no headers by its first frame, and the next by a frame whose number came before, or that names another series.
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
    """No data for as long as the series allows, or the wait for what is owed is over."""


class Act(StrEnum):
    """What `core.receiver.Receiver` does."""

    AWAIT = "await"
    """Be armed."""
    BEGIN = "begin"
    """Begin the series that the header announces."""
    BEGIN_HEADLESS = "begin headless"
    """Begin a series with this frame, but for leftovers. Numbered frames wait for their header as long as for a gap."""
    SUPERSEDE = "supersede"
    """End the series and begin the next, once what is owed to the old one has come; no later than a gap is given up."""
    TAKE = "take"
    """Count the frame, bring it in order, deliver what is due."""
    FINISH = "finish"
    """Wait for what is owed, as long as the limits allow."""
    CLOSE = "close"
    """Deliver what is held, note what is missing, end the series."""
    DISCARD = "discard"
    """Count what is held as discarded, end the series."""
    IGNORE = "ignore"
    REFUSE = "refuse"
    """Raise `Busy`."""


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
    # Whoever expects none still gets the header.
    (S.ARMED, H.COUNT): A.IGNORE,
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
