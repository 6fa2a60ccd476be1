"""What a check costs: ours, HAProxy's and keepalived's, on this host's loopback, in one run.

`measure` prints JSON. It runs in a network namespace of its own, where nobody else connects: the
kernel's count of connections there is the number of checks, whoever made them. `ask` is ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import Any

SERVERS = 1000
MANY = 5000
PORT = 18080
FIRST = int(IPv4Address("127.1.0.0"))
SETTLE_S = {"onearm": 3.0, "HAProxy": 3.0, "keepalived": 10.0}  # the last logs each server first
WINDOW_S, ROUNDS = 5.0, 5
TICK_S = 0.05
TITLE = "## Checks"
KINDS = ("tcp", "http")
NAMES = ("onearm", "HAProxy", "keepalived")
COMPLAINTS = {"onearm": (), "HAProxy": (" is DOWN",), "keepalived": ("failed", "rror")}
NEEDED = ("haproxy", "keepalived", "cc", "unshare")

SERVER = f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout client 5s
  timeout connect 5s
  timeout server 5s
frontend answers
  bind 0.0.0.0:{PORT}
  http-request return status 200 content-type text/plain string OK
"""
HAPROXY = """
global
  nbthread 1
  maxconn 100
defaults
  mode {mode}
  timeout connect 1s
  timeout check 1s
  timeout client 5s
  timeout server 5s
frontend idle
  bind 127.0.0.1:{idle}
  default_backend checked
backend checked
{option}
"""
HTTPCHK = "  option httpchk\n  http-check send meth GET uri / ver HTTP/1.1 hdr Host checked\n"
KEEPALIVED = {
    "tcp": "TCP_CHECK {\n connect_timeout 1\n }",
    "http": "HTTP_GET {\n url {\n path /\n status_code 200\n }\n connect_timeout 1\n }",
}
# keepalived does not start without IPVS in the kernel, which few hosts have loaded. What is
# measured is its checks alone: its requests to the kernel are answered with "done" before it.
STUB = """
typedef int (*callback)(void *message, void *argument);
static callback called[8];
static void *arguments[8];
int genl_ctrl_resolve(void *socket, const char *name) { return 99; }
int nl_send_auto(void *socket, void *message) { return 1; }
int nl_socket_modify_cb(void *socket, int type, int kind, callback function, void *argument)
{
    if (type >= 0 && type < 8) { called[type] = function; arguments[type] = argument; }
    return 0;
}
int nl_recvmsgs_default(void *socket)
{
    if (called[1]) called[1](0, arguments[1]); /* NL_CB_FINISH */
    if (called[4]) called[4](0, arguments[4]); /* NL_CB_ACK */
    return 0;
}
"""


def addresses(count: int) -> list[IPv4Address]:
    """Give as many of loopback's own."""
    return [IPv4Address(FIRST + n) for n in range(count)]


def ask(kind: str, count: int) -> None:
    """Be our engine: check for ever, take results as the daemon does, print counts each second."""
    from onearm.checks import Checks, Result, Target
    from onearm.spec import Check

    results: deque[Result] = deque()
    checks = Checks(results.extend, lambda trouble: sys.exit(str(trouble)))
    check = Check(kind, "host", interval_s=1.0, timeout_s=1.0)
    checks.set_targets(
        tuple(Target(n, check, a, PORT, str(a)) for n, a in enumerate(addresses(count)))
    )
    states: dict[Any, int] = {}
    checks.start()
    turn = 0
    while checks.alive:
        time.sleep(TICK_S)
        while results:
            result = results.popleft()
            streak = states.get(result.key, 0)
            states[result.key] = streak + 1 if result.ok else 0
        turn += 1
        if turn % 20 == 0:
            print(json.dumps(vars(checks.counts)), flush=True)


def engine(name: str, kind: str, folder: Path, count: int) -> tuple[list[str], dict[str, str]]:
    """Give the command of an engine, and what its environment has beside ours."""
    if name == "onearm":
        return [sys.executable, __file__, "ask", kind, str(count)], {}
    config = folder / f"{name}-{kind}.cfg"
    if name == "HAProxy":
        mode, option = ("http", HTTPCHK) if kind == "http" else ("tcp", "")
        rows = (f"  server s{n} {a}:{PORT} check inter 1s" for n, a in enumerate(addresses(count)))
        config.write_text(
            HAPROXY.format(mode=mode, option=option, idle=PORT + 1) + "\n".join(rows) + "\n"
        )
        return ["haproxy", "-db", "-f", str(config)], {}
    check = KEEPALIVED[kind]
    rows = (f" real_server {a} {PORT} {{\n {check}\n }}\n" for a in addresses(count))
    config.write_text(
        f"virtual_server 127.200.0.1 {PORT} {{\n protocol TCP\n lvs_method DR\n lvs_sched rr\n"
        f" delay_loop 1\n{''.join(rows)}}}\n"
    )
    files = [f"--{what}={folder / what}" for what in ("pid", "checkers_pid")]
    argv = ["keepalived", "-n", "-l", "-C", "-f", str(config), *files]
    return argv, {"LD_PRELOAD": str(folder / "stub.so")}


@contextmanager
def running(argv: list[str], more: dict[str, str], out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own, and end all of that."""
    with out.open("wb") as file:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **more},
            start_new_session=True,
        )
    try:
        yield child
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def session(leader: int) -> Iterator[int]:
    """Give the processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if int(words[3]) == leader:
                yield int(entry.name)


def spent(leader: int) -> tuple[float, int]:
    """Give CPU seconds of all threads of a session, and its resident KiB."""
    total, resident = 0, 0
    for pid in session(leader):
        total += sum(
            int((task / "schedstat").read_text().split()[0])
            for task in Path(f"/proc/{pid}/task").iterdir()
        )
        status = Path(f"/proc/{pid}/status").read_text()
        resident += int(status.partition("VmRSS:")[2].split()[0])
    return total / 1e9, resident


def connections() -> int:
    """Give how many connections were begun in this namespace."""
    rows = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (row.split() for row in rows if row.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])


def cost(name: str, kind: str, folder: Path, count: int = SERVERS) -> dict[str, Any]:
    """Measure an engine over a window."""
    argv, more = engine(name, kind, folder, count)
    out = folder / f"{name}-{kind}.out"
    with running(argv, more, out) as child:
        time.sleep(SETTLE_S[name])
        if child.poll() is not None:
            raise SystemExit(f"bench: {name} ended: {out.read_text(errors='replace')[-999:]}")
        begun, used, made = time.monotonic(), spent(child.pid)[0], connections()
        time.sleep(WINDOW_S)
        took = time.monotonic() - begun
        after, resident = spent(child.pid)
        checks = connections() - made
    said = out.read_text(errors="replace")
    if checks < count * WINDOW_S / 2:
        raise SystemExit(
            f"bench: {name} made {checks} {kind} checks in {took:.1f} s\n{said[-999:]}"
        )
    row = {"engine": name, "kind": kind, "cpu_ms": (after - used) / checks * 1e6, "rss": resident}
    row |= {"rate": checks / took, "bad": sum(said.count(word) for word in COMPLAINTS[name])}
    if name == "onearm":
        counts = json.loads(said.splitlines()[-1])
        row |= {"bad": counts["bad"] + counts["troubled"]}
        row |= {key: counts[key] for key in ("late_most_s", "paused_s")}
    return row


def measure() -> None:
    """Do all of it, engines in turn so that what disturbs one disturbs all."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stub.c").write_text(STUB)
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-w", "-o", folder / "stub.so", folder / "stub.c"],
            check=True,
        )
        (folder / "server.cfg").write_text(SERVER)
        server = ["haproxy", "-db", "-f", str(folder / "server.cfg")]
        with running(server, {}, folder / "server.out"):
            time.sleep(1)
            for _ in range(ROUNDS):
                for kind in KINDS:
                    found += [said(cost(name, kind, folder)) for name in NAMES]
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            found += [said(cost("onearm", kind, folder, MANY)) for kind in KINDS]
    print(json.dumps(found))


def said(row: dict[str, Any]) -> dict[str, Any]:
    """Show progress."""
    print(
        f"{row['cpu_ms']:>10.1f} ms per 1,000 {row['kind']} checks: {row['engine']},"
        f" {row['rate']:.0f}/s",
        file=sys.stderr,
    )
    return row


def section(date: str, commit: str) -> str:
    """Measure in a namespace of its own, and write the page's part."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"bench: {', '.join(missing)} missing: run scripts/setup bench")
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    inside = f'ip link set lo up && exec "{sys.executable}" "{__file__}" measure'
    done = subprocess.run(
        ["unshare", "--net", *rights, "sh", "-c", inside], stdout=subprocess.PIPE, check=True
    )
    return "".join(written(json.loads(done.stdout), date, commit))


def line(name: str, goes: list[dict[str, Any]], base: float) -> str:
    """Write an engine's row."""
    each = [r["cpu_ms"] for r in goes]
    rate, rss = (median(r[what] for r in goes) for what in ("rate", "rss"))
    return (
        f"| {name} | {median(each):.1f} ms ({min(each):.1f}-{max(each):.1f}) | {rate:.0f} |"
        f" {rss / 1024:.0f} MiB | {sum(r['bad'] for r in goes)} | {median(each) / base:.2f} |\n"
    )


def written(rows: list[dict[str, Any]], date: str, commit: str) -> Iterator[str]:
    """Write the tables."""
    yield f"{TITLE}\n\n`make bench ARGS=checks`, {date}, commit {commit}.\n"
    yield (
        f"{SERVERS:,} servers on loopback, each asked every second, path `host`; user and system\n"
        "time of the checker, the kernel's work for loopback included; engines in turn, medians\n"
        f"of {ROUNDS}. HAProxy has one thread; a stub answers what keepalived asks of IPVS. A\n"
        "`tcp` check is reset before the handshake's last packet by onearm and by HAProxy,\n"
        "keepalived's is a whole connection. An `http` check is reset by onearm once the answer\n"
        "is whole; HAProxy closes in good order, which is one packet more of seven.\n\n"
    )
    for kind in KINDS:
        yield f"| {kind} | CPU per 1,000 checks | checks/s | RSS | bad | to HAProxy |\n"
        yield "|---|---:|---:|---:|---:|---:|\n"
        goes = {
            name: [r for r in rows[: -len(KINDS)] if (r["kind"], r["engine"]) == (kind, name)]
            for name in NAMES
        }
        base = median(r["cpu_ms"] for r in goes["HAProxy"])
        yield from (line(name, goes[name], base) for name in NAMES)
        yield "\n"
    yield f"{MANY:,} servers with onearm on one core:\n\n"
    yield "| kind | CPU per 1,000 checks | checks/s | bad | latest tick | paused in all |\n"
    yield "|---|---:|---:|---:|---:|---:|\n"
    for row in rows[-len(KINDS) :]:
        yield (
            f"| {row['kind']} | {row['cpu_ms']:.1f} ms | {row['rate']:.0f} | {row['bad']} |"
            f" {row['late_most_s'] * 1000:.0f} ms | {row['paused_s']:.2f} s |\n"
        )
    yield "\n"


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask(sys.argv[2], int(sys.argv[3]))
    else:
        measure()
