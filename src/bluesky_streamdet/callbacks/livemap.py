"""Maps of a scan while it runs: counts of regions at each point so far, in their places.

It reads each frame that was announced, all that have come meanwhile at once; so a map has no holes when it falls
behind, it is only late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from bluesky_streamdet.callbacks.live import Live, Options, Shot
from bluesky_streamdet.callbacks.spectra import Wanted, correction_of, described_in, spectra_of, wanted_regions
from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.devices.xspress3.maps import as_map
from bluesky_streamdet.devices.xspress3.readout import FACTORS, Correction, checked, region_counts
from bluesky_streamdet.devices.xspress3.regions import Region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_MAPS = 12
IN_A_ROW = 4
MAP_INCHES = 3.4
BRIGHTEST = 99.8
"""Percentile of the counts with the last colour."""
KEPT_RUNS = 4
"""Runs of a plan that are measured at a time, and have a map each."""


class LiveMap(Live):
    """Shows counts of regions over all channels of an Xspress3: as maps of a grid, such as `raster` and `grid_scan`
    have them, as curves of other runs.

        RE.subscribe(LiveMap(["Fe", "Zn Ka"]))

    regions: one or several, by a name that the device has, a line such as "Fe Ka", or a dict as `regions.regions_of`
    takes it; left out, those that the device has. save: a PNG file. detector: instead of `keys`. correction: of dead
    time, "event_width", "sdk", or "none" for counts as they are. exclude: channels to leave out. The others are
    `live.Options`.
    """

    columns = tuple(FACTORS.values())
    every_row = True

    def __init__(
        self,
        regions: Wanted = None,
        save: str | Path | None = None,
        detector: str | None = None,
        *,
        correction: Correction = "event_width",
        exclude: Sequence[int] = (),
        **options: Unpack[Options],
    ) -> None:
        checked(correction)
        self._wanted, self._correction, self._exclude = regions, correction, tuple(exclude)
        self._all: dict[str, Counted] = {}
        self._newest: Counted | None = None
        self._shot: Shot | None = None
        options["keys"] = [detector] if detector is not None else options.get("keys")
        super().__init__(save, **options)

    @property
    def maps(self) -> dict[str, NDArray[np.float64]]:
        """Of the newest run, by region: (rows, columns) of a grid, (points,) of others; nan where nothing has come."""
        return self._newest.maps if self._newest is not None else {}

    def take(self, shot: Shot) -> None:
        uid = str(shot.run.get("uid", ""))
        counted = self._all.get(uid)
        if counted is None:
            counted = self._all[uid] = Counted(shot, wanted_regions(self._wanted, described_in(shot)))
            self._all = dict(list(self._all.items())[-KEPT_RUNS:])
        counted.add(shot, self._correction, self._exclude)
        self._newest, self._shot = counted, shot

    def picture(self) -> MapPicture | None:
        counted, shot = self._newest, self._shot
        if counted is None or shot is None:
            return None
        title = f"{self.titled(shot, f'{counted.points} points')}, {counted.how}"
        return MapPicture(title, counted.maps, _places(counted.run, shot.described))


class Counted:
    """Counts of one run's regions, by the number of the event. Raises `ConfigError` for a region that is not recorded.

    run: its start document. points: the number of the last. how: what was done to counts.
    """

    def __init__(self, shot: Shot, regions: Mapping[str, Region]) -> None:
        if not regions:
            raise ConfigError(f"{shot.key} has no regions to make a map of.", 'Give some, such as LiveMap("Fe Ka").')
        described = described_in(shot)
        self.run = shot.run
        self.points, self.how = 0, ""
        self._masks = {name: described.mask(one) for name, one in list(regions.items())[:MOST_MAPS]}
        points = int(shot.run.get("num_points") or 0)
        self._counts = {name: np.full(points, np.nan) for name in self._masks}

    @property
    def maps(self) -> dict[str, NDArray[np.float64]]:
        return {name: as_map(counts, self.run) for name, counts in self._counts.items()}

    def add(self, shot: Shot, correction: str, exclude: Sequence[int]) -> None:
        """Take frames in."""
        spectra = spectra_of(shot)
        factor, self.how = correction_of(shot, correction, spectra)
        first, end = shot.seq_nums.start - 1, shot.seq_nums.start - 1 + len(spectra)
        for name, mask in self._masks.items():
            counts = self._counts[name]
            if end > len(counts):
                grown = np.full(max(end, 2 * len(counts) if not self.run.get("num_points") else end), np.nan)
                grown[: len(counts)] = counts
                counts = self._counts[name] = grown
            counts[first:end] = region_counts(spectra, mask, factor, exclude).sum(axis=1)
        self.points = end


@dataclass(frozen=True)
class Places:
    """Where the points are. names: of the axes, the fast one last. extent: (left, right, bottom, top), or None."""

    names: tuple[str, ...] = ()
    extent: tuple[float, float, float, float] | None = None


def _places(run: Mapping[str, Any], described: Mapping[str, Any]) -> Places:
    motors, extents, shape = list(run.get("motors") or ()), run.get("extents"), run.get("shape") or ()
    if len(shape) != 2:
        return Places()
    names = (
        (f"{motors[0]} {one}" for one in "yx") if len(motors) == 1 else (_with_unit(one, described) for one in motors)
    )
    names = tuple(names)
    if not extents or len(extents) != 2:
        return Places(names)
    # Extents are those of the points' middles.
    edges: list[float] = []
    for (low, high), points in zip((extents[1], extents[0]), (shape[1], shape[0]), strict=True):
        half = (high - low) / max(1, points - 1) / 2 or 0.5
        edges += [low - half, high + half]
    return Places(names, (edges[0], edges[1], edges[2], edges[3]))


def _with_unit(motor: str, described: Mapping[str, Any]) -> str:
    unit = described.get("data_keys", {}).get(motor, {}).get("units")
    return f"{motor} / {unit}" if unit else motor


@dataclass(frozen=True)
class MapPicture:
    """maps: by region, (rows, columns), or (points,)."""

    title: str
    maps: Mapping[str, NDArray[np.float64]]
    places: Places = field(default_factory=Places)

    @property
    def size(self) -> tuple[float, float]:
        """In inches: some maps in a row."""
        if not self._are_maps:
            return 8.0, 4.5
        columns, rows = self._grid
        return max(5.0, columns * MAP_INCHES), max(3.0, 0.4 + rows * 0.8 * MAP_INCHES)

    @property
    def _are_maps(self) -> bool:
        return all(one.ndim == 2 for one in self.maps.values())

    @property
    def _grid(self) -> tuple[int, int]:
        columns = min(IN_A_ROW, len(self.maps))
        return columns, -(-len(self.maps) // columns)

    def draw(self, figure: Figure) -> None:
        figure.clear()
        figure.set_layout_engine("compressed" if self._are_maps else "constrained")
        figure.suptitle(self.title)
        if not self._are_maps:
            self._draw_curves(figure.add_subplot())
            return
        columns, rows = self._grid
        for number, (name, counts) in enumerate(self.maps.items(), start=1):
            self._draw_map(figure, figure.add_subplot(rows, columns, number), name, counts)

    def _draw_map(self, figure: Figure, axes: Axes, name: str, counts: NDArray[np.float64]) -> None:
        from matplotlib import colormaps

        seen = counts[np.isfinite(counts)]
        top = float(np.percentile(seen, BRIGHTEST)) if seen.size else 1.0
        shown = axes.imshow(
            np.ma.masked_invalid(counts),
            origin="lower",
            interpolation="nearest",
            cmap=colormaps["viridis"].with_extremes(bad="0.85"),
            vmin=0.0,
            vmax=max(top, 1e-12),
            extent=self.places.extent,
            aspect=self._aspect(counts.shape),
        )
        figure.colorbar(shown, ax=axes, label="counts")
        slow, fast = self.places.names if len(self.places.names) == 2 else ("row", "column")
        axes.set(title=name, xlabel=fast, ylabel=slow)

    def _aspect(self, shape: tuple[int, ...]) -> Literal["equal", "auto"]:
        width, height = float(shape[1]), float(shape[0])
        if self.places.extent is not None:
            left, right, bottom, top = self.places.extent
            width, height = abs(right - left), abs(top - bottom)
        return "equal" if 0.2 < width / height < 5.0 else "auto"

    def _draw_curves(self, axes: Axes) -> None:
        for name, counts in self.maps.items():
            numbers = np.arange(1, len(counts) + 1)
            axes.plot(numbers, counts, marker="." if len(counts) < 100 else "", label=name)
        axes.set(xlabel="event", ylabel="counts")
        axes.legend(loc="best")
