"""Every option of ipvsadm's -A and -a: what it becomes in a spec, or why it does not."""

from __future__ import annotations

from onearm.imports import values
from onearm.imports.found import Value
from onearm.imports.table import Row, Statement, table

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
METHODS = {"-g": "direct", "-i": "tunnel", "-m": "masq"}


def method(statement: Statement) -> Value:
    return METHODS[statement.word]


ROWS = (
    Row("-A -a", "-t -u", "vip, port", read=values.first),
    Row("-A -a", "-f", why="a spec has no services by firewall mark", differs=True),
    Row("-A", "-s", "scheduler", read=values.scheduler),
    Row("-A", "sh-port sh-fallback mh-port mh-fallback", "flags[]", read=values.scheduler_flag),
    Row("-A", "flag-1 flag-2 flag-3", "flags[]", read=values.scheduler_flag),
    Row("-A", "-p", "persistence", read=values.persistence),
    Row("-A", "-M", "persistence.netmask", read=values.netmask),
    Row("-A", "--pe", "persistence.engine", read=values.engine),
    Row("-A", "-o", "flags[]", "udp only", read=values.one_packet),
    Row("-A", "-6", why="IPv6 is not carried", differs=True),
    Row("-a", "-r", "real_servers", "with the VIP's port", read=values.first),
    Row("-a", "-g -i -m", "forwarding", "-g only", read=method),
    Row("-a", "-w", "weight", read=values.weight),
    Row("-a", "-x", "upper", read=values.bound),
    Row("-a", "-y", "lower", read=values.bound),
    Row("-a", "--tun-type --tun-port", why="import writes direct routing only"),
    Row("-a", "--tun-nocsum --tun-csum --tun-remcsum", why="import writes direct routing only"),
)
SPLIT = tuple(row._replace(word=word) for row in ROWS for word in row.word.split())
TABLE = table(SPLIT)
KNOWN = {row.word for row in SPLIT if row.word.startswith("-")} | {"-b"}
