"""How the simulated SDK says no: a negative code and a text, as the real one does."""

from __future__ import annotations

from bluesky_streamdet.xspress3.constants import ErrorCode


class Refusal(Exception):
    """A call fails; never leaves the simulation, but becomes the call's result and the SDK's error message."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def out_of_range(what: str, value: object, allowed: str) -> Refusal:
    return Refusal(ErrorCode.RANGE_CHECK, f"{what} is {value}, allowed is {allowed}")


def whole_range(what: str, first: int, count: int, size: int) -> range:
    """`count` numbers from `first` on, all of them below `size`; refused otherwise."""
    if count < 1 or first < 0 or first + count > size:
        raise out_of_range(what, f"{first} to {first + count - 1}", f"0 to {size - 1}, at least one of them")
    return range(first, first + count)
