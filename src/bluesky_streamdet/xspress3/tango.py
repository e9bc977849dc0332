"""The Tango device: the attributes, commands and properties that Xspress3 has in Tango at its home, and more.

It stands in front of a streaming service, which owns the detector, so that it answers at all times. Names and meanings
of what was there before are kept; none is a word that ophyd-async keeps for itself. Only this file imports tango.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from tango import ApiUtil, AttrWriteType, AutoTangoAllowThreads, DevFailed, DevState, EnsureOmniThread, Except
from tango.server import Device, DeviceMeta, attribute, command, device_property, run

from bluesky_streamdet.core.errors import ConfigError, RequestRefused, StreamdetError
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.xspress3 import tango_readback as readback
from bluesky_streamdet.xspress3.config import DATA_PORT, MONITOR_PORT, PUBLIC_PORT
from bluesky_streamdet.xspress3.constants import BINS_PER_MCA
from bluesky_streamdet.xspress3.tango_attributes import (
    IMAGE,
    OF_CHANNEL,
    OF_FRAME,
    SEEN,
    SETTINGS,
    SPECTRA,
    OfFrame,
    Seen,
    Setting,
    dead_time_energy,
    of_channels,
    spectrum_range,
)
from bluesky_streamdet.xspress3.tango_host import CONFIG_PATH, HOSTS, value_of, wanted_service
from bluesky_streamdet.xspress3.tango_session import Session
from bluesky_streamdet.xspress3.tango_settings import Settings, mode_of
from bluesky_streamdet.xspress3.tango_state import View, condition

log = logging.getLogger(__name__)

SERVER = "Xspress3DS"
"""Name of the server and of the class, as Tango databases have them."""
START_PATIENCE = 90.0
"""Seconds that the first start waits for the service, so that the channels are there when the server is ready."""
INIT_PATIENCE = 2.0
"""Seconds that Init waits for it; a Tango client gives up after 3. What takes longer goes on with the state INIT."""
DATA_PERIOD = 1.0
"""Seconds between two events of spectra, and of scalars."""
OWN = ("State", "Status", "LiveTime", "ReadoutTime", "SpectrumRange", "DeadTimeEnergy", "TotalSpectra")
"""Attributes that are in none of the tables."""


def _setting(name: str, row: Setting) -> attribute:
    def read(device: Xspress3DS) -> Any:
        return getattr(device.settings, row.field)

    def write(device: Xspress3DS, value: Any) -> None:
        with device.telling(name):
            setattr(device.settings, row.field, mode_of(value) if name == "TriggerMode" else value)
        device.push_change_event(name, value)
        device.push_change_event("LiveTime", device.settings.live_time)
        device.push_change_event("ReadoutTime", device.settings.gap)

    return attribute(fget=read, fset=write, dtype=row.dtype, doc=row.doc, **row.details)


def _seen(row: Seen) -> attribute:
    def read(device: Xspress3DS) -> Any:
        return row.read(device.session.view())

    return attribute(fget=read, dtype=row.dtype, doc=row.doc, **row.details)


def _of_frame(name: str, row: OfFrame) -> attribute:
    def read(device: Xspress3DS) -> Any:
        with device.telling(name):
            return row.read(device.session.latest(), device.session.view())

    return attribute(fget=read, dtype=row.dtype, doc=row.doc, **row.details)


_Tabled: Any = DeviceMeta(
    "_Tabled",
    (Device,),
    {name: _setting(name, row) for name, row in SETTINGS.items()}
    | {name: _seen(row) for name, row in SEEN.items()}
    | {name: _of_frame(name, row) for name, row in OF_FRAME.items()},
)
"""A device with the attributes of the tables."""


class Xspress3DS(_Tabled):
    """An Xspress3 detector that streams its spectra and writes them to files."""

    ServiceUrl = device_property(str, default_value="", doc="of a service that runs; empty: the device starts its own")
    Simulate = device_property(
        str, default_value="", doc='empty: real hardware; "true", or a JSON object of settings: a simulated detector'
    )
    DataDirectory = device_property(str, default_value="", doc="no file is written outside of it")
    LibraryPath = device_property(str, default_value="", doc="of the SDK's library; empty: it is searched for")
    Name = device_property(str, default_value="", doc="of the detector, for the SDK")
    ConfigPath = device_property(str, default_value=CONFIG_PATH, doc="directory of the calibration that is restored")
    StreamInterface = device_property(str, default_value="127.0.0.1", doc='"*": other machines may receive the stream')
    StreamerPort = device_property(int, default_value=DATA_PORT, doc="of the lossless stream; 0: any that is free")
    PublicPort = device_property(int, default_value=PUBLIC_PORT, doc="of the stream for everybody; 0: any that is free")
    MonitorPort = device_property(int, default_value=MONITOR_PORT, doc="of the latest frame; 0: any that is free")
    BaseIP = device_property(str, default_value="", doc="from which the cards are counted")
    BasePort = device_property(int, default_value=-1, doc="from which ports are counted")
    BaseMAC = device_property(str, default_value="", doc="from which MAC addresses are counted")
    Cards = device_property(int, default_value=1)
    MaxFrames = device_property(int, default_value=16384, doc="that the detector's buffer holds")
    EventWidths = device_property((int,), default_value=[], doc="in clock cycles, in place of the calibrated ones")
    NumberTakenFiles = device_property(
        bool, default_value=False, doc="add a number to the name of a file that exists, instead of refusing it"
    )

    given: ClassVar[Mapping[str, Any]] = {}
    """Properties from the command line."""
    session: Session
    settings: Settings

    # Attributes with code of their own.

    @attribute(dtype=float, unit="s", format="%.3e", doc="that the detector needs between two frames")
    def ReadoutTime(self) -> float:  # noqa: N802
        return self.settings.gap

    @attribute(dtype=float, unit="s", format="%e", doc="of a frame, in which the detector counts")
    def LiveTime(self) -> float:  # noqa: N802
        return self.settings.live_time

    @attribute(dtype=("DevLong",), max_dim_x=2, min_value=0, max_value=BINS_PER_MCA, doc="first bin, and how many")
    def SpectrumRange(self) -> list[int]:  # noqa: N802
        return spectrum_range(self.session.view())

    @SpectrumRange.write
    def _write_range(self, value: Sequence[int]) -> None:
        with self.doing("SpectrumRange"):
            first, bins = readback.pair(value)
            self.session.instruct("set_range", first=int(first), bins=int(bins))

    @attribute(dtype=float, unit="keV", min_value=0.0, doc="for which the SDK's model corrects the dead time; 0: unset")
    def DeadTimeEnergy(self) -> float:  # noqa: N802
        return dead_time_energy(self.session.view())

    @DeadTimeEnergy.write
    def _write_energy(self, value: float) -> None:
        with self.doing("DeadTimeEnergy"):
            self.session.instruct("set_dead_time_energy", kev=value)

    @attribute(dtype=(("DevULong64",),), doc="sum over the frames of the series, by channel", **IMAGE)
    def TotalSpectra(self) -> Any:  # noqa: N802
        with self.telling("TotalSpectra"):
            view = self.session.view()
            if view.latest is None:
                return readback.spectra(None, view).astype(np.uint64)
            return readback.flat(self.session.ask("total")["spectra"]).astype(np.uint64)

    # Commands.

    @command
    def Arm(self) -> None:  # noqa: N802
        """Begin a series. When it fails, nothing is armed."""
        with self.doing("Arm"):
            self.session.arm(
                replace(self.settings, number_taken=self.given.get("NumberTakenFiles", self.NumberTakenFiles))
            )

    @command
    def SoftwareTrigger(self) -> None:  # noqa: N802
        """Start the next frame, or all."""
        with self.doing("SoftwareTrigger"):
            self.session.instruct("trigger")

    @command
    def SoftwareRelease(self) -> None:  # noqa: N802
        """End the frame that SoftwareTrigger has started, in the mode SOFTWARE_TIMED."""
        with self.doing("SoftwareRelease"):
            self.session.instruct("release")

    @command
    def Stop(self) -> None:  # noqa: N802
        """End the series after the frames that are there. No error when none runs."""
        with self.doing("Stop"):
            self.session.stop()

    @command
    def Abort(self) -> None:  # noqa: N802
        """End the series now, and discard what is not written yet. No error when none runs."""
        with self.doing("Abort"):
            self.session.abort()

    @command(dtype_in=(int,), doc_in="channel (from 0), first and last frame (from 1)", dtype_out=(int,))
    def ReadRawCounts_Window1(self, argument: Sequence[int]) -> Any:  # noqa: N802
        """Counts of window 1; -1 for a frame that is not there."""
        return self.read_counts("ReadRawCounts_Window1", 0, argument).astype(np.int64)

    @command(dtype_in=(int,), doc_in="channel (from 0), first and last frame (from 1)", dtype_out=(int,))
    def ReadRawCounts_Window2(self, argument: Sequence[int]) -> Any:  # noqa: N802
        """Counts of window 2; -1 for a frame that is not there."""
        return self.read_counts("ReadRawCounts_Window2", 1, argument).astype(np.int64)

    @command(dtype_in=(int,), doc_in="channel (from 0), first and last frame (from 1)", dtype_out=(float,))
    def ReadDtcCounts_Window1(self, argument: Sequence[int]) -> Any:  # noqa: N802
        """Counts of window 1 times DeadTimeCorrection; -1 for a frame that is not there."""
        return self.read_counts("ReadDtcCounts_Window1", 0, argument, correct=True)

    @command(dtype_in=(int,), doc_in="channel (from 0), first and last frame (from 1)", dtype_out=(float,))
    def ReadDtcCounts_Window2(self, argument: Sequence[int]) -> Any:  # noqa: N802
        """Counts of window 2 times DeadTimeCorrection; -1 for a frame that is not there."""
        return self.read_counts("ReadDtcCounts_Window2", 1, argument, correct=True)

    @command(dtype_in=(int,), doc_in="frame (from 0; -1: the latest), channel", dtype_out=("DevULong",))
    def ReadSpectrum(self, argument: Sequence[int]) -> Any:  # noqa: N802
        """The spectrum of one channel in one of the recent frames."""
        with self.telling("ReadSpectrum"):
            spectrum, _ = self.read_frame(argument)
            return spectrum.ravel().astype(np.uint32)

    @command(dtype_in=(int,), doc_in="frame (from 0; -1: the latest), channel", dtype_out=(float,))
    def ReadCorrectedSpectrum(self, argument: Sequence[int]) -> Any:  # noqa: N802
        """The same, times its dead-time correction."""
        with self.telling("ReadCorrectedSpectrum"):
            spectrum, factor = self.read_frame(argument)
            return spectrum.ravel() * factor

    @command(dtype_in=int, doc_in="frame (from 0; -1: the latest)", dtype_out=str)
    def ReadScalars(self, frame: int) -> str:  # noqa: N802
        """All scalars of one of the recent frames, as a JSON object of lists."""
        with self.telling("ReadScalars"):
            answer = self.session.ask("read", frame=int(frame))
            return json.dumps({"frame": answer["frame"], **answer["scalars"]})

    @command(dtype_in=(int,), doc_in="left, right, bins that come out; of up to 8 regions, one behind another")
    def SetRegions(self, argument: Sequence[int]) -> None:  # noqa: N802
        """Have the detector record these parts of the spectrum only."""
        with self.doing("SetRegions"):
            if len(argument) % 3 or not len(argument):
                raise RequestRefused(f"{len(argument)} numbers are no regions.", "Give three for each.")
            self.session.instruct("set_regions", regions=np.reshape(argument, (-1, 3)).tolist())

    @command
    def ClearRegions(self) -> None:  # noqa: N802
        """Have the detector record whole spectra again."""
        with self.doing("ClearRegions"):
            self.session.instruct("set_regions", regions=[])

    @command(dtype_in=str, doc_in='JSON object with "channel" and what changes of it')
    def SetDeadTime(self, argument: str) -> None:  # noqa: N802
        """Set parameters of the SDK's dead-time model."""
        with self.doing("SetDeadTime"):
            self.session.instruct("set_dead_time", **readback.json_object(argument))

    @command(dtype_in=str, doc_in="an existing directory, on the service's machine")
    def SaveSettings(self, directory: str) -> None:  # noqa: N802
        """Have the SDK write its settings."""
        with self.doing("SaveSettings"):
            self.session.instruct("save_settings", directory=directory)

    @command(dtype_in=str, doc_in="a directory, on the service's machine")
    def RestoreSettings(self, directory: str) -> None:  # noqa: N802
        """Have the SDK restore settings, such as a calibration."""
        with self.doing("RestoreSettings"):
            self.session.instruct("restore_settings", directory=directory)

    @command(dtype_in=(float,), doc_in="how many, seconds from one to the next")
    def SimulatePulses(self, argument: Sequence[float]) -> None:  # noqa: N802
        """Edges at the trigger input of a simulated detector."""
        with self.doing("SimulatePulses"):
            count, period = readback.pair(argument)
            self.session.instruct("pulse", count=int(count), period=period)

    @command(dtype_in=float, doc_in="seconds")
    def SimulateGate(self, seconds: float) -> None:  # noqa: N802
        """Open the gate of a simulated detector for a while."""
        with self.doing("SimulateGate"):
            self.session.instruct("gate", seconds=seconds)

    # What Tango calls.

    def init_device(self) -> None:
        super().init_device()
        before: Session | None = self.__dict__.get("session")
        if before is None:
            self.settings = Settings()
            self._made = 0
            self._pushed: dict[str, Any] = {}
            self._frame_pushed: tuple[float, Any] = (0.0, None)
            for name in {*OWN, *SETTINGS, *SEEN, *OF_FRAME} - SPECTRA:
                self.set_change_event(name, True, False)
            for name in SPECTRA:
                self.set_data_ready_event(name, True)
        self._hears = False
        known = before.view().hardware if before is not None else None
        self.session = Session(self._connect, self._hear, renew=before is not None, known=known)
        self.session.open(START_PATIENCE if before is None else INIT_PATIENCE)
        view = self.session.view()
        self._make_channels(view)
        self._show(view)
        self._hears = True
        if before is not None:
            self._hear(view)

    def delete_device(self) -> None:
        if "session" in self.__dict__:
            with AutoTangoAllowThreads(self):
                self.session.close()
        super().delete_device()

    def always_executed_hook(self) -> None:
        self._show(self.session.view())

    # What attributes and commands are made of.

    @contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """Errors of ours become those of Tango."""
        try:
            yield
        except StreamdetError as error:
            Except.throw_exception(error.code, str(error), f"{SERVER}.{what}")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """As `telling`, for what may take a moment; other clients may read the state meanwhile."""
        with self.telling(what), AutoTangoAllowThreads(self):
            yield

    def read_counts(self, what: str, window: int, argument: Sequence[int], *, correct: bool = False) -> Any:
        """Counts of a window, float64 (frames,)."""
        with self.doing(what):
            channel, first, last = readback.wanted_frames(argument, self.session.view().count("channels"))
            # Frames that are complete are about to be read out.
            self.session.wait(lambda view: view.count("taken") >= min(last + 1, view.count("acquired")))
            answer = self.session.ask("counts", window=window, channel=channel, first=first, last=last)
            return readback.counts_of(answer, correct=correct)

    def read_frame(self, argument: Sequence[int]) -> tuple[Any, float]:
        """A spectrum, and its dead-time factor."""
        frame, channel = (int(one) for one in readback.pair(argument))
        readback.checked_channel(channel, self.session.view().count("channels"))
        answer = self.session.ask("read", frame=frame, channel=channel)
        return readback.spectrum_of(answer)

    def read_channel(self, attr: Any) -> Any:
        """The attribute of one channel."""
        name = attr.get_name()
        with self.telling(name):
            values = of_channels(self.session.view())
            if name not in values:
                raise RequestRefused(f"The detector has no {name} now.", "Look at its state.")
            return values[name]

    def write_channel(self, attr: Any) -> None:
        """Set a window or a threshold."""
        name, value = attr.get_name(), attr.get_write_value()
        what, _, channel = name.partition("_Ch")
        with self.doing(name):
            if what == "Threshold":
                self.session.instruct("set_threshold", value=int(value), channel=int(channel))
                return
            low, high = readback.window_of(value)
            window = int(what.removeprefix("Window")) - 1
            self.session.instruct("set_window", window=window, low=low, high=high, channel=int(channel))

    # The session.

    def _connect(self) -> ServiceClient:
        properties = {name: getattr(self, name) for name in self.TangoClassClass.device_property_list}
        return HOSTS.get(self.get_name(), wanted_service({**properties, **self.given})).connect()

    def _hear(self, view: View) -> None:
        """Called in a thread of the session, or of a command."""
        if not self._hears:
            return
        with EnsureOmniThread():
            try:
                self._make_channels(view)
                self._show(view)
                self._push(view)
                self._push_frame(view)
            except (DevFailed, StreamdetError) as error:
                # The device was locked for long, or the service has just gone; the next view comes soon.
                log.debug("change events could not be pushed: %s", error)

    def _make_channels(self, view: View) -> None:
        """Attributes of the single channels, as soon as it is known how many there are."""
        for channel in range(self._made, view.count("channels")):
            for kind, row in OF_CHANNEL.items():
                name = f"{kind}_Ch{channel}"
                access = {"access": AttrWriteType.READ_WRITE, "fset": self.write_channel} if row.writable else {}
                self.add_attribute(
                    attribute(name=name, fget=self.read_channel, dtype=row.dtype, doc=row.doc, **access, **row.details)
                )
                self.set_change_event(name, True, False)
            self._made = channel + 1

    def _show(self, view: View) -> None:
        state, text = condition(view)
        self.set_state(getattr(DevState, state))
        self.set_status(text)

    def _push(self, view: View) -> None:
        """Tell who listens what has changed."""
        state, text = condition(view)
        values: dict[str, Any] = {"State": getattr(DevState, state), "Status": text}
        values |= {"SpectrumRange": spectrum_range(view), "DeadTimeEnergy": dead_time_energy(view)}
        values |= {name: row.read(view) for name, row in SEEN.items()} | of_channels(view)
        for name, value in values.items():
            if self._pushed.get(name) != value:
                self.push_change_event(name, value)
                self._pushed[name] = value

    def _push_frame(self, view: View) -> None:
        """Tell who listens of the latest frame, and of the last one of a series."""
        which = view.latest
        pushed_at, pushed = self._frame_pushed
        now = time.monotonic()
        if which == pushed or (view.busy and now - pushed_at < DATA_PERIOD):
            return
        frame = self.session.latest()
        self._frame_pushed = now, which
        for name in OF_FRAME.keys() - SPECTRA:
            self.push_change_event(name, OF_FRAME[name].read(frame, view))
        for name in SPECTRA - ({"TotalSpectra"} if view.busy else set()):
            self.push_data_ready_event(name, OF_FRAME["LastFrame"].read(frame, view))


def serve(arguments: Sequence[str], properties: Mapping[str, str], ready: Callable[[], None]) -> None:
    """Run the server until it is killed or Ctrl-C.

    arguments: those of Tango, the name of the instance first. properties: go before those of the database. ready: is
    called when clients may come. Raises `ConfigError` for a property that there is not, or when Tango does not start.
    """
    defaults = {name: row[2] for name, row in Xspress3DS.TangoClassClass.device_property_list.items()}
    Xspress3DS.given = {name: value_of(name, text, defaults) for name, text in properties.items()}
    if "-nodb" not in arguments and ApiUtil.get_env_var("TANGO_HOST") is None:
        raise ConfigError("No Tango database is known: TANGO_HOST is not set.", "Set it, or do without: give --device.")
    try:
        run((Xspress3DS,), args=[SERVER, *arguments], post_init_callback=ready, raises=True)
    except (DevFailed, RuntimeError) as error:
        raise ConfigError(f"The Tango server could not start: {getattr(error.args[0], 'desc', error)}") from error
    finally:
        HOSTS.close()
