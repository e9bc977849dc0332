"""What a run has to say of itself before its first point."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bluesky_streamdet.core.errors import ConfigError


class RequiredMetadata:
    """Refuses a run whose metadata lack something, before it is opened and so before its first point.

        RE.md_validator = RequiredMetadata({"proposal": "[0-9]{8}", "sample.name": None, "mode": ["user", "test"]})

    It sees all that goes into the start document: RE.md, what the plan says, and RE(plan, key=...).

    required: keys, with dots into what is nested, or a mapping of them to what they may be: None for anything that is
    not empty, a list of values, a regular expression for the whole text, or a type. but_not: names of plans that need
    not say anything.
    """

    def __init__(self, required: Mapping[str, Any] | Sequence[str], but_not: Collection[str] = ()) -> None:
        self.required = dict(required) if isinstance(required, Mapping) else dict.fromkeys(required)
        self.but_not = set(but_not)
        for key, rule in self.required.items():
            if isinstance(rule, str):
                _compiled(key, rule)

    def __call__(self, md: Mapping[str, Any]) -> None:
        """Raises `ConfigError`, which names all that is missing or wrong."""
        if md.get("plan_name") in self.but_not:
            return
        wrong = [problem for key, rule in self.required.items() if (problem := _problem(key, rule, md))]
        if wrong:
            first = next(iter(self.required)).split(".")[0]
            raise ConfigError(
                f"The run ({md.get('plan_name', 'a plan')}) was refused: {'; '.join(wrong)}.",
                f"Set it for all runs, RE.md[{first!r}] = ..., or for this one, RE(plan, {first}=...).",
            )

    def __repr__(self) -> str:
        return f"RequiredMetadata({self.required!r}, but_not={sorted(self.but_not)!r})"


def _problem(key: str, rule: Any, md: Mapping[str, Any]) -> str:
    """What is wrong with the value of a key; empty when nothing is."""
    value: Any = md
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"{key!r} is missing"
    if isinstance(rule, type):
        return "" if isinstance(value, rule) else f"{key!r} is {value!r}, not of type {rule.__name__}"
    if isinstance(rule, str):
        return "" if _compiled(key, rule).fullmatch(str(value)) else f"{key!r} is {value!r}, not of the form {rule}"
    if isinstance(rule, Collection):
        return "" if value in rule else f"{key!r} is {value!r}, not one of {', '.join(map(str, rule))}"
    return ""


def _compiled(key: str, rule: str) -> re.Pattern[str]:
    try:
        return re.compile(rule)
    except re.error as error:
        raise ConfigError(f"The form {rule!r} of {key!r} is no regular expression: {error}.") from error
