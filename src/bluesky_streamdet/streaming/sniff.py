"""Which wire format a message is in, when nobody has said: the first whose decoder accepts it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from typing_extensions import Buffer

from bluesky_streamdet.catalog import CODECS
from bluesky_streamdet.core.errors import ConfigError, MalformedMessage

log = logging.getLogger(__name__)

DRANSPOSE_NAMES = {"stins": "STINS", "dectris_v1": "EIGER_LEGACY", "xspress3-pickled": "xspress"}
"""What dranspose calls the formats that it knows too."""


def codec_of(parts: Sequence[Buffer]) -> str | None:
    """The key in `catalog.CODECS` of the format that the message is in, None when it is in none of them."""
    for name in CODECS:
        try:
            CODECS[name].decoder().decode(parts, 0)
        except MalformedMessage:
            continue
        except ConfigError as error:
            log.warning("%s", error)
            continue
        return name
    return None
