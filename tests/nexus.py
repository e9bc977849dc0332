"""What nexusformat, a validator that knows nothing of us, says of a file by the definitions of NeXus that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

validate = pytest.importorskip("nexusformat.nexus.validate")

EXTENSION = "is not defined"
"""NeXus lets a class have fields and attributes that its definition does not name; the validator mentions them."""


class _Findings(validate.FileValidator):
    """Keeps what is found instead of printing it."""

    def output_log(self) -> None:
        """What was found stays in `logged_messages`."""


def findings(path: Path) -> list[str]:
    """All that is wrong with a file, or doubtful: which part of it, and why."""
    validator = _Findings(str(path))
    validate.logger.setLevel("INFO")
    validator.validate()
    where, found = "", []
    for message, level, _ in validator.logged_messages:
        if level == "all":
            where = message
        elif level in ("warning", "error") and EXTENSION not in message:
            found.append(f"{where}: {message}")
    return found
