"""A service in a process of its own that lives no longer than this one: for demonstrations, notebooks and tests.

    with ServiceProcess(for_row("eiger", directory=Path("data"))) as service:
        client = ServiceClient(service.url, service.api_key)

`python -m bluesky_streamdet.service` is the other side: it reads its configuration from the first line of its standard
input, writes one line when it is ready or has failed, drains and ends when the input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from typing import TextIO

from bluesky_streamdet.core.errors import StreamdetError
from bluesky_streamdet.service.config import DetectorConfig, ServedDetector
from bluesky_streamdet.service.server import Service
from bluesky_streamdet.streaming.problems import error_of, problem_of
from bluesky_streamdet.streaming.status import Problem


class ServiceProcess:
    """Starts a service, and ends it with `close` or the `with` block.

    output: where what it prints goes; left out, to our own standard error. After the start, `url` and `api_key` tell
    how to talk to it.
    """

    def __init__(self, config: ServedDetector, output: TextIO | None = None) -> None:
        self.config = config
        self.url = ""
        self.api_key = ""
        self._output = output
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """Of the control plane; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def ended(self) -> bool:
        """Whether there is no control plane, or no longer."""
        return self._process is None or self._process.poll() is not None

    def start(self) -> None:
        """Start the service and wait until it answers. Raises what it met, such as `AddressTaken`."""
        process = self._process = subprocess.Popen(  # noqa: S603, it is our own command
            (sys.executable, "-m", self.config.SERVICE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            # Ctrl-C is for us; we end the service when we have finished with it.
            process_group=0,
        )
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self.config.model_dump_json() + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self.close()
            raise StreamdetError(f"The service ended at its start with exit code {process.returncode}.")
        news = json.loads(line)
        if "problem" in news:
            self.close()
            raise error_of(Problem.model_validate(news["problem"]))
        self.url, self.api_key = news["url"], news["api_key"]

    def close(self) -> None:
        """Let it drain, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            # The data plane drains, then a hook may come to its end.
            process.wait(2 * self.config.watch.drain + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> ServiceProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def run(model: type[ServedDetector] = DetectorConfig) -> int:
    """The process: one service, from its configuration on standard input to the end of that."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    service = Service(model.model_validate_json(await reader.readline()))
    ending = asyncio.create_task(reader.read())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, reader.feed_eof)
    try:
        async with service:
            assert service.key is not None
            _say({"url": service.url, "api_key": service.key.text})
            await ending
    except StreamdetError as error:
        _say({"problem": problem_of(error).model_dump()})
        return 1
    finally:
        ending.cancel()
        transport.close()
    return 0


def _say(news: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(news), flush=True)  # noqa: T201, it is read by whoever started us
