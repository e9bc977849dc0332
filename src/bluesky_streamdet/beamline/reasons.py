"""Why a run was aborted, in its stop document: Bluesky forgets it when the plan itself closes the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import bluesky.preprocessors as bpp
from bluesky import RunEngine
from bluesky.utils import Msg


def telling_reasons(engine: RunEngine) -> Callable[[Iterable[Msg]], Any]:
    """A preprocessor of the engine's plans: `RE.abort("wrong sample")` is the reason that the run gives."""

    def told(message: Msg) -> Msg:
        if message.command != "close_run" or message.kwargs.get("reason"):
            return message
        return message._replace(kwargs={**message.kwargs, "reason": engine._reason})  # noqa: SLF001, it tells nobody else

    return lambda plan: bpp.msg_mutator(plan, told)
