"""The REST interface of the stream repeater that this service takes the place of.

    POST /initialize              GET /get_status, /get_state, /alive
    POST /set_config_from_dict    {"in_address": …, "stream_ports": […], …}; see `repeater_config`
    POST /set_config_from_file    {"config_file": "repstream.json"}
    POST /set_writer_config       {"output_file", "run_id", "n_images", "detector_name" [, "user_id"]}
    POST /start, /stop

/set_writer_config_rest is the same as /set_writer_config: the old document had the one name, the old program the other.
Each answer has status 200, {"response": "success" | "error" [, "error": text], "state": ["RUNNING", 1]}, as it had. All
that is wrong with a request is said at once, and nothing of it is done.

The state is what is: RUNNING while frames are taken and sent, ERROR while the data plane does not live, or when it died
in the middle of a writer's run, which can't go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError

from bluesky_streamdet.core.errors import ConfigError, StreamdetError
from bluesky_streamdet.service.board import StatusBoard
from bluesky_streamdet.service.compat import repeater_json
from bluesky_streamdet.service.compat.body import body_of
from bluesky_streamdet.service.compat.repeater_config import FRAME_BLOCK, Settings
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.service.control import Control
from bluesky_streamdet.streaming import yamlfile
from bluesky_streamdet.streaming.endpoints import WRITER, OutputConfig, WriterConfig
from bluesky_streamdet.streaming.wording import in_words

Answer = dict[str, Any]
Act = Callable[[Answer], Awaitable[Answer | None]]
"""Does what is asked; returns what is to be said of it besides the state."""


class State(IntEnum):
    """As the old program numbered them."""

    INITIALIZED = 0
    RUNNING = 1
    ERROR = 2
    STOPPED = 3


class Refused(Exception):
    """What the old program said to a request that does not fit the state."""


class Repeater:
    """What the old program remembered, and what it did. Lives in the event loop of the service."""

    def __init__(self, control: Control, board: StatusBoard) -> None:
        self._control, self._board = control, board
        self._settings = _settings_of(control.config)
        self._run: WriterConfig | None = None
        self._configured = False
        self._changed = False
        self._restarts = control.restarts
        self._one_at_a_time = asyncio.Lock()

    @property
    def state(self) -> State:
        status = self._board.status
        if status.state == "error" or self._is_broken:
            return State.ERROR
        if not status.paused:
            return State.RUNNING
        ready = self._configured and (self._run is not None or not self._settings.has_writer)
        return State.INITIALIZED if ready else State.STOPPED

    @property
    def _is_broken(self) -> bool:
        """Whether the data plane died in the middle of a writer's run."""
        running = not self._control.config.paused and self._run is not None
        return running and self._control.restarts != self._restarts

    def config(self) -> Answer:
        """The settings in the old words."""
        run = None if self._run is None else self._run.model_dump()
        return {**self._settings.said(), "writer_config": run, "config_changed": self._changed}

    async def initialize(self, _: Answer) -> Answer:
        await self._may("initialized")
        name = self._settings.config_file
        if name is not None and not self._changed:
            self._settings = self._from_file(name)
        self._configured = True
        return {"config": self.config()}

    async def set_config(self, asked: Answer) -> None:
        await self._may("configured")
        settings = self._settings.changed(asked, self._encoder)
        if asked.get("config_file") is not None:
            settings = self._from_file(asked["config_file"])
        self._settings = settings
        self._configured = self._changed = True

    async def set_config_file(self, asked: Answer) -> None:
        await self._may("configured")
        if not isinstance(name := asked.get("config_file"), str):
            raise ConfigError("config_file is missing; it is the name of a file.")
        self._settings = self._from_file(name)
        self._configured, self._changed = True, False

    async def set_writer(self, asked: Answer) -> None:
        await self._may("configured")
        if not self._settings.has_writer:
            raise Refused("Streamer has no std-det-writer stream to be configured.")
        try:
            self._run = WriterConfig.model_validate(asked)
        except ValidationError as error:
            raise ConfigError(in_words(error.errors(include_url=False), WriterConfig)) from error
        self._configured = True

    async def start(self, _: Answer) -> None:
        if self.state is not State.INITIALIZED:
            raise Refused(f"Streamer in state {self.state.name} can not be started.")
        config = self._control.config
        if isinstance(config, DetectorConfig) and config.source != self._settings.source:
            await self._control.set_source(self._settings.source)
        await self._control.set_outputs([self._with_run(one, self._run) for one in self._settings.outputs])
        self._restarts = self._control.restarts
        await self._control.pause(False)

    async def stop(self, _: Answer) -> None:
        if self.state is not State.RUNNING:
            raise Refused("Streamer is not running.")
        await self._end()

    async def _end(self) -> None:
        """Take no more frames. The writer closes its file, and the next run has to be told anew."""
        await self._control.pause(True)
        self._run, self._configured = None, False
        if any(one.writer is not None for one in self._control.config.outputs):
            await self._control.set_outputs([self._with_run(one, None) for one in self._control.config.outputs])

    async def _may(self, what: str) -> None:
        """Whether settings may be changed now. What an error has left running is ended first."""
        if self.state is State.RUNNING:
            raise Refused(f"Streamer in state RUNNING can not be {what}.")
        if not self._control.config.paused:
            await self._end()

    def _from_file(self, name: str) -> Settings:
        """Raises `ConfigError` for a file outside of the folder of such files, or one that can't be taken."""
        document = yamlfile.read(self._path(name))
        if not repeater_json.is_old(document.values):
            raise ConfigError(f"{name} has no {repeater_json.IN} and {repeater_json.OUT}.")
        values = repeater_json.convert(document.values, document.place, document.path.parent)
        outputs = [one if self._encoder == "as-received" else _sent_as(one, self._encoder) for one in values["outputs"]]
        config = self._control.config.changed(outputs=outputs)
        source = self._settings.source.model_copy(update=values["source"])
        return self._settings._replace(source=source, outputs=tuple(config.outputs), config_file=name)

    def _path(self, name: str) -> Path:
        compat = self._control.config.compat
        folder = compat.directory if compat is not None else None
        if folder is None:
            raise ConfigError(
                "This service reads no configuration files.", "Give it a folder of them: compat.directory."
            )
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ConfigError(f"{name} is not in the folder of configuration files.", "Give the name of one there.")
        return path

    @property
    def _encoder(self) -> str:
        """What outputs send that have none of their own."""
        return "as-received" if self._control.config.has_messages else "array-1.0"

    @staticmethod
    def _with_run(output: OutputConfig, run: WriterConfig | None) -> OutputConfig:
        return output.model_copy(update={"writer": run}) if output.encoder == WRITER else output

    async def answer(self, act: Act, request: Request) -> Answer:
        """Do what is asked, one at a time, and say how it went."""
        try:
            # Read before anybody has to wait for it: a client may never send the rest.
            asked = await body_of(request)
            async with self._one_at_a_time:
                more = await act(asked)
        except (Refused, StreamdetError) as error:
            return self.failed(str(error))
        return self.done(**(more or {}))

    def done(self, **more: Any) -> Answer:
        return {"response": "success", "state": self._said_state(), **more}

    def failed(self, error: str) -> Answer:
        return {"response": "error", "error": error, "state": self._said_state()}

    def _said_state(self) -> list[Any]:
        state = self.state
        return [state.name, state.value]


def router(control: Control, board: StatusBoard) -> APIRouter:
    """The old paths."""
    routes, repeater = APIRouter(), Repeater(control, board)

    @routes.get("/alive")
    async def alive() -> Answer:
        return {"response": "success"}

    @routes.get("/get_state")
    async def get_state() -> Answer:
        return repeater.done()

    @routes.get("/get_status")
    async def get_status() -> Answer:
        return repeater.done(config=repeater.config())

    acts = {
        "/initialize": repeater.initialize,
        "/set_config_from_dict": repeater.set_config,
        "/set_config_from_file": repeater.set_config_file,
        "/set_writer_config": repeater.set_writer,
        "/set_writer_config_rest": repeater.set_writer,
        "/start": repeater.start,
        "/stop": repeater.stop,
    }
    for path, act in acts.items():
        routes.post(path)(partial(repeater.answer, act))
    return routes


def _settings_of(config: Any) -> Settings:
    """The settings that a service was started with."""
    blocks = [one.send.of for one in config.outputs if one.send is not None and one.send.of is not None]
    return Settings(config.source, tuple(config.outputs), blocks[0] if blocks else FRAME_BLOCK, config.io_threads)


def _sent_as(output: dict[str, Any], encoder: str) -> dict[str, Any]:
    return output if output["encoder"] == WRITER else {**output, "encoder": encoder}
