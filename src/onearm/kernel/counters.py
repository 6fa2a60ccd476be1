"""The kernel's own counters of this network namespace, by the names that it gives them."""

from __future__ import annotations

import re
from pathlib import Path

from onearm.kernel import sysctl

FOLDER = "/proc/thread-self/net"
CONNTRACK = {
    "nf_conntrack.count": "net/netfilter/nf_conntrack_count",
    "nf_conntrack.max": "net/netfilter/nf_conntrack_max",
}
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_VALUE = re.compile(r"-?[0-9]{1,20}")


def parse(text: str) -> dict[str, int]:
    """Read /proc/net/snmp or netstat: a line of names, then one of values; zeroes are left out."""
    found: dict[str, int] = {}
    lines = text.split("\n")
    for names, values in zip(lines, lines[1:]):
        group, _, rest = names.partition(":")
        if _NAME.fullmatch(group) and values.startswith(f"{group}:"):
            found.update(_paired(group, rest.split(), values.partition(":")[2].split()))
    return found


def _paired(group: str, names: list[str], values: list[str]) -> dict[str, int]:
    return {
        f"{group}.{name}": int(value)
        for name, value in zip(names, values)
        if _NAME.fullmatch(name) and _VALUE.fullmatch(value) and int(value)
    }


def counters(folder: str = FOLDER, root: str = sysctl.ROOT) -> dict[str, int]:
    """Return all that are not zero, and how full the connection tracking is where there is one.

    Raises OSError, and PlaceError for what may not be read.
    """
    found: dict[str, int] = {}
    for table in ("snmp", "netstat"):
        found.update(parse(Path(folder, table).read_text(encoding="ascii", errors="replace")))
    for name, path in CONNTRACK.items():
        value = sysctl.read(path, root) or ""
        if _VALUE.fullmatch(value):
            found[name] = int(value)
    return found
