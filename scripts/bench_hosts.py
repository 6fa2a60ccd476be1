"""What many hosts cost: 200 real servers, each reached through a prefix that first sleeps.

Run by scripts/bench. The director is the lab's, with a real ip_vs; the real servers are network and
mount namespaces of this machine. Where its kernel has no dummy links, the node there takes an ifb.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import NamedTuple

from onearm import bundle
from onearm.each import WIDTH, WIDTH_VARIABLE
from onearm.lab import client as lab
from onearm.reach import LAB_VARIABLE, lab_prefix

SERVERS, PAUSE_S, GOES = 200, 2, 3
FEW = 10  # real servers that are asked one after the other
DIRECTOR = """
ip address del 203.0.113.3/27 dev eth0
ip address add 203.0.113.3/24 dev eth0
ip route replace default via 203.0.113.1
"""
HOST = """
mount -t tmpfs none /run && mount -t tmpfs none /var/lib
ip link add eth0 type veth peer name v{n} netns {outer}
ip link set lo up
ip link set eth0 address 02:00:00:00:01:{n:02x} up
ip address add 203.0.113.{n}/24 dev eth0
ip route add default via 203.0.113.1
echo ready
exec sleep 7200
"""
# PID PAUSE COMMAND...: what a real way in does, later and in the host's namespaces.
ENTER = """\
pid=$1; pause=$2; shift 2
sleep "$pause"
if [ "$1" = python3 ]; then set -- /usr/bin/python3 -IS -c '{code}' "$3"; fi
exec nsenter --target "$pid" --net --mount -- "$@"
"""
LOADED = (  # the node file given, from a copy whose dummy is an ifb
    'import sys, zipimport; sys.path.insert(0, "{copy}"); del sys.argv[0];'
    ' exec(zipimport.zipimporter("{copy}").get_code("__main__"))'
)
COUNTED = """\
import json, resource, sys
from onearm.cli import run
code = run(sys.argv[1:])
own, all_ = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
cpu = [used.ru_utime + used.ru_stime for used in (own, all_)]
print(json.dumps({"code": code, "cpu": cpu, "rss": own.ru_maxrss * 1024}), file=sys.stderr)
"""


class Cost(NamedTuple):
    """One run: seconds, CPU seconds of the command and of all that it started here, bytes."""

    seconds: float
    own_s: float
    others_s: float
    rss: int


def section(date: str, commit: str) -> str:
    """Measure it in a lab of its own; give the page's text."""
    name = f"bench-hosts-{os.getpid()}"
    os.environ[LAB_VARIABLE] = name
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        ends.callback(lab.down, name)
        lab.up(name)
        world = World(folder, ends)
        lines = "\n".join(world.lines())
    return f"## Many hosts\n\n`make bench ARGS=hosts`, {date}, commit {commit}.\n{lines}\n"


class World:
    """The director in the lab, the namespaces, and specs that name them."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        """Make all hosts."""
        self._folder = folder
        code, _, said = lab.call(None, "server-1", ["sh", "-ec", DIRECTOR])
        if code:
            raise SystemExit(f"bench: the director: {said.decode()}")
        outer = self._holder(ends, "echo ready; exec sleep 7200", 0)
        makes = textwrap.dedent(HOST)
        numbers = range(10, 10 + SERVERS)
        script = lambda n: makes.format(n=n, outer=outer)  # noqa: E731 - the same for each
        self._pids = {n: self._holder(ends, script(n), n) for n in numbers}
        self._enter(outer)

    def _enter(self, outer: int) -> None:
        up = [f"link set v{n} up" for n in self._pids]
        argv = ["nsenter", f"--net=/proc/{outer}/ns/net", "ip", "-batch", "-"]
        subprocess.run(argv, input="\n".join(up), text=True, check=True)
        copy = self._folder / "node.pyz"
        copy.write_bytes(with_ifb() if not has_dummy() else bundle.build()[1])
        code = LOADED.format(copy=copy)
        (self._folder / "enter").write_text(ENTER.format(code=code), encoding="ascii")

    def _holder(self, ends: ExitStack, script: str, number: int) -> int:
        argv = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-ec", script]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        ends.callback(process.wait)
        ends.callback(process.kill)
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise SystemExit(f"bench: host {number} could not be made")
        return process.pid

    def spec(self, pause_s: float) -> Path:
        """Write the spec of all real servers, each `pause_s` away."""
        far = ["sh", "-c", f'sleep {pause_s}; exec "$@"', "--", *lab_prefix("server-1")]
        enter = str(self._folder / "enter")
        ways = {f"r{n}": ["sh", enter, str(self._pids[n]), str(pause_s)] for n in self._pids}
        data = {
            "directors": {"server-1": "203.0.113.3"},
            "real_servers": {f"r{n}": f"203.0.113.{n}" for n in self._pids},
            "services": [{"vip": "203.0.113.2", "port": "80/tcp", "scheduler": "rr"}],
            "reach": {"server-1": far, **ways},
        }
        path = self._folder / f"{pause_s}.yaml"
        path.write_text(json.dumps(data), encoding="ascii")  # which is YAML, too
        return path

    def lines(self) -> Iterator[str]:
        """Measure, and write the page."""
        near, far = self.spec(0), self.spec(PAUSE_S)
        made = onearm("apply", near, "--yes")
        told(f"apply, all to do, no pause: {made}")
        goes = [onearm("plan", far, "--check") for _ in range(GOES)]
        told(f"plan: {goes}")
        again = onearm("apply", far, "--yes")
        limit = [f"--limit=r{n}" for n in list(self._pids)[:FEW]]
        one = onearm("apply", far, "--yes", *limit, code=4, parallel=1)
        told(f"apply to {FEW}, one at a time: {one}")
        found = Cost(*(median(column) for column in zip(*goes, strict=True)))
        serial = one.seconds / FEW * (SERVERS + 1)
        yield intro()
        yield "\n| what | took | CPU of the command | CPU of what it started here | memory |"
        yield "|---|---:|---:|---:|---:|"
        yield row("`apply`, all to do, no pause", made)
        yield row(f"`plan --check`, nothing to do (median of {GOES})", found)
        yield row("`apply`, nothing to do", again)
        yield row(f"`apply --limit` to {FEW} real servers, `{WIDTH_VARIABLE}=1`", one)
        yield closing(found, serial, (found.rss - one.rss) / (SERVERS - FEW))


def intro() -> str:
    """Say what was measured."""
    return textwrap.dedent(f"""
        One director in the lab and {SERVERS} real servers in namespaces of this machine, which has
        {os.cpu_count()} CPUs for all of them; each host is reached through a prefix that sleeps {PAUSE_S} s first. The
        world is converged. {WIDTH} hosts at once, as always (`{WIDTH_VARIABLE}`).""")  # noqa: E501


def closing(found: Cost, serial: float, rss: float) -> str:
    """Compare with one after the other."""
    pauses = (SERVERS + 1) * PAUSE_S
    return textwrap.dedent(f"""
        One after the other, {SERVERS + 1} hosts would take {serial:.0f} s (as the last row, scaled), and {pauses} s for the
        pauses alone: `plan` takes {found.seconds / serial:.1%} of the one and {found.seconds / pauses:.1%} of the other. Per host it
        costs {found.own_s / (SERVERS + 1) * 1000:.1f} ms of the operator's CPU, with what {FEW} hosts cost taken as nothing {rss / 1e3:.0f} kB of
        its memory, and {found.others_s / SERVERS * 1000:.0f} ms of CPU in what it starts: the way in and, here, the hosts' own nodes.""")  # noqa: E501


def row(what: str, cost: Cost) -> str:
    """Write one line of the table."""
    figures = (f"{cost.seconds:.1f} s", f"{cost.own_s:.1f} s", f"{cost.others_s:.1f} s")
    return f"| {what} | {' | '.join(figures)} | {cost.rss / 1e6:.0f} MB |"


def onearm(*words: object, code: int = 0, parallel: int | None = None) -> Cost:
    """Run a command of ours; give what it cost."""
    argv = [sys.executable, "-I", "-c", COUNTED, *map(str, words)]
    env = {**os.environ, "ONEARM_TIMEOUT": "2m"}
    if parallel:
        env[WIDTH_VARIABLE] = str(parallel)
    begun = time.monotonic()
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    took = time.monotonic() - begun
    counted = json.loads(done.stderr.splitlines()[-1])
    if counted["code"] != code:
        raise SystemExit(f"bench: {words}: {counted}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return Cost(took, *counted["cpu"], counted["rss"])


def has_dummy() -> bool:
    """Say whether this machine's kernel has dummy links."""
    argv = ["unshare", "--net", "ip", "link", "add", "type", "dummy"]
    return not subprocess.run(argv, capture_output=True, check=False).returncode


def with_ifb() -> bytes:
    """Give the node file whose dummy links are ifb links: made as such, and shown as dummies."""
    with zipfile.ZipFile(BytesIO(bundle.build()[1])) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py") and "/" in name]
        modules = {name.removeprefix("onearm/"): archive.read(name) for name in names}
    source = modules["kernel/links.py"]
    for old, new in (
        (b'text_attribute(INFO_KIND, "dummy")', b'text_attribute(INFO_KIND, "ifb")'),
        (b'.get(INFO_KIND, b""))', b'.get(INFO_KIND, b"").replace(b"ifb", b"dummy"))'),
    ):
        if old not in source:
            raise SystemExit(f"bench: kernel/links.py has no {old.decode()} any more")
        source = source.replace(old, new)
    return bundle.pack({**modules, "kernel/links.py": source})


def told(text: str) -> None:
    """Say how far it is."""
    print(text, file=sys.stderr, flush=True)
