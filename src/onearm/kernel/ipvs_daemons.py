"""IPVS's sync daemon on generic netlink: what tells another director of connections; pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Optional

from onearm.kernel.ipvs_messages import GENL
from onearm.kernel.netlink import attribute, attributes, nested, number, text, text_attribute
from onearm.model import Address

# include/uapi/linux/ip_vs.h
NEW_DAEMON, DEL_DAEMON, GET_DAEMON = 9, 10, 11
CMD_DAEMON = 3
DAEMON_STATE, DAEMON_LINK, DAEMON_SYNC_ID, DAEMON_LONGEST = 1, 2, 3, 4
DAEMON_GROUP, DAEMON_GROUP6, DAEMON_PORT, DAEMON_TTL = 5, 6, 7, 8
MASTER, BACKUP = 1, 2  # IP_VS_STATE_*
STATES = {MASTER: "master", BACKUP: "backup"}


@dataclass(frozen=True)
class IpvsDaemon:
    """A sync daemon: a master sends to a multicast group on a link, a backup listens there.

    What is 0 or None when it starts is the kernel's default, which a dump then shows: group
    224.0.0.81, port 8848, time to live 1, and `longest`, bytes of a message, by the link's MTU.
    """

    state: int
    link: str
    sync_id: int = 0
    longest: int = 0
    group: Optional[Address] = None
    port: int = 0
    ttl: int = 0


def daemon(wanted: IpvsDaemon) -> bytes:
    """Return the daemon attribute with all that is not left to the kernel."""
    parts = [
        attribute(DAEMON_STATE, struct.pack("=I", wanted.state)),
        text_attribute(DAEMON_LINK, wanted.link),
        attribute(DAEMON_SYNC_ID, struct.pack("=I", wanted.sync_id)),
    ]
    if wanted.longest:
        parts.append(attribute(DAEMON_LONGEST, struct.pack("=H", wanted.longest)))
    if wanted.group is not None:
        kind = DAEMON_GROUP if wanted.group.version == 4 else DAEMON_GROUP6
        parts.append(attribute(kind, wanted.group.packed))
    if wanted.port:
        parts.append(attribute(DAEMON_PORT, struct.pack("=H", wanted.port)))
    if wanted.ttl:
        parts.append(attribute(DAEMON_TTL, bytes([wanted.ttl])))
    return nested(CMD_DAEMON, *parts)


def parse_daemon(payload: bytes) -> Optional[IpvsDaemon]:
    """Read one entry of a dump; None when it holds no daemon."""
    found = attributes(attributes(payload, GENL.size).get(CMD_DAEMON, b""))
    if DAEMON_STATE not in found:
        return None
    n = {kind: number(data) for kind, data in found.items()}
    return IpvsDaemon(
        state=n[DAEMON_STATE],
        link=text(found.get(DAEMON_LINK, b"")),
        sync_id=n.get(DAEMON_SYNC_ID, 0),
        longest=n.get(DAEMON_LONGEST, 0),
        group=_group(found.get(DAEMON_GROUP, b""), found.get(DAEMON_GROUP6, b"")),
        port=n.get(DAEMON_PORT, 0),
        ttl=n.get(DAEMON_TTL, 0),
    )


def _group(four: bytes, six: bytes) -> Optional[Address]:
    if len(four) == 4:
        return IPv4Address(four)
    return IPv6Address(six) if len(six) == 16 else None
