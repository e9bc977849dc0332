"""The SDK's functions about timing, and about a run: arm, trigger, stop, and how far it is."""

from __future__ import annotations

from typing import Any

from bluesky_streamdet.xspress3.constants import (
    GAP_DEBOUNCE,
    ITFG_MAX_FRAMES,
    MAX_DEBOUNCE,
    MAX_FIXED_FRAME,
    TIME_A_DEBOUNCE_SHIFT,
    AcquireInPause,
    AltTtl,
    ErrorCode,
    GapMode,
    ItfgTrigger,
    TimeA,
    TimeSource,
)
from bluesky_streamdet.xspress3.simulation.bench import Bench
from bluesky_streamdet.xspress3.simulation.refusal import Refusal, out_of_range, whole_range
from bluesky_streamdet.xspress3.simulation.setup_calls import OK, null, put
from bluesky_streamdet.xspress3.simulation.timing import ItfgSetup

ITFG_VERSION = 4
"""Of the internal frame generator: it can count several triggers into a frame."""

LARGEST = 0x7FFFFFFF


class RunCalls:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    # Timing

    def set_glob_time_a(self, path: int, card: int, value: int) -> int:
        system = self._bench.system(path)
        for one in system.chosen_cards(card):
            system.time_a[one] = value
        return OK

    def get_glob_time_a(self, path: int, card: int, value: Any) -> int:
        system = self._bench.system(path)
        put(value, system.time_a[system.card(card)])
        return OK

    def set_glob_time_fixed(self, path: int, card: int, value: int) -> int:
        system = self._bench.system(path)
        for one in system.chosen_cards(card):
            system.time_fixed[one] = value
        return OK

    def get_glob_time_fixed(self, path: int, card: int, value: Any) -> int:
        system = self._bench.system(path)
        put(value, system.time_fixed[system.card(card)])
        return OK

    def get_glob_time_stat_a(self, path: int, card: int, value: Any) -> int:
        """Bits of `TimeStatus`, and the frame that is taken, or was last."""
        system = self._bench.system(path)
        system.card(card)
        now = system.advance()
        run = system.run
        if run is None:
            put(value, 0)
            return OK
        frame = max(run.begun(card, now) - 1, 0) & MAX_FIXED_FRAME
        put(value, int(run.status(card, now)) | frame)
        return OK

    def set_timing(self, path: int, setup: Any) -> int:
        """The first card as it is told; the others follow its veto, debounced for less than its gap."""
        system = self._bench.system(path)
        if not setup:
            raise null("setup")
        wanted = setup[0]
        if not 0 <= wanted.t_src <= max(TimeSource):
            raise out_of_range("t_src", wanted.t_src, f"0 to {int(max(TimeSource))}")
        for debounce in (wanted.debounce, wanted.override_debounce_other):
            if not 0 <= debounce <= MAX_DEBOUNCE:
                raise out_of_range("debounce", debounce, f"0 to {MAX_DEBOUNCE}")
        first = wanted.t_src | (TimeA.F0_INV * bool(wanted.inv_f0)) | (TimeA.VETO_INV * bool(wanted.inv_veto))
        first |= (TimeA.LOOP_IO * bool(wanted.loop_io)) | wanted.card0_a_extra
        other = wanted.override_debounce_other or GAP_DEBOUNCE[system.itfg[0].gap]
        following = TimeSource.TTL_VETO_ONLY | other << TIME_A_DEBOUNCE_SHIFT | wanted.cardn_a_extra
        for card in range(len(system.cards)):
            system.time_a[card] = following if card else first | wanted.debounce << TIME_A_DEBOUNCE_SHIFT
            system.time_fixed[card] = wanted.fixed
        return OK

    def set_alt_ttl_out(self, path: int, card: int, alt_ttl: int, _force: int) -> int:
        self._bench.system(path).chosen_cards(card)
        if alt_ttl not in set(AltTtl):
            raise out_of_range("alt_ttl", alt_ttl, ", ".join(str(int(one)) for one in AltTtl))
        return OK

    def has_itfg(self, path: int, card: int) -> int:
        self._bench.system(path).card(card)
        return ITFG_VERSION

    def itfg_setup(self, path: int, card: int, frames: int, cycles: int, trigger: int, gap: int) -> int:
        return self.itfg_setup2(path, card, frames, cycles, trigger, gap, 0, 0, 0)

    def itfg_setup2(
        self,
        path: int,
        card: int,
        frames: int,
        cycles: int,
        trigger: int,
        gap: int,
        in_pause: int,
        _marker_period: int,
        _marker_frame: int,
    ) -> int:
        system = self._bench.system(path)
        cards = system.chosen_cards(card)
        if not 0 <= frames <= ITFG_MAX_FRAMES:
            raise out_of_range("num_tf", frames, f"0 to {ITFG_MAX_FRAMES}")
        if cycles < 1:
            raise out_of_range("col_time", cycles, "1 or more")
        for name, value, kind in (
            ("trig_mode", trigger, ItfgTrigger),
            ("gap_mode", gap, GapMode),
            ("acq_in_pause", in_pause, AcquireInPause),
        ):
            if value not in set(kind):
                raise out_of_range(name, value, ", ".join(str(int(one)) for one in kind))
        setup = ItfgSetup(frames, cycles, ItfgTrigger(trigger), GapMode(gap), AcquireInPause(in_pause))
        for one in cards:
            system.itfg[one] = setup
        return OK

    def itfg_get_setup(self, path: int, card: int, frames: Any, cycles: Any, trigger: Any, gap: Any) -> int:
        system = self._bench.system(path)
        setup = system.itfg[system.card(card)]
        for pointer, value in zip((frames, cycles, trigger, gap), setup[:4], strict=True):
            put(pointer, int(value))
        return OK

    def itfg_start(self, path: int, card: int) -> int:
        return self._restart(path, card, begin=True)

    def itfg_stop(self, path: int, card: int) -> int:
        return self._restart(path, card, begin=False)

    # A run

    def histogram_clear(self, path: int, channel: int, channels: int, frame: int, frames: int) -> int:
        system = self._bench.system(path)
        whole_range("channels", channel, channels, len(system.channels))
        whole_range("frames", frame, frames, system.capacity)
        system.clear()
        return OK

    def histogram_arm(self, path: int, card: int) -> int:
        self._bench.system(path).start(card, enable=False)
        return OK

    def histogram_start(self, path: int, card: int) -> int:
        self._bench.system(path).start(card, enable=True)
        return OK

    def histogram_continue(self, path: int, card: int) -> int:
        return self._enable(path, card, high=True)

    def histogram_pause(self, path: int, card: int) -> int:
        return self._enable(path, card, high=False)

    def histogram_stop(self, path: int, card: int) -> int:
        system = self._bench.system(path)
        system.chosen_cards(card)
        system.stop(card)
        return OK

    def histogram_is_busy(self, path: int, channel: int) -> int:
        self._bench.system(path).channel(channel)
        return self.histogram_is_any_busy(path)

    def histogram_is_any_busy(self, path: int) -> int:
        """1 while frames may come. A Mini never says so."""
        system = self._bench.system(path)
        now = system.advance()
        run = system.run
        busy = run is not None and any(run.is_running(card, now) for card in range(len(system.cards)))
        return int(busy and not system.is_mini)

    def scaler_check_progress(self, path: int) -> int:
        return min(self._complete(path), LARGEST)

    def scaler_check_progress_details(self, path: int, flags: Any, _quiet: int, furthest: Any) -> int:
        """Complete frames; furthest is the number of frames that have begun in the card that is the furthest."""
        complete = self._complete(path)
        system = self._bench.system(path)
        run, now = system.run, system.now
        put(flags, 0 if run is None else int(run.flags))
        put(furthest, 0 if run is None else run.furthest(now))
        return complete

    def histogram_get_circ_overrun(self, path: int, channel: int, first: Any) -> int:
        """How many frames were overwritten, of one channel or the worst of all, and the number of the first."""
        system = self._bench.system(path)
        channel = system.channel(channel) if channel >= 0 else -1
        system.advance()
        if system.run is None:
            put(first, -1)
            return 0
        lost = system.run.memory.lost(channel)
        put(first, lost.first)
        return lost.frames

    def _complete(self, path: int) -> int:
        system = self._bench.system(path)
        now = system.advance()
        if system.run is None:
            if system.is_mini:
                raise Refusal(ErrorCode.ERROR, "there is no progress before the first run is armed")
            return 0
        return system.run.complete(now)

    def _enable(self, path: int, card: int, high: bool) -> int:
        system = self._bench.system(path)
        cards = system.chosen_cards(card)
        now = system.advance()
        system.running_run().enable(cards, now, high)
        system.advance()
        return OK

    def _restart(self, path: int, card: int, begin: bool) -> int:
        system = self._bench.system(path)
        cards = system.chosen_cards(card)
        now = system.advance()
        for one in cards:
            system.running_run().restart(one, now, begin)
        system.advance()
        return OK
