"""What `streamdet writer` keeps between two commands: which service, what to do next, and which series was started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bluesky_streamdet.core.errors import ConfigError, NoSuchSeries
from bluesky_streamdet.service.remote.settings import WriterSettings
from bluesky_streamdet.service.remote.writer import RemoteWriter
from bluesky_streamdet.streaming.wording import in_words


class Session(BaseModel):
    """url: None for `STREAMDET_URL`, or the usual one. series: id of the one that was started last."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    settings: WriterSettings = WriterSettings()
    series: str | None = None


def place_of(file: Path | None) -> Path:
    """The file of the session: as given, or one of this user's."""
    if file is not None:
        return file
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "streamdet" / "writer.json"


def load(file: Path) -> Session:
    """What was kept; nothing when there is no file yet. Raises `ConfigError` for a file that is none of ours."""
    try:
        return Session.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Session()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file {file} can't be read: {error}.", "Give another by --config.") from error
    except ValidationError as error:
        wrong = in_words(error.errors(include_url=False), Session)
        raise ConfigError(f"The file {file} is no session of `streamdet writer`: {wrong}", "Remove it.") from error


def save(file: Path, session: Session) -> None:
    """Put it in place of what was there, whole or not at all. Raises `ConfigError`."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(session.model_dump_json(indent=2, exclude_unset=True), encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise ConfigError(
            f"The session can't be kept in {file}: {error.strerror}.", "Give another file by --config."
        ) from error


@contextmanager
def opened(file: Path | None, url: str | None, *, progress: bool = False) -> Iterator[RemoteWriter]:
    """The writer of the session, for what runs; while nothing does, for the series that the session has started."""
    session = load(place_of(file))
    with RemoteWriter(url=url or session.url, progress=progress) as writer:
        writer.settings = session.settings
        if session.series is not None and writer.client.status().series is None:
            # One that is not known was another service's; this one's last series is meant.
            with suppress(NoSuchSeries):
                writer.series = writer.client.series(session.series).id
        yield writer
