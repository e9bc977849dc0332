"""The command `streamdet`, one file for each of its commands."""
