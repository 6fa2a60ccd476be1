"""Faults that a lab can be given on purpose, each with the finding that names it."""
