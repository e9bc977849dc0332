"""The settings of the old stream repeater, as its clients and its files say them, and what they are here.

    in_address, in_zmq_mode                          the source
    n_output_streams, stream_names, stream_ports,
    zmq_modes, send_output_mode, send_output_param   one list each, an item for each output
    buffer_size, frame_block, io_threads             for all of them
    mode_metadata, config_file                       kept and said again

Who names some of them leaves the others as they are. All that is wrong with what is asked is said at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming.endpoints import WRITER, OutputConfig, SourceConfig, collisions
from bluesky_streamdet.streaming.wording import in_words

FRAME_BLOCK = 15
QUEUE_BYTES = 512 << 20
"""Of frames that wait for the clients of one output, however many of them `buffer_size` allows."""
ADDRESS = re.compile(r"(tcp|ipc|inproc)://.+")
PORTS = range(1, 65536)

SOCKETS = {"PULL": "pull", "SUB": "sub"}
KINDS = {"PUSH": "push", "PUB": "pub", 8: "push", 1: "pub"}
"""By name, and by ZeroMQ's number, which is what the old program took."""
NUMBERS = {"push": 8, "pub": 1}

MODES = {
    "send_every_nth": "every",
    "send_every_sec": "every_seconds",
    "send_every_nth_frame": "frames",
    "strides": "strides",
}
"""What the parameter of each old mode is in `sending.SendConfig`."""
LISTS = ("stream_names", "stream_ports", "zmq_modes", "send_output_mode", "send_output_param")
KEYS = (
    *("in_address", "in_zmq_mode", "io_threads", "buffer_size", "n_output_streams", *LISTS),
    *("config_file", "frame_block", "mode_metadata"),
)


class Settings(NamedTuple):
    """All of them, checked. outputs: none of them with a run."""

    source: SourceConfig
    outputs: tuple[OutputConfig, ...]
    frame_block: int = FRAME_BLOCK
    io_threads: int = 1
    mode_metadata: str = "file"
    config_file: str | None = None

    @property
    def has_writer(self) -> bool:
        """Whether an output needs to be told of a run."""
        return any(output.encoder == WRITER for output in self.outputs)

    def said(self) -> dict[str, Any]:
        """In the old words."""
        modes = [mode_of(output) for output in self.outputs]
        return {
            "in_address": self.source.endpoints[0],
            "in_zmq_mode": self.source.socket.upper(),
            "io_threads": self.io_threads,
            "buffer_size": max((output.queue for output in self.outputs), default=0),
            "n_output_streams": len(self.outputs),
            "send_output_mode": [mode for mode, _ in modes],
            "send_output_param": [parameter for _, parameter in modes],
            "stream_ports": [_port_of(output) for output in self.outputs],
            "zmq_modes": [NUMBERS[output.kind] for output in self.outputs],
            "stream_names": [output.name for output in self.outputs],
            "config_file": self.config_file,
            "frame_block": self.frame_block,
            "mode_metadata": self.mode_metadata,
        }

    def changed(self, changes: Mapping[str, Any], encoder: str) -> Settings:
        """With what a client asks for. Raises `ConfigError`, which names all that is wrong.

        encoder: of an output that was not there before.
        """
        return _Change(self, changes, encoder).settings()


def mode_of(output: OutputConfig) -> tuple[str, Any]:
    """The old mode and parameter of an output; of a rule that the old program had not, its own words."""
    rule = {} if output.send is None else output.send.model_dump(exclude_none=True)
    if not rule:
        return "send_every_nth", 1
    for mode, name in MODES.items():
        if name in rule and set(rule) <= {name, "of"}:
            return mode, rule[name]
    return "other", " ".join(f"{name}: {value}" for name, value in rule.items())


def output_of(values: Mapping[str, Any], frame_block: int = FRAME_BLOCK) -> dict[str, Any]:
    """What the old program says of one output, in the form of `OutputConfig`. Raises `ValueError`, with all faults.

    values: of "name", "port", "zmq_mode", "mode" and "param", those that are known.
    """
    faults: list[str] = []
    new: dict[str, Any] = {}
    if "name" in values:
        new["name"] = re.sub(r"[^A-Za-z0-9_-]", "_", str(values["name"])) or "_"
    if "port" in values:
        port = values["port"]
        if type(port) is not int or port not in PORTS:
            faults.append(f"port {port!r} is none; it is a number from 1 to 65535")
        new["address"] = f"tcp://*:{port}"
    if "zmq_mode" in values:
        kind = values["zmq_mode"]
        kind = kind.upper() if isinstance(kind, str) else kind
        if type(kind) not in {str, int} or kind not in KINDS:
            faults.append(f"zmq mode {values['zmq_mode']!r} is none of PUSH (8), PUB (1)")
        else:
            new["kind"] = KINDS[kind]
    if "mode" in values:
        try:
            new["send"] = _rule(values["mode"], values.get("param"), frame_block)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return new


def _rule(mode: Any, parameter: Any, frame_block: int) -> dict[str, Any] | None:
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; allowed: {', '.join(MODES)}")
    seconds = mode == "send_every_sec"
    kinds = (int, float) if seconds else (int,)
    if type(parameter) not in kinds or parameter < (0 if seconds else 1):
        what = "seconds, 0 or more" if seconds else "a whole number, 1 or more"
        raise ValueError(f"the parameter of {mode} is {parameter!r}; it is {what}")
    if mode == "send_every_nth" and parameter == 1:
        return None
    if mode == "send_every_nth_frame" and parameter > frame_block:
        raise ValueError(f"{mode} can't send {parameter} frames of each {frame_block}, which is frame_block")
    return {MODES[mode]: parameter, **({"of": frame_block} if mode == "send_every_nth_frame" else {})}


class _Change:
    """One request to change settings: what it asks for, and what is wrong with it."""

    def __init__(self, before: Settings, asked: Mapping[str, Any], encoder: str) -> None:
        self._before, self._asked, self._encoder = before, asked, encoder
        self._faults = [f"there is no setting {key!r}; allowed: {', '.join(KEYS)}" for key in asked if key not in KEYS]

    def settings(self) -> Settings:
        before = self._before
        frame_block = self._whole("frame_block", before.frame_block)
        io_threads = self._whole("io_threads", before.io_threads)
        queue = self._whole("buffer_size", 0)
        source = self._source()
        outputs = self._outputs(frame_block, queue)
        texts = {
            name: self._text(name, getattr(before, name), optional=name == "config_file")
            for name in ("mode_metadata", "config_file")
        }
        if self._faults:
            raise ConfigError("; ".join(self._faults) + ".", "Nothing was changed.")
        return Settings(source, tuple(outputs), frame_block, io_threads, **texts)

    def _whole(self, name: str, otherwise: int) -> int:
        value = self._asked.get(name, otherwise)
        if name in self._asked and (type(value) is not int or value < 1):
            self._faults.append(f"{name} is {value!r}; it is a whole number, 1 or more")
            return otherwise
        return value

    def _text(self, name: str, otherwise: Any, *, optional: bool) -> Any:
        value = self._asked.get(name, otherwise)
        if not isinstance(value, str) and not (optional and value is None):
            self._faults.append(f"{name} is {value!r}; it is a text")
        return value

    def _source(self) -> SourceConfig:
        before = self._before.source
        address = self._asked.get("in_address", before.endpoints[0])
        mode = self._asked.get("in_zmq_mode", before.socket.upper())
        if not isinstance(address, str) or not _is_address(address):
            self._faults.append(f"in_address is {address!r}; write it as tcp://HOST:PORT")
        mode = mode.upper() if isinstance(mode, str) else mode
        if mode not in SOCKETS:
            self._faults.append(f"in_zmq_mode is {mode!r}; allowed: {', '.join(SOCKETS)}")
        if not {"in_address", "in_zmq_mode"}.intersection(self._asked) or self._faults:
            return before
        return before.model_copy(update={"endpoints": [address], "socket": SOCKETS[mode]})

    def _outputs(self, frame_block: int, queue: int) -> list[OutputConfig]:
        lists = self._lists()
        if self._faults:
            return []
        said = self._before.said()
        outputs: list[OutputConfig] = []
        for index in range(len(lists["stream_ports"])):
            old = self._before.outputs[index] if index < len(self._before.outputs) else None
            names = {"stream_names": "name", "stream_ports": "port", "zmq_modes": "zmq_mode"}
            given: dict[str, Any] = {
                short: lists[name][index] for name, short in names.items() if self._differs(name, index, lists, said)
            }
            mode, parameter = lists["send_output_mode"][index], lists["send_output_param"][index]
            again = mode == "send_every_nth_frame" and "frame_block" in self._asked
            if again or any(self._differs(name, index, lists, said) for name in LISTS[3:]):
                given |= {"mode": mode, "param": parameter}
            try:
                outputs.append(self._output(old, output_of(given, frame_block), queue))
            except ValueError as error:
                self._faults.append(f"output {index}: {error}")
        self._faults += collisions(outputs)
        return outputs

    def _differs(self, name: str, index: int, lists: dict[str, list[Any]], said: dict[str, Any]) -> bool:
        return index >= len(said[name]) or lists[name][index] != said[name][index]

    def _output(self, old: OutputConfig | None, given: dict[str, Any], queue: int) -> OutputConfig:
        values = {"overflow": "drop-oldest", "queue_bytes": QUEUE_BYTES, "encoder": self._encoder}
        if old is not None:
            values = old.model_dump()
        if given.get("name") == WRITER:
            values |= {"encoder": WRITER}
        elif "name" in given and values["encoder"] == WRITER:
            values |= {"encoder": self._encoder}
        values |= given | ({"queue": queue} if queue else {})
        try:
            return OutputConfig.model_validate(values)
        except ValidationError as error:
            raise ValueError(in_words(error.errors(include_url=False))) from error

    def _lists(self) -> dict[str, list[Any]]:
        """One item for each output in every list; those that nobody named as they are, or as they usually are."""
        said = self._before.said()
        lists: dict[str, list[Any]] = {}
        for name in LISTS:
            value = self._asked.get(name, said[name])
            if not isinstance(value, list):
                self._faults.append(f"{name} is {value!r}; it is a list, with an item for each output")
                value = []
            lists[name] = value
        number = self._whole("n_output_streams", len(lists["stream_ports"]))
        for name, usual in (("stream_names", "stream-{}"), ("zmq_modes", "PUSH")):
            if name not in self._asked:
                more = range(len(lists[name]), number)
                lists[name] = [*lists[name][:number], *(usual.format(index) for index in more)]
        wrong = {name: len(value) for name, value in lists.items() if len(value) != number}
        if wrong and not self._faults:
            counts = ", ".join(f"{name} has {count}" for name, count in wrong.items())
            self._faults.append(f"there are {number} outputs, but {counts}")
        return lists


def _is_address(address: str) -> bool:
    if not ADDRESS.fullmatch(address):
        return False
    port = address.rpartition(":")[2]
    return not address.startswith("tcp:") or (port.isascii() and port.isdecimal() and int(port) in PORTS)


def _port_of(output: OutputConfig) -> int:
    port = output.address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0
