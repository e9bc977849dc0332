"""The steps that change pixels, as somebody configures them: checked, their files loaded, bound to each series.

    transforms:
      - tot: {tensor: tot.npz#tot_to_energy_tensor}
      - rotate: {quarter_turns: -1}
      - mask: {rectangles: [[[0, 10], [0, 487]]]}

Names, types and defaults of what a step may be told come from its function. What is an array there is a file here. What
has no default and is not told is looked up, under its name, in the header of each series; so is what is annotated as
`Annotated[..., "header"]`, but then the default holds where the header says nothing.
"""

from __future__ import annotations

import inspect
import logging
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from bluesky_streamdet.catalog import TRANSFORMS, TransformRow
from bluesky_streamdet.core.errors import ConfigError, MalformedMessage, StreamdetError
from bluesky_streamdet.core.events import SeriesStart
from bluesky_streamdet.streaming import arrays

log = logging.getLogger(__name__)

HEADER = "header"
"""Annotation of what a header may say, and need not."""
TABLES = ("pixel_mask", "flatfield")
"""What a header may say of each pixel."""


class Argument(NamedTuple):
    """What a transform may be told.

    header: whether a header may say it. array: whether it is one, to be named by its file. dtype: of
    which type, if any.
    """

    name: str
    required: bool
    header: bool
    adapter: TypeAdapter[Any]
    array: bool = False
    dtype: Any = None


def arguments_of(row: TransformRow) -> dict[str, Argument]:
    """All but the picture. Raises `ConfigError` for a function that does not say of what types they are."""
    try:
        _, *parameters = inspect.signature(row.function, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError) as error:
        raise ConfigError(f"The function {row.function!r} can't be configured: {error}.") from error
    return {one.name: _argument(one) for one in parameters}


def _argument(parameter: inspect.Parameter) -> Argument:
    kind = Any if parameter.annotation is parameter.empty else parameter.annotation
    told = get_origin(kind) is Annotated and HEADER in get_args(kind)
    kind = get_args(kind)[0] if told else kind
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    array = next((one for one in options if one is np.ndarray or get_origin(one) is np.ndarray), None)
    required = parameter.default is parameter.empty
    told = told or required
    if array is None:
        adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
        return Argument(parameter.name, required, told, adapter)
    # NDArray[np.float32] is np.ndarray[shape, np.dtype[np.float32]].
    element: Any = (get_args(get_args(array)[1]) or (Any,))[0] if len(get_args(array)) > 1 else Any
    dtype = element if isinstance(element, type) and issubclass(element, np.generic) else None
    return Argument(parameter.name, required, told, TypeAdapter(str), array=True, dtype=dtype)


def _checked(value: Any) -> dict[str, dict[str, Any]]:
    """One step as it is configured: a name, or a name with what it is told."""
    step = {value: {}} if isinstance(value, str) else value
    if not isinstance(step, dict) or len(step) != 1:
        raise ValueError("a step is a name, or one name with its settings, such as {rotate: {quarter_turns: -1}}")
    ((name, told),) = step.items()
    told = {} if told is None else told
    if name not in TRANSFORMS:
        raise ValueError(f"there is no transform {name!r}; allowed: {', '.join(TRANSFORMS)}")
    try:
        known = arguments_of(TRANSFORMS[name])
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if not isinstance(told, dict):
        raise _complaints([((name,), told, f"not settings; there may stand {', '.join(known) or 'none'}")])
    complaints = []
    for key, given in told.items():
        if key not in known:
            allowed = ", ".join(known) or "none"
            complaints.append(((name, key), given, f"no setting of {name}; allowed: {allowed}"))
            continue
        try:
            known[key].adapter.validate_python(given)
        except ValidationError as error:
            complaints.append(((name, key), given, _in_short(error)))
    if complaints:
        raise _complaints(complaints)
    return {str(name): told}


def _complaints(found: Sequence[tuple[tuple[Any, ...], Any, str]]) -> ValidationError:
    return ValidationError.from_exception_data(
        "step",
        [
            InitErrorDetails(type=PydanticCustomError("value_error", "{error}", {"error": text}), loc=loc, input=given)
            for loc, given, text in found
        ],
    )


def _in_short(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = "".join(f"[{step}]" for step in first["loc"])
    return f"{where}{' ' if where else ''}{first['msg'].removeprefix('Input ')}"


Step = Annotated[
    dict[str, dict[str, Any]],
    BeforeValidator(_checked),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}]}),
]
"""One step, checked against the function that it names."""


class Bound(NamedTuple):
    """One step with all that it is told."""

    name: str
    row: TransformRow
    told: dict[str, Any]

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """Raises `MalformedMessage` when the function fails, or returns no pixels."""
        try:
            result = self.row.function(image, **self.told)
        except BaseException as error:  # sys.exit() too: the thread that runs it has other frames to work on
            raise MalformedMessage(f"transform {self.name} failed", f"{type(error).__name__}: {error}") from error
        if not isinstance(result, np.ndarray) or result.dtype.kind not in "iuf" or not result.size:
            raise MalformedMessage(f"transform {self.name} returned no picture", f"{type(result).__name__}")
        return result


class _Loaded(NamedTuple):
    """One step with its files, and what each series' header has to say, or may."""

    name: str
    row: TransformRow
    told: dict[str, Any]
    wanted: list[Argument]

    def bound(self, metadata: Mapping[str, Any]) -> Bound:
        told = dict(self.told)
        for one in self.wanted:
            if metadata.get(one.name) is None:
                if not one.required:
                    continue
                raise MalformedMessage(
                    "header without what a transform needs",
                    f"{self.name} needs {one.name}, in the header or in the configuration",
                )
            told[one.name] = _of_header(self.name, one, metadata[one.name])
        return Bound(self.name, self.row, told)


def _of_header(step: str, argument: Argument, value: Any) -> Any:
    try:
        return np.asarray(value, argument.dtype) if argument.array else argument.adapter.validate_python(value)
    except (ValidationError, TypeError, ValueError, OverflowError) as error:
        reason = _in_short(error) if isinstance(error, ValidationError) else str(error)
        raise MalformedMessage(
            "header with a wrong value for a transform", f"{step}: {argument.name}: {reason}"
        ) from error


class Chain:
    """All steps of a detector, in their order.

    Raises `ConfigError` or `MissingLibrary` for a file that can't be read.
    """

    def __init__(self, steps: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
        self._steps = [_loaded(name, told) for step in steps for name, told in step.items()]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self._steps]

    @property
    def asks_header(self) -> bool:
        """Whether a header has to say how frames are changed."""
        return any(one.required for step in self._steps for one in step.wanted)

    def bound(self, metadata: Mapping[str, Any]) -> list[Bound]:
        """The steps for the frames of one series, without those that would leave them as they are.

        Raises `MalformedMessage` for a header without what they need.
        """
        steps = [one.bound(metadata) for one in self._steps]
        return [one for one in steps if not one.row.idle(**one.told)]


def _loaded(name: str, told: Mapping[str, Any]) -> _Loaded:
    row = TRANSFORMS[name]
    known = arguments_of(row)
    values: dict[str, Any] = {}
    for key, value in told.items():
        argument = known[key]
        values[key] = argument.adapter.validate_python(value)
        if argument.array:
            try:
                values[key] = np.ascontiguousarray(arrays.load(values[key]), argument.dtype)
            except StreamdetError as error:
                raise type(error)(f"transforms: {name}: {key}: {error.message}", error.hint) from error
    return _Loaded(name, row, values, [one for one in known.values() if one.header and one.name not in told])


def moved(start: SeriesStart, steps: Sequence[Callable[[NDArray[Any]], NDArray[Any]] | Bound]) -> SeriesStart:
    """The header with its tables of each pixel moved as the pixels are; those that can't be stay as they came."""
    moving = [one for one in steps if isinstance(one, Bound) and one.row.geometric]
    tables = {name: start.metadata[name] for name in TABLES if isinstance(start.metadata.get(name), np.ndarray)}
    if not moving or not tables:
        return start
    for name, table in tables.items():
        try:
            for step in moving:
                table = step(table)
            tables[name] = np.ascontiguousarray(table)
        except MalformedMessage as error:
            log.warning("%s of the header stays as it came: %s", name, error)
    return msgspec.structs.replace(start, metadata={**start.metadata, **tables})
