"""What a check through the VIP costs beside one of the host's own path, in the lab's guest.

Run by scripts/bench; inside the guest it runs itself with the words `ask PATH`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median

from onearm.checks import Checks, Result, Target, Trouble
from onearm.spec import Check

VIP, DIRECTOR = IPv4Address("203.0.113.2"), IPv4Address("203.0.113.3")
SERVERS = {IPv4Address("203.0.113.4"): 7004, IPv4Address("203.0.113.5"): 7005}  # and their marks
EACH = 50  # probes of one server in flight over a second: 100 checks a second in all
SECONDS, WARM_S, RUNS = 8.0, 2.0, 5
BLOCK = 100  # source ports of one probe
PREPARE = """
sysctl -qw net.ipv4.conf.eth0.accept_local=1
for mark in 7004 7005; do ipvsadm -A -f $mark -s rr; done
ipvsadm -a -f 7004 -r 203.0.113.4 -g; ipvsadm -a -f 7005 -r 203.0.113.5 -g
"""


def targets(path: str) -> Iterator[Target]:
    """List the probes of a path."""
    check = Check("tcp", path, 1.0, 0.9)
    for number in range(EACH * len(SERVERS)):
        server, mark = list(SERVERS.items())[number % len(SERVERS)]
        if path == "host":
            yield Target(number, check, server, 80, str(server))
            continue
        block = range(16384 + number * BLOCK, 16384 + (number + 1) * BLOCK)
        yield Target(number, check, VIP, 80, str(server), mark, DIRECTOR, block)


def busy() -> tuple[float, float]:
    """Read how long this kernel worked since it began, and the time, in seconds."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) / hertz, time.monotonic()


def ask(path: str) -> None:
    """Probe for a while; print the guest's CPU in ms per 1,000 checks, how many, how many bad."""
    results: list[Result] = []
    troubles: list[Trouble] = []
    idle_from, start = busy()
    time.sleep(SECONDS / 2)
    idle_to, end = busy()
    checks = Checks(results.append, troubles.append)
    checks.start()
    checks.set_targets(tuple(targets(path)))
    time.sleep(WARM_S)
    results.clear()
    before, begun = busy()
    time.sleep(SECONDS)
    after, ended = busy()
    counted = list(results)
    checks.stop()
    idle = (idle_to - idle_from) / (end - start)
    spent = (after - before) - idle * (ended - begun)
    bad = sum(not result.ok for result in counted) + len(troubles)
    print(spent / len(counted) * 1e6, len(counted), bad)


def page(call: Callable[[str, list[str]], str]) -> Iterator[str]:
    """Measure in the lab that `call(host, argv)` reaches, in turns; yield the lines of the page."""
    call("server-1", ["sh", "-ec", PREPARE])
    found: dict[str, list[tuple[float, int, int]]] = {"host": [], "vip": []}
    for _ in range(RUNS):
        for path, rows in found.items():
            text = call("server-1", [sys.executable, __file__, "ask", path])
            cost, count, bad = text.split()
            rows.append((float(cost), int(count), int(bad)))
    host = median(row[0] for row in found["host"])
    yield "Path `vip` beside path `host`, `tcp`, 100 checks a second in the lab's guest, whose"
    yield "whole CPU time counts, real servers included, less what it spends without; in turns,"
    yield f"medians of {RUNS}:"
    yield ""
    yield "| path | guest CPU per 1,000 checks | checks/s | bad | to host |"
    yield "|---|---:|---:|---:|---:|"
    for path, rows in found.items():
        costs = sorted(row[0] for row in rows)
        middle, rate = median(costs), median(row[1] for row in rows) / SECONDS
        bad = sum(row[2] for row in rows)
        spread = f"({costs[0]:.0f}-{costs[-1]:.0f})"
        yield f"| {path} | {middle:.0f} ms {spread} | {rate:.0f} | {bad} | {middle / host:.2f} |"


if __name__ == "__main__":
    ask(sys.argv[2])
