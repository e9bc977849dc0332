"""Frames of runs from a Tiled server, for whoever can't reach their files."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)


class ServedFrames:
    """catalog: a Tiled client of runs, such as `db`, in which a run can be found while it is measured: its writer has
    `batch_size=1`.
    """

    def __init__(self, catalog: Any) -> None:
        self._catalog = catalog

    def read(self, run: str, stream: str, key: str, events: range) -> NDArray[Any] | None:
        """What a data key has at some events, by their numbers from 1, (events, …); None while the server can't say.

        run: the uid. Asks anew each time, as the server learns of frames while they come.
        """
        try:
            array = self._catalog[run][stream][key]
            if array.shape[0] < events.stop - 1:
                return None
            return np.asarray(array[events.start - 1 : events.stop - 1])
        except Exception as error:  # noqa: BLE001, of whatever library the client is made; no plan fails by it
            log.debug("no %s of run %s: %r", key, run, error)
            return None
