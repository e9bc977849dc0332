"""The beamline of a session: a RunEngine, its catalog, devices, plots; and the end of all of it."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bluesky import RunEngine

from bluesky_streamdet.beamline.catalog import LateCatalog, LateWriter
from bluesky_streamdet.beamline.making import make_detector, make_device, make_plot
from bluesky_streamdet.beamline.overview import overview
from bluesky_streamdet.beamline.progress import Progress
from bluesky_streamdet.beamline.reasons import telling_reasons
from bluesky_streamdet.beamline.settings import FOLDER, BeamlineConfig, DetectorSection
from bluesky_streamdet.beamline.simulated import SimulatedPart
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.runs import run_starts
from bluesky_streamdet.devices.xspress3.local import LocalXspress3
from bluesky_streamdet.local import TiledProcess, open_catalog
from bluesky_streamdet.plans import RecordedValues, RequiredMetadata

EMBEDDED, NONE = "embedded", "none"


class Beamline:
    """Makes everything that `config` says; parts that take their time start meanwhile, and are waited for when wanted.

    RE: a RunEngine of one's own. Raises `ConfigError`. `close` ends all that was started.
    """

    def __init__(self, config: BeamlineConfig, RE: RunEngine | None = None) -> None:  # noqa: N803
        self.config = config
        with ExitStack() as stack:
            if config.folder is None:
                self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamdet-")))
            else:
                self.folder = config.folder.expanduser().resolve()
            self.frames = (config.frames or self.folder / "frames").expanduser().resolve()
            if config.frames is None:
                _make(self.frames)
            self.db = self._catalog(stack)
            self.parts: dict[str, Any] = {}
            for name, section in config.detectors.items():
                if section.simulate is not None:
                    self.parts[name] = _part(name, section, self.frames)
                    stack.callback(self.parts[name].close)
            self.RE = RE if RE is not None else RunEngine({})
            self._prepare_engine()
            self.detectors = {
                name: make_detector(name, one, self.parts.get(name)) for name, one in config.detectors.items()
            }
            self.devices = {name: make_device(name, one, self.parts) for name, one in config.devices.items()}
            if config.record:
                values = {key: self.devices[name] for key, name in config.record.items()}
                self.RE.preprocessors.append(RecordedValues(values))
            self.plots = self._plots(stack)
            for part in self.parts.values():
                if isinstance(part, SimulatedPart):
                    # Not before, as all that is imported here would have to share the cores with it.
                    part.begin()
            self._stack = stack.pop_all()

    @property
    def namespace(self) -> dict[str, Any]:
        """What a session calls by name: RE, db, the devices and plots; `overview()` tells of all."""
        named = {"RE": self.RE, "beamline": self, "overview": self.overview}
        if self.db is not None:
            named["db"] = self.db
        return {**named, **self.detectors, **self.devices, **self.plots}

    def overview(self) -> None:
        """Print what is there."""
        print(overview(self))  # noqa: T201, it is asked for on the command line

    def close(self) -> None:
        """End everything, the last first. May be called twice."""
        self._stack.close()

    def _catalog(self, stack: ExitStack) -> LateCatalog | None:
        config = self.config
        if config.catalog == NONE:
            return None
        if config.catalog == EMBEDDED:
            stack.enter_context(_own(self.folder))
            # The slowest part, so it starts first.
            server = stack.enter_context(TiledProcess(self.folder / "catalog", self.frames))
            catalog = LateCatalog(lambda: open_catalog(server.uri, config.container))
        else:
            catalog = LateCatalog(lambda: open_catalog(config.catalog, config.container))
        stack.callback(catalog.close)
        return catalog

    def _prepare_engine(self) -> None:
        config, engine = self.config, self.RE
        engine.md.update({"beamline": config.name, **config.metadata})
        engine.preprocessors.append(telling_reasons(engine))
        if config.required_metadata:
            engine.md_validator = RequiredMetadata(config.required_metadata, config.required_metadata_but_not)
        engine.subscribe(run_starts)
        if self.db is not None:
            engine.subscribe(LateWriter(self.db))
        if config.table:
            from bluesky.callbacks.best_effort import BestEffortCallback

            table = BestEffortCallback()
            if not has_window():
                table.disable_plots()
            engine.subscribe(table)
        if config.progress and not in_worker():
            engine.waiting_hook = Progress()  # type: ignore[assignment]

    def _plots(self, stack: ExitStack) -> dict[str, Any]:
        """Live plots; without a window, into files of their names."""
        plots = {}
        for name, section in self.config.plots.items():
            if not has_window() and "save" not in section.others:
                section = section.model_copy(update={"save": self.folder / f"{name}.png"})
            plots[name] = make_plot(name, section)
            self.RE.subscribe(plots[name])
            if hasattr(plots[name], "close"):
                stack.callback(plots[name].close)
        return plots

    def __repr__(self) -> str:
        return f"<Beamline {self.config.name!r}: {', '.join([*self.detectors, *self.devices])}; overview() says more>"


def in_worker() -> bool:
    """Whether this is a worker of bluesky-queueserver, where nobody looks."""
    queueserver = sys.modules.get("bluesky_queueserver")
    return queueserver is not None and bool(queueserver.is_re_worker_active())


def has_window() -> bool:
    """Whether plots can open windows."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) and not in_worker()


def _make(folder: Path) -> None:
    """Make a folder if it is not there. Raises `ConfigError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = f"Name another: `folder` in the beamline's file, or ${FOLDER}."
        raise ConfigError(f"The folder {folder} can't be made: {error.strerror}.", hint) from error


@contextmanager
def _own(folder: Path) -> Generator[None]:
    """Raises `ConfigError` for the folder of another session: two servers can't write one catalog."""
    _make(folder)
    with (folder / "session.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = f"End it, or give this one a folder of its own in ${FOLDER}."
            raise ConfigError(f"Another session keeps its catalog in {folder}.", hint) from error
        yield


def _part(name: str, section: DetectorSection, frames: Path) -> Any:
    assert section.simulate is not None
    if section.type == "xspress3":
        return LocalXspress3({"system": {"simulate": section.simulate}}, frames, name=name)
    return SimulatedPart(name, section.simulate, frames)
