"""Where the SDK's functions are: the vendor's shared library, found, loaded and told its types.

Whatever has attributes by the SDK's names that can be called is a `Library`; the simulation is one too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Any, Protocol

from bluesky_streamdet.core.errors import ConfigError, HardwareFailed, MissingLibrary
from bluesky_streamdet.xspress3.abi import FUNCTIONS

NAME = "libxspress3.so"
DIRECTORIES = (
    "/opt/xspress3-sdk/lib",
    "/opt/xspress3-sdk",
    "/opt/xspress3/lib",
    "/usr/local/lib",
    "/usr/lib64",
    "/usr/lib",
)
"""Where the library is looked for after the loader's own places, which LD_LIBRARY_PATH adds to."""
ESSENTIAL = (
    "xsp3_config",
    "xsp3_close",
    "xsp3_get_error_message",
    "xsp3_get_generation",
    "xsp3_get_num_chan",
    "xsp3_format_run",
    "xsp3_itfg_setup",
    "xsp3_histogram_start",
    "xsp3_histogram_read4d",
    "xsp3_scaler_read",
)
"""What each version of the SDK has; a library without these is another one."""


class Library(Protocol):
    """The SDK's functions by their names, such as `library.xsp3_close(handle)`."""

    def __getattr__(self, name: str, /) -> Callable[..., Any]: ...


def open_library(path: str | None = None) -> Library:
    """The SDK's shared library, with the types of all functions declared.

    path: the file, or the directory with `libxspress3.so` in it; when left out, the dynamic loader is asked and
    `DIRECTORIES` are searched. Functions that this version of the SDK does not have raise `HardwareFailed` when they
    are called.

    Raises `MissingLibrary`, which tells all that was tried, or `ConfigError` for a library that is not the SDK.
    """
    tried: list[str] = []
    for candidate in _candidates(path):
        _preload(Path(candidate).parent)
        try:
            library = ctypes.CDLL(candidate)
        except OSError as error:
            reason = str(error)
            tried.append(reason if candidate in reason else f"{candidate}: {reason}")
            continue
        return _declared(library, candidate)
    raise MissingLibrary(
        "The library of the Xspress3 SDK was not found. Tried: " + "; ".join(tried) + ".",
        "Name it in the setting `library`, as a file or its directory, or configure `simulate` to work without "
        "hardware.",
    )


def _candidates(path: str | None) -> Iterator[str]:
    if path is not None:
        place = Path(path).expanduser()
        yield from _within(place) if place.is_dir() else [str(place)]
        return
    yield NAME
    found = find_library("xspress3")
    if found is not None and found != NAME:
        yield found
    for directory in DIRECTORIES:
        yield from _within(Path(directory))


def _within(directory: Path) -> list[str]:
    """All versions of the library in `directory`, or the name that is missing there."""
    return sorted(map(str, directory.glob(f"{NAME}*"))) or [str(directory / NAME)]


def _preload(beside: Path) -> None:
    """Load what the SDK uses without saying so: its file names none of these as needed.

    Those that are missing here are no error: then loading the SDK itself says which symbol is undefined.
    """
    own = sorted(map(str, beside.glob("libimg_mod.so*")))
    for name in [find_library("rt"), find_library("m"), *(own or [find_library("img_mod") or "libimg_mod.so"])]:
        if name is not None:
            try:
                ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue


def _declared(library: ctypes.CDLL, path: str) -> Library:
    missing = [name for name in ESSENTIAL if not hasattr(library, name)]
    if missing:
        raise ConfigError(
            f"{path} is not the Xspress3 SDK: it has no function {', '.join(missing)}.",
            "Name the vendor's libxspress3.so in the setting `library`.",
        )
    for name, signature in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            setattr(library, name, _absent(name, path))
            continue
        function.restype = signature.restype
        function.argtypes = signature.argtypes
    return library


def _absent(name: str, path: str) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise HardwareFailed(
            f"{name} is not in {path}: this version of the SDK does not have it.",
            "Ask the vendor for one that does, or do without what needs it.",
        )

    return call
