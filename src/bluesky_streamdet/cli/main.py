"""The command `streamdet`: a table of subcommands, each in a file of its own.

`--help` must be quick, so that a subcommand's file imports what is heavy inside of its function.
"""

from __future__ import annotations

import sys
from importlib import import_module

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


class Commands(TyperGroup):
    """Loads a subcommand when it is asked for."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str):  # noqa: ANN201  the type is click's, which typer hides
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bluesky_streamdet.cli.{COMMANDS[cmd_name]}")
        app = _app()
        app.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(app)


def _app(**settings: object) -> typer.Typer:
    return typer.Typer(
        rich_markup_mode=None, add_completion=True, pretty_exceptions_enable=False, no_args_is_help=False, **settings
    )


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
