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
def layouts(
    name: Annotated[str | None, typer.Argument(help="of one to print; left out, all are listed")] = None,
    config: Annotated[Path | None, typer.Option(help="a configuration, whose own layouts are listed too")] = None,
    detector: Annotated[str | None, typer.Option(help="of the configuration; where it has several")] = None,
) -> None:
    """List the layouts of files, or print one, for an own one to start from."""
    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.config import load
    from bluesky_streamdet.streaming.files import layouts

    known = layouts.shipped()
    if config is not None:
        known |= load(config, detector).files.layouts
    if name is None:
        for one, path in known.items():
            say(f"{one}: {layouts.load(path).about}")
    elif name in known:
        say(known[name].read_text(encoding="utf-8").rstrip())
    else:
        raise ConfigError(f"There is no layout {name!r}.", f"There are: {', '.join(known)}.")


@app.command()
def convert(file: FILE) -> None:
    """Print the receiver's detectors.yaml, the repeater's JSON, or the PCO writer's file of cameras, in the
    form of `streamdet serve`.
    """
    from bluesky_streamdet.core.errors import ConfigError
    from bluesky_streamdet.service.compat import detectors_yaml, pco_json, repeater_json
    from bluesky_streamdet.streaming import yamlfile

    document = yamlfile.read(file)
    if repeater_json.is_old(document.values):
        name = repeater_json.name_of(document.values)
        _print({name: repeater_json.convert(document.values, document.place, file.parent)})
        return
    if pco_json.is_old(document.values):
        _print(pco_json.convert(document.values, document.place))
        return
    if not detectors_yaml.is_old(document.values):
        raise ConfigError(
            f"{file} is no detectors.yaml of the stream receiver, as no detector in it has a class, no file of the "
            "stream repeater, as it lacks in-stream or out-streams, and no file of PCO cameras, as it has no cameras."
        )
    _print({str(name): detectors_yaml.convert(str(name), old, document.place) for name, old in document.values.items()})


def _print(new: dict[str, Any]) -> None:
    import yaml

    say(yaml.safe_dump({"detectors": new}, sort_keys=False, allow_unicode=True, width=120).rstrip())
