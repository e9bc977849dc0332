"""Outputs and source at run time, by REST."""

from __future__ import annotations

import httpx

from bluesky_streamdet.core.errors import AddressTaken
from bluesky_streamdet.streaming.endpoints import OutputConfig
from bluesky_streamdet.streaming.messages import Pause, SetOutputs
from bluesky_streamdet.streaming.sending import SendConfig
from bluesky_streamdet.streaming.status import OutputReport
from tests.unit.service.fakes import FakeSupervisor
from tests.unit.service.test_app import problem


async def test_outputs(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    supervisor.config.outputs = [OutputConfig(send=SendConfig(every=10))]
    supervisor.put(outputs=[OutputReport(name="stream", address="tcp://127.0.0.1:1", kind="push", skipped=9)])

    (output,) = (await client.get("/api/v1/outputs")).json()
    assert (output["name"], output["skipped"], output["settings"]["send"]["every"]) == ("stream", 9, 10)


async def test_outputs_are_changed_one_by_one_and_all_together(
    client: httpx.AsyncClient, supervisor: FakeSupervisor
) -> None:
    def names() -> list[str]:
        return [one.name for one in supervisor.config.outputs]

    several = [{"name": "a", "address": "tcp://*:1"}, {"name": "b", "address": "tcp://*:2"}]
    assert (await client.put("/api/v1/outputs", json=several)).status_code == 200
    assert (await client.put("/api/v1/outputs/c", json={"address": "tcp://*:3"})).status_code == 200
    assert (await client.put("/api/v1/outputs/a", json={"address": "tcp://*:4", "kind": "pub"})).status_code == 200
    assert (names(), supervisor.config.outputs[0].kind) == (["a", "b", "c"], "pub")
    assert (await client.delete("/api/v1/outputs/b")).status_code == 200
    assert supervisor.asked[-1] == SetOutputs(outputs=supervisor.config.outputs)
    assert names() == ["a", "c"]
    assert await problem(await client.delete("/api/v1/outputs/b")) == (404, "no_such_output")


async def test_outputs_that_can_not_be_are_all_named_and_nothing_changes(
    client: httpx.AsyncClient, supervisor: FakeSupervisor
) -> None:
    before = supervisor.config.outputs
    wrong = [{"kind": "pul"}, {"queue": 0}, {"send": {"every": 0}}, {"address": "here"}, {"colour": 1}]
    answer = await client.put("/api/v1/outputs", json=wrong)
    assert answer.status_code == 422
    for place in ("0.kind", "1.queue", "2.send.every", "3.address", "4.colour"):
        assert place in answer.json()["error"]["message"]
    same = [{"name": "a", "address": "tcp://*:1"}, {"name": "b", "address": "tcp://127.0.0.1:1"}]
    answer = await client.put("/api/v1/outputs", json=same)
    assert "'a' and 'b' are both bound at port 1" in answer.json()["error"]["message"]
    answer = await client.put("/api/v1/outputs/a", json={"encoder": "morse"})
    assert "encoder is 'morse': no such format" in answer.json()["error"]["message"]
    supervisor.refusal = AddressTaken("Output 'a': The address tcp://*:1 is in use.")
    assert await problem(await client.put("/api/v1/outputs", json=same[:1])) == (409, "address_taken")
    assert supervisor.config.outputs is before


async def test_the_intake_is_paused_resumed_and_moved(client: httpx.AsyncClient, supervisor: FakeSupervisor) -> None:
    assert (await client.post("/api/v1/pause")).status_code == 200
    assert (supervisor.asked[-1], supervisor.config.paused) == (Pause(), True)
    assert (await client.post("/api/v1/resume")).status_code == 200
    assert (supervisor.asked[-1], supervisor.config.paused) == (Pause(paused=False), False)
    assert (await client.put("/api/v1/source", json={"endpoints": ["tcp://other:1"]})).status_code == 200
    assert supervisor.config.source.endpoints == ["tcp://other:1"]
    assert (await client.get("/api/v1/source")).json() == supervisor.config.source.model_dump()
    assert (await client.put("/api/v1/source", json={"endpoints": []})).status_code == 422
