"""`streamdet doctor`: what would keep a detector's service from working, and how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from bluesky_streamdet.cli.console import say


def doctor(
    config: Annotated[
        str | None, typer.Argument(help="a YAML file, or the name of a detector (see `streamdet detectors`)")
    ] = None,
    name: Annotated[str | None, typer.Argument(help="of the detector in the file, if it has several")] = None,
) -> None:
    """Check ports, detector, data directory, libraries, clock and key of a service before it is started.

    Exits 1 when something would not work; what is doubtful is said, with what may be done about it.
    """
    from bluesky_streamdet.cli.serve import configuration
    from bluesky_streamdet.service.doctor import Verdict, examine

    marks = {Verdict.FINE: "ok ", Verdict.DOUBTFUL: "?? ", Verdict.BAD: "NO "}
    chosen = configuration(config, name)
    say(f"{chosen.detector} ({chosen.type})")
    bad = 0
    for finding in examine(chosen):
        bad += finding.verdict is Verdict.BAD
        say(f"  {marks[finding.verdict]} {finding.what}")
        if finding.hint:
            say(f"      {finding.hint}")
    if bad:
        say(f"{bad} {'thing' if bad == 1 else 'things'} to mend before `streamdet serve` works")
        raise typer.Exit(1)
