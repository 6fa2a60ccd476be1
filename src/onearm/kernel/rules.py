"""Firewall marks that routing rules look at."""

from __future__ import annotations

import struct

from onearm.kernel.netlink import NETLINK_ROUTE, Netlink, attributes, number

GETRULE = 34  # include/uapi/linux/rtnetlink.h
FRA_FWMARK, FRA_FWMASK = 10, 16  # include/uapi/linux/fib_rules.h
HEADER = struct.Struct("=BBBBBxxBI")
AF_INET = 2
ALL_BITS = 0xFFFFFFFF


def parse_rule(payload: bytes) -> tuple[int, int]:
    """Read mark and mask of one RTM_NEWRULE; (0, 0) for a rule that looks at no mark."""
    found = attributes(payload, HEADER.size)
    if FRA_FWMARK not in found:
        return 0, 0
    mask = number(found[FRA_FWMASK]) if FRA_FWMASK in found else ALL_BITS
    return number(found[FRA_FWMARK]), mask


def marked_rules() -> list[tuple[int, int]]:
    """List (mark, mask) of every IPv4 routing rule by mark (ip-rule(8)); raises NetlinkError."""
    netlink = Netlink(NETLINK_ROUTE)
    try:
        rows = netlink.dump(GETRULE, HEADER.pack(AF_INET, 0, 0, 0, 0, 0, 0))
        found = [parse_rule(payload) for payload in rows]
    finally:
        netlink.close()
    return [(mark, mask) for mark, mask in found if mask]
