"""Parameters that come while a file is open, which SWMR cannot take: they lie beside it until it closes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append_journal(path: Path, parameters: Mapping[str, Any]) -> None:
    """Keep late parameters of the file `path`; one JSON object a line. Raises `OSError`."""
    with open(journal_of(path), "a", encoding="utf-8") as journal:
        journal.write(json.dumps(dict(parameters), default=str) + "\n")


def take_journal(path: Path) -> dict[str, Any]:
    """The late parameters of `path`, the newest of each name; a line that a crash cut short is left out."""
    parameters: dict[str, Any] = {}
    try:
        lines = journal_of(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            parameters.update(json.loads(line))
        except (ValueError, TypeError):
            continue
    return parameters


def journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".parameters")
