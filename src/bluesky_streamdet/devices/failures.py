"""What can go wrong with a run, in the user's words: which detector, which frames, which file, what to do."""

from __future__ import annotations

from bluesky_streamdet.core.errors import (
    ConfigError,
    DeadlineExceeded,
    FramesLost,
    HardwareFailed,
    ServiceUnreachable,
    StreamdetError,
)
from bluesky_streamdet.streaming.status import LedgerReport, SeriesReport


def no_handler(report: SeriesReport, wanted: str) -> ConfigError:
    """Handlers of databroker look for the frames where the file does not have them. wanted: that path."""
    return ConfigError(
        f"Detector {report.detector}: handlers of databroker look for frames at {wanted}, where a file of the layout "
        f"{report.layout} has none.",
        f"Set files.layout to nexus, or files.also_at to {wanted}; or have the device use asset_docs: stream.",
    )


def frames_lost(report: SeriesReport, asked: int) -> FramesLost:
    """The ledger has new losses. asked: frames that the detector was asked for, of this series."""
    if report.ledger.failed and report.reason:
        # Such as a full disk: what comes next is lost as well.
        return FramesLost(
            f"Detector {report.detector}: frames that the plan asked for could not be written. {report.reason} "
            f"{account(report, asked)}",
            "Mend that where the service runs, then run the plan again.",
        )
    return FramesLost(
        f"Detector {report.detector} lost frames that the plan asked for. {account(report, asked)}",
        "Take the point or the scan again. Frames that are missing were lost between detector and service: "
        "`streamdet inspect` shows the ledger of the file, the page of the service that of the series.",
    )


def ended_early(report: SeriesReport, asked: int) -> FramesLost:
    """The series closed before the frames asked for were there."""
    reason = f", {report.reason}" if report.reason else ""
    return FramesLost(
        f"Detector {report.detector}: the service ended the series before all frames were there; it is "
        f"{report.outcome}{reason}. {account(report, asked)}",
        "Was the service restarted, or the series ended by somebody? Its log says it. Then run the plan again.",
    )


def too_late(
    report: SeriesReport, asked: int, number: int, patience: float, exposure: float, held_up: str | None = None
) -> DeadlineExceeded:
    """No frame came for longer than `patience` seconds. number: of the frame that was due, from 0."""
    hint = (
        "Is the detector on, was it triggered, and does its stream reach the service? `streamdet watch` shows what "
        "comes. A detector that needs longer wants a larger margin."
    )
    if held_up is not None:
        hint = f"The service is held up by {held_up}. Look at its disk and its log, then run the plan again."
    return DeadlineExceeded(
        f"Detector {report.detector}: frame {number} (counted from 0) did not reach the file within {patience:g} s "
        f"(exposure {exposure:g} s). {account(report, asked)}",
        hint,
    )


def not_taken(report: SeriesReport, asked: int, error: Exception) -> HardwareFailed:
    """The detector's driver refused to arm or trigger it. error: what it raised."""
    said, hint = (error.message, error.hint) if isinstance(error, StreamdetError) else (f"{error!r}.", "")
    return HardwareFailed(
        f"Detector {report.detector} could not be made to take frames: {said} {account(report, asked)}",
        f"{hint} Then run the plan again." if hint else "Correct that, then run the plan again.",
    )


def not_closed(report: SeriesReport, patience: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"Detector {report.detector}: series {report.id} was not closed within {patience:g} s; it is still open.",
        "Look at the status of the service: it says what it waits for, such as a slow disk.",
    )


def incomplete(report: SeriesReport) -> FramesLost:
    """The frames asked for are there, but the ledger of the series is not in order."""
    reason = f": {report.reason}" if report.reason else ""
    return FramesLost(
        f"Detector {report.detector}: series {report.id} is {report.outcome}{reason}. {account(report)}",
        "All frames that the plan asked for are in the file; `streamdet inspect` has the ledger.",
    )


def mixed_up(report: SeriesReport, surplus: int) -> FramesLost:
    """A closed file has frames that belong to no event, so that later rows would not be those of their events."""
    return FramesLost(
        f"Detector {report.detector}: {place(report)} is closed, and {surplus} of its frames belong to no event; "
        "the images of later events could not be told from them.",
        "End the plan here, and run it again.",
    )


def armed_by_others(report: SeriesReport) -> ConfigError:
    """A new file is wanted in the middle of a series that the device can't end on the detector."""
    return ConfigError(
        f"Detector {report.detector} has frames left over from an interrupted or failed point, and those to come can't "
        "go into a new file: the detector is in the middle of a series that somebody else has armed.",
        "Run the plan again, or give the device a driver that arms the detector.",
    )


def restarted(report: SeriesReport) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"The service of detector {report.detector} was restarted, and knows no series {report.id}. {account(report)}",
        "Run the plan again.",
    )


def gone(report: SeriesReport, error: ServiceUnreachable) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"The service of detector {report.detector} is gone, in the middle of series {report.id}: {error.message} "
        f"{account(report)}",
        "Start it again (`streamdet serve`, `streamdet xspress3 stream`), then run the plan again.",
    )


def unknown_frames(detector: str) -> ConfigError:
    """A description of the frames is wanted before the first of them."""
    return ConfigError(
        f"Nobody knows what the frames of detector {detector} are like before the first of them.",
        "Give the device shape=(rows, columns) and dtype, or take one frame with `count` before the fly scan.",
    )


def other_frames(detector: str, sent: str, described: str) -> ConfigError:
    return ConfigError(
        f"Detector {detector} sends frames of {sent}, but was described with {described} before the first of them.",
        "Give the device the right shape and dtype, or take one frame with `count` before the fly scan.",
    )


def lost(ledger: LedgerReport) -> int:
    """Frames of a series that will not get into its file."""
    counts = (ledger.failed, ledger.malformed, ledger.discarded)
    return ledger.missing + sum(sum(reasons.values()) for reasons in counts)


def account(report: SeriesReport, asked: int | None = None) -> str:
    """The ledger of a series as far as it is known, in a sentence. asked: frames that the detector was asked for."""
    ledger = report.ledger
    of = "" if asked is None else f" of {asked}"
    parts = [f"{ledger.written}{of} frames written"]
    parts += [f"{ledger.pending} on their way into it"] if ledger.pending else []
    parts += _losses(ledger)
    owed = 0 if asked is None else asked - ledger.unique - ledger.missing
    parts += [f"{owed} not received"] if owed > 0 else []
    return f"Ledger of series {report.id}: {', '.join(parts)}; {place(report)}."


def in_words(ledger: LedgerReport) -> str:
    """What was lost, and why."""
    return ", ".join(_losses(ledger)) or "none"


def _losses(ledger: LedgerReport) -> list[str]:
    parts = []
    if ledger.missing:
        ranges = [f"{first}" if first == last else f"{first}-{last}" for first, last in ledger.missing_ranges[:5]]
        more = ", …" if len(ledger.missing_ranges) > 5 else ""
        numbers = f", numbers {', '.join(ranges)}{more}" if ranges else ""
        parts.append(f"{ledger.missing} missing (lost in transit{numbers})")
    for what, reasons in (("failed", ledger.failed), ("malformed", ledger.malformed), ("discarded", ledger.discarded)):
        parts += [f"{count} {what} ({reason})" for reason, count in reasons.items()]
    return parts


def place(report: SeriesReport) -> str:
    """Where the frames of a series go."""
    return f"the file {report.file}" if report.file else "no file"
