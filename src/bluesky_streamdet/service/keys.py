"""The API key of a service, kept as Jupyter and Tiled do: random, printed at start, and in a file for its owner alone.

The client and the command line find that file by the port, so that who runs the service need not think of the key.
A key that comes from the environment or from a configured file is neither printed nor copied.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bluesky_streamdet.core.errors import ConfigError

VARIABLE = "STREAMDET_API_KEY"
SHORTEST = 16
READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ApiKey:
    """The key of one service. `file` is where it lies for clients, None for a key that they have from elsewhere."""

    def __init__(self, text: str, file: Path | None = None) -> None:
        self.text = text
        self.file = file

    def fits(self, other: str) -> bool:
        """Whether `other` is the key; takes as long for a near miss as for a far one."""
        return secrets.compare_digest(self.text.encode(), other.encode())

    def remove(self) -> None:
        """Remove the file, unless a later service has put its own key there."""
        if self.file is not None and _read(self.file) == self.text:
            self.file.unlink(missing_ok=True)


def make(port: int, configured: Path | None = None, environ: Mapping[str, str] = os.environ) -> ApiKey:
    """The key for a service on `port`: from the environment, from the configured file, or a new one.

    Raises `ConfigError` when the key is too short, or its file can't be read or written, or others may read it.
    """
    if VARIABLE in environ:
        return ApiKey(_checked(environ[VARIABLE], f"The environment variable {VARIABLE}"))
    if configured is not None:
        return ApiKey(_checked(_configured(configured), f"The file {configured}"))
    key = ApiKey(secrets.token_urlsafe(32), _folders(environ)[0] / _name(port))
    _write(key)
    return key


def origin(configured: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Where a service will have its key from, in words. Raises `ConfigError` for a key that can't be used."""
    if VARIABLE in environ:
        _checked(environ[VARIABLE], f"The environment variable {VARIABLE}")
        return f"from {VARIABLE}"
    if configured is not None:
        _checked(_configured(configured), f"The file {configured}")
        return f"from {configured}"
    return f"a new one at each start, in {_folders(environ)[0]}"


def find(url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key for the service at `url`: from the environment, or a file on this machine; None when there is neither."""
    if VARIABLE in environ:
        return environ[VARIABLE]
    parts = urlsplit(url)
    if parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    # The client may lack a variable that the service had, as under cron; so look in all places.
    found = (_read(folder / _name(port)) for folder in _folders(environ))
    return next((key for key in found if key), None)


def _checked(text: str, where: str) -> str:
    text = text.strip()
    if len(text) < SHORTEST or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(
            f"{where} holds no usable API key: it needs at least {SHORTEST} characters, without spaces.",
            'Make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`.',
        )
    return text


def _configured(path: Path) -> str:
    try:
        if path.stat().st_mode & READABLE_BY_OTHERS:
            raise ConfigError(f"The API key in {path} can be read by others.", f"Run `chmod 600 {path}`.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The API key file {path} can't be read: {error}.") from error


def _folders(environ: Mapping[str, str]) -> list[Path]:
    """Where keys lie: the folder of the session, which ends with it, or the one for lasting state."""
    session = environ.get("XDG_RUNTIME_DIR")
    home = Path(environ.get("HOME") or Path.home())
    state = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    folders = [Path(session)] if session and os.access(session, os.W_OK) else []
    return [folder / "streamdet" for folder in (*folders, state)]


def _name(port: int) -> str:
    return f"key-{port}"


def _write(key: ApiKey) -> None:
    file = key.file
    assert file is not None
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Anew, and never through a link: what lies there is of a service that died, or somebody's trap.
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(key.text)
    except OSError as error:
        raise ConfigError(
            f"The API key can't be kept in {file}: {error.strerror}.", f"Set {VARIABLE}, or rest.api_key_file."
        ) from error


def _read(file: Path) -> str | None:
    """The key in `file`; None when there is none that can be trusted to be our own."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            about = os.fstat(stream.fileno())
            if about.st_uid != os.getuid() or about.st_mode & READABLE_BY_OTHERS:
                return None
            return stream.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
