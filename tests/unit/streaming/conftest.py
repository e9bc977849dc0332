from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.streaming.elsewhere import Elsewhere


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Another process that reads."""
    reader = Elsewhere()
    yield reader
    reader.close()
