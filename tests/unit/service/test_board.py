from __future__ import annotations

import asyncio

from bluesky_streamdet.core.rules import State
from bluesky_streamdet.service.board import HEARTBEAT, StatusBoard
from bluesky_streamdet.streaming.status import DiskReport, Status


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


IDLE, ARMED = Status(detector="eiger"), Status(detector="eiger", state=State.ARMED)


async def test_wakes_all_who_wait() -> None:
    board = StatusBoard(IDLE, Clock())
    waiting = [asyncio.create_task(board.newer_than(board.status.revision)) for _ in range(3)]
    await asyncio.sleep(0)
    board.put(ARMED)

    assert [status and status.state for status in await asyncio.gather(*waiting)] == [State.ARMED] * 3


async def test_who_comes_late_gets_the_newest_at_once() -> None:
    board = StatusBoard(IDLE, Clock())
    revision = board.status.revision
    board.put(ARMED)
    board.put(IDLE)

    status = await board.newer_than(revision)
    assert status is not None
    assert (status.state, status.revision) == (State.IDLE, revision + 2)


async def test_what_is_no_news_wakes_nobody_until_the_heartbeat() -> None:
    clock = Clock()
    board = StatusBoard(IDLE, clock)
    waiting = asyncio.create_task(board.newer_than(board.status.revision))
    board.put(IDLE.model_copy(update={"resident_megabytes": 5.0}))
    await asyncio.sleep(0)
    assert not waiting.done()

    clock.now = HEARTBEAT
    board.put(IDLE)
    assert await waiting is board.status


async def test_how_full_a_disk_is_is_no_news_but_that_it_will_be_is() -> None:
    clock = Clock()
    board = StatusBoard(IDLE.model_copy(update={"disk": DiskReport(free_megabytes=9)}), clock)
    waiting = asyncio.create_task(board.newer_than(board.status.revision))
    board.put(IDLE.model_copy(update={"disk": DiskReport(free_megabytes=8, seconds_left=7.0)}))
    await asyncio.sleep(0)
    assert not waiting.done()
    board.put(IDLE.model_copy(update={"disk": DiskReport(free_megabytes=7, warning="7 MB are left")}))

    status = await waiting
    assert status is not None
    assert status.disk is not None
    assert status.disk.warning == "7 MB are left"


async def test_closing_ends_the_waiting() -> None:
    board = StatusBoard(IDLE, Clock())
    waiting = asyncio.create_task(board.newer_than(board.status.revision))
    await asyncio.sleep(0)
    board.close()

    assert await waiting is None
    assert await board.newer_than(0) is None
