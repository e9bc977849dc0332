"""The SDK without hardware: a library of the same functions, and a detector behind it."""
