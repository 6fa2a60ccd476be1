#!/usr/bin/env python3
"""Measurements of an IPVS table, in a network namespace of its own; prints one JSON object.

    unshare -n python3 bench_table_inside.py WHAT SERVICES SERVERS TIMES

What is measured in it by name, with the figures of each go. What is compared goes in turns, and
what builds a table does so in a process of its own, which has nothing from the go before.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), *map(str, ROOT.glob("site"))]

from onearm import collector, ledger
from onearm.addresses import IPv4Address
from onearm.kernel import netlink
from onearm.kernel.ipvs import Ipvs
from onearm.model import Action, Destination, Service
from onearm.places import bodies, director

collector.patient()
VIPS, SERVERS = int(IPv4Address("10.64.0.0")), int(IPv4Address("10.128.0.0"))
Shape = list[tuple[IPv4Address, list[IPv4Address]]]
Figures = dict[str, list[dict[str, float]]]
POLL_S = 0.02
SETTLES_S = 2  # after a namespace has gone
LONGEST_S = 60


def shape(services: int, servers: int, moved: int = 0) -> Shape:
    """Give each service servers of its own; `moved` of them all have another address."""
    step = services * servers // moved if moved else 0
    found = []
    for n in range(services):
        numbers = range(n * servers, (n + 1) * servers)
        addresses = [
            IPv4Address(SERVERS + k + ((1 << 21) if step and k % step == 0 else 0)) for k in numbers
        ]
        found.append((IPv4Address(VIPS + n), addresses))
    return found


def rules(table: Shape) -> str:
    """Write them for `ipvsadm -R`."""
    lines = []
    for vip, servers in table:
        lines.append(f"-A -t {vip}:80 -s rr")
        lines += [f"-a -t {vip}:80 -r {server}:80 -g -w 1" for server in servers]
    return "\n".join(lines) + "\n"


def keepalived(table: Shape) -> str:
    """Write them for keepalived, without checks."""
    text = ["global_defs {\n  router_id bench\n}"]
    for vip, servers in table:
        text.append(f"virtual_server {vip} 80 {{\n  lvs_sched rr\n  lvs_method DR\n  protocol TCP")
        text += [f"  real_server {server} 80 {{\n    weight 1\n  }}" for server in servers]
        text.append("}")
    return "\n".join(text) + "\n"


def actions(table: Shape) -> list[list[Action]]:
    """Give the two batches that build them."""
    services = [Service("tcp", vip, 80, "rr") for vip, _ in table]
    behind = [Destination("tcp", vip, 80, one) for vip, found in table for one in found]
    return [[Action("d1", None, r) for r in batch] for batch in (services, behind)]


class Watch:
    """Wall time, and CPU time of this process and of the children that it waited for."""

    def __init__(self) -> None:
        self.began, self.used = time.perf_counter(), self.cpu()

    @staticmethod
    def cpu() -> float:
        own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime

    def seen(self) -> dict[str, float]:
        return {"wall_s": time.perf_counter() - self.began, "cpu_s": self.cpu() - self.used}


def counted() -> int:
    """Count the destinations in the kernel."""
    with Path("/proc/net/ip_vs").open("rb") as file:
        return sum(line.startswith(b"  -> ") for line in file) - 1


def ipvsadm_restore(table: Shape) -> dict[str, float]:
    """Time `ipvsadm -R`."""
    with tempfile.TemporaryFile() as file:
        file.write(rules(table).encode())
        file.seek(0)
        watch = Watch()
        subprocess.run(["ipvsadm", "-R"], stdin=file, check=True)
        return watch.seen()


def ipvsadm_list() -> dict[str, float]:
    """Time `ipvsadm -Ln >/dev/null`."""
    watch = Watch()
    subprocess.run(["ipvsadm", "-Ln"], stdout=subprocess.DEVNULL, check=True)
    return watch.seen()


def netlink_part(table: Shape) -> dict[str, float]:
    """Time the director's place: from actions to the verdict on each."""
    batches = actions(table)
    watch = Watch()
    failed = [e for batch in batches for _, e in director.apply(batch, {}) if e is not None]
    seen = watch.seen()
    if failed:
        raise SystemExit(str(failed[0]))
    return seen


def kernel_share(table: Shape) -> dict[str, float]:
    """Time the sends alone, of what was encoded before."""
    with Ipvs() as ipvs:
        link, sent, parts = ipvs._netlink, [], []  # noqa: SLF001 - past the encoding
        for batch in actions(table):
            encoded = bodies.bodies([(0, "add", a.resource) for a in batch], director._change)  # noqa: SLF001
            step = link._fitting(encoded)  # noqa: SLF001
            parts += [encoded[n : n + step] for n in range(0, len(encoded), step)]
        for part in parts:
            first = link._next(len(part))  # noqa: SLF001
            sent.append(netlink._joined(ipvs._type, part, first))  # noqa: SLF001
        watch = Watch()
        for data in sent:
            link._send(data)  # noqa: SLF001
            link._fill()  # noqa: SLF001
        return watch.seen()


def keepalived_both(table: Shape, times: int) -> Figures:
    """Time a start until the table is complete, and SIGHUP until 1 % of it are others."""
    changed = shape(len(table), len(table[0][1]), moved(table))
    wanted = {f"{int(a):08X}" for _, found in changed for a in found}
    found: Figures = {"keepalived-start": [], "keepalived-reload": []}
    for _ in range(times):
        with running_keepalived(table) as (watch, process):
            found["keepalived-start"].append(watch.seen() | {"cpu_s": tree_cpu(process)})
            config = Path(process.args[2])  # type: ignore[index]
            config.write_text(keepalived(changed))
            before, again = tree_cpu(process), Watch()
            process.send_signal(signal.SIGHUP)
            until = time.monotonic() + LONGEST_S
            while listed() != wanted:
                time.sleep(POLL_S)
                if time.monotonic() > until:
                    raise SystemExit("keepalived did not take its file anew")
            used = tree_cpu(process) - before
            found["keepalived-reload"].append(again.seen() | {"cpu_s": used})
        emptied()
    return found


def listed() -> set[str]:
    """List the addresses of all destinations, as the kernel prints them."""
    lines = Path("/proc/net/ip_vs").read_text(encoding="ascii").splitlines()[3:]
    return {line.split()[1].partition(":")[0] for line in lines if line.startswith("  -> ")}


@contextlib.contextmanager
def running_keepalived(table: Shape) -> Iterator[tuple[Watch, subprocess.Popen[bytes]]]:
    """Start keepalived's checker alone, and wait until the table is complete."""
    total = sum(len(found) for _, found in table)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "keepalived.conf")
        config.write_text(keepalived(table))
        pids = [f"-{flag}{folder}/{flag}.pid" for flag in "pc"]
        watch = Watch()
        process = subprocess.Popen(
            ["keepalived", "-f", str(config), "-n", "-C", *pids],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + LONGEST_S
            while counted() != total:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("keepalived does not make its table")
                time.sleep(POLL_S)
            yield watch, process
        finally:
            # The children first: one that outlives its parent takes its table down, and the next's.
            for child in children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()


def children(pid: int) -> list[int]:
    """List the children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    if text.exists():
        return [int(word) for word in text.read_text().split()]
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def tree_cpu(process: subprocess.Popen[bytes]) -> float:
    """Add up the CPU time of a process and its children, as finely as the kernel tells it."""
    used = 0.0
    for pid in (process.pid, *children(process.pid)):
        fine = Path(f"/proc/{pid}/schedstat")
        if fine.exists():
            used += int(fine.read_text().split()[0]) / 1e9
            continue
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return used


# The whole path: from a parsed spec to a kernel that was read again.


class Daemon:
    """What the daemon of a director does in a round, without its checks."""

    def __init__(self) -> None:
        # All that a round loads is there before it is measured: a daemon has it since its start.
        from onearm import log
        from onearm.daemon.core import Core
        from onearm.daemon.local import LocalPlace
        from onearm.daemon.record import Record
        from onearm.daemon.rounds import Rounds
        from onearm.desire import desire
        from onearm.places.look import Question

        log.begin("text", stream=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        self.question = Question(role="director")
        self.desire = lambda spec, facts: desire(spec, {"d1": facts}, Core.wall())["d1"]
        ledger.PATH.unlink(missing_ok=True)
        self.place = LocalPlace("default")
        self.rounds = Rounds("default", "d1", self.place, Record())

    def round(self, spec: Any) -> list[Action]:
        """Look, decide, observe, change, observe again; nothing may be left."""
        facts = self.place.look(self.question)
        wanted = self.desire(spec, facts)
        outcome = self.rounds.converge(wanted, facts, {})
        if not self.rounds.converged:
            raise SystemExit(str(self.rounds.left))
        return outcome.done


def parsed(table: Shape) -> Any:
    """Parse a spec of the same table: each service has real servers of its own."""
    from onearm import spec

    lines = ["directors: {d1: 10.0.0.3}", "reach: local", "real_servers:"]
    names = {a: f"r{int(a)}" for _, found in table for a in found}
    lines += [f"  {name}: {address}" for address, name in names.items()]
    lines.append("services:")
    for vip, found in table:
        lines.append(f"- {{vip: {vip}, port: 80/tcp, scheduler: rr, real_servers: [")
        lines.append(", ".join(names[a] for a in found) + "]}")
    return spec.parse("\n".join(lines) + "\n", "bench.yaml")


def whole_build(table: Shape, spec: Any) -> dict[str, float]:
    """Time the daemon's first round."""
    daemon = Daemon()
    watch = Watch()
    daemon.round(spec)
    seen = watch.seen()
    if counted() != sum(len(found) for _, found in table):
        raise SystemExit("not all stands")
    return seen


def whole(table: Shape) -> dict[str, float]:
    """Time the daemon's first round; the spec is parsed before."""
    return whole_build(table, parsed(table))


GOES: dict[str, Callable[[Shape], dict[str, float]]] = {
    "ipvsadm-restore": ipvsadm_restore,
    "netlink": netlink_part,
    "kernel": kernel_share,
    "whole-build": whole,
}


def apart(name: str, table: Shape) -> dict[str, float]:
    """Do one go in a process and a network namespace of its own.

    A fork would pay for each page that both have, when it first writes there. And a table that was
    emptied is still taken apart for a while, by whoever comes next.
    """
    words = [name, str(len(table)), str(len(table[0][1])), "1"]
    argv = ["unshare", "-n", "--", sys.executable, "-I", __file__, *words]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    time.sleep(SETTLES_S)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def emptied() -> None:
    """Take the table away."""
    subprocess.run(["ipvsadm", "-C"], check=True)


def building(table: Shape, times: int) -> Figures:
    """Build the table in all ways, in turns."""
    found: Figures = {name: [] for name in GOES}
    for _ in range(times):
        for name in GOES:
            found[name].append(apart(name, table))
    return found


def moved(table: Shape) -> int:
    """Say how many 1 % of the real servers are."""
    return max(1, sum(len(found) for _, found in table) // 100)


def changing(table: Shape, times: int) -> Figures:
    """Time rounds that have 1 % other real servers, there and back, and count what is written."""
    specs = [parsed(table), parsed(shape(len(table), len(table[0][1]), moved(table)))]
    daemon, journal, send = Daemon(), [], Ipvs.send
    daemon.round(specs[0])

    def noted(self: Ipvs, sent: Any) -> dict[int, int]:
        journal.append(len(sent))
        return send(self, sent)

    Ipvs.send = noted  # type: ignore[method-assign]
    found = []
    for go in range(times):
        journal.clear()
        watch = Watch()
        daemon.round(specs[(go + 1) % 2])
        differ = {"written": sum(journal), "changed": 2 * moved(table)}
        found.append(watch.seen() | differ)
    return {"whole-change": found}


def idling(table: Shape, times: int) -> Figures:
    """Time rounds that have nothing to do and lists of the same table; and what is held."""
    spec, daemon = parsed(table), Daemon()
    daemon.round(spec)
    daemon.round(spec)
    found: Figures = {"ipvsadm-list": [], "whole-idle": []}
    for _ in range(times):
        found["ipvsadm-list"].append(ipvsadm_list())
        watch = Watch()
        done = daemon.round(spec)
        found["whole-idle"].append(watch.seen() | {"rss_mb": resident()})
        if done:
            raise SystemExit("something was done")
    return found


def resident() -> float:
    """Say how much memory this process holds."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(rss) / 1024


WHAT: dict[str, Callable[[Shape, int], Figures]] = {
    "building": building,
    "keepalived": keepalived_both,
    "changing": changing,
    "idling": idling,
}


def main(what: str, services: str, servers: str, times: str) -> None:
    """Measure, print."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # brings the table of addresses
    table = shape(int(services), int(servers))
    print(json.dumps(GOES[what](table) if what in GOES else WHAT[what](table, int(times))))


if __name__ == "__main__":
    main(*sys.argv[1:])
