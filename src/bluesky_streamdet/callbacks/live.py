"""The base of live plots: a thread of its own takes what is newest, and draws it. It never holds up the plan.

The documents only say what there is; the thread reads it from the file, or takes it from the service itself
(`callbacks.direct`). What comes while it draws waits, in one place: a plot of the newest frame skips the others, and
says how many; one of all frames reads them together. Whatever goes wrong is logged, and raised nowhere.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypedDict

from event_model.documents import EventDescriptor, RunStart, RunStop
from numpy.typing import NDArray
from typing_extensions import Unpack

from bluesky_streamdet.callbacks.frames import NOBODY, FrameDocuments, FrameRange, read_patiently
from bluesky_streamdet.callbacks.surfaces import SIZE, Picture, PngFile, Surface, display
from bluesky_streamdet.core.extras import extra

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds to wait for a file that is behind its documents."""
LOOK = 0.5
"""Seconds between two looks whether the program still runs."""
TURN = 0.05
"""Seconds to wait for a frame of a direct source."""
REST = 2.0
"""A plot rests so many times as long as it has read or drawn, as the plan may need the processor."""
LAST_LOOKS = 20
"""How often a direct source is asked after the end of a run, as long as it has something."""
MOST_EARLY = 1000
"""Frames of a direct source that are kept until documents say what they are."""
NOTHING = ("frames", NOBODY, NOBODY)
BLOCK = 32 << 20
"""Bytes of frames that are read together."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames that a plot is given, oldest first.

    frames: (events, *shape of an event). columns: what each event has beside it, by name, (events, …). run, described:
    the run's start document and the events' descriptor; empty when nobody knows.
    """

    key: str
    seq_nums: range
    frames: NDArray[Any]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)


class Direct(Protocol):
    """A source of frames besides the files. Asked by one thread; opens what it needs when first asked, also after a
    `close`. `callbacks.direct` has some.
    """

    def take(self, timeout: float, *, newest: bool) -> Sequence[Shot]:
        """What has come since the last time, or the newest of it; nothing after `timeout` seconds."""
        ...

    def close(self) -> None: ...


class Options(TypedDict, total=False):
    """What all live plots take, besides `save`: a PNG file, written anew for each picture; left out, pictures go into
    a window, a notebook's output, or nowhere, as matplotlib can.

    keys: data keys, or devices; left out, the first of the run that has images. path_map, catalog: as of
    `FrameDocuments`. frames: where to have frames from, instead of the files: the address "tcp://…" of an output of the
    service that publishes, its REST address "http://…", or a `Direct`. show: another place for pictures.
    """

    keys: Collection[str] | None
    path_map: Mapping[str, str] | None
    catalog: Any
    frames: str | Direct | None
    show: Surface | None


class Live(FrameDocuments, ABC):
    """What live plots have in common. They say what they take, by `take`, and what it looks like, by `picture`.

    Both are called in the thread of the plot, which begins with a run and ends after it; `close` waits for that.
    drawn: pictures of the run. skipped: frames that it did not look at, as newer ones had come. missed: frames that the
    file did not have in time. surface: where pictures go.
    """

    columns: Sequence[str] = ()
    """What to read beside the frames."""
    every_row = False
    """Whether it wants all frames, or only the newest."""
    size: tuple[float, float] = SIZE

    def __init__(self, save: str | Path | None = None, **options: Unpack[Options]) -> None:
        with extra("plots", "Live plots"):
            import matplotlib as _  # noqa: F401
        if unknown := sorted(set(options) - set(Options.__annotations__)):
            raise TypeError(f"{type(self).__name__} takes no {', '.join(unknown)}")
        super().__init__(self._offer, options.get("keys"), options.get("path_map"), options.get("catalog"))
        self.drawn = self.skipped = self.missed = 0
        self.surface: Surface = options.get("show") or (PngFile(save) if save is not None else display(self.size))
        self._direct = _direct(options.get("frames"))
        self._context: tuple[str, Mapping[str, Any], Mapping[str, Any]] = NOTHING
        self._early: list[Shot] = []
        self._offered: list[FrameRange] = []
        self._key_of: dict[str, str] = {}
        self._last = 0
        self._complaint = ""
        self._fresh = False
        self._ended = True
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    # What subclasses say.

    @abstractmethod
    def take(self, shot: Shot) -> None:
        """Take frames in."""

    @abstractmethod
    def picture(self) -> Picture | None:
        """What has been taken in, to be drawn; None for nothing."""

    def title(self, shot: Shot) -> str:
        """Which event of which scan it is, and how many were skipped or missed before."""
        return self.titled(shot, f"event {shot.seq_nums[-1]}")

    def titled(self, shot: Shot, what: str) -> str:
        """The same, but of `what`."""
        scan = shot.run.get("scan_id")
        counts = {"skipped": self.skipped, "missed": self.missed}
        noted = (f"{count} {why}" for why, count in counts.items() if count)
        return ", ".join([*([] if scan is None else [f"scan {scan}"]), shot.key, what, *noted])

    # In the thread of the plan.

    def __call__(self, name: str, doc: Any, validate: bool = False) -> tuple[str, Any]:
        try:
            return super().__call__(name, doc, validate)
        except Exception:
            # What a plot can't understand stops no plan.
            log.exception("a document %s is not understood", name)
            return name, doc

    def start(self, doc: RunStart) -> None:
        if not self._runs:
            with self._news:
                self._fresh = True
                self.drawn = self.skipped = self.missed = self._last = 0
                self._key_of.clear()
                self._complaint = ""
                self._context = NOTHING
        super().start(doc)
        self.follow()

    def descriptor(self, doc: EventDescriptor) -> None:
        super().descriptor(doc)
        key = next((one for one in doc["data_keys"] if self._is_frames(one, doc["data_keys"])), None)
        if key is not None:
            self._context = (key, self._runs.get(doc["run_start"], NOBODY), doc)  # type: ignore[assignment]

    def stop(self, doc: RunStop) -> None:
        super().stop(doc)
        if not self._runs:
            self._end()

    def follow(self) -> None:
        """Begin without a run: for frames that come straight from the service, until `close`."""
        with self._news:
            self._ended = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"{type(self).__name__} plot")
                self._thread.start()

    def close(self) -> None:
        """Wait until the last picture of the run is drawn, and end. May be called twice; a new run begins anew."""
        self._end()
        thread = self._thread
        if thread is not None:
            thread.join()
        if self._direct is not None:
            self._direct.close()

    def __repr__(self) -> str:
        counts = f"{self.drawn} pictures of the last run, {self.skipped} frames skipped, {self.missed} missed"
        return f"<{type(self).__name__} {self.surface}: {counts}>"

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _is_frames(self, key: str, data_keys: Mapping[str, Any]) -> bool:
        return "external" in data_keys[key] and self._wants(key, data_keys)

    def _offer(self, offered: FrameRange) -> None:
        """Take note of what was announced."""
        if self._direct is not None:
            return
        with self._news:
            key = self._key_of.setdefault(str(offered.run["uid"]), offered.key)
            if offered.key != key:
                return
            if self._thread is None:
                self.follow()  # the start of this run came before anybody listened here
            if not self.every_row:
                self.skipped += offered.rows - 1 + sum(one.rows for one in self._offered)
                self._offered = [offered.last()]
            elif self._offered and (both := self._offered[-1].joined(offered)) is not None:
                self._offered[-1] = both
            else:
                self._offered.append(offered)
            self._news.notify_all()

    # In the thread of the plot.

    def _work(self) -> None:
        begun = undrawn = False
        looks, rested = 0, 0.0
        while True:
            with self._news:
                self._wait(rested if undrawn else None)
                over = self._ended and not self._offered
                if over and not undrawn and (self._direct is None or looks >= LAST_LOOKS):
                    # Under the lock, so that a run which begins now has a thread of its own.
                    self._thread = None
                    return
                begun, self._fresh = begun and not self._fresh, False
                offered, self._offered = self._offered, []
            began = time.monotonic()
            took = self._take_in(offered)
            undrawn = undrawn or took
            # Of a direct source, what is on its way in the end; not what comes for ever.
            looks = 0 if not over else looks + 1 if took else LAST_LOOKS
            if took:
                self._rest(time.monotonic() - began)
            if undrawn and (self._ended or time.monotonic() >= rested):
                began = time.monotonic()
                self._show(first=not begun)
                begun, undrawn = True, False
                rested = time.monotonic() + REST * (time.monotonic() - began)

    def _wait(self, until: float | None) -> None:
        """Wait for news, with the lock held, but no longer than `until`; a direct source is asked at once."""
        alive = threading.main_thread().is_alive
        while not (self._offered or self._ended or self._direct is not None) and alive():
            left = LOOK if until is None else until - time.monotonic()
            if left <= 0:
                break
            self._news.wait(min(LOOK, left))
        # A run that was never stopped must not keep a program from ending.
        self._ended = self._ended or not alive()

    def _rest(self, worked: float) -> None:
        """Leave the processor to others for a while, unless this is the end; worked: seconds."""
        with self._news:
            self._news.wait_for(lambda: self._ended, REST * worked)

    def _take_in(self, offered: Sequence[FrameRange]) -> bool:
        """Read and take in what there is; whether there was anything."""
        took = False
        try:
            for shot in self._shots(offered):
                self.take(shot)
                took = True
        except Exception as error:
            # What can't be understood stops neither the plan nor what comes after.
            if self._is_news(error):
                log.exception("%s can't take in what came", type(self).__name__)
        return took

    def _show(self, *, first: bool) -> None:
        try:
            picture = self.picture()
            if picture is not None:
                if first:
                    self.surface.begin()
                self.surface.show(picture)
                self.drawn += 1
        except Exception as error:
            # A picture that can't be drawn or saved stops neither the plan nor the next picture.
            if self._is_news(error):
                log.exception("%s can't draw what came", type(self).__name__)

    def _is_news(self, error: Exception) -> bool:
        """Whether to say it: what fails may fail with each frame, and at once."""
        threading.Event().wait(TURN)
        before, self._complaint = self._complaint, repr(error)
        return before != self._complaint

    def _shots(self, offered: Sequence[FrameRange]) -> Iterator[Shot]:
        if self._direct is not None:
            yield from self._straight(self._direct)
        for whole in offered:
            left = whole
            while left.rows > 0:
                wanted = left.first(self._rows_at_once(left))
                left = left.after(wanted.rows)
                shot = self._read(wanted)
                if shot is not None:
                    yield shot

    def _straight(self, direct: Direct) -> Iterator[Shot]:
        """What has come straight from the service, with what documents say of it; without documents, what it says."""
        came = direct.take(TURN, newest=not self.every_row)
        for shot in came:
            self._count(shot.seq_nums)
        self._early += came
        key, run, described = self._context
        if not self.every_row or len(self._early) > MOST_EARLY:
            del self._early[:-1]
        if self._runs and not described and not self._ended:
            return  # A frame of a step scan is there before the descriptor of its event.
        shots, self._early = self._early, []
        for shot in shots:
            known = (key, run, described) if described else (shot.key, shot.run, shot.described)
            yield Shot(known[0], shot.seq_nums, shot.frames, shot.columns, known[1], known[2])

    def _count(self, seq_nums: range) -> None:
        """Note which frames of a direct source were left out; a series that begins counts from 1 again."""
        left_out = max(0, seq_nums.start - self._last - 1)
        self._last = seq_nums.stop - 1
        if self.every_row:
            self.missed += left_out
        else:
            self.skipped += left_out

    def _rows_at_once(self, wanted: FrameRange) -> int:
        if len(wanted.seq_nums) != wanted.rows:
            return wanted.rows  # of a file in which an event has several rows
        shape = wanted.described.get("data_keys", NOBODY).get(wanted.key, NOBODY).get("shape", ())
        size = 8
        for length in shape:
            size *= max(1, int(length))
        return max(1, BLOCK // size)

    def _read(self, wanted: FrameRange) -> Shot | None:
        wait = threading.Event().wait
        frames = read_patiently(wanted.read, PATIENCE, wait)
        if frames is None:
            log.warning("%s has no frame %d yet; it is not shown", wanted.path, wanted.start)
            self.missed += wanted.rows
            return None
        columns = {}
        for name in self.columns:
            # What was not promised may not be there at all.
            patience = PATIENCE if name in wanted.columns and wanted.key_of(name) is not None else 0.0
            values = read_patiently(partial(wanted.read_column, name), patience, wait)
            if values is not None:
                columns[name] = values
        if len(wanted.seq_nums) != len(frames):
            frames = frames.reshape(len(wanted.seq_nums), -1, *frames.shape[1:])
        return Shot(wanted.key, wanted.seq_nums, frames, columns, wanted.run, wanted.described)


def _direct(given: str | Direct | None) -> Direct | None:
    if not isinstance(given, str):
        return given
    from bluesky_streamdet.callbacks.direct import direct_of

    return direct_of(given)
