"""Wire formats, one a file: message parts to events and back. Nothing here does I/O."""
