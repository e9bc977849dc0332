"""The pages of services as a browser shows them: real processes, and Debian's Chromium."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bluesky_streamdet.service.background import ServiceProcess
from bluesky_streamdet.service.client import ServiceClient
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.sim.client import SimulatedDetectorClient
from bluesky_streamdet.sim.process import SimulatorProcess
from bluesky_streamdet.sim.settings import SimulatorSettings
from bluesky_streamdet.streaming.messages import ArmRequest
from tests.wire.service_parts import Detector
from tests.wire.test_service_cameras import NAMES, Running, supervising, text_of, until_it_answers

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(120)]

PROGRAM = Path(__file__).with_name("browser_program.py")
PATIENCE = 60.0
SHAPE = (64, 128)
PHONE = 390
"""Pixels across."""
COUNT = "Number([...document.querySelectorAll('#counts div')].find(one => one.innerText.includes('received'))"
RECEIVED = COUNT + "?.querySelector('dd').innerText.replace(/\\D/g, ''))"
PICTURE = "document.querySelector('#image').naturalWidth && document.querySelector('#image').src"


class Tab:
    """One page of a browser. Expressions are JavaScript."""

    def __init__(self, browser: Browser, name: str) -> None:
        self._browser, self._name = browser, name

    def until(self, condition: str) -> Any:
        """The value of an expression, once it is true."""
        return self._browser.ask("until", self._name, condition)

    def says(self, text: str) -> None:
        """Wait until the page shows that."""
        self.until(f"document.body.innerText.includes({json.dumps(text)})")

    def value(self, expression: str) -> Any:
        return self._browser.ask("value", self._name, expression)

    def text(self) -> str:
        return self._browser.ask("text", self._name)

    def click(self, what: str) -> None:
        self._browser.ask("click", self._name, what)

    def write(self, where: str, text: str) -> None:
        self._browser.ask("write", self._name, where, text)

    def complaints(self) -> list[str]:
        """What stands in the browser's console of errors and warnings."""
        return self._browser.ask("complaints", self._name)


class Browser:
    """A Chromium that a program in an environment of its own steers for us."""

    def __init__(self, python: Path, chromium: Path) -> None:
        command = [str(python), str(PROGRAM), str(chromium)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._opened = 0
        self._answer()

    def open(self, url: str, width: int = 1200) -> Tab:
        self._opened += 1
        name = f"tab {self._opened}"
        self.ask("open", name, url, width)
        return Tab(self, name)

    def ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], PATIENCE)[0], "the browser does not answer"
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "failed" not in answer, answer["failed"]
        return answer["result"]

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def browser(browser_python: Path, chromium: Path) -> Iterator[Browser]:
    running = Browser(browser_python, chromium)
    yield running
    running.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(SimulatorSettings(endpoint="tcp://127.0.0.1:0", shape=SHAPE)) as process:
        yield process


@pytest.fixture
def detector(simulator: SimulatorProcess) -> Iterator[SimulatedDetectorClient]:
    with simulator.client() as client:
        yield client
        client.disarm()


@pytest.fixture(scope="module")
def config(simulator: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DetectorConfig]:
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("STREAMDET_API_KEY", "a-key-of-the-test")
        patch.setenv("LOG_LEVEL", "WARNING")
        values = {
            "detector": "eiger1",
            "type": "eiger",
            "source": {"endpoints": [simulator.address]},
            "files": {"directory": folder},
            "rest": {"port": 0},
            "outputs": [{"name": "view", "kind": "pub", "address": "tcp://127.0.0.1:0"}],
            "crystfel": [{"address": "tcp://127.0.0.1:*"}],
            "log_level": "ERROR",
        }
        yield DetectorConfig.model_validate(values)


@pytest.fixture(scope="module")
def service(config: DetectorConfig) -> Iterator[ServiceProcess]:
    with ServiceProcess(config) as process:
        yield process


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[ServiceClient]:
    with ServiceClient(service.url, service.api_key) as one:
        yield one


def test_a_series_as_it_runs(
    browser: Browser, service: ServiceProcess, client: ServiceClient, detector: SimulatedDetectorClient
) -> None:
    tab, phone = browser.open(service.url), browser.open(service.url, PHONE)
    tab.says("○ idle")
    series = client.arm(ArmRequest())
    tab.says("◔ armed")
    detector.arm(frames=100_000, exposure=0.02)
    detector.trigger()
    tab.says("● running")
    first, count = tab.until(PICTURE), tab.until(RECEIVED)
    assert tab.until(f"{RECEIVED} > {count}")
    assert tab.until(f"({PICTURE}) !== {json.dumps(first)}")
    detector.disarm()
    client.stop(series.id)
    tab.until("document.querySelector('#outcome').innerText")
    received = client.series(series.id).ledger.received
    assert tab.value(RECEIVED) == received > count
    text = tab.text()
    assert str(series.file) in text
    assert "view" in text and "crystfel" in text
    tab.until(f"document.querySelector('#history').innerText.includes({json.dumps(series.id)})")
    phone.until("document.querySelector('#outcome').innerText")
    assert phone.value("document.documentElement.scrollWidth") <= PHONE
    assert tab.complaints() == phone.complaints() == []


def test_the_wrong_key_and_then_the_right_one(
    browser: Browser, service: ServiceProcess, client: ServiceClient, detector: SimulatedDetectorClient
) -> None:
    tab = browser.open(f"{service.url}#key=wrong")
    client.arm(ArmRequest(open_ended=True))
    tab.click("#stop")
    tab.says("is not the right one")
    tab.write("#key", service.api_key)
    tab.click("#ask button")
    tab.click("#stop")
    tab.says("○ idle")
    assert not tab.value("document.body.innerText.includes('API key')")


def test_a_service_that_comes_back(browser: Browser, config: DetectorConfig) -> None:
    other = config.model_copy(update={"detector": "eiger2"}, deep=True)
    with ServiceProcess(other) as service:
        tab = browser.open(service.url)
        tab.says("○ idle")
        other.rest.port = int(service.url.rstrip("/").rpartition(":")[2])
    tab.says("✕ lost")
    tab.says("No word from the service")
    with ServiceProcess(other):
        tab.says("○ idle")
        assert not tab.value("document.body.innerText.includes('No word')")


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Two cameras behind one address."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.delenv("STREAMDET_API_KEY", raising=False)
    detectors = [Detector() for _ in NAMES]
    (tmp_path / "hall.yaml").write_text(text_of(detectors, tmp_path))
    with supervising(str(tmp_path / "hall.yaml")) as process:
        yield until_it_answers(process)
        process.terminate()
        process.communicate(timeout=PATIENCE)
    for one in detectors:
        one.close()


def test_two_cameras_of_which_one_dies(browser: Browser, hall: Running) -> None:
    tab = browser.open(hall.url)
    for name in NAMES:
        tab.says(name)
    tab.says("2, of which 0 measure")
    with ServiceClient(f"{hall.url}/cameras/{NAMES[1]}", hall.key) as camera:
        camera.arm(ArmRequest(open_ended=True))
        tab.says("2, of which 1 measure")
        writer = tab.until("document.body.innerText.match(/writer: process (\\d+)/)?.[1]")
        os.kill(int(writer), signal.SIGKILL)
        tab.says("killed by signal 9 (SIGKILL)")
        tab.says("and 1 with an error")
    tab.click(f"text={NAMES[1]}")
    tab.says("✕ error")
    tab.says("killed by signal 9 (SIGKILL)")
    tab.click("text=All cameras")
    tab.says(NAMES[0])
    assert tab.complaints() == []
