"""The command `streamdet`: a table of subcommands, each in a file of its own.

`--help` must be quick, so that a subcommand's file imports what is heavy inside of its function.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from bluesky_streamdet.core.errors import StreamdetError

COMMANDS: dict[str, str] = {
    "demo": "demo",
    "serve": "serve",
    "simulate": "simulate",
    "record": "record",
    "replay": "replay",
    "watch": "watch",
    "inspect": "inspect",
    "detectors": "detectors",
}
"""Each subcommand, and the module of this package that has a function of its name."""


HELP = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """Loads a subcommand when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bluesky_streamdet.cli.{COMMANDS[cmd_name]}")
        app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        app.command(cmd_name, context_settings=HELP)(getattr(module, cmd_name))
        return typer.main.get_command(app)


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=HELP,
)


@app.callback()
def streamdet() -> None:
    """From an X-ray detector's data stream to a Bluesky run: receive, order, account, write, forward."""


def main() -> None:
    """Run the command line. Exit codes: 0 fine, 1 the work failed, 2 wrong usage."""
    try:
        app()
    except StreamdetError as error:
        typer.secho(f"error: {error.message}", fg="red", err=True)
        if error.hint:
            typer.echo(error.hint, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
