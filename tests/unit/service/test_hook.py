"""The command that is run for a closed series: real processes, which hang, fail, flood, and leave children."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bluesky_streamdet.core.series import Outcome
from bluesky_streamdet.service import hook as hooks
from bluesky_streamdet.service.hook import OUTPUT, Hook, arguments_of
from bluesky_streamdet.service.serieslog import SeriesLog
from bluesky_streamdet.streaming.files.config import FileConfig
from bluesky_streamdet.streaming.status import HookReport, LedgerReport, SeriesReport

LIMIT = 10.0


def closed(id: str = "one", file: str | None = "/data/one.h5") -> SeriesReport:
    return SeriesReport(id=id, detector="eiger", file=file, outcome=Outcome.COMPLETE)


def python(program: str, *arguments: str, directory: Path, **settings: Any) -> FileConfig:
    return FileConfig(hook=[sys.executable, "-c", program, *arguments], directory=directory, **settings)


class Notes:
    """What is told of series, and waiting for it."""

    def __init__(self) -> None:
        self.all: list[SeriesReport] = []
        self._news = asyncio.Event()

    def __call__(self, report: SeriesReport) -> None:
        self.all.append(report)
        self._news.set()

    async def result(self, id: str = "one") -> HookReport:
        async with asyncio.timeout(LIMIT):
            while True:
                for one in self.all:
                    if one.id == id and one.hook is not None and not one.hook.running:
                        return one.hook
                self._news.clear()
                await self._news.wait()


def has_ended(pid: str) -> bool:
    """Whether a process that is not our child has ended, within the time limit."""
    try:
        descriptor = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], LIMIT)[0])
    finally:
        os.close(descriptor)


async def run(config: FileConfig, report: SeriesReport | None = None) -> tuple[HookReport, Notes]:
    notes = Notes()
    hook = Hook(config, notes)
    hook.run(report or closed())
    result = await notes.result((report or closed()).id)
    await hook.close(LIMIT)
    return result, notes


async def test_it_gets_what_it_asks_for_and_its_words_are_kept(tmp_path: Path) -> None:
    strange = "/data/a b; rm {id} $(x) %n.h5"
    program = "import os, sys; print(sys.argv[1:], os.getcwd())"
    config = python(program, "{file}", "{id}-{detector}", "--outcome={outcome}", directory=tmp_path)
    result, notes = await run(config, closed(file=strange))

    assert (result.code, result.running) == (0, False)
    assert result.output == f"{[strange, 'one-eiger', '--outcome=complete']} {tmp_path}"
    assert result.seconds > 0
    assert [one.hook is not None and one.hook.running for one in notes.all] == [True, False]


def test_each_place_is_filled_in_once() -> None:
    report = closed(id="x", file="/data/{id}{outcome}.h5")

    assert arguments_of(["tool", "{file}", "{id}{id}"], report) == ["tool", "/data/{id}{outcome}.h5", "xx"]


async def test_one_that_fails(tmp_path: Path) -> None:
    result, _ = await run(python("raise SystemExit('no room on tape')", directory=tmp_path))

    assert (result.code, result.output) == (1, "no room on tape")


async def test_one_that_is_not_there(tmp_path: Path) -> None:
    result, _ = await run(FileConfig(hook=["no-such-program", "{file}"], directory=tmp_path))

    assert (result.code, result.output) == (None, "'no-such-program' can't be run: No such file or directory.")


async def test_one_that_ends_by_a_signal(tmp_path: Path) -> None:
    result, _ = await run(python("import os; os.kill(os.getpid(), 9)", directory=tmp_path))

    assert (result.code, result.output) == (None, "It was ended by signal 9.")


async def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "GRACE", 0.2)
    # A shell, as that is there at once: what it says has to come before its time is over.
    program = "trap '' TERM; sleep 1000 & echo $!; wait"
    result, _ = await run(FileConfig(hook=["sh", "-c", program], directory=tmp_path, hook_seconds=1.0))

    child, said = result.output.split("\n")
    assert result.code is None
    assert said == "It was ended, as it had not ended within 1 s."
    assert has_ended(child)


async def test_one_that_says_too_much_is_not_held_up_and_holds_nobody_up(tmp_path: Path) -> None:
    program = "import sys\nfor _ in range(200): sys.stdout.write('x' * 10_000)\nprint('the end')"
    result, _ = await run(python(program, directory=tmp_path))

    assert result.code == 0
    assert result.output.endswith("xthe end")
    assert len(result.output) <= OUTPUT


async def test_what_it_leaves_behind_holds_nobody_up(tmp_path: Path) -> None:
    """A child that has our pipe in its hand, and would keep it."""
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'])\n"
        "print(child.pid, flush=True)\n"
    )
    began = time.monotonic()
    result, _ = await run(python(program, directory=tmp_path))

    assert result.code == 0
    assert time.monotonic() - began < LIMIT
    assert has_ended(result.output)


async def test_what_a_terminal_would_obey_is_left_out(tmp_path: Path) -> None:
    result, _ = await run(python("print('a\\x1b[2Jb\\0c')", directory=tmp_path))

    assert result.output == "a[2Jbc"


async def test_series_do_not_wait_for_one_that_hangs(tmp_path: Path) -> None:
    """The second command ends while the first one hangs; then the service ends, and says so."""
    program = "import sys, threading; sys.argv[1] == 'one' and threading.Event().wait()"
    notes = Notes()
    hook = Hook(python(program, "{id}", directory=tmp_path), notes)
    hook.run(closed("one"))
    hook.run(closed("two"))
    assert (await notes.result("two")).code == 0
    await hook.close(0.01)

    result = await notes.result("one")
    assert (result.code, result.output) == (None, "It was ended, as the service ended.")


async def test_more_than_anybody_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "AT_ONCE", 1)
    monkeypatch.setattr(hooks, "MOST_WAITING", 1)
    notes = Notes()
    hook = Hook(python("import threading; threading.Event().wait()", directory=tmp_path), notes)
    for id in "abc":
        hook.run(closed(id))
    assert "not run, as those of 1 series waited" in (await notes.result("c")).output
    hook.hurry()
    await hook.close(LIMIT)

    assert (await notes.result("b")).output == "It was not run, as the service ended."


async def test_none_without_a_file_or_a_command(tmp_path: Path) -> None:
    notes = Notes()
    Hook(FileConfig(directory=tmp_path), notes).run(closed())
    Hook(python("", directory=tmp_path), notes).run(closed(file=None))

    assert notes.all == []


@pytest.mark.parametrize(
    "hook",
    [[""], ["{file}"], ["tool", "{name}"], ["tool", "{"], ["tool", "{file.parent}"], ["tool", "a\0b"], "tool {file}"],
)
def test_commands_that_are_none(hook: Any) -> None:
    with pytest.raises(ValidationError):
        FileConfig(hook=hook)


@pytest.fixture
async def log(tmp_path: Path) -> SeriesLog:
    log = SeriesLog(tmp_path, "eiger")
    await log.start()
    return log


async def test_its_result_is_in_the_records(log: SeriesLog, tmp_path: Path) -> None:
    """And no later word of the data plane, which knows nothing of it, takes it away."""
    log.on_closed = lambda report: log.note(report.model_copy(update={"hook": HookReport(running=True)}))
    log.note(closed().model_copy(update={"outcome": None}))
    log.note(closed())
    assert log.last is not None
    assert log.last.hook == HookReport(running=True)
    log.note(closed().model_copy(update={"hook": HookReport(code=3)}))
    log.note(closed().model_copy(update={"ledger": LedgerReport(received=1)}))
    await log.close()

    assert log.report("one").hook == log.last.hook == HookReport(code=3)
    assert (log.closed, log.counts["hooks", "failed"]) == (1, 1)
    again = SeriesLog(tmp_path, "eiger")
    await again.start()
    await again.close()
    assert again.report("one").hook == HookReport(code=3)


async def test_one_that_ran_when_the_service_died(log: SeriesLog, tmp_path: Path) -> None:
    log.note(closed().model_copy(update={"hook": HookReport(running=True)}))
    await log.close()
    again = SeriesLog(tmp_path, "eiger")
    await again.start()
    await again.close()

    assert again.report("one").hook == HookReport(output="The service died while it ran.")
