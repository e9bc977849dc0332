"""The command `streamdet`: a table of commands, each loaded when it is called.

`streamdet --help` reads the table only, so that it answers at once. A command is a function of the same name in its
file, which imports what is heavy inside of it.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bluesky_streamdet.core.errors import ConfigError, StreamdetError

COMMANDS: dict[str, str] = {
    "demo": "The whole path once: simulated detector, file, scans, catalog; every frame compared.",
    "serve": "Receive, write and forward the frames of one detector.",
    "supervise": "Receive and write for several cameras, one process for each series.",
    "repeat": "Send an incoming stream on, to many outputs, each as its client wants it.",
    "writer": "A service's writer, from here: configure, start, wait, stop.",
    "simulate": "Be a detector: stream pictures, with faults if you like.",
    "record": "Keep a detector's stream in a file, message by message.",
    "replay": "Send a recorded stream again.",
    "watch": "Look at a stream: series, rate, gaps, order.",
    "plot": "Draw the runs of another process as they are measured.",
    "inspect": "Say what a file holds, and whether it can be trusted.",
    "recover": "Mend what a crash left of a file.",
    "detectors": "List the detectors that are known.",
    "config": "Configuration files: schema for editors, check, conversion of old ones.",
    "doctor": "Say what would keep a detector's service from working, and how to mend it.",
    "crystfel": "CrystFEL: give frames to indexamajig's workers as they are measured.",
    "xspress3": "Xspress3: stream from its SDK or a simulation, steer it, serve it over Tango.",
}
"""What each command does, in one line; it is the function of that name in the file of that name, or that file's `app`
when it has commands of its own."""

WORK_FAILED, WRONG_USAGE = 1, 2
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class _Table(TyperGroup):
    """The commands of the table. It imports the one that is called, and none to list them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bluesky_streamdet.cli.{cmd_name}")
        if hasattr(module, "app"):
            return typer.main.get_command(module.app)
        function = getattr(module, cmd_name)
        one = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        one.command(cmd_name)(function)
        return typer.main.get_command(one)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=_Table,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from bluesky_streamdet import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _streamdet(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="say it, and end")
    ] = False,
) -> None:
    """From an X-ray detector's data stream to a Bluesky run.

    `streamdet COMMAND --help` says more of each. It ends with 0 when all went well, 1 when the work failed, 2 when it
    was asked wrongly. LOG_LEVEL (DEBUG, INFO, WARNING, ERROR) says how much is logged.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line, that of the process unless one is given; return its exit code."""
    try:
        _set_up_log()
        typer.main.get_command(app).main(args=None if arguments is None else list(arguments), prog_name="streamdet")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else WORK_FAILED
    except StreamdetError as error:
        typer.echo(f"streamdet: {error.message}", err=True)
        if error.hint:
            typer.echo(error.hint, err=True)
        return WRONG_USAGE if isinstance(error, ConfigError) else WORK_FAILED
    return 0


def _set_up_log() -> None:
    level = os.environ.get("LOG_LEVEL", "WARNING").upper()
    if level not in LEVELS:
        raise ConfigError(f"LOG_LEVEL is {level!r}.", f"Take {', '.join(LEVELS)}.")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bluesky_streamdet").setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
