"""Which frames an output sends, as a configuration says it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bluesky_streamdet.core.decimate import (
    COMPARISONS,
    Bursts,
    Decimation,
    EveryNth,
    EverySeconds,
    FramesOf,
    Strides,
    Where,
)

Count = Annotated[int, Field(ge=1, le=1 << 53)]

FORMS = (
    "{every: 10}, {frames: 3, of: 15}, {strides: 2}, {every_seconds: 0.5}, {frames: 2, per_second: 1}, "
    "{where: laser_on == true}"
)
CONDITION = re.compile(rf"\s*([A-Za-z_]\w*)\s*({'|'.join(COMPARISONS)})\s*(\S.*)")


class SendConfig(BaseModel):
    """One rule, of the forms that `FORMS` lists.

    every: frames whose number is a multiple of it. frames, of: so many of each so many. strides: so many, and not the
    next so many. every_seconds: at most one in so many seconds. frames, per_second: bursts of so many, so often.
    where: those of which a number that comes with them compares so, such as "laser_on == true".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Count | None = None
    frames: Count | None = None
    of: Count | None = None
    strides: Count | None = None
    every_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    where: str | None = None

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        if tuple(self._given()) not in RULES:
            raise ValueError(f"no such rule; the forms are {FORMS}")
        self.rule()
        return self

    def rule(self) -> Decimation:
        """The rule, with a memory of its own."""
        given = self._given()
        return RULES[tuple(given)](**given)

    def _given(self) -> dict[str, Any]:
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


def _where(where: str) -> Where:
    """Raises `ValueError`."""
    found = CONDITION.fullmatch(where)
    try:
        value = yaml.safe_load(found[3]) if found is not None else None
    except yaml.YAMLError:
        value = None
    if found is None or not isinstance(value, bool | int | float | str):
        raise ValueError("no condition; write it as `name == value`, with one of " + " ".join(COMPARISONS))
    return Where(found[1], found[2], value)


RULES: dict[tuple[str, ...], Callable[..., Decimation]] = {
    ("every",): lambda every: EveryNth(every),
    ("frames", "of"): FramesOf,
    ("strides",): lambda strides: Strides(strides),
    ("every_seconds",): lambda every_seconds: EverySeconds(every_seconds),
    ("frames", "per_second"): lambda frames, per_second: Bursts(frames, per_second),
    ("where",): _where,
}
"""By the settings that are given."""
