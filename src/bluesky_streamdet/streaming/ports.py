"""The outputs of one data plane: all get what is sent, and any of them can be changed while the others stream on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, overload

import zmq

from bluesky_streamdet.core.errors import AddressTaken, ConfigError, StreamdetError
from bluesky_streamdet.core.events import Frame, SeriesEnd, SeriesStart
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.fanout import Output

LINGER = 500
"""Milliseconds that clients of a closed output have to take what ZeroMQ holds for them."""
FREEING = 2.0
"""Seconds that an address may take to be free again after we have closed what was bound there."""
BETWEEN_TRIES = 0.002
LONGEST_BLOCK = 50
"""Milliseconds that one wait for a client may take."""


class Sink(Protocol):
    """What frames can be given to, as `Output` and `streaming.crystfel.responder.Responder` can."""

    @property
    def blocked(self) -> bool: ...

    @property
    def waiting(self) -> bool: ...

    def start(self, start: SeriesStart) -> None: ...

    def send(self, frames: list[Frame]) -> None: ...

    def end(self, end: SeriesEnd) -> None: ...

    def flush(self) -> None: ...

    def wait(self, milliseconds: int) -> None: ...

    def discard(self) -> None: ...

    def close(self, linger: int = 0) -> None: ...


class Ports(Sequence[Output]):
    """The outputs, in the order of their configuration. Raises what `Output` raises, of all at once.

    usual: key in `catalog.OUTPUTS` of what they send when they do not say. clock: seconds, monotonic. others: sinks of
    other kinds, which get the same, and stay as they are.
    """

    def __init__(
        self,
        configs: Iterable[OutputConfig],
        context: zmq.Context[zmq.Socket[bytes]],
        usual: str = "stins",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._usual = usual
        self._clock = clock
        self._start: SeriesStart | None = None
        self.others: list[Sink] = []
        self._outputs: list[Output] = list(self._opened(list(configs)).values())

    @overload
    def __getitem__(self, index: int) -> Output: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Output]: ...

    def __getitem__(self, index: int | slice) -> Output | Sequence[Output]:
        return self._outputs[index]

    def __len__(self) -> int:
        return len(self._outputs)

    def __iter__(self) -> Iterator[Output]:
        return iter(self._outputs)

    @property
    def _all(self) -> Sequence[Sink]:
        return [*self._outputs, *self.others] if self.others else self._outputs

    @property
    def blocked_by(self) -> Sink | None:
        """Which of them the detector has to wait for."""
        return next((sink for sink in self._all if sink.blocked), None)

    def start(self, start: SeriesStart) -> None:
        """Announce a series."""
        self._start = start
        for sink in self._all:
            sink.start(start)

    def send(self, frames: list[Frame]) -> None:
        """Let each output have the frames."""
        for sink in self._all:
            sink.send(frames)

    def end(self, end: SeriesEnd) -> None:
        """Announce the end of the series."""
        self._start = None
        for sink in self._all:
            sink.end(end)

    def discard(self) -> None:
        """Drop the frames that wait: the series was aborted."""
        for sink in self._all:
            sink.discard()

    def flush(self) -> None:
        """Send what waits, as far as clients take it."""
        for sink in self._all:
            sink.flush()

    def wait_for_blocking(self) -> None:
        """Give clients that hold up the detector a moment to take something."""
        for sink in self._all:
            if sink.blocked:
                sink.wait(LONGEST_BLOCK)
                sink.flush()

    def send_rest(self, seconds: float) -> None:
        """Let clients have what waits for them, at most so long."""
        deadline = self._clock() + seconds
        while (waiting := [one for one in self._all if one.waiting]) and self._clock() < deadline:
            waiting[0].wait(LONGEST_BLOCK)
            for sink in waiting:
                sink.flush()

    def set(self, configs: Sequence[OutputConfig]) -> None:
        """Have these outputs, and no others. Those of the same name and socket go on, with their clients and counts.

        Raises `AddressTaken` or `ConfigError`, which name all that can't be opened; then everything is as it was.
        """
        old = {output.config.name: output for output in self._outputs}
        kept = {one.name: old[one.name] for one in configs if one.name in old and old[one.name].keeps_socket(one)}
        wanted = [one for one in configs if one.name not in kept]
        leaving = [output for name, output in old.items() if name not in kept]
        in_way = [output for output in leaving if any(_holds_port_of(output, one) for one in wanted)]
        behind = [one for one in wanted if any(_holds_port_of(output, one) for output in in_way)]
        opened = self._opened([one for one in wanted if one not in behind])
        try:
            opened |= self._replaced(in_way, behind)
        except StreamdetError:
            for output in opened.values():
                output.close()
            raise
        for output in leaving:
            if output not in in_way:
                output.close(LINGER)
        for config in configs:
            if config.name in kept and config != kept[config.name].config:
                kept[config.name].change(config)
        self._outputs = [kept.get(one.name) or opened[one.name] for one in configs]

    def close(self, linger: int = 0) -> None:
        """Close all; what ZeroMQ has taken for clients may still leave within `linger` ms."""
        for sink in self._all:
            sink.close(linger)

    def _replaced(self, in_way: Sequence[Output], configs: Sequence[OutputConfig]) -> dict[str, Output]:
        """Outputs at addresses that others of ours have now; they have them again if one can't be opened."""
        for output in in_way:
            output.close(LINGER)
        try:
            return self._opened(configs, FREEING if in_way else 0.0)
        except StreamdetError:
            again = self._opened([output.config for output in in_way], FREEING)
            for output in in_way:
                again[output.config.name].take_over(output)
            self._outputs = [again.get(one.config.name, one) for one in self._outputs]
            raise

    def _opened(self, configs: Sequence[OutputConfig], patience: float = 0.0) -> dict[str, Output]:
        """New outputs by name, or none of them; an address that is taken may become free within `patience` seconds."""
        opened: dict[str, Output] = {}
        faults: list[StreamdetError] = []
        deadline = time.monotonic() + patience
        for config in configs:
            try:
                opened[config.name] = self._open(config, deadline)
            except (AddressTaken, ConfigError) as error:
                faults.append(error)
        if faults:
            for output in opened.values():
                output.close()
            text = " ".join(f"{error.message}" for error in faults)
            raise type(faults[0])(text, faults[0].hint) from faults[0]
        return opened

    def _open(self, config: OutputConfig, deadline: float) -> Output:
        while True:
            try:
                output = Output(config, self._context, self._usual)
            except AddressTaken as error:
                if time.monotonic() >= deadline:
                    raise AddressTaken(f"Output {config.name!r}: {error.message}", error.hint) from error
                time.sleep(BETWEEN_TRIES)
            except ConfigError as error:
                raise ConfigError(f"Output {config.name!r}: {error.message}", error.hint) from error
            else:
                if self._start is not None:
                    output.start(self._start)
                return output


def _holds_port_of(output: Output, config: OutputConfig) -> bool:
    """Whether an open output is bound where another is to be bound."""
    return config.takes_port_of(output.config.model_copy(update={"address": output.address}))
