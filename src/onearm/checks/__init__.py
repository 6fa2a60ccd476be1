"""The daemon's checks: one thread asks every target in its turn, and says what it found."""

from __future__ import annotations

from onearm.checks.target import Counts, Result, Target, Trouble

__all__ = ["Counts", "Result", "Target", "Trouble"]
from onearm.checks.standin import Checks
