"""Pixel work, each a pure function."""
