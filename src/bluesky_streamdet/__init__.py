"""From an X-ray detector's data stream to a Bluesky run: receive, order, account, write, forward."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bluesky_streamdet.service.remote.writer import RemoteWriter
    from bluesky_streamdet.streaming.outputs import Outputs

__version__ = version("bluesky-streamdet")
__all__ = ["Outputs", "RemoteWriter", "__version__"]


def __getattr__(name: str) -> Any:
    # Loaded when they are asked for, as they need ZeroMQ, NumPy, HTTP.
    if name == "Outputs":
        from bluesky_streamdet.streaming.outputs import Outputs

        return Outputs
    if name == "RemoteWriter":
        from bluesky_streamdet.service.remote.writer import RemoteWriter

        return RemoteWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
