"""The daemon's checks: one thread asks every target in its turn, and says what it found.

`Checks(results, troubles)`: both are called from that thread, the former once a tick with all
results since. `set_targets` from any thread; targets that stay keep their phase. Each kind of check
is a small state machine in a file of its own; `loop.py` owns the sockets and the time.
"""

from __future__ import annotations

from onearm.checks.loop import Checks
from onearm.checks.target import Counts, Result, Target, Trouble

__all__ = ["Checks", "Counts", "Result", "Target", "Trouble"]
