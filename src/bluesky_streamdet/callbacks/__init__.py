"""Bluesky callbacks that look at the frames themselves."""
