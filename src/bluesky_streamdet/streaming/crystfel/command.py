"""The command line of indexamajig for one of our endpoints, with the options that it needs to get it right."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bluesky_streamdet.codecs.crystfel import NUMBER, SERIES
from bluesky_streamdet.streaming.crystfel.config import CrystfelConfig
from bluesky_streamdet.streaming.crystfel.image import GROUP
from bluesky_streamdet.streaming.crystfel.peakconfig import PeaksConfig

REQUEST = "next"
"""What workers ask for; the service does not mind what it is."""
HEADERS = (NUMBER, SERIES)
"""What tells in a stream file which frame a chunk is of; its own counter does not."""
REPLACED = ("*", "0.0.0.0", "[::]", "127.0.0.1")  # noqa: S104, compared, not bound
INDENT = " \\\n    "


def command_line(
    config: CrystfelConfig,
    *,
    geometry: str = "detector.geom",
    output: str = "out.stream",
    jobs: int | None = None,
    headers: Sequence[str] = HEADERS,
    indexing: str | None = None,
    cell: str | None = None,
    host: str | None = None,
) -> str:
    """The command, with a comment for each thing that one has to know, as text for a shell.

    config: of the endpoint. jobs: workers; left out, one for each processor. headers: names of what is copied into the
    stream. indexing, cell: as indexamajig has them. host: where the service is, in place of an address that is bound to
    all interfaces.
    """
    subscribes = config.mode == "publish"
    words: list[Sequence[str]] = [
        ["indexamajig", f"--zmq-input={reachable(config.address, host)}"],
        [f"--zmq-subscribe={config.prefix}" if subscribes else f"--zmq-request={REQUEST}"],
        [f"--data-format={config.format}"],
        ["-g", geometry, "-o", output],
    ]
    paths = [f"{GROUP}/{name}" if config.format == "hdf5" else name for name in headers]
    words += [_peaks(config), *([f"--copy-header={one}"] for one in paths)]
    if not config.image:
        words.append(["--no-image-data"])
    words += [[f"--indexing={indexing}"]] if indexing else []
    words += [["-p", cell]] if cell else []
    lines = [" ".join(shlex.quote(word) for word in group) for group in words]
    lines.insert(4, f"-j {1 if subscribes else jobs or '$(nproc)'}")
    return INDENT.join(lines) + "\n" + "".join(f"# {note}\n" for note in _notes(config))


def reachable(address: str, host: str | None) -> str:
    """The address for who connects from elsewhere."""
    kind, _, place = address.partition("://")
    name, _, port = place.rpartition(":")
    return f"{kind}://{host}:{port}" if kind == "tcp" and host is not None and name in REPLACED else address


def _peaks(config: CrystfelConfig) -> list[str]:
    """Ours, or its own search by the same limits."""
    least = (config.peaks or PeaksConfig()).min_peaks
    if config.format == "msgpack" and config.peaks is not None:
        # Its check takes peaks away from a picture that it has not got, and by limits of its own from one that it has.
        return ["--peaks=msgpack", "--no-revalidate", f"--min-peaks={least}"]
    search = (config.peaks or PeaksConfig()).search
    return [
        "--peaks=peakfinder8",
        f"--threshold={search.threshold:g}",
        f"--min-snr={search.min_snr:g}",
        f"--min-pix-count={search.min_pixels}",
        f"--max-pix-count={search.max_pixels}",
        f"--local-bg-radius={search.background_radius}",
        f"--min-peaks={least}",
    ]


def _notes(config: CrystfelConfig) -> list[str]:
    notes = [
        "It ends only when told: kill -USR1 of the process started first. Its exit code is 1 then, and each worker",
        "drops the frame that it is fetching; so wait until all workers wait (all_wait in the status of the service).",
        "It writes some 100 kB/s of stream for each worker at most. Where that limits, add --no-refls-in-stream,",
        "--no-peaks-in-stream or --no-non-hits-in-stream, or start several of it.",
    ]
    if config.mode == "publish":
        notes.append("Each of its workers would get every frame: leave it at -j 1.")
    return notes
