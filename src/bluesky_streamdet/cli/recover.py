"""`streamdet recover`: what a crash left of files, and mending it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bluesky_streamdet.cli.console import say

if TYPE_CHECKING:
    from bluesky_streamdet.streaming.files.mending.recovering import Recovery


def recover(
    files: Annotated[list[Path], typer.Argument(help="files whose writer died, or changes of which were interrupted")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what is wrong, and mend nothing")] = False,
) -> None:
    """Make files whole that a crash has left, so that any program reads them; what could be read before stays.

    A file is mended at once or not at all, and one that somebody writes is left alone. Exits 1 when one of them could
    not be mended, or with --dry-run when there is something to mend.
    """
    from bluesky_streamdet.core.errors import StreamdetError
    from bluesky_streamdet.streaming.files.mending.recovering import recover as mend

    left = 0
    for path in files:
        try:
            result = mend(path, dry_run=dry_run)
        except StreamdetError as error:
            left += 1
            typer.echo(f"streamdet: {error}", err=True)
            continue
        left += bool(result.found) and not result.mended
        _show(result)
    raise typer.Exit(1 if left else 0)


def _show(result: Recovery) -> None:
    if not result.found:
        say(f"{result.path}: nothing to mend")
    for one in result.found:
        say(f"{result.path}: {one}")
    if result.mended and result.report is not None:
        say(f"{result.path}: mended. {result.report.verdict}")
