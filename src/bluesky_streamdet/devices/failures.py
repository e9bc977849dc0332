"""What can go wrong with a run, in the user's words: which detector, which frames, which file, what to do."""

from __future__ import annotations

from bluesky_streamdet.core.errors import ConfigError, DeadlineExceeded, FramesLost, ServiceUnreachable
from bluesky_streamdet.streaming.messages import LedgerReport, SeriesReport


def frames_lost(report: SeriesReport, share: str) -> FramesLost:
    """The ledger has new losses. share: of the frames asked for, how many are there."""
    return FramesLost(
        f"Detector {report.detector} lost frames that the plan asked for: {in_words(report.ledger)}; "
        f"{share} are in {place(report)}.",
        f"Take the point or the scan again; `streamdet inspect` shows the ledger of the file, and the status of the "
        f"service that of series {report.id}.",
    )


def ended_early(report: SeriesReport, share: str) -> FramesLost:
    """The series closed before the frames asked for were there."""
    reason = f" ({report.reason})" if report.reason else ""
    return FramesLost(
        f"Detector {report.detector}: series {report.id} is {report.outcome}{reason}, with {share} in {place(report)}.",
        "The service writes no more frames of this run; look at its log, then run the plan again.",
    )


def too_late(report: SeriesReport, share: str, number: int, patience: float, exposure: float) -> DeadlineExceeded:
    """No frame came for longer than `patience` seconds. number: of the frame that was due, from 1."""
    return DeadlineExceeded(
        f"Detector {report.detector}: frame {number} of series {report.id} did not reach {place(report)} within "
        f"{patience:g} s (exposure {exposure:g} s); {share} did.",
        "Was the detector triggered, and does its stream reach the service? `streamdet watch` shows what comes. "
        "A detector that needs longer wants a larger margin.",
    )


def not_closed(report: SeriesReport, patience: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"Detector {report.detector}: series {report.id} was not closed within {patience:g} s; it is still open.",
        "Look at the status of the service: it says what it waits for, such as a slow disk.",
    )


def incomplete(report: SeriesReport) -> FramesLost:
    """The frames asked for are there, but the ledger of the series is not in order."""
    return FramesLost(
        f"Detector {report.detector}: series {report.id} is {report.outcome}: "
        f"{report.reason or in_words(report.ledger)}.",
        f"All frames that the plan asked for are in {place(report)}; `streamdet inspect` has the ledger.",
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
        f"The service of detector {report.detector} was restarted, and knows no series {report.id}.",
        f"The frames until then are in {place(report)}. Run the plan again.",
    )


def gone(report: SeriesReport, error: ServiceUnreachable) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"The service of detector {report.detector} is gone, in the middle of series {report.id}: {error.message}",
        f"Start it again (`streamdet serve`), then run the plan again. The frames until then are in {place(report)}.",
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


def in_words(ledger: LedgerReport) -> str:
    """What was lost, and why."""
    parts = []
    if ledger.missing:
        ranges = [f"{first}" if first == last else f"{first}-{last}" for first, last in ledger.missing_ranges[:5]]
        numbers = f" (numbers {', '.join(ranges)})" if ranges else ""
        parts.append(f"{ledger.missing} missing{numbers}")
    for what, reasons in (("failed", ledger.failed), ("malformed", ledger.malformed), ("discarded", ledger.discarded)):
        parts += [f"{count} {what} ({reason})" for reason, count in reasons.items()]
    return ", ".join(parts) or "none"


def place(report: SeriesReport) -> str:
    """Where the frames of a series go."""
    return f"the file {report.file}" if report.file else "no file"
