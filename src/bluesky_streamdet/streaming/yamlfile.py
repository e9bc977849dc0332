"""A YAML file whose values know in which line they stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bluesky_streamdet.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says. `values` are plain dicts, lists, strings and numbers."""

    path: Path
    values: Any
    root: yaml.Node | None

    def place(self, path: tuple[str | int, ...]) -> str:
        """File and line of the value at `path`, or of what is nearest to where it should be."""
        node = self.root
        line = None
        for step in path:
            if node is None:
                break
            line = node.start_mark.line
            key, node = _step(node, step)
            line = key.start_mark.line if key is not None else line
        return f"{self.path}" if line is None else f"{self.path}, line {line + 1}"


def read(path: Path, what: str = "configuration") -> Document:
    """Read a file. Raises `ConfigError` when it is not there or no YAML, or when a key stands in it twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"The {what} {path} can't be read: {reason}.") from error
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        _refuse_repeated_keys(path, root)
        values = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_line_of(error)} is no YAML: {_problem_of(error)}.") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deep, or refers to itself.") from error
    finally:
        loader.dispose()
    return Document(path, values, root)


class _Loader(yaml.SafeLoader):
    """Takes keys as they are written: YAML would have `on`, `no` and `12` be other things than texts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def value_of(text: str) -> Any:
    """A single value, such as of an environment variable: a number, true, a list [a, b], or the text itself."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _step(node: yaml.Node, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Key and value of what `step` leads to, None where it leads nowhere."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None, None


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    """YAML would take the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigError(
                    f"{path}, line {line}: the key {key.value!r} stands in line {seen[key.value]} already."
                )
            seen[key.value] = line
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(path, item)


def _line_of(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f", line {mark.line + 1}" if mark is not None else ""


def _problem_of(error: yaml.YAMLError) -> str:
    return str(error.problem) if isinstance(error, yaml.MarkedYAMLError) else str(error)
