"""What to say when a library is missing that one of the extras brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bluesky_streamdet.core.errors import MissingLibrary


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Around the imports that `what` needs. Raises `MissingLibrary`, which says how to install the extra `name`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bluesky_streamdet"):
            raise
        raise MissingLibrary(
            f"{what} need the library {error.name!r}, which is not installed.",
            f"Install the extra: pip install 'bluesky-streamdet[{name}]'.",
        ) from error
