"""Contracts that plug-in authors can hold their codecs to, as this package does its own; for pytest and hypothesis."""

import pytest

# Here, as it has to come before the modules are imported.
pytest.register_assert_rewrite("bluesky_streamdet.testing.decoder_contract")
