"""The SDK's functions that open a system and say what it is, its settings, and the format of its histograms.

Here and in the other modules of calls, a method is an SDK function without "xsp3_", in this language's spelling. It
gets what C would, and raises `Refusal` where C would return a negative code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bluesky_streamdet.xspress3.constants import ClockSource, ErrorCode, Generation, RunFlags
from bluesky_streamdet.xspress3.simulation import settings
from bluesky_streamdet.xspress3.simulation.bench import Bench
from bluesky_streamdet.xspress3.simulation.format import Region, format_of, with_regions
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range
from bluesky_streamdet.xspress3.simulation.settings import SystemSettings
from bluesky_streamdet.xspress3.simulation.system import REVISIONS, System

OK = 0

_OF_X3 = {ClockSource.INT, ClockSource.XTAL, ClockSource.EXT, ClockSource.FPGA}
_OF_X4 = {ClockSource.MINI_LMK61E2, ClockSource.X4_MIDPLN_CDCM61004, ClockSource.X4_MIDPLN_LMK61E2}
CLOCKS: dict[Generation, set[ClockSource]] = {
    Generation.X3: _OF_X3,
    Generation.X3V7: _OF_X3,
    Generation.MINI: {ClockSource.INT, ClockSource.MINI_CDCM61004, ClockSource.MINI_LMK61E2},
    Generation.X4: {ClockSource.INT} | _OF_X4,
}

ALL_RUN_FLAGS = sum(RunFlags)

MAJOR = 12
"""Bits of a revision below its major number."""


class SetupCalls:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def config(self, cards: int, num_tf: int, _address: Any, _port: int, _mac: Any, channels: int, *_rest: Any) -> int:
        return self._bench.open(cards, num_tf, channels)

    config_init = config

    def close(self, path: int) -> int:
        self._bench.close(path)
        return OK

    def get_revision(self, path: int) -> int:
        return REVISIONS[self._bench.system(path).config.generation]

    def get_generation(self, path: int, card: int) -> int:
        system = self._bench.system(path)
        system.card(card)
        return int(system.generation)

    def get_num_cards(self, path: int) -> int:
        return len(self._bench.system(path).cards)

    def get_chans_per_card(self, path: int) -> int:
        return self._bench.system(path).channels_per_card

    def get_num_chan(self, path: int) -> int:
        return len(self._bench.system(path).channels)

    def get_max_num_chan(self, path: int) -> int:
        system = self._bench.system(path)
        return system.channels_per_card * len(system.cards)

    def get_num_chan_used(self, path: int, card: int) -> int:
        system = self._bench.system(path)
        return len(system.cards[system.card(card)])

    def get_bins_per_mca(self, path: int) -> int:
        system = self._bench.system(path)
        form = system.formats[0] or format_of(12, 0, 0)
        return form.bins

    def get_clock_period(self, path: int, card: int) -> float:
        system = self._bench.system(path)
        system.card(card)
        return system.config.clock_period

    def clocks_setup(self, path: int, card: int, source: int, _flags: int, _tp_type: int) -> int:
        system = self._bench.system(path)
        system.chosen_cards(card)
        system.refuse_while_running("clocks_setup")
        allowed = CLOCKS[system.generation]
        if source not in allowed:
            raise out_of_range("clk_src", source, ", ".join(sorted(str(int(one)) for one in allowed)))
        has_meter = system.generation in {Generation.MINI, Generation.X4}
        return round(1 / system.config.clock_period) if has_meter else OK

    def set_run_flags(self, path: int, flags: int) -> int:
        system = self._bench.system(path)
        system.refuse_while_running("set_run_flags")
        if flags & ~ALL_RUN_FLAGS:
            raise out_of_range("flags", hex(flags), f"bits of {ALL_RUN_FLAGS:#x}")
        system.run_flags = RunFlags(flags)
        return OK

    def get_run_flags(self, path: int) -> int:
        return int(self._bench.system(path).run_flags)

    # Settings

    def save_settings(self, path: int, directory: bytes | None) -> int:
        system = self._bench.system(path)
        system.refuse_while_running("save_settings")
        content = SystemSettings(
            generation=system.config.generation,
            revision=self.get_revision(path),
            run_flags=int(system.run_flags),
            energy=system.energy,
        )
        settings.save(_directory(directory), content, system.channels)
        return OK

    def restore_settings(self, path: int, directory: bytes | None, force: int) -> int:
        system = self._bench.system(path)
        system.refuse_while_running("restore_settings")

        def fits(saved: SystemSettings) -> bool:
            same = saved.revision >> MAJOR == self.get_revision(path) >> MAJOR
            return bool(force) or (same and saved.generation == system.config.generation)

        found, channels = settings.restore(_directory(directory), len(system.channels), fits)
        system.restore(channels, found.run_flags, found.energy)
        return OK

    restore_settings_and_clock = restore_settings

    # The format

    def format_run(
        self, path: int, channel: int, aux1: int, _threshold: int, aux2: int, _flags: int, _mode: int, bits: int
    ) -> int:
        system = self._bench.system(path)
        channels = system.chosen_channels(channel)
        form = format_of(bits, aux1, aux2)
        system.set_format(channels, form)
        # Channels may be given their formats one after the other.
        missing = [one for one, has in enumerate(system.formats) if has is None]
        for one in missing:
            system.formats[one] = form
        try:
            return system.capacity
        finally:
            for one in missing:
                system.formats[one] = None

    def get_format(self, path: int, channel: int, bins: Any, aux1: Any, aux2: Any, frames: Any) -> int:
        system = self._bench.system(path)
        form = system.formats[system.channel(channel)]
        if form is None:
            raise Refusal(ErrorCode.ERROR, f"channel {channel} has no format: call xsp3_format_run first")
        for pointer, value in ((bins, form.bins), (aux1, form.aux), (aux2, 1)):
            put(pointer, value)
        if frames:
            put(frames, system.capacity)
        return OK

    def has_roi(self, path: int, channel: int) -> int:
        self._bench.system(path).chosen_channels(channel)
        return 1

    def init_roi(self, path: int, channel: int) -> int:
        system = self._bench.system(path)
        self._set_regions(system, channel, ())
        return OK

    def set_roi(self, path: int, channel: int, number: int, rois: Any) -> int:
        system = self._bench.system(path)
        if number > 0 and not rois:
            raise null("roi")
        regions = tuple(Region(rois[i].lhs, rois[i].rhs, rois[i].out_bins) for i in range(max(min(number, 99), 0)))
        self._set_regions(system, channel, regions, checked=True)
        return sum(region.bins for region in regions)

    def _set_regions(self, system: System, channel: int, regions: tuple[Region, ...], checked: bool = False) -> None:
        system.refuse_while_running("regions")
        for one in system.chosen_channels(channel):
            form = system.formats[one]
            if form is None:
                if not checked:
                    continue
                raise Refusal(ErrorCode.ERROR, "regions need a format: call xsp3_format_run first")
            system.formats[one] = with_regions(form, regions) if checked else form._replace(regions=())
        system.change()


def put(pointer: Any, value: Any) -> None:
    """Write where C's caller wants it, unless it doesn't: NULL."""
    if pointer:
        pointer[0] = value


def null(what: str) -> Refusal:
    return Refusal(ErrorCode.ERROR, f"{what} is NULL")


def _directory(name: bytes | None) -> Path:
    if name is None:
        raise null("dir_name")
    return Path(name.decode(errors="surrogateescape"))
