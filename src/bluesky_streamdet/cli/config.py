"""`streamdet config`: a schema of configuration files, a check of one, files of old programs in the new form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bluesky_streamdet.cli.console import say

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Configuration files: schema, check, convert.")

FILE = Annotated[Path, typer.Argument(help="a YAML file")]


@app.command()
def schema() -> None:
    """Print the JSON schema, for editors that complete and check YAML as one types."""
    from bluesky_streamdet.service.config import DetectorConfig, ServiceConfig

    say(json.dumps(ServiceConfig[DetectorConfig].model_json_schema(), indent=2))


@app.command()
def check(
    file: FILE,
    name: Annotated[str | None, typer.Argument(help="of a detector; all of them if left out")] = None,
) -> None:
    """Say what is wrong in a file, with lines and allowed values; exits 2 when something is."""
    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.config import load, names

    complaints = []
    for one in [name] if name is not None else names(file):
        try:
            config = load(file, one)
        except ConfigError as error:
            complaints.append(str(error))
            continue
        say(f"{one}: {config.type}, from {config.origin}, files in {config.files.directory}")
    if complaints:
        raise ConfigError("\n".join(complaints))


@app.command()
def convert(file: FILE) -> None:
    """Print the stream receiver's detectors.yaml, or the stream repeater's JSON, in the form of `streamdet serve`."""
    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.compat import detectors_yaml, repeater_json
    from bluesky_streamdet.streaming import yamlfile

    document = yamlfile.read(file)
    if repeater_json.is_old(document.values):
        name = repeater_json.name_of(document.values)
        _print({name: repeater_json.convert(document.values, document.place, file.parent)})
        return
    if not detectors_yaml.is_old(document.values):
        raise ConfigError(
            f"{file} is no detectors.yaml of the stream receiver, as no detector in it has a class, and no file of the "
            "stream repeater, as it lacks in-stream or out-streams."
        )
    _print({str(name): detectors_yaml.convert(str(name), old, document.place) for name, old in document.values.items()})


def _print(new: dict[str, Any]) -> None:
    import yaml

    say(yaml.safe_dump({"detectors": new}, sort_keys=False, allow_unicode=True, width=120).rstrip())
