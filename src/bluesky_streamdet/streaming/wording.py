"""What is wrong with a value that somebody typed, in that person's words: the place, the value, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str | int, ...]
Place = Callable[[Path], str]
"""Where the value at a path stands: a file and a line, or a variable."""

LONGEST_VALUE = 80


def in_words(errors: Iterable[Any], model: type[BaseModel] | None = None, place: Place | None = None) -> str:
    """Everything that is wrong with an input, one line for each.

    errors: from `errors()` of pydantic's `ValidationError`, or of FastAPI's. model: what the input was for.
    """
    # Unknown settings first: one that is mistyped is missing as well, and the former says why.
    found = sorted(errors, key=lambda one: one["type"] != "extra_forbidden")
    lines = []
    for one in found:
        where = f"{place(one['loc'])}: " if place is not None else ""
        lines.append(f"{where}{_complaint(one, model)}.".replace("?.", "?"))
    return "\n".join(lines)


def _complaint(error: Any, model: type[BaseModel] | None) -> str:
    path: Path = error["loc"]
    name = ".".join(str(step) for step in path if step != "body") or "the body"
    match error["type"]:
        case "extra_forbidden":
            return f"there is no setting {name}{_instead(model, path)}"
        case "json_invalid":
            return f"the body is no JSON: {error['ctx']['error']}"
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"{name} is missing"
        case "unexpected_keyword_argument":
            return f"there is no argument {name}"
        case "literal_error":
            return f"{name} is {_shown(error['input'])}; allowed: {error['ctx']['expected']}"
        case "value_error":
            return f"{name} is {_shown(error['input'])}: {error['ctx']['error']}"
        case "string_pattern_mismatch":
            return f"{name} is {_shown(error['input'])}, which does not match {error['ctx']['pattern']}"
        case "list_type":
            return f"{name} is {_shown(error['input'])}; it should be a list, such as [{error['input']}]"
        case "dict_type" | "model_type":
            return f"{name} is {_shown(error['input'])}; it should be names, each with its settings behind a colon"
    text = error["msg"].removeprefix("Input ")
    return f"{name} is {_shown(error['input'])}; it {text[:1].lower()}{text[1:]}"


def _instead(model: type[BaseModel] | None, path: Path) -> str:
    """What may have been meant by the unknown name at the end of `path`."""
    keys = sorted(_keys_at(model, path[:-1]))
    close = difflib.get_close_matches(str(path[-1]), keys, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there may stand {', '.join(keys)}" if keys else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _keys_at(model: type[BaseModel] | None, path: Path) -> list[str]:
    """The names of the settings that may stand at `path`; empty where anything may."""
    kind: Any = model
    for step in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(step))
            kind = field.annotation if field is not None else None
        else:
            # The value of a dict, the item of a list, or an optional model.
            kind = next((one for one in reversed(get_args(kind)) if one is not type(None)), None)
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
