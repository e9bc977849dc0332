"""Parameters of a series that has ended: into its file, which is closed, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from bluesky_streamdet.core.errors import RequestRefused, WriteFailed
from bluesky_streamdet.streaming.files import fields
from bluesky_streamdet.streaming.files.hold import Hold
from bluesky_streamdet.streaming.files.layouts import places, placing
from bluesky_streamdet.streaming.files.layouts.places import Places
from bluesky_streamdet.streaming.files.mending.amending import amended
from bluesky_streamdet.streaming.files.mending.journal import append_journal
from bluesky_streamdet.streaming.files.mending.superblock import SIZE, Superblock
from bluesky_streamdet.streaming.files.verdict import read_accounts


def add_late(path: Path, series: str, dataset: str | None, parameters: Mapping[str, Any]) -> None:
    """Write parameters into the file of a series; beside it where its writer died, until it is recovered.

    dataset: path or name of the one that has its frames; the last one for None.
    Raises `FileTaken` while somebody writes the file, `RequestRefused` for one that is not of the series (any more), or
    `WriteFailed` for one that can't be written; then nothing has changed.
    """
    try:
        if _was_left_open(path):
            append_journal(path, parameters)
            return
        with amended(path) as file:
            _add(file, path, series, dataset, parameters)
    except FileNotFoundError as error:
        raise RequestRefused(f"The file {path} of series {series} is not there any more.") from error
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RequestRefused(f"The file {path} can't take parameters of series {series}: {error}.") from error
    except OSError as error:
        raise WriteFailed(
            f"The parameters can't be written into {path}: {error.strerror or error}.",
            "The file is as it was. Mend its owner or mode, or make room.",
        ) from error


def _add(file: h5py.File, path: Path, series: str, dataset: str | None, parameters: Mapping[str, Any]) -> None:
    there = places.read(file, dataset)
    known = _series_of(file, there)
    if series not in known:
        raise RequestRefused(
            f"The file {path} does not hold series {series} any more, but {', '.join(known)}.",
            "Another series has replaced it, or somebody has moved it.",
        )
    if series == known[0]:
        placing.add_parameters(file, places.layout_in(file, there).layout, there, parameters)
        return
    # Where those are with which it followed the first one.
    folder = f"{there.inside('appended')}/{series}/parameters"
    group = file[folder] if folder in file else _made(file, folder)
    for name, value in parameters.items():
        fields.put(group, name, value)


def _series_of(file: h5py.File, there: Places) -> list[str]:
    """The series whose frames the dataset has, the first one first."""
    return [*(one.series for one in read_accounts(file, there)), file[there.identifier].asstr()[()]]


def _made(file: h5py.File, folder: str) -> h5py.Group:
    parent, _, _ = folder.rpartition("/")
    for path in (parent.rpartition("/")[0], parent, folder):
        group = file[path] if path in file else fields.add_group(file, path, "NXcollection")
    return group


def _was_left_open(path: Path) -> bool:
    """Whether the writer of the file has died. Raises `FileTaken` while it lives."""
    with Hold(path), open(path, "rb") as file:
        try:
            return bool(Superblock(file.read(SIZE)).flags)
        except ValueError:
            return False  # An older kind, which has no mark.
