"""The fixtures of conftest.py do fail a test that leaves something behind, and leave others alone."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEAKING = """
import asyncio, logging, socket, subprocess, sys, threading

import pytest
import zmq

kept = []
end = threading.Event()

@pytest.fixture(scope="module", autouse=True)
def clean_up():
    yield
    end.set()
    for one in kept:
        one()

def test_thread():
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    kept.append(thread.join)

def test_child():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    kept.append(child.communicate)

def test_child_not_waited_for():
    child = subprocess.Popen(["true"])
    kept.append(child.wait)
    import os
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

def test_socket():
    kept.append(socket.socket().close)

def test_zmq_context():
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    kept.append(lambda: push.close() or context.term())

@pytest.fixture
def broken_fixture():
    yield
    kept.append(socket.socket().close)

def test_fixture(broken_fixture):
    pass

async def test_task():
    kept_task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
    kept.append(lambda: kept_task)

def test_error_log():
    logging.getLogger("somewhere").error("the disk is full")

def test_error_log_that_does_not_propagate():
    logger = logging.getLogger("elsewhere")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.critical("the disk is on fire")
"""

CLEAN = """
import asyncio, logging, socket, subprocess, threading

import numpy as np
import pytest
import zmq

@pytest.fixture(scope="session")
def server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()
        thread = threading.Thread(target=ended.wait)
        thread.start()
        yield listener.getsockname()
        ended.set()
        thread.join()

def test_what_outlives_it_is_not_its_own(server):
    with socket.create_connection(server):
        pass

def test_thread_that_ends_by_itself():
    told = threading.Event()
    threading.Thread(target=told.wait).start()
    told.set()

def test_child_that_was_waited_for():
    subprocess.run(["true"], check=True)

def test_zmq_without_a_copy():
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        one.send(np.zeros(100_000, np.uint8), copy=False)
        assert len(other.recv(copy=False)) == 100_000

async def test_tasks_and_executor():
    await asyncio.gather(asyncio.create_task(asyncio.to_thread(int, "1")))

@pytest.mark.allow_error_log
def test_error_that_was_expected():
    logging.getLogger("somewhere").error("as provoked")

@pytest.mark.keeps_sockets("a pool of connections grows")
def test_pool(request):
    request.config.kept_socket = socket.socket()

def test_pool_is_closed(request):
    request.config.kept_socket.close()

def test_recording(test_data):
    test_data / "none/of/the/recordings.cbors"
"""

RUN_ENGINE = """
import pytest
from bluesky import plan_stubs as bps

@pytest.mark.parametrize("turn", [1, 2])
def test_runs(RE, turn):
    RE(bps.null())
    assert RE.state == "idle"

def test_left_paused(RE):
    def plan():
        yield from bps.checkpoint()
        yield from bps.pause()
    with pytest.raises(Exception, match="paused"):
        RE(plan())
    assert RE.state == "paused"
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a file of tests under this project's own configuration and fixtures, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("STREAMDET_TEST_DATA", raising=False)
    pytester.makeconftest("from tests.conftest import *\nfrom tests import leftovers\nleftovers.GRACE = 0.2\n")

    def run_file(text: str) -> pytest.RunResult:
        file = pytester.makepyfile(text)
        return pytester.runpytest_subprocess(
            *("-c", ROOT / "pyproject.toml", "--rootdir", pytester.path, "-p", "no:cacheprovider", "-vv", file)
        )

    return run_file


def test_what_is_left_behind_fails_the_test(run) -> None:
    result = run(LEAKING)
    result.assert_outcomes(passed=9, errors=9)
    result.stdout.fnmatch_lines_random(
        [
            "ERROR *::test_thread - Failed: left behind: thread 'forgotten'",
            "ERROR *::test_child - Failed: left behind: child process * (python*)",
            "ERROR *::test_child_not_waited_for - Failed: left behind: *(true), which ended and was not waited for",
            "ERROR *::test_socket - Failed: left behind: sockets, 1 more than before",
            "ERROR *::test_zmq_context - Failed: left behind: *ZeroMQ contexts, * more than before*",
            "ERROR *::test_fixture - Failed: left behind: sockets, 1 more than before",
            "ERROR *::test_task - Failed: left behind: task <coroutine object Event.wait*",
            "ERROR *::test_error_log - Failed: logged: somewhere: the disk is full",
            "ERROR *::test_error_log_that_does_not_propagate - Failed: logged: elsewhere: the disk is on fire",
        ]
    )


def test_what_is_put_away_passes(run) -> None:
    result = run(CLEAN)
    result.assert_outcomes(passed=8, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *: needs $STREAMDET_TEST_DATA: none/of/the/recordings.cbors"])


def test_run_engine_ends_with_the_test(run) -> None:
    pytest.importorskip("bluesky")
    result = run(RUN_ENGINE)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["ERROR *::test_left_paused - Failed: logged: bluesky: Run aborted"])
