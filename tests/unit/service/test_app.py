from __future__ import annotations

import io
import json
import re

import httpx
import msgspec
import numpy as np
import pytest

from bluesky_streamdet.core import errors
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service.dataplane import NotRunning
from bluesky_streamdet.streaming.messages import Abort, Arm, ArmRequest, GetFrame, SetLogLevel, SetParameters, Stop
from bluesky_streamdet.streaming.status import HookReport, Statistics, Status
from bluesky_streamdet.transforms.pixels import downsample
from tests.unit.service.fakes import PIXELS, FakeSupervisor, running

SERIES = "/api/v1/series"


async def problem(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message", "hint"}
    return answer.status_code, body["error"]["code"]


async def test_status(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.become(State.RUNNING, running())

    assert Status.model_validate((await client.get("/api/v1/status")).json()) == supervisor.board.status


async def test_arm(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    wanted = {"name": "test", "expected_frames": 5, "metadata": {"sample": {"a": [1, None, "é"]}}}
    answer = await client.post(SERIES, json=wanted)

    assert answer.status_code == 201
    assert answer.headers["location"] == f"{SERIES}/made-up"
    assert supervisor.asked == [Arm(request=ArmRequest.model_validate(wanted))]
    assert (await client.get(answer.headers["location"])).json() == answer.json()


async def test_arming_needs_nothing(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    assert (await client.post(SERIES)).status_code == 201
    assert supervisor.asked == [Arm(request=ArmRequest())]


async def test_an_id_is_used_once(client: httpx.AsyncClient) -> None:
    await client.post(SERIES, json={"id": "one"})

    assert await problem(await client.post(SERIES, json={"id": "one"})) == (409, "refused")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Busy("x"), 409),
        (errors.FileTaken("x"), 409),
        (errors.PathRefused("x"), 422),
        (errors.RequestRefused("x"), 409),
        (errors.DeadlineExceeded("x"), 504),
        (errors.WriteFailed("x"), 507),
        (errors.MissingLibrary("x"), 500),
        (NotRunning("x"), 503),
    ],
)
async def test_each_failure_has_its_status_code(
    client: httpx.AsyncClient, supervisor: FakeSupervisor, error: errors.StreamdetError, status: int
) -> None:
    supervisor.refusal = error

    assert await problem(await client.post(SERIES)) == (status, error.code)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"expected_frames": 0}', "expected_frames is 0; it should be greater than or equal to 1."),
        (b'{"expected_frame": 5}', "there is no setting expected_frame."),
        (b'{"id": "../../etc"}', "id is '../../etc', which does not match ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}$."),
        (b'{"name": 5}', "name is 5; it should be a valid string."),
        (b"{", "the body is no JSON: Expecting property name enclosed in double quotes."),
        (b"5", "the body is 5; it should be a valid dictionary or object to extract fields from."),
        (b'"\xff"', "There was an error parsing the body"),
    ],
)
async def test_says_what_is_wrong_with_a_body(client: httpx.AsyncClient, body: bytes, said: str) -> None:
    answer = await client.post(SERIES, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["message"] == said


async def test_a_body_that_does_not_say_that_it_is_json(client: httpx.AsyncClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post(SERIES, content=b'{"name": "scan"}', headers=form)

    assert answer.status_code == 422 and "Content-Type: application/json" in answer.json()["error"]["hint"]


async def test_a_body_that_is_nested_too_deeply(client: httpx.AsyncClient) -> None:
    body = b'{"metadata": ' + b'{"a": ' * 50_000 + b"1" + b"}" * 50_001
    answer = await client.post(SERIES, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in {400, 422}


async def test_stop_says_how(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.become(State.RUNNING, running())
    answer = await client.post(f"{SERIES}/one/stop", json={"expected_frames": 42})

    assert answer.json()["outcome"] == "complete"
    assert supervisor.asked == [Stop(expected_frames=42)]


async def test_stopping_twice_is_no_error(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.become(State.RUNNING, running())
    for verb in ("stop", "stop", "abort"):
        answer = await client.post(f"{SERIES}/one/{verb}")
        assert (answer.status_code, answer.json()["outcome"]) == (200, "complete")
    assert supervisor.asked == [Stop()]


async def test_stopping_one_series_leaves_another_alone(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.become(State.RUNNING, running("one"))
    supervisor.end(Outcome.COMPLETE)
    supervisor.become(State.RUNNING, running("two"))

    assert (await client.post(f"{SERIES}/one/stop")).status_code == 200
    assert await problem(await client.post(f"{SERIES}/three/stop")) == (404, "no_such_series")
    assert supervisor.asked == []


async def test_abort_ends_a_data_plane_that_does_not_answer(
    client: httpx.AsyncClient, supervisor: FakeSupervisor
) -> None:
    supervisor.become(State.RUNNING, running())
    supervisor.refusal = errors.DeadlineExceeded("no answer")
    answer = await client.post(f"{SERIES}/one/abort")

    assert answer.json()["outcome"] == "interrupted"
    assert supervisor.asked == [Abort()]
    assert len(supervisor.killed) == 1


async def test_parameters(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.become(State.RUNNING, running())

    assert (await client.patch(f"{SERIES}/one/parameters", json={"a": 1})).status_code == 200
    assert supervisor.asked == [SetParameters(series="one", parameters={"a": 1})]


TYPED = {"slit": {"value": 0.25, "units": "mm", "dtype": "float32"}, "points": {"value": [1, 2], "dtype": "uint8"}}


async def test_parameters_may_have_a_type_and_a_unit(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    assert (await client.post(SERIES, json={"id": "one", "metadata": TYPED})).status_code == 201
    assert (await client.patch(f"{SERIES}/one/parameters", json=TYPED)).status_code == 200
    assert supervisor.asked[-1] == SetParameters(series="one", parameters=TYPED)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"value": "open", "dtype": "float32"}, "slit: 'open' is no float32"),
        ({"value": 300, "dtype": "uint8"}, "slit: 300 is no uint8 (from 0 to 255)"),
        ({"value": [[1], [2, 3]], "dtype": "int8"}, "slit: the lists in it are not all of the same length"),
        ({"value": 1, "dtype": "double"}, "slit: no type is called 'double'; there are bool, text"),
        ({"value": 1, "units": 5}, "slit: units are a text"),
    ],
)
async def test_a_parameter_that_is_not_of_its_type_is_refused(
    client: httpx.AsyncClient, supervisor: FakeSupervisor, value: object, said: str
) -> None:
    refused = await client.post(SERIES, json={"id": "one", "metadata": {"good": 1, "slit": value}})
    assert await problem(refused) == (422, "invalid_request")
    assert said in refused.json()["error"]["message"]
    assert supervisor.asked == []

    await client.post(SERIES, json={"id": "one"})
    asked = list(supervisor.asked)
    refused = await client.patch(f"{SERIES}/one/parameters", json={"good": 1, "inner": {"slit": value}})
    assert await problem(refused) == (422, "invalid_request")
    assert said in refused.json()["error"]["message"]
    assert supervisor.asked == asked


async def test_parameters_after_the_end(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.become(State.RUNNING, running())
    supervisor.end(Outcome.COMPLETE)

    answer = await client.patch(f"{SERIES}/one/parameters", json={"a": 1})
    assert await problem(answer) == (409, "refused")
    assert answer.json()["error"]["message"] == "The file /data/one.h5 of series one is not there any more."


async def test_parameters_for_a_series_that_ends_meanwhile(
    client: httpx.AsyncClient, supervisor: FakeSupervisor
) -> None:
    """They are for the closed file then, and never for the series that has begun since."""
    supervisor.become(State.RUNNING, running())
    supervisor.refusal = errors.NoSuchSeries("series 'one' is not armed or running")

    answer = await client.patch(f"{SERIES}/one/parameters", json={"a": 1})
    assert answer.json()["error"]["message"] == "The file /data/one.h5 of series one is not there any more."


async def test_the_last_series_newest_first(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    for id in ("one", "two", "three"):
        supervisor.become(State.RUNNING, running(id))
        supervisor.end(Outcome.COMPLETE)

    assert [one["id"] for one in (await client.get(SERIES, params={"limit": 2})).json()] == ["three", "two"]


async def test_log_level(
    client: httpx.AsyncClient, supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bluesky_streamdet")  # to have it as it was when the test ends

    assert (await client.put("/api/v1/log-level", json={"level": "DEBUG"})).status_code == 200
    assert supervisor.asked == [SetLogLevel(level="DEBUG")]
    answer = await client.put("/api/v1/log-level", json={"level": "LOUD"})
    assert "level is 'LOUD'; allowed: 'DEBUG', 'INFO', 'WARNING' or 'ERROR'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", SERIES, 405)])
async def test_unknown_paths_have_the_one_body_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await problem(await client.request(method, path)))[0] == status


@pytest.mark.allow_error_log
async def test_a_defect_has_the_one_body_too(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.asked = None  # type: ignore[assignment]

    assert await problem(await client.post(SERIES)) == (500, "internal_error")


# The latest frame.


async def frame(client: httpx.AsyncClient, accept: str, **params: object) -> httpx.Response:
    answer = await client.get("/api/v1/frame", params=params, headers={"Accept": accept})  # type: ignore[arg-type]
    assert answer.status_code == 200
    return answer


async def test_no_frame_yet(client: httpx.AsyncClient) -> None:
    assert await problem(await client.get("/api/v1/frame")) == (404, "no_frame")


async def test_a_frame_as_an_array(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS
    answer = await frame(client, "application/x-npy")

    array = np.load(io.BytesIO(answer.content), allow_pickle=False)
    np.testing.assert_array_equal(array, PIXELS)
    assert (array.dtype, answer.headers["x-streamdet-frame"], answer.headers["x-streamdet-series"]) == (
        "<u2",
        "7",
        "one",
    )


async def test_a_frame_as_json(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS

    assert json.loads((await frame(client, "application/json")).content) == {
        "series": "one",
        "number": 7,
        "received": 5,
        "scalars": {},
        "shape": [3, 4],
        "dtype": "<u2",
        "data": PIXELS.tolist(),
    }


async def test_a_frame_as_message_pack(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS
    values = msgspec.msgpack.decode((await frame(client, "application/msgpack")).content)

    assert values["data"] == PIXELS.tobytes()


async def test_a_smaller_frame(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS
    values = json.loads((await frame(client, "application/json", downsample=2)).content)

    assert (values["shape"], values["dtype"]) == ([2, 2], "<f8")
    assert values["data"] == [[2.5, 4.5], [8.5, 10.5]]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("text/html,application/xhtml+xml,image/avif,*/*;q=0.8", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/x-npy"),
        ("application/json;q=0.1, application/msgpack;q=0.9", "application/msgpack"),
        ("application/json;q=0, image/png;q=nonsense, application/x-npy", "application/x-npy"),
    ],
)
async def test_chooses_what_is_accepted(
    client: httpx.AsyncClient, supervisor: FakeSupervisor, accept: str, kind: str
) -> None:
    supervisor.pixels = PIXELS

    assert (await frame(client, accept)).headers["content-type"] == kind


async def test_the_address_may_say_the_form(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS

    assert (await frame(client, "text/html", format="json")).headers["content-type"] == "application/json"
    assert (await client.get("/api/v1/frame", params={"format": "gif"})).status_code == 422


async def test_raw_pixels_come_with_their_description(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS
    for factor, expected in ((1, PIXELS), (2, downsample(PIXELS, 2))):
        response = await client.get("/api/v1/frame", params={"format": "raw", "downsample": factor})
        shape = [int(size) for size in response.headers["x-streamdet-shape"].split(",")]
        pixels = np.frombuffer(response.content, response.headers["x-streamdet-dtype"]).reshape(shape)
        np.testing.assert_array_equal(pixels, expected)


async def test_a_form_that_there_is_not(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS
    answer = await client.get("/api/v1/frame", headers={"Accept": "image/gif"})

    assert await problem(answer) == (406, "not_acceptable")


async def test_a_frame_that_is_too_large_for_json(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = np.zeros((1001, 1000), "u1")

    assert await problem(await client.get("/api/v1/frame", params={"format": "json"})) == (413, "too_large")


async def test_many_viewers_cost_no_more_than_one(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.pixels = PIXELS
    for _ in range(5):
        await frame(client, "application/json")

    assert supervisor.asked.count(GetFrame()) < 5


# Probes and pages.


async def test_health(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    supervisor.ready = False
    supervisor.put(error="The data plane died.")
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "The data plane died.")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_need_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    addresses = re.findall(r"(?:src|href)=[\"'](?!data:)([^\"']+)", answer.text)
    assert addresses
    assert not [address for address in addresses if re.match(r"[a-z]+:|//", address)]


async def test_the_page_may_run_its_script(client: httpx.AsyncClient) -> None:
    assert "script-src 'sha256-" in (await client.get("/")).headers["content-security-policy"]


async def test_every_operation_is_described(client: httpx.AsyncClient) -> None:
    document, page = (await client.get("/openapi.json")).json(), (await client.get("/docs")).text

    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert path in page
            assert operation["description"] in page.replace("&#x27;", "'")


async def test_metrics(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    counted = {"statistics": Statistics(bytes_received=500, bytes_written=400)}
    supervisor.become(State.RUNNING, running("one").model_copy(update=counted))
    supervisor.end(Outcome.INCOMPLETE)
    supervisor.series.note(supervisor.series.report("one").model_copy(update={"hook": HookReport(code=1)}))
    supervisor.become(State.RUNNING, running("two").model_copy(update=counted))
    text = (await client.get("/metrics")).text

    for line in (
        'streamdet_frames_received_total{detector="eiger"} 86.0',
        'streamdet_frames_duplicate_total{detector="eiger"} 2.0',
        'streamdet_frames_missing_total{detector="eiger"} 58.0',
        'streamdet_series_total{detector="eiger"} 1.0',
        'streamdet_received_bytes_total{detector="eiger"} 1000.0',
        'streamdet_written_bytes_total{detector="eiger"} 800.0',
        'streamdet_hooks_total{detector="eiger",result="failed"} 1.0',
        'streamdet_state{detector="eiger",state="running"} 1.0',
        'streamdet_state{detector="eiger",state="idle"} 0.0',
        'streamdet_ready{detector="eiger"} 1.0',
    ):
        assert line in text.splitlines()
    assert float(re.findall(r"streamdet_disk_free_bytes\S+ (\S+)", text)[0]) > 0
