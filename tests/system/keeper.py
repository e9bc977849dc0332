"""Keeps commands as a service manager does, in a process of its own, so that a test may end and start them.

A line of JSON on standard input is what to do, one on standard output what came of it. It ends, and all that it keeps,
when its input does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.system.station import PATIENCE, Process


class Keeper:
    """Starts that process, and tells it what to do. environ: of the commands."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.system.keeper"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environ)
        )

    def start(self, name: str, *arguments: str, ready: str) -> tuple[int, str]:
        """Start a command under this name; its process id, and what it has said until it was ready."""
        answer = self._ask(name=name, do="start", arguments=arguments, ready=ready)
        return answer["pid"], "".join(answer["lines"])

    def kill(self, name: str, number: int) -> None:
        """Send it a signal; none when it has ended."""
        self._ask(name=name, do="kill", number=int(number))

    def wait(self, name: str) -> None:
        """Wait for its end."""
        self._ask(name=name, do="wait")

    def running(self, name: str) -> bool:
        return self._ask(name=name, do="look")["running"]

    def close(self) -> None:
        """End all that is kept."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def _ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer


def keep() -> None:
    """What its process does."""
    kept: dict[str, Process] = {}
    try:
        for line in sys.stdin:
            try:
                answer = _done(kept, **json.loads(line))
            except AssertionError as error:
                answer = {"error": str(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        for one in kept.values():
            one.end()


def _done(kept: dict[str, Process], name: str, do: str, **how: Any) -> dict[str, Any]:
    if do == "start":
        kept[name] = Process(**how, environ={})
    elif do == "kill":
        kept[name].kill(how["number"])
    elif do == "wait":
        kept[name].wait()
    return {"pid": kept[name].pid, "lines": kept[name].lines, "running": kept[name].running}


if __name__ == "__main__":
    keep()
