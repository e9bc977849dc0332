"""Both ends of the link between the planes, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import zmq

from bluesky_streamdet.core.errors import Busy, DeadlineExceeded, MalformedMessage, ServiceUnreachable, StreamdetError
from bluesky_streamdet.streaming.link import KEPT_ANSWERS, QUEUE, ControlEnd, DataEnd
from bluesky_streamdet.streaming.messages import Abort, Answer, GetFrame, Request, Stop
from bluesky_streamdet.streaming.problems import error_of, problem_of
from bluesky_streamdet.streaming.status import Problem, Status

pytestmark = pytest.mark.wire

TIMEOUT = 10.0


class Heard:
    """Collects what came unasked."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Answer] = asyncio.Queue()

    async def status(self) -> Status:
        async with asyncio.timeout(TIMEOUT):
            answer = await self.answers.get()
        assert answer.status is not None
        return answer.status


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def control(heard: Heard) -> AsyncIterator[ControlEnd]:
    end = ControlEnd(heard.answers.put_nowait)
    yield end
    await end.close()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


@pytest.fixture
async def data(control: ControlEnd, context: zmq.Context[zmq.Socket[bytes]], heard: Heard) -> AsyncIterator[DataEnd]:
    """Connected, as its first status shows."""
    end = DataEnd(control.endpoint, context)
    end.send(Answer(status=Status(detector="first")))
    await heard.status()
    yield end
    end.close()


async def asked(data: DataEnd) -> Request:
    """The next request, as the data plane's loop gets it."""
    while (request := data.receive()) is None:
        await asyncio.sleep(0)
    return request


async def test_ask_and_answer_with_parts(control: ControlEnd, data: DataEnd) -> None:
    asking = asyncio.create_task(control.ask(GetFrame(), TIMEOUT))
    request = await asked(data)
    data.send(Answer(number=request.number), [b"one", memoryview(b"two")])

    assert request.command == GetFrame()
    assert (await asking)[1] == [b"one", b"two"]


async def test_answers_find_who_asked(control: ControlEnd, data: DataEnd) -> None:
    first, second = (asyncio.create_task(control.ask(one, TIMEOUT)) for one in (Stop(), Abort()))
    requests = [await asked(data), await asked(data)]
    for request in reversed(requests):
        data.send(Answer(number=request.number, status=Status(detector=request.command.kind)))

    assert [(await one)[0].status for one in (first, second)] == [Status(detector="stop"), Status(detector="abort")]


async def test_errors_cross_as_what_they_are(control: ControlEnd, data: DataEnd) -> None:
    asking = asyncio.create_task(control.ask(Stop(), TIMEOUT))
    request = await asked(data)
    data.send(Answer(number=request.number, problem=problem_of(Busy("It runs.", "Wait."))))

    with pytest.raises(Busy) as caught:
        await asking
    assert (caught.value.message, caught.value.hint) == ("It runs.", "Wait.")


async def test_a_deadline(control: ControlEnd, data: DataEnd) -> None:
    with pytest.raises(DeadlineExceeded, match=r"'stop' within 0.05 s"):
        await control.ask(Stop(), 0.05)
    late = await asked(data)
    data.send(Answer(number=late.number))

    asking = asyncio.create_task(control.ask(Abort(), TIMEOUT))
    data.send(Answer(number=(await asked(data)).number, status=Status(detector="on time")))
    assert (await asking)[0].status == Status(detector="on time")


async def test_closing_ends_the_waiting(heard: Heard, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    control = ControlEnd(heard.answers.put_nowait)
    data = DataEnd(control.endpoint, context)
    data.send(Answer(status=Status(detector="a")))
    await heard.status()
    asking = asyncio.create_task(control.ask(Stop(), TIMEOUT))
    await asked(data)
    data.close()
    await control.close()

    with pytest.raises(ServiceUnreachable, match="ended before"):
        await asking


async def test_nobody_is_there(control: ControlEnd) -> None:
    with pytest.raises(DeadlineExceeded, match="does not take"):
        await control.ask(Stop(), TIMEOUT)


async def test_statuses_come_unasked(control: ControlEnd, data: DataEnd, heard: Heard) -> None:
    data.send(Answer(status=Status(detector="a")))

    assert await heard.status() == Status(detector="a")


async def test_the_last_words_are_heard(heard: Heard, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    control = ControlEnd(heard.answers.put_nowait)
    data = DataEnd(control.endpoint, context)
    for number in range(50):
        data.send(Answer(status=Status(detector="a", revision=number)))
    data.close()
    await control.close()

    assert [heard.answers.get_nowait().status.revision for _ in range(heard.answers.qsize())][-1] == 49  # type: ignore[union-attr]


async def test_nobody_reads(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """The data plane goes on, with the newest status and the newest answers."""
    silent = context.socket(zmq.PAIR)
    silent.rcvhwm = 1
    port = silent.bind_to_random_port("tcp://127.0.0.1")
    data = DataEnd(f"tcp://127.0.0.1:{port}", context)
    data.socket.linger = 0
    blob = bytes(1 << 20)
    for number in range(QUEUE + KEPT_ANSWERS):
        data.send(Answer(number=number), [blob])
        data.send(Answer(status=Status(detector="a", revision=number)))
    assert data.receive() is None

    newest = None
    while silent.poll(500):
        answer = Answer.model_validate_json(silent.recv_multipart()[0])
        newest = answer.status.revision if answer.status is not None else newest
        data.receive()
    silent.close(linger=0)
    data.close()
    assert newest == QUEUE + KEPT_ANSWERS - 1


async def test_nonsense_is_survived(
    control: ControlEnd, context: zmq.Context[zmq.Socket[bytes]], heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    with context.socket(zmq.PAIR) as socket:
        socket.connect(control.endpoint)
        socket.send_multipart([b"\xff", b"x"])
        socket.send_json({"number": "many"})
        socket.send(Answer(status=Status(detector="a")).model_dump_json().encode())
        assert await heard.status() == Status(detector="a")
    assert caplog.text.count("what is no answer") == 2


async def test_a_request_that_is_none(
    context: zmq.Context[zmq.Socket[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    with context.socket(zmq.PAIR) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        data = DataEnd(f"tcp://127.0.0.1:{port}", context)
        socket.send(b"nonsense")
        socket.send(Request(number=1, command=Stop()).model_dump_json().encode())
        assert (await asked(data)).command == Stop()
        data.close()
    assert "what is no request" in caplog.text


def test_errors_keep_their_class_code_and_hint() -> None:
    for error in (Busy("a", "b"), MalformedMessage("short", "5 bytes"), StreamdetError("x")):
        again = error_of(problem_of(error))
        assert type(again) is type(error)
        assert (again.code, str(again)) == (error.code, str(error))


def test_an_error_of_an_unknown_code() -> None:
    again = error_of(Problem(code="from_the_future", message="a"), Busy)

    assert (type(again), again.code) == (Busy, "from_the_future")
