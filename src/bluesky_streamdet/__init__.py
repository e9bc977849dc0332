"""From an X-ray detector's data stream to a Bluesky run: receive, order, account, write, forward."""

from importlib.metadata import version

__version__ = version("bluesky-streamdet")
