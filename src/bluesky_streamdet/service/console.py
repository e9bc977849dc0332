"""A service in the foreground, for a person or a log to read: what happens at once, how it goes once a second."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TextIO

from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.cameras import Cameras
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.config import RestConfig, ServedDetector
from bluesky_streamdet.service.keys import ApiKey
from bluesky_streamdet.service.server import Service
from bluesky_streamdet.streaming.status import HookReport, SeriesReport, Status

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between lines while a series runs."""
LIVE_EVERY = 0.2
"""The same for the line that a terminal shows in place."""
OWED = 64
"""Messages that wait for a module at least before that is worth a word, while frames come."""
CLEAR = "\r\x1b[2K"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run(config: ServedDetector, output: TextIO) -> None:
    """Serve until Ctrl-C or SIGTERM, then drain; the second ends it at once. Raises `StreamdetError` at the start."""
    service = Service(config)
    reporters = {service.supervisor.board: Reporter(output)}
    await _serve(service, service.supervisor.hurry, lambda: greeting(service), reporters, output)


async def run_cameras(cameras: Sequence[ServedDetector], rest: RestConfig, output: TextIO) -> None:
    """The same for several cameras behind one address."""
    service = Cameras(cameras, rest)
    widest = max(map(len, service.supervisors))
    reporters = {one.board: _reporter_of(name.ljust(widest), output) for name, one in service.supervisors.items()}
    await _serve(service, service.hurry, lambda: greeting_of_all(service), reporters, output)


def _reporter_of(name: str, output: TextIO) -> Reporter:
    return Reporter(output, now=lambda: f"{time.strftime('%H:%M:%S')} {name}", alone=False)


async def _serve(
    service: AbstractAsyncContextManager[object],
    hurry: Callable[[], None],
    greet: Callable[[], Sequence[str]],
    reporters: Mapping[StatusBoard, Reporter],
    output: TextIO,
) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    watching: list[asyncio.Task[None]] = []

    def on_signal() -> None:
        if stopped.is_set():
            log.warning("interrupted once more: what runs is killed")
            hurry()
        stopped.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        async with service:
            for line in greet():
                output.write(line + "\n")
            output.flush()
            watching = [asyncio.create_task(_watch(board, one)) for board, one in reporters.items()]
            await stopped.wait()
            output.write("\nending: what is on its way is written first; Ctrl-C again ends at once\n")
            output.flush()
        await asyncio.gather(*watching)
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        for one in watching:
            one.cancel()
    output.write("ended\n")
    output.flush()


def greeting(service: Service) -> list[str]:
    """Who this is, and how to talk to it."""
    config, key, status = service.config, service.key, service.supervisor.board.status
    lines = [
        f"detector  {config.detector} ({config.kind}), from {config.origin}",
        f"files     {config.files.directory}",
        *(f"output    {output.name}: {output.kind} {output.address}" for output in status.outputs),
        *([] if status.monitor is None else [f"monitor   {status.monitor}"]),
        *_compat(service),
        *(["paused    nothing is taken until somebody has it resumed"] if status.paused else []),
    ]
    return [*lines, *_page_and_key(service.url, key), ""]


def greeting_of_all(service: Cameras) -> list[str]:
    """Who they are, and how to talk to them."""
    lines = []
    for name, one in service.supervisors.items():
        config, error = one.config, one.board.status.error
        lines.append(f"camera    {name} ({config.kind}), from {config.origin}, files in {config.files.directory}")
        lines.append(f"          {service.url}/cameras/{name}")
        lines += [_old(config.compat, service.compat_ports[name])] if config.compat is not None else []
        lines += [f"          error: {error}"] if error is not None else []
    return [*lines, *_page_and_key(service.url, service.key), ""]


def _page_and_key(url: str, key: ApiKey | None) -> list[str]:
    if key is None or key.file is None:
        return [f"page      {url}/", "API key   the one that was configured"]
    # Behind #, as a browser sends that to nobody, and no log holds it.
    return [f"page      {url}/#key={key.text}", f"API key   {key.text} (in {key.file})"]


def _compat(service: Service) -> list[str]:
    compat, port = service.config.compat, service.compat_port
    return [_old(compat, port)] if compat is not None and port is not None else []


def _old(compat: CompatConfig, port: int) -> str:
    where = f"http://{compat.host}:{port}"
    writer = f" (its writer at {compat.writer_port}, during a series)" if "compat.writer_port" in compat.ports else ""
    who = ", ".join(compat.allow)
    return f"compat    {where} answers as the old {compat.dialect} did{writer}, without a key, to {who}"


async def _watch(board: StatusBoard, reporter: Reporter) -> None:
    status: Status | None = board.status
    while status is not None:
        reporter.show(status)
        status = await board.newer_than(status.revision)
    # What happened while the service ended.
    reporter.show(board.status)


class Reporter:
    """Writes what is new in each status.

    clock: seconds, monotonic. now: the time of day, as text. alone: whether nobody else writes lines there too.
    """

    def __init__(
        self,
        output: TextIO,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
        *,
        alone: bool = True,
    ) -> None:
        self._output = output
        self._live = alone and output.isatty()
        self._clock = clock
        self._now = now
        self._before: Status | None = None
        self._line_at = -EVERY

    def show(self, status: Status) -> None:
        """Write what there is to say."""
        for text in _happened(self._before, status):
            self._output.write(f"{CLEAR if self._live else ''}{self._now()} {text}\n")
        self._before = status
        if status.series is not None and self._clock() - self._line_at >= (LIVE_EVERY if self._live else EVERY):
            self._line_at = self._clock()
            line = f"{self._now()} {progress(status, status.series)}"
            self._output.write(f"{CLEAR}{line}" if self._live else f"{line}\n")
        self._output.flush()


def _happened(before: Status | None, status: Status) -> list[str]:
    """What has changed since the last status that a person wants to know at once."""
    texts = []
    old_series = before.series if before is not None else None
    last = status.last_series
    known = before.last_series if before is not None else last
    if last is not None and (known is None or last.id != known.id):
        texts.append(ending(last))
    if last is not None and last.hook is not None and (known is None or last.hook != known.hook):
        texts += _hook(last.id, last.hook)
    if status.series is not None and (old_series is None or old_series.id != status.series.id):
        texts.append(f"series {status.series.id} is {status.state}, {_file(status.series)}")
    elif before is not None and before.state != status.state:
        texts.append(f"{before.state} -> {status.state}")
    if status.error is not None and (before is None or before.error != status.error):
        texts.append(f"error: {status.error}")
    strange = {one.endpoint for one in status.sources if one.hung_up}
    known_strange = {one.endpoint for one in before.sources if one.hung_up} if before is not None else set()
    hint = "it may need the other kind of source.socket, pull or sub"
    texts += [f"{endpoint} hangs up: {hint}" for endpoint in sorted(strange - known_strange)]
    if status.slow is not None and (before is None or before.slow is None):
        texts.append(f"held up by {status.slow}")
    return texts


def ending(series: SeriesReport) -> str:
    """How a series ended, in a line."""
    reason = f": {series.reason}" if series.reason else ""
    return f"series {series.id} ended {series.outcome}, {series.ledger.written} frames, {_file(series)}{reason}"


def _hook(id: str, hook: HookReport) -> list[str]:
    """What there is to say of the command that was run for a series."""
    if hook.running:
        return []
    how = "did not come to its end" if hook.code is None else f"ended with exit code {hook.code}"
    said = f": {hook.output.splitlines()[-1]}" if hook.output and hook.code != 0 else ""
    return [f"the hook of series {id} {how} after {hook.seconds:.1f} s{said}"]


def progress(status: Status, series: SeriesReport) -> str:
    """How a series goes, in a line."""
    ledger = series.ledger
    of = f"/{ledger.expected}" if ledger.expected is not None else ""
    count = ledger.received if series.file is None else ledger.written
    rate = f"{status.frames_per_second:.1f}/s, {status.megabytes_per_second:.1f} MB/s"
    parts = [f"{status.state:9} {series.id}", _file(series), f"{count}{of} frames, {rate}", f"{ledger.missing} missing"]
    if (status.seconds_without_data or 0) >= EVERY:
        parts.append(f"no data for {status.seconds_without_data:.0f} s")
    silent = (status.seconds_without_data or 0) >= EVERY
    owing = [f"{one.endpoint} ({one.owed} parts)" for one in status.sources if one.owed >= (1 if silent else OWED)]
    if owing:
        parts.append(f"waits for {', '.join(owing)}")
    if status.slow is not None:
        parts.append(f"held up by {status.slow}")
    return "  ".join(parts)


def _file(series: SeriesReport) -> str:
    return series.file or "no file"
