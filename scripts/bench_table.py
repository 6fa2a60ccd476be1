"""What the IPVS table costs beside ipvsadm and keepalived: in the lab's guest, and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median

import bench_icount

from onearm.lab import client as lab
from onearm.reach import LAB_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
INSIDE = ROOT / "scripts/bench_table_inside.py"
SPEC = ROOT / "examples/reference.yaml"
LEAST = 5
PATIENCE_S = 600
BUILD = "1000 10"
IDLE = ("100 10", "100 100", "1000 100")
COUNTED = ("kernel", "netlink", "ipvsadm-restore")
BUILDING = ("ipvsadm-restore", "keepalived-start", "netlink", "kernel", "whole-build", "whole-node")
CHANGING = ("keepalived-reload", "whole-change")
NAMES = {
    "kernel": "the kernel's own share: sends of what was encoded before",
    "netlink": "the netlink part: the director's place, from actions to verdicts",
    "ipvsadm-restore": "`ipvsadm -R`",
    "keepalived-start": "keepalived, from its start until the table is complete",
    "whole-build": "the whole path, in the daemon: from a parsed spec to a verified kernel",
    "whole-node": "the whole path, by a node process: from a parsed spec to a verified kernel",
    "keepalived-reload": "keepalived, from SIGHUP until the table is as wanted",
    "whole-change": "the whole path: a round of the daemon",
    "ipvsadm-list": "`ipvsadm -Ln >/dev/null`",
    "whole-idle": "a round with nothing to do",
}
Found = dict[str, list[dict[str, float]]]


def inside(name: str, what: str, shape: str) -> dict[str, float]:
    """Measure once in a namespace of the lab's director."""
    python = sys.executable if what.startswith("whole") else "/usr/bin/python3"
    argv = ["unshare", "-n", "--", python, str(INSIDE), what, *shape.split()]
    code, out, complaint = lab.call(name, "server-1", argv, timeout=PATIENCE_S)
    if code:
        raise SystemExit(f"bench: {what} {shape}: {complaint.decode()[-2000:]}")
    found: dict[str, float] = json.loads(out)
    print(f"{found['wall_s'] * 1000:>10.1f} ms  {what} {shape}", file=sys.stderr)
    return found


def in_turns(name: str, plan: Iterable[tuple[str, str]], times: int) -> Found:
    """Measure one after the other, again and again: what else happens here hits all of them."""
    found: Found = {}
    for _ in range(times):
        for what, shape in plan:
            found.setdefault(f"{what} {shape}", []).append(inside(name, what, shape))
    return found


def middle(values: list[dict[str, float]], key: str = "wall_s") -> float:
    """Give the median of one figure."""
    return median(value[key] for value in values)


def rows(found: Found, keys: Iterable[str], first: str) -> Iterator[str]:
    """Write the rows of a table; ratios are to `first`."""
    yield "| what | median | range | of | ratio |\n|---|---:|---:|---:|---:|\n"
    for key in keys:
        values = [value["wall_s"] for value in found[key]]
        value, base = median(values), middle(found[first])
        yield (
            f"| {NAMES[key.split()[0]]} | {value * 1000:,.0f} ms |"
            f" {min(values) * 1000:,.0f}-{max(values) * 1000:,.0f} | {len(values)} |"
            f" {value / base:.2g} |\n"
        )


def counted(times: int) -> Iterator[str]:
    """Count instructions of building a table."""
    plan = [f"{what} {BUILD}" for what in COUNTED]
    found = bench_icount.measure(plan * times)
    base = median(found[f"ipvsadm-restore {BUILD}"])
    floor = median(found[f"kernel {BUILD}"])
    yield "| what | million instructions | of | to `ipvsadm -R` | to the kernel's share |\n"
    yield "|---|---:|---:|---:|---:|\n"
    for key, values in found.items():
        value = median(values)
        yield (
            f"| {NAMES[key.split()[0]]} | {value * 1000:,.0f} | {len(values)} |"
            f" 1/{base / value:.1f} | {value / floor:.2f} |\n"
        )


def fit(found: Found) -> str:
    """Fit a line through the idle rounds: cost = a + b times the destinations."""
    points = []
    for shape in IDLE:
        services, servers = map(int, shape.split())
        points.append((services * servers, middle(found[f"whole-idle {shape}"])))
    xs, ys = [x for x, _ in points], [y for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x in xs)
    start = my - slope * mx
    total = sum((y - my) ** 2 for y in ys)
    off = sum((y - start - slope * x) ** 2 for x, y in points)
    return (
        f"Fit from {min(xs):,} to {max(xs):,} destinations: {start * 1000:.0f} ms +"
        f" {slope * 1e6:.1f} us each, R2 = {1 - off / total:.4f}.\n"
    )


def plans(name: str, times: int) -> Iterator[str]:
    """Time `onearm plan`, converged, beside three bare Pythons in the same guest."""
    onearm = [sys.executable, "-I", "-m", "onearm"]
    os.environ[LAB_VARIABLE] = name
    subprocess.run([*onearm, "apply", str(SPEC), "--yes"], check=True, capture_output=True)
    bare = ["sh", "-c", "python3 -c pass & python3 -c pass & python3 -c pass & wait"]
    goes: dict[str, Callable[[], object]] = {
        "three bare `python3 -c pass` at once in the guest": lambda: lab.call(
            name, "server-1", bare
        ),
        "`onearm plan`, whole process, converged": lambda: subprocess.run(
            [*onearm, "plan", str(SPEC)], check=True, capture_output=True
        ),
    }
    found: dict[str, list[float]] = {what: [] for what in goes}
    for _ in range(times):
        for what, go in goes.items():
            began = time.perf_counter()
            go()
            found[what].append(time.perf_counter() - began)
    base = median(next(iter(found.values())))
    yield "| what | median | of | ratio |\n|---|---:|---:|---:|\n"
    for what, values in found.items():
        value = median(values)
        yield f"| {what} | {value * 1000:,.0f} ms | {len(values)} | {value / base:.2g} |\n"


def section(today: str, head: str) -> str:
    """Measure all; write the page's part."""
    times = int(os.environ.get("TIMES", LEAST))
    name = f"bench-table-{os.getpid()}"
    building = [(what, BUILD) for what in BUILDING]
    changing = [(what, BUILD) for what in CHANGING]
    idle = [("ipvsadm-list", IDLE[-1]), *(("whole-idle", shape) for shape in IDLE)]
    lab.up(name)
    try:
        found = in_turns(name, [*building, *changing, *idle], times)
        planned = "".join(plans(name, times))
    finally:
        lab.down(name)
    changed = found[f"whole-change {BUILD}"][0]
    rss = {shape: middle(found[f"whole-idle {shape}"], "rss_mb") for shape in IDLE}
    intro = (
        f"## The IPVS table\n\n`TIMES={times} make bench ARGS=table`, {today}, commit {head}. In"
        " the lab's guest, `reach: local`, each\nin a network namespace of its own, in turns;"
        " medians. Trust the ratios.\n"
    )
    written = (
        f"\n1 % of the real servers are others: {changed['changed']:.0f} objects differ,"
        f" {changed['written']:.0f} are written.\n\n"
    )
    idle_rows = [f"{what} {IDLE[-1]}" for what in ("ipvsadm-list", "whole-idle")]
    sizes = [f"{value:.0f} MB ({shape.replace(' ', ' x ')})" for shape, value in rss.items()]
    parts = [
        intro,
        "\n1,000 services with 10 real servers each, into an empty table:\n\n",
        *rows(found, [f"{w} {s}" for w, s in building], f"ipvsadm-restore {BUILD}"),
        "\nThe same, counted by QEMU (`-icount`, Debian's kernel): other load changes nothing:\n\n",
        *counted(times),
        written,
        *rows(found, [f"{w} {s}" for w, s in changing], f"keepalived-reload {BUILD}"),
        "\n1,000 services with 100 real servers each, all as wanted:\n\n",
        *rows(found, idle_rows, idle_rows[0]),
        f"\n{fit(found)}The process then holds {', '.join(sizes)}.\n",
        "\nThe reference load balancer, in a lab of the same boot:\n\n",
        planned,
    ]
    return "".join(parts)
