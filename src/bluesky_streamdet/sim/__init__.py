"""Simulated detectors, made of the encoders: pictures worth looking at, and every fault of a network by option."""
