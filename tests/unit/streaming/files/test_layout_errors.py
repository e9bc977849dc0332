"""What is wrong in a layout is said at once, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bluesky_streamdet.core.errors import ConfigError
from bluesky_streamdet.streaming.files.layouts import Layouts, load
from tests.unit.streaming.files.laid_out import LEAST, typed

FIRST = len(LEAST.splitlines()) + 1
"""The line of the first thing that a test writes."""

BAD = [
    pytest.param("groups: {/x: NXdata", 1, "no YAML: expected ',' or '}'", id="no YAML"),
    pytest.param("header:\n  a: {path: /{entry}/x}", 1, "what has braces itself needs quotes", id="braces in braces"),
    pytest.param("groups: {/x: NXdata}\nfarmes: /x", 1, "no setting farmes; did you mean frames?", id="mistyped"),
    pytest.param("header:\n  a:\n    path: /x\n    unit: mm", 3, "header.a.unit; did you mean units?", id="inner"),
    pytest.param("groups:\n  raw: NXdata", 1, "groups.raw is 'raw': a path begins with /", id="no slash"),
    pytest.param("values:\n  /a/../b: {value: 1}", 1, r"\. and \.\. are no names", id="dots"),
    pytest.param("values:\n  /a//b: {value: 1}", 1, "one / before each", id="nothing between slashes"),
    pytest.param("values:\n  /a: {value: '{detecter}'}", 1, "nothing is called {detecter}; there are ", id="word"),
    pytest.param("values:\n  /a: {value: '{detector'}", 1, "its braces don't match", id="open brace"),
    pytest.param("values:\n  /a: {value: '{detector:>90}'}", 1, "can't be filled in", id="format"),
    pytest.param("values:\n  /a: {value: '{detector.x}'}", 1, "can't be filled in", id="attribute"),
    pytest.param("header:\n  a: {path: /x, dtype: float46}", 1, "no such type; allowed: bool, text, int8,", id="type"),
    pytest.param("values:\n  /a: {value: long, dtype: int32}", 1, "'long' is no int32", id="value of another type"),
    pytest.param("values:\n  /a: {value: {b: 1}}", 1, "should be a number, a text, true or false", id="value"),
    pytest.param("values:\n  /a: {value: [1, b]}", 1, "a list of one of these", id="mixed list"),
    pytest.param("values:\n  /a: {value: 2026-01-01}", 1, "quote other texts", id="date"),
    pytest.param("values:\n  /a: {value: 1}\nheader:\n  b: /a", 3, "it has the path of values./a", id="same path"),
    pytest.param("links:\n  /raw/{dataset}: /account", 1, "it has the path of frames", id="link over frames"),
    pytest.param("values:\n  /raw/{dataset}/x: {value: 1}", 1, "inside of frames.path, /raw/DATASET", id="in frames"),
    pytest.param("groups:\n  /raw/{dataset}: NXdata", 1, "a group can't have the path of frames", id="group"),
    pytest.param("links:\n  /a: /nowhere", 1, "the layout makes nothing at /nowhere", id="link to nothing"),
    pytest.param("links:\n  /a: /a", 1, "it leads to itself", id="link to itself"),
    pytest.param("values:\n  /: {value: 1}", 1, "a dataset has a name", id="no name"),
    pytest.param("groups:\n  /a: {n: '{last_image}'}", 1, "nothing is called {last_image}", id="grows not"),
    pytest.param("header:\n  a: {path: /a, attributes: {n: '{series}'}}", 1, "nothing is called {series}", id="late"),
    pytest.param("groups: {/a: NXdata}\ngroups: {/b: NXdata}", 1, "stands in line", id="twice"),
    pytest.param("run: {entry: /x}", 0, "run.document is missing", id="missing"),
    pytest.param("parameters:\n  a: {path: /x, required: perhaps}", 1, "should be a valid boolean", id="boolean"),
    pytest.param("parameters:\n  a: 5", 1, "parameters.a is 5; it should be names", id="no section"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "why"), BAD)
def test_the_line_and_what_is_wrong_are_named(tmp_path: Path, text: str, line: int, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml, line {FIRST + line}.*{why}"):
        typed(tmp_path, f"{text}\n")


COLUMNS = [
    pytest.param("{names: {}}", "columns.group is missing", id="no group"),
    pytest.param("'{frames}/x'", "nothing is called {frames}; there are {detector}, {dataset}, {entry}", id="word"),
    pytest.param("{group: /c, derived: {a: {of: b, dtype: text}}}", "needs a type of numbers", id="type"),
    pytest.param("{group: /c, derived: {a: {of: b, divide: 0}}}", "should be greater than 0", id="divided by nothing"),
    pytest.param("{group: /c, derived: {a: {of: b}, b: {of: x}}}", "b is derived itself", id="derived of derived"),
    pytest.param("{group: /c, names: {a: x, b: x}}", "columns.names.b: it has the path of columns.names.a", id="same"),
    pytest.param("{group: /c, names: {a: receive_time}}", "it has the path of columns.names.receive_time", id="time"),
    pytest.param("'/account/{dataset}'", "each needs a group of its own", id="account"),
]


@pytest.mark.parametrize(("text", "why"), COLUMNS)
def test_columns_are_checked(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml, line \d+: .*{why}"):
        typed(tmp_path, f"columns: {text}\n")


@pytest.mark.parametrize(("key", "why"), [("account", "the account needs one"), ("frames", "a dataset has a name")])
def test_the_root_is_for_neither(tmp_path: Path, key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml, line \d+: {key}.*/ is the file's own group; {why}"):
        typed(tmp_path, f"{key}: /\n")


def test_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        typed(tmp_path, "values:\n  /a: {value: '{x}'}\n  b: {value: 1, dtype: int7}\n")
    assert len(caught.value.message.splitlines()) == 3


@pytest.mark.parametrize("content", [b"", b"- a\n", b"5", b"\xff\xfe", b"a: &a [*a]"])
def test_what_is_no_layout_is_named_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load(path)


def test_what_is_not_there_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The layout .*mine\.yaml can't be read: No such file"):
        Layouts("nexus", {"mine": tmp_path / "mine.yaml"})


def test_no_layout_may_take_the_name_of_another(tmp_path: Path) -> None:
    typed(tmp_path, "")
    with pytest.raises(ConfigError, match="a layout 'nexus' that comes with the package"):
        Layouts("nexus", {"nexus": tmp_path / "mine.yaml"})
    with pytest.raises(ConfigError, match=r"no layout 'other'. There are: .*, mine"):
        Layouts("other", {"mine": tmp_path / "mine.yaml"})
