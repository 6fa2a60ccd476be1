"""What the IPVS table costs beside ipvsadm and keepalived: one table, by time and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import bench_icount

from onearm.errors import OnearmError
from onearm.lab import client as lab
from onearm.reach import LAB_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "scripts/bench_table_inside.py"
SPEC = ROOT / "examples/reference.yaml"
LEAST = 5
WITHIN_S = float(os.environ.get("SECONDS", "570"))  # what is not done by then is not measured
FOR_PLANS_S = 60
BUILD = "1000 10"
IDLE = ("10 100", "100 100", "1000 100")  # what a line is fitted through
# In this order: the dearest is the last, as time may not allow it.
PLAN = (
    ("keepalived", BUILD),
    ("changing", BUILD),
    *(("idling", shape) for shape in (*IDLE[:2], BUILD)),
    ("building", BUILD),
    ("idling", IDLE[2]),
)
LINEAR = 0.99
WAYS = {"wall_s": "by time", "cpu_s": "CPU time"}
Found = dict[str, list[dict[str, float]]]


class Row(NamedTuple):
    """A line of the table: what of ours beside what of theirs, in a shape, and what is aimed at."""

    title: str
    ours: str
    theirs: str
    aim: float
    shape: str = BUILD


ROWS = (
    Row("netlink part / `ipvsadm -R`", "netlink", "ipvsadm-restore", 1 / 5),
    Row("netlink part / the kernel's own share", "netlink", "kernel", 1.7),
    Row("whole path / `ipvsadm -R`", "whole-build", "ipvsadm-restore", 1),
    Row("whole path / a fresh keepalived start", "whole-build", "keepalived-start", 1),
    Row("1 % changed / keepalived's reload", "whole-change", "keepalived-reload", 1),
    *(
        Row("no-op round / `ipvsadm -Ln >/dev/null`", "whole-idle", "ipvsadm-list", 1, s)
        for s in (BUILD, *IDLE)
    ),
)


def named(shape: str, found: Found) -> Found:
    """Give each measured thing the name that has its shape."""
    return {f"{what} {shape}": goes for what, goes in found.items()}


def in_guest(name: str, times: int, until: float) -> Found:
    """Measure all of it in namespaces of the lab's director, as far as time allows."""
    found: Found = {}
    for what, shape in PLAN:
        argv = ["unshare", "-n", "--", sys.executable, str(INSIDE), what, *shape.split()]
        left = max(1, until - time.monotonic())
        try:
            code, out, said = lab.call(name, "server-1", [*argv, str(times)], timeout=left)
        except OnearmError as error:
            code, out, said = 1, b"", str(error).encode()
        if code:
            print(f"not measured: {what} {shape}: {said.decode()[-2000:]}", file=sys.stderr)
            continue
        found |= named(shape, json.loads(out))
        print(f"{what} {shape}: {until - time.monotonic():.0f} s left", file=sys.stderr)
    return found


def counted(times: int, within_s: float) -> Found:
    """Count the same instructions in QEMU."""
    lines = {f"{what} {shape} {times}": shape for what, shape in PLAN}
    found: Found = {}
    for line, goes in bench_icount.measure(lines, within_s).items():
        found |= named(lines[line], goes)
    return found


def middle(goes: list[dict[str, float]], key: str) -> float:
    """Give the median of one figure."""
    return median(go[key] for go in goes)


def verdict(*, holds: bool) -> str:
    """Say it in a word that is found by reading down."""
    return "holds" if holds else "**does not hold**"


def compared(row: Row, found: Found, key: str, unit: Callable[[list[float]], str]) -> str:
    """Write one line; of what lacks a figure it says so."""
    ours, theirs = (found.get(f"{what} {row.shape}", []) for what in (row.ours, row.theirs))
    way = "counted" if unit is millions else WAYS[key]
    shape = f"{row.shape.replace(' ', ' x ')}, {way}"
    wanted = f"at most {row.aim:.3g}" if row.aim != 1 else "less than 1"
    if not ours or not theirs:
        return f"| {row.title} | {shape} | - | - | - | {wanted} | not measured |\n"
    ratio = middle(ours, key) / middle(theirs, key)
    holds = ratio < row.aim if row.aim == 1 else ratio <= row.aim
    cells = [unit([go[key] for go in goes]) for goes in (ours, theirs)]
    return (
        f"| {row.title} | {shape} | {cells[0]} | {cells[1]} | {ratio:.3g} | {wanted} |"
        f" {verdict(holds=holds)} |\n"
    )


def milliseconds(values: list[float]) -> str:
    """Write the median and the range."""
    least, most = min(values) * 1000, max(values) * 1000
    return f"{median(values) * 1000:,.0f} ms ({least:,.0f}-{most:,.0f})"


def millions(values: list[float]) -> str:
    """Write the median; other load changes nothing, so that there is no range to tell."""
    return f"{median(values) * 1000:,.0f} M"


def written(found: Found) -> Iterator[str]:
    """Say how many objects were written for those that differ."""
    goes = found.get(f"whole-change {BUILD}", [])
    if goes:
        wrote, differ = middle(goes, "written"), middle(goes, "changed")
        right = verdict(holds=all(go["written"] == go["changed"] for go in goes))
        yield (
            f"| 1 % changed: objects written / that differ | journal | {wrote:.0f} | {differ:.0f} |"
            f" {wrote / differ:.3g} | 1 | {right} |\n"
        )


def fitted(found: Found, key: str) -> Iterator[str]:
    """Fit a line through all idle rounds: cost = a + b times the destinations."""
    points = []
    for shape in IDLE:
        services, servers = map(int, shape.split())
        goes = found.get(f"whole-idle {shape}", [])
        points += [(services * servers, go[key] * 1000) for go in goes]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if len(set(xs)) < len(IDLE):
        yield "| no-op round: linear fit | - | - | - | - | R² at least 0.99 | not measured |\n"
        return
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x in xs)
    start = my - slope * mx
    off = sum((y - start - slope * x) ** 2 for x, y in points)
    square = 1 - off / sum((y - my) ** 2 for y in ys)
    way, unit, small = ("by time", "ms", "us") if key == "wall_s" else ("counted", "M", "thousand")
    yield (
        f"| no-op round: linear fit, {len(points)} goes | {min(xs):,} to {max(xs):,}, {way} |"
        f" {slope * 1000:.3g} {small} each | {start:+.3g} {unit} | R² {square:.4f} |"
        f" R² at least {LINEAR} | {verdict(holds=square >= LINEAR)} |\n"
    )


def held(found: Found) -> Iterator[str]:
    """Say what the process holds after its rounds."""
    for shape in (BUILD, *IDLE):
        goes = found.get(f"whole-idle {shape}", [])
        size = f"{middle(goes, 'rss_mb'):.0f} MB" if goes else "not measured"
        of = shape.replace(" ", " x ")
        yield f"| memory (RSS) of the process | {of} | {size} | | | a figure | |\n"


def plans(name: str, times: int) -> Iterator[str]:
    """Time `onearm plan`, converged, beside three bare Pythons in the same guest."""
    onearm = [sys.executable, "-I", "-m", "onearm"]
    os.environ[LAB_VARIABLE] = name
    subprocess.run([*onearm, "apply", str(SPEC), "--yes"], check=True, capture_output=True)
    bare = ["sh", "-c", "python3 -c pass & python3 -c pass & python3 -c pass & wait"]
    goes: tuple[Callable[[], object], ...] = (
        lambda: subprocess.run([*onearm, "plan", str(SPEC)], check=True, capture_output=True),
        lambda: lab.call(name, "server-1", bare),
    )
    found: tuple[list[float], ...] = ([], [])
    for _ in range(times):
        for took, go in zip(found, goes, strict=True):
            began = time.perf_counter()
            go()
            took.append(time.perf_counter() - began)
    ratio = median(found[0]) / median(found[1])
    cells = " | ".join(map(milliseconds, found))
    yield (
        "| `onearm plan` of the reference spec, converged / three `python3 -c pass` at once in the"
        f" guest | by time | {cells} | {ratio:.3g} | a figure | |\n"
    )


def lines(timed: Found, count: Found) -> Iterator[str]:
    """Write all that was compared."""
    for row in ROWS:
        yield compared(row, count, "cpu_s", millions)
        key = "cpu_s" if row.theirs.startswith("keepalived") else "wall_s"
        yield compared(row, timed, key, milliseconds)
        if row.ours == "whole-change":
            yield from written(timed)
    for found, key in ((count, "cpu_s"), (timed, "wall_s")):
        yield from fitted(found, key)
    yield from held(timed)


def section(today: str, head: str) -> str:
    """Measure all; write the page's part."""
    times = int(os.environ.get("TIMES", LEAST))
    name, began = f"bench-table-{os.getpid()}", time.monotonic()
    os.environ.setdefault("ONEARM_LAB_MEMORY", "3000M")  # 100,000 destinations, twice
    lab.up(name)
    try:
        with ThreadPoolExecutor() as pool:
            waits = pool.submit(counted, times, WITHIN_S)
            timed = in_guest(name, times, began + WITHIN_S - FOR_PLANS_S)
            planned = list(plans(name, times))
            count = waits.result()
    finally:
        lab.down(name)
    took = time.monotonic() - began
    table = "".join([HEAD, *lines(timed, count), *planned])
    print(table)
    return INTRO.format(times=times, today=today, head=head, took=took, **world()) + table


def world() -> dict[str, object]:
    """Say where it ran."""
    return {"load": os.getloadavg()[0], "cpus": os.cpu_count(), "within": WITHIN_S}


HEAD = "| what | of | onearm | beside | ratio | wanted | |\n|---|---|---:|---:|---:|---:|---|\n"
INTRO = """\
## The IPVS table

`make bench ARGS=table`, {today}, commit {head}: it took {took:.0f} s, with a load of
{load:.0f} on {cpus} CPUs. It ends after about {within:.0f} s (`SECONDS`); what is not done by then
is said to be not measured.

Sizes are services x real servers of each; there are {times} goes of each. *By time*: in the lab's
guest, in network namespaces, what is compared in turns; median and range. *Counted*: million
instructions of the processes, and of the kernel for them, in QEMU (`-icount`, Debian's kernel and
Python), which other load does not change; median. keepalived runs its checker alone, without
checks; *CPU time* is compared with it, since who waits for it here reads the table meanwhile.
A go that builds is a process of its own, modules loaded. The *netlink part* is the director's
place, from actions to the verdict on each; the *kernel's own share* is to send what was encoded
before; the *whole path* goes from a parsed spec to a kernel that was read again, with ledger, log
and checks of what stands.

"""
