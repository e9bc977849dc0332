"""What is known of a series only at its end: places for it in the file, made before the first frame.

SWMR admits no new object while a file is open, and a file that is opened for anything else can be read by nobody, not
even after a crash. So outcome, reason, end and ledger have their datasets from the start, empty until they are known;
to fill them needs no room on a disk that is full.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from bluesky_streamdet.streaming import nexus
from bluesky_streamdet.streaming.messages import LedgerReport, SeriesReport

UNKNOWN = -1
"""Stands for an expected number of frames that nobody said."""
COUNTS = tuple(name for name in LedgerReport.model_fields if name != "missing_ranges")
BY_REASON = tuple(name for name in COUNTS if isinstance(LedgerReport.model_fields[name].default, dict))
"""Counts that are kept by reason; their sum stands under their name, the reasons in the dataset `reasons`."""
MOST_REASONS = 32
LONGEST_REASON = 160
"""Bytes of one of them; of all together, in words, `LONGEST_TEXT`."""
LONGEST_TEXT = 2000
RANGES_CHUNK = 64


class Verdict:
    """The places in an open file. Raises what h5py raises."""

    def __init__(self, file: h5py.File, detector: str) -> None:
        collection = nexus.add_group(file, nexus.collection_group(detector), "NXcollection")
        ledger = nexus.add_group(collection, "ledger", "NXcollection")
        self._file = file
        self._end = _text_place(file["/entry"], "end_time", 40)
        self._outcome = _text_place(collection, "outcome", 20)
        self._reason = _text_place(collection, "reason", LONGEST_TEXT)
        self._counts = {name: ledger.create_dataset(name, data=np.int64(UNKNOWN)) for name in COUNTS}
        kind = h5py.string_dtype("utf-8", LONGEST_REASON)
        self._reasons = ledger.create_dataset("reasons", data=np.zeros(MOST_REASONS, kind))
        self._ranges = ledger.create_dataset(
            "missing_ranges", (0, 2), "i8", maxshape=(None, 2), chunks=(RANGES_CHUNK, 2)
        )

    def write(self, report: SeriesReport) -> None:
        """Fill them. The outcome comes after all that it stands for, and what needs new room comes last."""
        reasons = []
        for name, value in report.ledger.model_dump(include=set(COUNTS)).items():
            if isinstance(value, dict):
                reasons += [f"{name} {count}: {why}" for why, count in value.items()]
                value = sum(value.values())
            self._counts[name][()] = UNKNOWN if value is None else value
        _fill(self._reasons, reasons[:MOST_REASONS])
        _fill(self._reason, report.reason)
        _fill(self._end, report.ended_at.isoformat() if report.ended_at is not None else "")
        self._file.flush()
        _fill(self._outcome, str(report.outcome or ""))
        self._file.flush()
        ranges = np.array(report.ledger.missing_ranges, np.int64).reshape(-1, 2)
        self._ranges.resize(ranges.shape)
        self._ranges[...] = ranges


def read_ledger(file: h5py.File, detector: str) -> LedgerReport:
    """The ledger of a closed file. Raises `KeyError` or `ValueError` for a file that has none."""
    group = file[f"{nexus.collection_group(detector)}/ledger"]
    counts = {name: int(group[name][()]) for name in COUNTS}
    values: dict[str, Any] = {name: {} if name in BY_REASON else count for name, count in counts.items()}
    for line in filter(None, group["reasons"].asstr()[()]):
        head, _, why = line.partition(": ")
        name, _, count = head.partition(" ")
        values[name][why] = int(count)
    for name in BY_REASON:
        if rest := counts[name] - sum(values[name].values()):
            values[name]["for reasons that the file had no room for"] = rest
    values["expected"] = None if values["expected"] == UNKNOWN else values["expected"]
    values["missing_ranges"] = group["missing_ranges"][()].tolist()
    return LedgerReport.model_validate(values)


def _text_place(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    return group.create_dataset(name, data=b"", dtype=h5py.string_dtype("utf-8", size))


def _fill(dataset: h5py.Dataset, text: str | list[str]) -> None:
    """Write a text, or one into each element from the first; cut to what there is room for, between two letters."""
    size = dataset.dtype.itemsize
    texts = [text] if isinstance(text, str) else text
    cut = [one.encode(errors="replace")[:size].decode(errors="ignore").encode() for one in texts]
    if isinstance(text, str):
        dataset[()] = np.bytes_(cut[0])
    elif cut:
        dataset[: len(cut)] = np.array(cut, dataset.dtype)
