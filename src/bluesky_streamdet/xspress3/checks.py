"""Numbers that somebody gives, as the SDK can take them."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

from bluesky_streamdet.core.errors import ConfigError


def whole(name: str, value: SupportsIndex) -> int:
    """`value` as Python's own int, which is all that ctypes takes. Raises `ConfigError` for what is no whole number."""
    try:
        return index(value)
    except TypeError:
        raise ConfigError(f"{name} is {value!r}; it has to be a whole number.") from None
