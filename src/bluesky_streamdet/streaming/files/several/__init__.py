"""A series in several files: their names, how one follows another, and the master that shows them as one."""
