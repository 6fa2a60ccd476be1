"""What a load says to people: a line per second, and what it came to."""

from __future__ import annotations

from collections import Counter

from onearm.lab.load_count import Count, Second, Tally

MEGA = 1e6


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def second(number: int, found: Second) -> str:
    """Say who answered in one second, and below it what did not go well."""
    short, long = found.short, found.long
    lines = [f"{number:4} s  {short.finished} answered: {counted(short.servers) or 'by nobody'}"]
    if found.on or long.started:
        lines[0] += f"; {long.bytes / MEGA:.1f} MB: {counted(found.on)}"
    lines += [f"        {line}" for line in troubles(short, long)]
    return "\n".join(lines)


def long_words(long: Count) -> str:
    return f"{long.bytes / MEGA:.1f} MB, longest gap {long.longest_gap_s:.2f} s"


def troubles(short: Count, long: Count) -> list[str]:
    said = (
        ("connections failed", short.failed),
        ("connections interrupted", short.interrupted),
        ("transfers failed", long.failed),
        ("transfers interrupted", long.interrupted),
    )
    return [f"{what}: {counted(counts)}" for what, counts in said if counts]


def whole(tally: Tally) -> str:
    short, long = tally.whole()
    where, on = f"{tally.wish.vip}:{tally.wish.port}", tally.seconds[-1].on
    open_ = f"{long.started} transfers, {long.finished} finished, {on.total()} open"
    lines = [
        f"{where}: {short.started} connections, {short.finished} answered",
        f"  by {counted(short.servers) or 'nobody'}; slowest {short.slowest_s:.2f} s",
        f"  {open_}: {long_words(long)}",
        *(troubles(short, long) or ["nothing failed or was interrupted"]),
    ]
    if tally.skipped:
        lines.append(f"{tally.skipped} connections were not begun: the client was too slow")
    return "\n".join(lines)
