"""What a service counts, for Prometheus: counters that grow over all series since its start, and how things are now."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.service.records import payload, tally
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.status import CrystfelReport, OutputReport, SourceReport, Status

PREFIX = "streamdet_"

FRAMES = {
    "received": "Frames that came, of whatever fate",
    "duplicate": "Frames that came once more",
    "late": "Frames that came after their gap was given up",
    "written": "Frames that others can read in a file",
    "live_only": "Frames that were forwarded and shown, as asked for, and not written",
    "missing": "Frames that were expected in a series that has ended, and did not come",
}
REASONED = {
    "foreign": "Frames of no or another series",
    "malformed": "Messages that could not be decoded",
    "discarded": "Frames that were thrown away",
    "failed": "Frames that could not be written",
}
BYTES = {
    "received": "Payload of frames in series, as it came",
    "written": "Of it, what others can read in a file",
}
ONLY_AT_THE_END = "missing"
"""It falls while frames come, which a counter must not."""


class ServiceCollector(Collector):
    """Reads the newest status when it is asked; may be called in any thread."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        status = self._supervisor.board.status
        yield from self._of_series(status)
        yield from _of_sources(status.sources, status.detector)
        yield from _of_outputs(status.outputs, status.detector)
        yield from _of_crystfel(status.crystfel, status.detector)
        yield from self._of_now(status)

    def _of_series(self, status: Status) -> Iterator[Metric]:
        counts = self._supervisor.series.counts.copy()
        if status.series is not None and status.series.outcome is None:
            running = tally(status.series.ledger) + payload(status.series.statistics)
            del running[ONLY_AT_THE_END, ""]
            counts += running
        counts += tally(status.between)
        for name, text in FRAMES.items():
            yield _counter(f"frames_{name}", text, {(status.detector,): counts[name, ""]}, ["detector"])
        for name, text in REASONED.items():
            values = {(status.detector, why): count for (key, why), count in counts.items() if key == name}
            yield _counter(f"frames_{name}", text, values, ["detector", "reason"])
        for name, text in BYTES.items():
            yield _counter(f"{name}_bytes", text, {(status.detector,): counts["bytes", name]}, ["detector"])
        hooks = {(status.detector, how): count for (key, how), count in counts.items() if key == "hooks"}
        yield _counter("hooks", "Commands that were run for closed series", hooks, ["detector", "result"])
        closed = {(status.detector,): self._supervisor.series.closed}
        yield _counter("series", "Series that have ended", closed, ["detector"])

    def _of_now(self, status: Status) -> Iterator[Metric]:
        label, here = ["detector"], (status.detector,)
        restarts = {here: self._supervisor.restarts}
        yield _counter("data_plane_restarts", "How often a data plane died and was started again", restarts, label)
        states = {(status.detector, state): float(status.state == state) for state in (*State, "error")}
        yield _gauge("state", "1 for the state that the service is in", states, ["detector", "state"])
        ready = {here: float(self._supervisor.ready)}
        yield _gauge("ready", "1 when a series can be taken", ready, label)
        yield _gauge("paused", "1 while nothing is taken from the detector", {here: float(status.paused)}, label)
        yield _gauge("slow", "1 while something pushes back", {here: float(status.slow is not None)}, label)
        rates = {here: status.megabytes_per_second * 1e6}
        yield _gauge("received_bytes_per_second", "Payload that came over the last second", rates, label)
        full = {here: float(status.disk is not None and bool(status.disk.warning))}
        yield _gauge("disk_warning", "1 while the disk of the series that runs will be full soon", full, label)
        memory = {here: status.resident_megabytes * 1e6}
        yield _gauge("data_plane_resident_bytes", "Memory of the data plane", memory, label)
        if status.seconds_without_data is not None:
            silence = {here: status.seconds_without_data}
            yield _gauge(
                "without_data_seconds", "Since the last message, while a series is armed or runs", silence, label
            )
        with suppress(OSError):  # What is wrong with the directory, the status says.
            free = {here: float(shutil.disk_usage(self._supervisor.config.files.directory).free)}
            yield _gauge("disk_free_bytes", "Room in the data directory", free, label)


class _Several(Collector):
    """The metrics of several detectors, those of one name together, as Prometheus wants them."""

    def __init__(self, supervisors: Sequence[Supervisor]) -> None:
        self._supervisors = supervisors

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for supervisor in self._supervisors:
            for metric in ServiceCollector(supervisor).collect():
                known = families.setdefault(metric.name, metric)
                if known is not metric:
                    known.samples.extend(metric.samples)
        yield from families.values()


def exposition(*supervisors: Supervisor) -> bytes:
    """The metrics as text. Asks the file system, so not in an event loop."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Several(supervisors))
    return generate_latest(registry)


def _of_sources(sources: list[SourceReport], detector: str) -> Iterator[Metric]:
    label = ["detector", "endpoint"]
    of = {(detector, source.endpoint): source for source in sources}
    yield _counter("source_messages", "Messages read", {key: one.messages for key, one in of.items()}, label)
    yield _counter(
        "source_reconnects", "Connections made anew", {key: one.reconnects for key, one in of.items()}, label
    )
    connected = {key: float(one.connected) for key, one in of.items()}
    yield _gauge("source_connected", "Senders that are connected", connected, label)


def _of_outputs(outputs: list[OutputReport], detector: str) -> Iterator[Metric]:
    label = ["detector", "output"]
    of = {(detector, output.name): output for output in outputs}
    yield _counter("output_frames_sent", "Frames given to clients", {key: one.sent for key, one in of.items()}, label)
    skipped = {key: one.skipped for key, one in of.items()}
    yield _counter("output_frames_skipped", "Frames that the rule of the output leaves out", skipped, label)
    dropped = {(*key, why): count for key, one in of.items() for why, count in one.dropped.items()}
    yield _counter("output_frames_dropped", "Frames that no client took", dropped, [*label, "reason"])
    yield _gauge("output_clients", "Connected clients", {key: float(one.clients) for key, one in of.items()}, label)
    rates = {key: one.frames_per_second for key, one in of.items()}
    yield _gauge("output_frames_per_second", "Frames given to clients over the last second", rates, label)
    queued = {key: float(one.queued) for key, one in of.items()}
    yield _gauge("output_queued_frames", "Frames that wait for a client", queued, label)


CRYSTFEL_COUNTS = {
    "delivered": "Frames given to workers of CrystFEL",
    "done": "Of them, those whose worker asked for another one",
    "lost": "Of them, those whose worker went away with them",
    "dropped": "Frames that made room for newer ones, or were of an aborted series",
    "left_out": "Frames of too few peaks, where only hits are sent",
}
PEAKS = {
    "frames": "Frames in which peaks were looked for",
    "hits": "Of them, those with enough peaks",
    "failed": "Frames in which they could not be looked for",
}
CRYSTFEL_NOW = {
    "workers": "Workers that are connected",
    "asking": "Workers that wait for a frame",
    "waiting": "Frames that wait for a worker",
    "in_hand": "Frames that a worker has and is not done with",
    "all_wait": "1 when no frame waits and no worker has one",
}


def _of_crystfel(reports: list[CrystfelReport], detector: str) -> Iterator[Metric]:
    label = ["detector", "endpoint"]
    of = {(detector, one.name): one for one in reports}
    for name, text in CRYSTFEL_COUNTS.items():
        yield _counter(f"crystfel_frames_{name}", text, {key: getattr(one, name) for key, one in of.items()}, label)
    for name, text in PEAKS.items():
        values = {key: getattr(one.peaks, name) for key, one in of.items() if one.peaks is not None}
        yield _counter(f"crystfel_peaks_{name}", text, values, label)
    failed = {(*key, why): count for key, one in of.items() for why, count in one.failed.items()}
    yield _counter("crystfel_frames_failed", "Frames that could not be sent", failed, [*label, "reason"])
    for name, text in CRYSTFEL_NOW.items():
        yield _gauge(f"crystfel_{name}", text, {key: float(getattr(one, name)) for key, one in of.items()}, label)
    rates = {(*key, worker.name): worker.frames_per_second for key, one in of.items() for worker in one.by_worker}
    yield _gauge("crystfel_worker_frames_per_second", "Frames given to a worker", rates, [*label, "worker"])


Values = dict[tuple[str, ...], float] | dict[tuple[str, ...], int] | Counter[tuple[str, ...]]


def _counter(name: str, text: str, values: Values, labels: list[str]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, text: str, values: Values, labels: list[str]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
