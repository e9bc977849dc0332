"""Fails a test which leaves something behind, or logs an error.

It looks before the test's own fixtures are set up and after they are torn down; what fixtures of a wider scope hold is
there before, and stays. What libraries keep for the life of the process is listed here by name, with its reason.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

GRACE = 2.0
"""Seconds that a thread or task may take to end once it has been told to."""

KEPT_THREADS = {
    ("tqdm._monitor", "TMonitor"),
    # pyzmq's collector of buffers that were sent without a copy.
    ("zmq.utils.garbage", "GarbageCollectorThread"),
}
"""Module and class of threads that a library starts once and never stops."""

KEPT_CHILDREN = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")
"""Parts of the command lines of processes that the standard library starts once."""

WATCHED_DESCRIPTORS = {"socket": "sockets", "anon_inode:[eventpoll]": "event loops or ZeroMQ contexts"}
"""Beginnings of what /proc/self/fd points to, and what to call it."""


BEFORE = pytest.StashKey[tuple[set[threading.Thread], dict[int, str], Counter[str]]]()
"""What there was before the first fixture of a test's own."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    # Fixtures of wider scope come first, whoever asks for them.
    if fixturedef.scope == "function" and BEFORE not in request.node.stash:
        request.node.stash[BEFORE] = set(threading.enumerate()), _children(), _descriptors()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail the test when a thread, a child process or a socket of its making outlives it."""
    yield
    if BEFORE not in item.stash:
        return
    threads, children, descriptors = item.stash[BEFORE]
    left = _threads_left(threads)
    left += [f"child process {one}" for pid, one in _children().items() if pid not in children]
    if item.get_closest_marker("keeps_sockets") is None:
        left += _descriptors_left(descriptors)
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def starts_what_stays() -> None:
    """Start what a library keeps for the life of the process, so that no test is blamed for using it first."""
    from zmq.utils.garbage import gc as garbage

    if not garbage.is_alive():
        garbage.start()


@pytest.fixture(autouse=True)
def looks_for_tasks(request: pytest.FixtureRequest) -> None:
    """Have `leaves_no_tasks` watch the tests that are async, and only these, as it needs their event loop."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("leaves_no_tasks")


@pytest.fixture
async def leaves_no_tasks() -> AsyncIterator[None]:
    """Fail an async test that leaves a task, which the end of the event loop would cancel without a word."""
    before = asyncio.all_tasks()
    yield
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    pending = (await asyncio.wait(tasks, timeout=GRACE))[1] if tasks else set()
    if pending:
        pytest.fail("left behind: " + "; ".join(f"task {task.get_coro()}" for task in pending), pytrace=False)


@pytest.fixture(autouse=True)
def logs_no_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which any logger logs at ERROR or above, unless the test is marked `allow_error_log`."""
    if request.node.get_closest_marker("allow_error_log") is not None:
        yield
        return
    errors: list[logging.LogRecord] = []
    make = logging.getLogRecordFactory()

    def watched(*args: Any, **kwargs: Any) -> logging.LogRecord:
        # Not a handler: loggers that do not propagate, such as uvicorn's, would go unseen.
        record = make(*args, **kwargs)
        if isinstance(record.levelno, int) and record.levelno >= logging.ERROR:
            errors.append(record)
        return record

    logging.setLogRecordFactory(watched)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)
    if errors:
        pytest.fail("logged: " + "; ".join(f"{one.name}: {one.getMessage()}" for one in errors), pytrace=False)


def _threads_left(before: set[threading.Thread]) -> list[str]:
    deadline = time.monotonic() + GRACE
    left = []
    for thread in set(threading.enumerate()) - before:
        if (type(thread).__module__, type(thread).__qualname__) in KEPT_THREADS:
            continue
        thread.join(max(deadline - time.monotonic(), 0))
        if thread.is_alive():
            left.append(f"thread {thread.name!r}")
    return left


def _children() -> dict[int, str]:
    """Child processes that run, or ended and were never waited for: name of each by its id."""
    multiprocessing.active_children()  # waits for those of its own that have ended
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return {}
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
            command = (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # Somebody else's process has ended meanwhile.
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid() and not any(kept in command for kept in KEPT_CHILDREN):
            ended = ", which ended and was not waited for" if state == "Z" else ""
            found[int(stat.parent.name)] = f"{stat.parent.name} ({name.partition('(')[2]}){ended}"
    return found


def _descriptors() -> Counter[str]:
    """How many open file descriptors of each watched kind this process has; empty where there is no /proc."""
    counts: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # The one that listed the directory.
        counts.update(kind for prefix, kind in WATCHED_DESCRIPTORS.items() if target.startswith(prefix))
    return counts


def _descriptors_left(before: Counter[str]) -> list[str]:
    left = _descriptors() - before
    if left:
        # What nobody refers to any more closes now, with a ResourceWarning that fails this test and not a later one.
        gc.collect()
        left = _descriptors() - before
    deadline = time.monotonic() + GRACE
    while left and time.monotonic() < deadline:
        # A server of wider scope closes its end of a connection in its own time, and nothing tells us when it has.
        threading.Event().wait(0.01)
        left = _descriptors() - before
    return [f"{kind}, {count} more than before" for kind, count in left.items()]
