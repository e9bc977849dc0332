"""`streamdet writer`: the verbs of `RemoteWriter` in a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bluesky_streamdet.cli.console import printable, say
from bluesky_streamdet.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A service's writer, from here: configure, start, wait, stop.",
)

Url = Annotated[
    str | None,
    typer.Option("--url", help="of the service, or of a camera of it; as configured, or of this machine, if left out"),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="STREAMDET_WRITER", help="what keeps the configuration between commands"),
]
Json = Annotated[bool, typer.Option("--json", help="print everything as JSON")]
Values = Annotated[list[str], typer.Argument(help="as NAME=VALUE, values as in YAML", metavar="NAME=VALUE…")]


@app.callback()
def _commands() -> None:
    """A service's writer, from here: configure, start, wait, stop. Each ends with 1 when it did not work."""


@app.command()
def configure(
    output_file: Annotated[
        str | None, typer.Argument(help="on the service's machine; absolute, or inside of its data directory")
    ] = None,
    dataset_name: Annotated[str | None, typer.Option(help="of the frames in the file")] = None,
    n_frames: Annotated[int | None, typer.Option(help="0 for as many as come until stop")] = None,
    connection_address: Annotated[str | None, typer.Option(help="of the camera, as tcp://HOST:PORT")] = None,
    max_frames_per_file: Annotated[int | None, typer.Option(help="0 for one file")] = None,
    user_id: Annotated[
        int | None, typer.Option(help="whose the file shall be, where the service may give files away")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="of the file, such as nexus or exchange")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="for the file, as NAME=VALUE; may be given several times")
    ] = None,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Say what the next start is to write; what is left out stays as it was. Prints the whole configuration."""
    from bluesky_streamdet.cli.writer_session import Session, load, place_of, save

    file = place_of(config)
    session = load(file)
    settings = session.settings.changed(
        output_file=output_file,
        dataset_name=dataset_name,
        n_frames=n_frames,
        connection_address=connection_address,
        max_frames_per_file=max_frames_per_file,
        user_id=user_id,
        layout=layout,
        parameters=_values(parameter) if parameter else None,
    )
    new = Session(url=url or session.url, settings=settings, series=session.series)
    save(file, new)
    _show(settings, json)


@app.command()
def start(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="until the camera is connected")] = True,
    timeout: Annotated[float, typer.Option(min=0, help="seconds to wait")] = 10.0,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Have the service take a series, as configured."""
    from bluesky_streamdet.cli.writer_session import load, opened, place_of, save

    with opened(config, url) as writer:
        statistics = writer.start(wait, timeout)
    session = load(place_of(config)).model_copy(update={"series": statistics.series})
    save(place_of(config), session)
    _tell(statistics, f"series {statistics.series} goes into {statistics.output_file}", json)


@app.command()
def stop(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="until the file is closed")] = True,
    timeout: Annotated[float, typer.Option(min=0, help="seconds to wait")] = 10.0,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """End the series that runs; what is on its way is written."""
    from bluesky_streamdet.cli.writer_session import opened

    with opened(config, url) as writer:
        _conclude(writer.stop(wait, timeout), json, ended=wait)


@app.command()
def kill(url: Url = None, config: Config = None, json: Json = False) -> None:
    """End the series that runs, now; what is not in the file yet is discarded and counted."""
    from bluesky_streamdet.cli.writer_session import opened

    with opened(config, url) as writer:
        _conclude(writer.kill(), json)


@app.command()
def status(url: Url = None, config: Config = None, json: Json = False) -> None:
    """Say what the writer does, and what is wrong."""
    from bluesky_streamdet.cli.writer_session import opened

    with opened(config, url) as writer:
        values = {
            "status": str(writer.get_status()),
            "progress": writer.get_progress_message(),
            "error": writer.get_server_error(),
        }
    if json:
        _print_json(values)
        return
    say(values["progress"])
    if values["error"]:
        say(values["error"])


@app.command()
def statistics(url: Url = None, config: Config = None, json: Json = False) -> None:
    """Print the figures of the series that runs, or of the last one."""
    from bluesky_streamdet.cli.writer_session import opened

    with opened(config, url) as writer:
        figures = writer.get_statistics()
    if figures is None:
        _nothing("There was no series yet.", json)
    else:
        _show(figures, json)


@app.command()
def parameters(values: Values, url: Url = None, config: Config = None) -> None:
    """Add metadata to the file of the series that runs, or that was started here last."""
    from bluesky_streamdet.cli.writer_session import opened

    wanted = _values(values)
    with opened(config, url) as writer:
        writer.set_parameters(wanted)
    say(f"set: {', '.join(wanted)}")


@app.command()
def wait(
    frames: Annotated[int | None, typer.Option(min=0, help="that are readable; the end of the series if not")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="seconds for all of it; no limit if left out")] = None,
    inactivity: Annotated[float, typer.Option(min=0, help="seconds without a frame after which it gives up")] = 3600.0,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Wait for the series, and show how far it is. Ctrl-C ends the waiting and not the series."""
    from bluesky_streamdet.cli.writer_session import opened

    with opened(config, url, progress=not json) as writer:
        if frames is None:
            _conclude(writer.wait(timeout=timeout, inactivity_timeout=inactivity), json)
            return
        enough = writer.wait_nframes(frames, inactivity, timeout=timeout)
        if enough is None:
            _nothing("There is no series.", json)
            return
        figures = writer.get_statistics()
        assert figures is not None
        _tell(figures, f"{figures.n_written_frames} frames are readable in {figures.output_file}", json)
    if not enough:
        raise typer.Exit(1)


@app.command()
def flush(
    timeout: Annotated[float, typer.Option(min=1, help="milliseconds without a frame after which it is done")] = 500.0,
    url: Url = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Throw away what the camera still holds."""
    from bluesky_streamdet.cli.writer_session import opened

    with opened(config, url) as writer:
        flushed = writer.flush_cam_stream(timeout)
    if json:
        _print_json({"flushed": flushed})
    else:
        say(f"{flushed} frames were thrown away")


@app.command()
def master(
    files: Annotated[list[Path], typer.Argument(help="that have a series between them, on this machine")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the new file, best beside the others")],
    frames: Annotated[int | None, typer.Option(min=0, help="that there should be; as many as came if left out")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="a file that is there")] = False,
    json: Json = False,
) -> None:
    """Show the frames of several files as one, in the order of their numbers, as of writers that shared a camera.

    Nothing is copied: the others have to stay where they are. Ends with 1 when frames are missing.
    """
    from bluesky_streamdet.cli.writer_files import report_of
    from bluesky_streamdet.streaming.files.several.whole import write_together

    reports = [report_of(one) for one in files]
    names = {one.id for one in reports}
    series = names.pop() if len(names) == 1 else output.stem
    whole = write_together(output, reports, series=series, expected=frames, replace=replace)
    ledger = whole.ledger
    _tell(whole, f"{output}: {ledger.written} frames of {whole.parts} files, {ledger.missing} missing", json)
    if whole.reason and not json:
        say(printable(whole.reason, 1000))
    if whole.outcome != "complete":
        raise typer.Exit(1)


def _values(given: list[str]) -> dict[str, Any]:
    import yaml

    values = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not (equals and name):
            raise ConfigError(f"{one!r} is no parameter.", "Write it as NAME=VALUE, such as energy=12.4.")
        try:
            values[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"The value of {one!r} is no YAML: {error}.", "Put text between quotes.") from error
    return values


def _conclude(figures: Any, json: bool, *, ended: bool = True) -> None:
    """Say how a series ended, or that there was none; 1 when it is not complete, unless nobody waited for that."""
    if figures is None:
        _nothing("Nothing runs.", json)
        return
    reason = f": {figures.reason}" if figures.reason else ""
    lost = f", {figures.n_lost_frames} lost" if figures.n_lost_frames else ""
    _tell(
        figures,
        f"series {figures.series} is {figures.status}{reason}; {figures.n_written_frames} frames are readable{lost}"
        + (f", in {figures.output_file}" if figures.output_file else ""),
        json,
    )
    if ended and not figures.success:
        raise typer.Exit(1)


def _nothing(text: str, json: bool) -> None:
    if json:
        _print_json(None)
    else:
        say(text)


def _tell(model: BaseModel, text: str, json: bool) -> None:
    say(model.model_dump_json(indent=2) if json else printable(text, 1000))


def _show(model: BaseModel, json: bool) -> None:
    """All values, one below another."""
    if json:
        say(model.model_dump_json(indent=2))
        return
    values = model.model_dump()
    width = max(map(len, values))
    for name, value in values.items():
        say(f"{name:{width}}  {printable('-' if value is None else value, 1000)}")


def _print_json(value: Any) -> None:
    import json

    say(json.dumps(value, indent=2))
