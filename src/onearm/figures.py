"""Numbers and times as people read them, in few columns; pure."""

from __future__ import annotations

from datetime import datetime

KILO = 1000
MINUTE, HOUR, DAY = 60, 3600, 86400


def _scaled(value: float, units: tuple[str, ...]) -> str:
    turn = 0
    while value >= KILO - 0.5 and turn < len(units) - 1:
        value, turn = value / KILO, turn + 1
    digits = 0 if not turn or value >= 99.5 else 1  # noqa: PLR2004 - three digits are enough
    return f"{value:.{digits}f}{units[turn]}"


def count(value: float) -> str:
    """Write a number: 950, 12.3k."""
    return _scaled(value, ("", "k", "M", "G", "T"))


def volume(value: float) -> str:
    """Write bytes: 950 B, 12.3 kB."""
    return _scaled(value, (" B", " kB", " MB", " GB", " TB"))


def span(seconds: float) -> str:
    """Write a time that passed: 12 s, 5 min, 2 h 5 min, 3 d 1 h."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def short_span(seconds: float) -> str:
    """Write a time that passed in one unit: 12s, 5m, 2h, 3d."""
    whole = max(0, int(seconds))
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def latency(seconds: float) -> str:
    """Write how long a check took: 600 µs, 12.5 ms, 1.2 s."""
    if seconds < 0.00095:  # noqa: PLR2004 - rounds to less than a millisecond
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:  # noqa: PLR2004 - as above, of a second
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s"


def moment(text: str) -> float | None:
    """Read a time, RFC 3339, as seconds; None where there is none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def between(earlier: str, later: str) -> float | None:
    """Say how many seconds lie between two times of one clock."""
    first, last = moment(earlier), moment(later)
    return None if first is None or last is None else last - first


def duration(text: str) -> float | None:
    """Read `30s`, `5m`, `1h` or 0; None where it is none of these."""
    units = {"s": 1, "m": MINUTE, "h": HOUR}
    if text == "0":
        return 0.0
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdecimal() and len(number) <= 6 and unit in units:  # noqa: PLR2004 - a week in seconds
        return float(int(number) * units[unit])
    return None
