"""Opens pages in Chromium for a test, with playwright, which the test's own environment has not; run by its own Python.

It takes the path of Chromium. Each line on its standard input is a call, as JSON: the name of a method of `Tabs` and
its arguments. It answers each by a line: the result, or what went wrong.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import Browser, Error, Page, sync_playwright

PATIENCE = 20_000
"""Milliseconds."""


class Tabs:
    """Pages by the names that the test gives them, and what browser and pages had to complain about."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: dict[str, Page] = {}
        self._complaints: dict[str, list[str]] = {}

    def open(self, name: str, url: str, width: int = 1200) -> None:
        page = self._browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(PATIENCE)
        self._pages[name], complaints = page, []
        self._complaints[name] = complaints
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)

    def until(self, name: str, condition: str) -> Any:
        """Wait until an expression of JavaScript is true; returns its value."""
        return self._pages[name].wait_for_function(f"() => {condition}", timeout=PATIENCE).json_value()

    def value(self, name: str, expression: str) -> Any:
        return self._pages[name].evaluate(f"() => {expression}")

    def click(self, name: str, what: str) -> None:
        self._pages[name].click(what)

    def write(self, name: str, where: str, text: str) -> None:
        self._pages[name].fill(where, text)

    def complaints(self, name: str) -> list[str]:
        return self._complaints[name]

    def text(self, name: str) -> str:
        return self._pages[name].inner_text("body")


def main() -> None:
    with sync_playwright() as playwright:
        # Its sandbox does not work in all containers, and the pages are ours.
        chromium = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox", "--disable-gpu"])
        tabs = Tabs(chromium)
        print(json.dumps({"result": None}), flush=True)
        for line in sys.stdin:
            method, arguments = json.loads(line)
            try:
                answer = {"result": getattr(tabs, method)(*arguments)}
            except Error as error:
                answer = {"failed": f"{method} {arguments}: {error}"}
            print(json.dumps(answer), flush=True)
        chromium.close()


main()
