"""A layout: where in the file each thing goes, under which name, with which units, types and attributes.

It is data: `layouts/*.yaml` come with the package, and a beamline writes its own in the same words. Paths and texts may
name what differs from file to file, in braces: `WORDS` and `VALUES`. What a layout does not mention goes into the
account, the group of each series' verdict and ledger, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field

from bluesky_streamdet.core.quantities import TYPES
from bluesky_streamdet.streaming.endpoints import Section

WORDS = ("detector", "dataset", "entry", "frames", "columns", "account")
"""What paths may name: the detector; the name of the frames' dataset; "entry" for the dataset "data", otherwise its
name; and the layout's own paths of the frames, of the group of columns, and of the account."""
FIRST_WORDS = WORDS[:3]
"""What the last three of them may name."""
CALCULATED = ("axes", "calibration", "energies", "interpretation")
COUNTED = ("first_image", "last_image")
"""Grow with the file, so that they are for attributes of what grows only; counted from 1."""
VALUES = (*WORDS, "layout", "series", "started", "version", *CALCULATED)
"""What texts of values and attributes may name besides; a text that is nothing but one of `CALCULATED` is its value."""

PLAIN = (bool, int, float, str)
LONGEST_PATH = 1000
SHARED_CHUNK_FRAMES = 64
"""Frames that share a chunk of the file, at most."""


def named(text: str) -> Iterator[str]:
    """What a text names in braces. Raises `ValueError` for braces that are not closed, or say how to write it."""
    for _, field, width, conversion in Formatter().parse(text):
        if field is not None:
            if width or conversion or not field.isidentifier():
                raise ValueError(f"{{{field}}} can't be filled in; write {{{{ and }}}} for braces that stay")
            yield field


def _checked_text(text: str, words: tuple[str, ...]) -> str:
    try:
        unknown = [word for word in named(text) if word not in words]
    except ValueError as error:
        raise ValueError(f"{error}" if "filled" in str(error) else f"its braces don't match: {error}") from error
    if unknown:
        raise ValueError(f"nothing is called {{{unknown[0]}}}; there are {', '.join(f'{{{one}}}' for one in words)}")
    return text


def _checked_path(path: str) -> str:
    _checked_text(path, WORDS)
    starts_at_one = path.startswith(("{frames}", "{columns}", "{account}"))
    if not (path.startswith("/") or starts_at_one):
        raise ValueError("a path begins with / (or with {columns}, {account} or {frames})")
    steps = path.split("/")[1:] if path != "/" else []
    if any(step in ("", ".", "..") for step in steps) or not path.isprintable() or len(path) > LONGEST_PATH:
        raise ValueError("a path is of names with one / before each, such as /entry/data; . and .. are no names")
    return path


def _checked_first_path(path: str) -> str:
    return _checked_text(_checked_path(path), FIRST_WORDS)


def _checked_name(name: str) -> str:
    """Of a column: a name in the group of columns, or a path."""
    return _checked_path(name if name.startswith(("/", "{")) else f"/{name}") and name


def _checked_value(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if not values or len({type(one) for one in values}) > 1 or type(values[0]) not in PLAIN:
        raise ValueError("it should be a number, a text, true or false, or a list of one of these; quote other texts")
    for text in values:
        if isinstance(text, str):
            _checked_text(text, VALUES)
    return value


def _checked_still(value: Any) -> Any:
    if isinstance(value, str):
        return _checked_text(value, WORDS)
    return _checked_value(value)


def _checked_attribute(value: Any) -> Any:
    return value if word_of(value) in COUNTED else _checked_value(value)


def _checked_type(name: str) -> str:
    if name not in TYPES:
        raise ValueError(f"no such type; allowed: {', '.join(TYPES)}")
    return name


def _checked_number_type(name: str) -> str:
    if _checked_type(name) in ("text", "bool"):
        raise ValueError("a column of numbers needs a type of numbers, such as int64 or float64")
    return name


def _short(key: str) -> BeforeValidator:
    """Take a text for a section of which only `key` is said."""
    return BeforeValidator(lambda said: {key: said} if isinstance(said, str) else said)


Path = Annotated[str, AfterValidator(_checked_path)]
FirstPath = Annotated[str, AfterValidator(_checked_first_path)]
Name = Annotated[str, AfterValidator(_checked_name)]
Value = Annotated[Any, AfterValidator(_checked_value)]
Attributes = dict[str, Value]
Still = dict[str, Annotated[Any, AfterValidator(_checked_still)]]
"""Attributes of what may come at any time."""
Growing = dict[str, Annotated[Any, AfterValidator(_checked_attribute)]]
"""Attributes of a dataset that grows."""
Type = Annotated[str, AfterValidator(_checked_type)]
NumberType = Annotated[str, AfterValidator(_checked_number_type)]


class Frames(Section):
    """The dataset of the frames, (frames, ...). frames_per_chunk: how many may share a chunk, which is faster where
    they are small and not compressed.
    """

    path: FirstPath
    frames_per_chunk: int = Field(default=SHARED_CHUNK_FRAMES, ge=1, le=SHARED_CHUNK_FRAMES)
    attributes: Growing = {}


class Column(Section):
    """What comes with each frame under one key. path: in the group of columns, or absolute.

    units: None for those that it comes with. dtype: None for what it comes as; a type that would cut what is behind the
    point, or is of numbers for what is text, is not taken.
    """

    path: Name
    units: str | None = None
    dtype: NumberType | None = None
    attributes: Growing = {}


class Derived(Section):
    """Numbers calculated from those of a column: (number + plus), of which the rest of a division by `modulo`, then the
    whole part of a division by `divide`, times `scale`. What is left out does nothing.
    """

    of: str
    plus: int | float = 0
    modulo: int | None = Field(default=None, gt=0)
    divide: int | None = Field(default=None, gt=0)
    scale: float = 1.0
    units: str = ""
    dtype: NumberType = "float64"
    attributes: Growing = {}

    def calculated(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Of the numbers of a column."""
        if self.plus:
            numbers = numbers + self.plus
        if self.modulo is not None:
            numbers = numbers % self.modulo
        if self.divide is not None:
            numbers = numbers // self.divide
        return numbers if self.scale == 1 else numbers * self.scale


class Columns(Section):
    """What each frame has beside it: datasets of a row each.

    group: where they are. names: of keys of the stream, `sequence_number` and `receive_time` among them, that have
    another name here, or that nothing else would keep. derived: columns calculated from others, by their names.
    second_axis: whether one value a frame is (frames, 1), and not (frames,). attributes: of each of them.
    """

    group: FirstPath
    names: dict[str, Annotated[Column, _short("path")]] = {}
    derived: dict[Name, Derived] = {}
    second_axis: bool = False
    attributes: Growing = {}


class Place(Section):
    """Where one value goes. units: None for those that it comes with. dtype: None for what it comes as."""

    path: Path
    units: str | None = None
    dtype: Type | None = None
    attributes: Still = {}


class Parameter(Place):
    """required: whether the series' reason says so when nobody gave it."""

    required: bool = False


class Fixed(Section):
    """A value that is the same in each file, or follows from what is known before the first frame."""

    value: Value
    units: str = ""
    dtype: Type | None = None
    attributes: Attributes = {}


class Link(Section):
    """Another name of a group or dataset. soft: by its path, which need not be there.

    only: not in each file, but where frames come with scalars, as spectra do.
    """

    to: Path
    soft: bool = False
    only: Literal["scalars"] | None = None


class Run(Section):
    """Where the start document of a Bluesky run goes. document: the whole of it. entry: the NXentry in which what NeXus
    has places for goes there too: sample, user, beam, title; None for no such.
    """

    document: Path
    entry: Path | None = None


class Layout(Section):
    """A whole layout.

    about: what it is for, in a sentence. account: the group of verdict, ledger, and what nothing else has a place for.
    identifier, start_time, end_time: datasets of the series' id and times. single_frames: a view of these, where the
    dataset of the frames has an axis of events. groups: with their attributes, or their NX_class alone. values: fixed
    ones, by path. links: by path. header: where what the header says goes, by its key. settings: the
    group of what else it says. parameters: where what a client sets goes, by its name. run: Bluesky's start document.
    """

    about: str = Field(min_length=1)
    frames: Annotated[Frames, _short("path")]
    columns: Annotated[Columns, _short("group")]
    account: FirstPath
    identifier: Path = "{account}/identifier"
    start_time: Path = "{account}/start_time"
    end_time: Path = "{account}/end_time"
    single_frames: Path = "{frames}_single"
    groups: dict[Path, Annotated[Attributes, _short("NX_class")]] = {}
    values: dict[Path, Fixed] = {}
    links: dict[Path, Annotated[Link, _short("to")]] = {}
    header: dict[str, Annotated[Place, _short("path")]] = {}
    settings: Path = "{account}"
    parameters: dict[str, Annotated[Parameter, _short("path")]] = {}
    run: Annotated[Run, _short("document")] = Run(document="{account}/start_document")

    def words(self, names: Mapping[str, str]) -> dict[str, str]:
        """What paths may name, of a detector, a dataset and an entry."""
        first = {"frames": self.frames.path, "columns": self.columns.group, "account": self.account}
        return {**names, **{name: fill(path, names) for name, path in first.items()}}

    def datasets(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """All that will be datasets: where the layout says so, and the path in the file."""
        yield ("frames", "path"), self.frames.path
        for name in ("identifier", "start_time", "end_time", "single_frames"):
            yield (name,), getattr(self, name)
        for path in self.values:
            yield ("values", path), path
        names = self.columns.names
        for key in (*(one for one in ("sequence_number", "receive_time") if one not in names), *names):
            path = names[key].path if key in names else key
            yield ("columns", "names", key), self.column_path(path)
        for name in self.columns.derived:
            yield ("columns", "derived", name), self.column_path(name)
        for key, place in self.header.items():
            yield ("header", key), place.path
        for key, place in self.parameters.items():
            yield ("parameters", key), place.path

    def later(self, words: Mapping[str, str]) -> set[str]:
        """Paths of what comes into a file behind its columns, or among them."""
        parameters = (one.path for one in self.parameters.values())
        derived = (self.column_path(name) for name in self.columns.derived)
        templates = [*self.links, *parameters, *derived, self.single_frames, self.run.document]
        return {fill(one, words) for one in templates}

    def column_path(self, name: str) -> str:
        return name if name.startswith(("/", "{")) else f"{{columns}}/{name}"


def fill(template: str, words: Mapping[str, Any]) -> str:
    """A path with what it names filled in; the file's own group, /, may be among that."""
    return template.format_map(words).replace("//", "/")


def literal(name: str) -> str:
    """A name as a text into which nothing is filled."""
    return name.replace("{", "{{").replace("}", "}}")


def word_of(value: Any) -> str | None:
    """The word that a text is nothing but, in its braces; None for all else."""
    word = value[1:-1] if isinstance(value, str) and value.startswith("{") and value.endswith("}") else ""
    return word if word in (*VALUES, *COUNTED) else None
