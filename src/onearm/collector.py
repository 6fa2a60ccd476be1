"""How often the cycle collector looks: our values are frozen and make no cycles, but very many."""

from __future__ import annotations

import gc


def patient() -> None:
    """Let it look after 100,000 new values, not 700: a table of services is hundreds of thousands.

    Each look walks them; most of the time of a large plan went there.
    """
    gc.set_threshold(100_000, 20, 50)
