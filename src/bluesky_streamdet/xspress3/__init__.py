"""Xspress3 and its successors: the vendor's SDK in Python, a simulation of it, and the streamer that owns it."""
