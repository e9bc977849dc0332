"""The client of a service: what its REST interface offers, as methods that raise the service's own errors.

    with ServiceClient() as client:
        series = client.arm(ArmRequest(name="test", expected_frames=100))
        client.wait(lambda status: status.series is None, timeout=60, what=f"the end of series {series.id}")

It holds no socket until it is first used, and may be used by several threads.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
import numpy as np
from pydantic import TypeAdapter, ValidationError

from bluesky_streamdet.core.errors import DeadlineExceeded, RequestRefused, ServiceUnreachable, StreamdetError
from bluesky_streamdet.service import keys
from bluesky_streamdet.service.events import StatusFeed
from bluesky_streamdet.streaming.endpoints import OutputConfig, SourceConfig
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.problems import error_of
from bluesky_streamdet.streaming.status import (
    FrameReport,
    FrameTotal,
    LatestFrame,
    OutputState,
    Problem,
    SeriesReport,
    Status,
    values_of,
)

HARDWARE = 35.0
"""Seconds that an instruction to the hardware may take; the service itself gives up before."""
DEFAULT_URL = "http://127.0.0.1:8010"
API = "/api/v1"


class ServiceClient:
    """Talks to the service at `url`. Close it, or use it in a `with`.

    api_key: needed to change anything, and from other machines to read; left out, it is taken from `STREAMDET_API_KEY`
    or from the file of a service on this machine. timeout: seconds for a request. change_timeout: for one that changes
    a series, which may have to start a process, or to kill one.

    Every method raises `ServiceUnreachable` when nobody answers, and the errors that the service reports.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        timeout: float = 5.0,
        change_timeout: float | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._given_key = api_key
        self._timeout = timeout
        self._change_timeout = timeout if change_timeout is None else change_timeout
        self._http: httpx.Client | None = None
        self._lock = threading.Lock()
        self._feed = StatusFeed(self.url.replace("http", "ws", 1) + f"{API}/events", self._key, timeout)

    def __repr__(self) -> str:
        return f"ServiceClient({self.url!r})"

    def status(self) -> Status:
        """The whole state of the service."""
        return Status.model_validate_json(self._ask("GET", "/status").content)

    def arm(self, request: ArmRequest) -> SeriesReport:
        """Expect a series. Raises `Busy`, `PathRefused`, `FileTaken`."""
        return _series(self._change("POST", "/series", request.model_dump(exclude_defaults=True)))

    def stop(self, id: str, expected_frames: int | None = None, keep_frames: int | None = None) -> SeriesReport:
        """End a series after what is on its way; no error when it has ended. Raises `NoSuchSeries`."""
        wanted = {"expected_frames": expected_frames, "keep_frames": keep_frames}
        body = {name: value for name, value in wanted.items() if value is not None}
        return _series(self._change("POST", f"/series/{id}/stop", body))

    def abort(self, id: str) -> SeriesReport:
        """End a series now; no error when it has ended. Raises `NoSuchSeries`."""
        return _series(self._change("POST", f"/series/{id}/abort"))

    def series(self, id: str) -> SeriesReport:
        """The account of a series, also of an earlier one. Raises `NoSuchSeries`."""
        return _series(self._ask("GET", f"/series/{id}"))

    def list_series(self) -> list[SeriesReport]:
        """The last series, the newest first."""
        return TypeAdapter(list[SeriesReport]).validate_json(self._ask("GET", "/series").content)

    def set_parameters(self, id: str, parameters: dict[str, Any]) -> SeriesReport:
        """Add metadata to a series that is armed or runs. Raises `NoSuchSeries`, `RequestRefused`."""
        return _series(self._change("PATCH", f"/series/{id}/parameters", parameters))

    def frame(self) -> LatestFrame:
        """The very latest frame. Raises `RequestRefused` when none has come yet."""
        response = self._ask("GET", "/frame", params={"format": "msgpack", "max_age": "0"})
        values = msgspec.msgpack.decode(response.content)
        pixels = np.frombuffer(values.pop("data"), values["dtype"]).reshape(values["shape"])
        came = values.pop("record")
        header = FrameReport(**values, encoding="none", chunk=values["shape"])
        return LatestFrame(header, pixels, values_of(header.scalars, came))

    def frame_total(self) -> FrameTotal:
        """Counts of the very latest frame, without its pixels. Raises `RequestRefused` when none has come yet."""
        return FrameTotal.model_validate_json(self._ask("GET", "/frame/total").content)

    def detector(self) -> dict[str, Any]:
        """The state of the detector's hardware. Raises `RequestRefused` when the service owns none."""
        return self._ask("GET", "/detector").json()

    def instruct(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the detector's hardware do something; returns what it says to that.

        Raises what the hardware refuses: `ConfigError`, `Busy`, `RequestRefused`, `HardwareFailed`.
        """
        return self._ask("POST", f"/detector/{command}", arguments, timeout=HARDWARE).json()

    def outputs(self) -> list[OutputState]:
        """The outputs: what was sent, skipped and dropped, and what is asked of each."""
        return _outputs(self._ask("GET", "/outputs"))

    def set_outputs(self, outputs: Sequence[OutputConfig]) -> list[OutputState]:
        """Have these outputs and no others; those that stay as they are stream on.

        Raises `ConfigError`, `RequestRefused` or `AddressTaken`, which names all that is wrong; then nothing changed.
        """
        return _outputs(self._ask("PUT", "/outputs", [one.model_dump(exclude_defaults=True) for one in outputs]))

    def set_output(self, output: OutputConfig) -> list[OutputState]:
        """Add an output, or change the one of its name. Raises as `set_outputs`."""
        return _outputs(self._ask("PUT", f"/outputs/{output.name}", output.model_dump(exclude_defaults=True)))

    def remove_output(self, name: str) -> list[OutputState]:
        """Close an output. Raises `NoSuchOutput`."""
        return _outputs(self._ask("DELETE", f"/outputs/{name}"))

    def source(self) -> SourceConfig:
        """Where frames come from. Raises `RequestRefused` for a detector that does not send them."""
        return SourceConfig.model_validate_json(self._ask("GET", "/source").content)

    def set_source(self, source: SourceConfig) -> None:
        """Take frames from elsewhere, after what has come. Raises `RequestRefused`, `AddressTaken` or `ConfigError`."""
        self._ask("PUT", "/source", source.model_dump())

    def pause(self) -> None:
        """Take nothing more from the detector, so that one that pushes waits. Raises `RequestRefused`."""
        self._ask("POST", "/pause")

    def resume(self) -> None:
        """Take again what comes from the detector."""
        self._ask("POST", "/resume")

    def set_log_level(self, level: str) -> None:
        """Let the service say more, or less: DEBUG, INFO, WARNING or ERROR."""
        self._ask("PUT", "/log-level", {"level": level})

    def subscribe(self, callback: Callable[[Status | None], None]) -> Callable[[], None]:
        """Have `callback` called with the status within a second, then at each change; with None when it is lost.

        It is called in a thread of this client, and must not block it. Call what is returned to end that.
        """
        return self._feed.subscribe(callback)

    def wait(self, predicate: Callable[[Status], bool], timeout: float, what: str) -> Status:
        """Wait for a status of which `predicate` is true, and return it.

        timeout: seconds. what: completes "waited 5 s for …". Raises `DeadlineExceeded`, which says how things stand, or
        `ServiceUnreachable` when the service was not there in the end.
        """
        deadline = time.monotonic() + timeout
        statuses: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
        unsubscribe = self.subscribe(statuses.put)
        try:
            status: Status | None = self.status()
            while status is None or not predicate(status):
                status = statuses.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return self._at_last(predicate, timeout, what)
        finally:
            unsubscribe()
        return status

    def close(self) -> None:
        """End the thread, and close what is open."""
        self._feed.close()
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self) -> str | None:
        # Looked up each time: a service that was restarted has another one.
        return self._given_key or keys.find(self.url)

    def _change(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return self._ask(method, path, body, timeout=self._change_timeout)

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | list[dict[str, Any]] | None = None,
        params: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send a request. Raises the error that the service reports."""
        key = self._key()
        headers = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        content = None if body is None else json.dumps(body, default=_plain)
        timeout = timeout or self._timeout
        try:
            response = self._open().request(
                method, API + path, content=content, params=params, headers=headers, timeout=timeout
            )
        except httpx.TimeoutException as error:
            raise ServiceUnreachable(
                f"The service at {self.url} did not answer {method} {API + path} within {timeout:g} s.",
                "It may hang, or the network; look at its page.",
            ) from error
        except httpx.HTTPError as error:
            raise unreachable(self.url, str(error)) from error
        if response.is_success:
            return response
        raise _error_in(response, self.url)

    def _open(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                # Proxies of the environment lead out of the facility, never to a detector.
                self._http = httpx.Client(base_url=self.url, timeout=self._timeout, trust_env=False)
            return self._http

    def _at_last(self, predicate: Callable[[Status], bool], timeout: float, what: str) -> Status:
        """The status when the time is up. A wait must fail for what happened, not for a message that was lost."""
        try:
            status = self.status()
        except ServiceUnreachable as error:
            raise ServiceUnreachable(f"Waited {timeout:g} s for {what}. {error.message}", error.hint) from error
        if predicate(status):
            return status
        raise DeadlineExceeded(f"Waited {timeout:g} s for {what}. {explain(status)}", _advice(status))


def is_no_answer(error: Exception) -> bool:
    """Whether a request to any server has failed because none answers."""
    return isinstance(error, httpx.TransportError)


def unreachable(url: str, reason: str) -> ServiceUnreachable:
    """The error for a service that nobody can connect to."""
    return ServiceUnreachable(
        f"No service answers at {url}: {reason}.",
        "Start one with `streamdet serve` or `streamdet xspress3 stream`, or give the URL that it printed.",
    )


def explain(status: Status) -> str:
    """How things stand, in a sentence."""
    series = status.series
    if series is None:
        last = status.last_series
        ended = f"; the last series, {last.id}, ended {last.outcome}: {last.reason}" if last is not None else ""
        return f"Detector {status.detector} is {status.state}{ended}."
    ledger = series.ledger
    of = f" of {ledger.expected}" if ledger.expected is not None else ""
    where = f"{ledger.written}{of} frames are readable in {series.file}"
    if series.file is None:
        where = f"{ledger.received}{of} frames have come"
    parts = [f"Detector {status.detector} is {status.state} with series {series.id}", where]
    if (rate := series.statistics.received_per_second) > 0:
        parts.append(f"{rate:.1f} a second have come so far")
    if status.seconds_without_data is not None and status.seconds_without_data >= 1:
        parts.append(f"no data for {status.seconds_without_data:g} s")
    if status.slow is not None:
        parts.append(f"it waits for {status.slow}")
    return "; ".join(parts) + "."


def _advice(status: Status) -> str:
    if status.error is not None:
        return status.error
    strange = [source.endpoint for source in status.sources if source.hung_up]
    if strange:
        return f"{', '.join(strange)} hangs up: it may need the other kind of source.socket, pull or sub."
    silent = [source.endpoint for source in status.sources if not source.connected]
    if silent:
        return f"Nobody is connected at {', '.join(silent)}: is the detector on, and does it stream there?"
    if status.series is not None and not status.series.ledger.received:
        return "The detector is connected and has sent nothing: was it armed, and do its triggers come?"
    return "Some triggers or frames may have been lost; stop the series to have its account."


def _plain(value: Any) -> Any:
    """What JSON can hold of metadata such as NumPy's numbers, and times."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def _series(response: httpx.Response) -> SeriesReport:
    return SeriesReport.model_validate_json(response.content)


def _outputs(response: httpx.Response) -> list[OutputState]:
    return TypeAdapter(list[OutputState]).validate_json(response.content)


def _error_in(response: httpx.Response, url: str) -> StreamdetError:
    """The error that an answer reports."""
    try:
        problem = Problem.model_validate(response.json()["error"])
    except (ValueError, KeyError, TypeError, ValidationError):
        return unreachable(url, f"somebody else answers there, with status {response.status_code}")
    otherwise = StreamdetError
    if response.status_code < 500:
        otherwise = RequestRefused
    elif response.status_code == 503:
        otherwise = ServiceUnreachable
    return error_of(problem, otherwise)
