"""What a rule yields: what was seen and what cures it; the table adds the id and the severity."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clue:
    """One thing wrong. `touches`: the real servers whose connections it breaks; none means all.

    `severity` is only given where it is another than the table's; `about` names a service or VIP.
    """

    party: str
    observed: str
    expected: str
    cause: str
    cure: str
    about: str = ""
    touches: tuple[str, ...] = ()
    severity: str = ""
