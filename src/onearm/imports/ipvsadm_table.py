"""Every option of ipvsadm's -A and -a: what it becomes in a spec, or why it does not."""

from __future__ import annotations

from collections.abc import Sequence

from onearm.imports import forwarding, values
from onearm.imports.found import MARKED, Value, must
from onearm.imports.table import Row, Statement, table
from onearm.spec_load.kinds import LONGEST_S, TIMEOUTS

ALIASES = {
    "--add-service": "-A",
    "--add-server": "-a",
    "--tcp-service": "-t",
    "--udp-service": "-u",
    "--fwmark-service": "-f",
    "--scheduler": "-s",
    "--persistent": "-p",
    "--netmask": "-M",
    "--sched-flags": "-b",
    "--ops": "-o",
    "--ipv6": "-6",
    "--real-server": "-r",
    "--gatewaying": "-g",
    "--ipip": "-i",
    "--masquerading": "-m",
    "--weight": "-w",
    "--u-threshold": "-x",
    "--l-threshold": "-y",
}
BARE = ("-g", "-i", "-m", "-o", "-6", "--ops", "--tun-nocsum", "--tun-csum", "--tun-remcsum")
PROTOCOLS = {"-t": "tcp", "-u": "udp", "--sctp-service": "sctp"}
SET = "--set"
UNTOLD_S = 360  # what ipvsadm sends; its manual says 300


def timeouts(words: Sequence[str]) -> dict[str, int]:
    """Read the three times behind --set; 0 is none."""
    must(len(words) == len(TIMEOUTS), "three times belong behind it")
    found = zip(TIMEOUTS, (values.number(word, 0, LONGEST_S) for word in words), strict=True)
    return {name: seconds for name, seconds in found if seconds}


def method(statement: Statement) -> Value:
    return forwarding.METHODS[statement.word]


def persistence(statement: Statement) -> Value:
    """Read seconds; without any they are five minutes."""
    return values.persistence(statement) if statement.words else UNTOLD_S


def plain(statement: Statement) -> Value:
    return statement.word


ROWS = (
    Row("file", "--set", "timeouts", "0 leaves the kernel's own", read=values.first, most=3),
    Row("-A -a", "-t -u --sctp-service", "vip, port", read=values.first),
    Row("-A -a", "-f", why=MARKED, differs=True),
    Row("-A", "-s", "scheduler", read=values.scheduler),
    Row("-A", "sh-port sh-fallback mh-port mh-fallback", "flags[]", read=values.scheduler_flag),
    Row("-A", "flag-1 flag-2 flag-3", "flags[]", read=values.scheduler_flag),
    Row("-A", "-p", "persistence", "360 s alone", read=persistence),
    Row("-A", "-M", "persistence.netmask", read=values.netmask),
    Row("-A", "--pe", "persistence.engine", read=values.engine),
    Row("-A", "-o", "flags[]", "udp only", read=values.one_packet),
    Row("-A", "-6", why="it is for services by firewall mark", differs=True),
    Row("-a", "-r", "real_servers", "a port of its own behind -m", read=values.first),
    Row("-a", "-g -i -m", "forwarding", read=method),
    Row("-a", "-w", "weight", read=values.weight),
    Row("-a", "-x", "upper", read=values.bound),
    Row("-a", "-y", "lower", read=values.bound),
    Row("-a", "--tun-type", "forwarding.type", read=forwarding.tunnel_type),
    Row("-a", "--tun-port", "forwarding.port", "of gue", read=values.one_port),
    Row("-a", "--tun-nocsum", "forwarding.checksum", "a spec's tunnels are so", read=plain),
    Row("-a", "--tun-csum --tun-remcsum", why=forwarding.NO_CHECKSUM, differs=True),
)
SPLIT = tuple(row._replace(word=word) for row in ROWS for word in row.word.split())
TABLE = table(SPLIT)
KNOWN = {row.word for row in SPLIT if row.word.startswith("-")} | {"-b"}
