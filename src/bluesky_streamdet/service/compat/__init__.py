"""The old programs' interfaces, for clients that can't be changed yet: each a thin router, on the port of the old
program, off unless the configuration asks for it.
"""
