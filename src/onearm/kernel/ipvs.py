"""The virtual server table of the kernel: services and destinations, read and changed."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import NamedTuple, Optional, final

from onearm.kernel.generic import family
from onearm.kernel.ipvs_daemons import (
    BACKUP,
    DEL_DAEMON,
    GET_DAEMON,
    MASTER,
    NEW_DAEMON,
    IpvsDaemon,
    daemon,
    parse_daemon,
)
from onearm.kernel.ipvs_layout import LEARNED, Destinations
from onearm.kernel.ipvs_messages import (
    ALL_BITS,
    CMD_TCP,
    CMD_TCP_FIN,
    CMD_UDP,
    DIRECT,
    FAMILY,
    GENL,
    GET_CONFIG,
    GET_DEST,
    GET_INFO,
    GET_SERVICE,
    HASHED,
    INFO_TABLE_SIZE,
    INFO_VERSION,
    LOCAL,
    MASQ,
    ONE_PACKET,
    PERSISTENT,
    SET_CONFIG,
    TUNNEL,
    ZERO,
    IpvsDestination,
    IpvsService,
    bits_to_flags,
    body,
    change_body,
    flags_to_bits,
    service_key,
)
from onearm.kernel.netlink import (
    NETLINK_GENERIC,
    Netlink,
    attribute,
    attributes,
    number,
)

__all__ = [
    "ALL_BITS",
    "BACKUP",
    "DIRECT",
    "HASHED",
    "LOCAL",
    "MASQ",
    "MASTER",
    "ONE_PACKET",
    "PERSISTENT",
    "TUNNEL",
    "Change",
    "Ipvs",
    "IpvsDaemon",
    "IpvsDestination",
    "IpvsInfo",
    "IpvsService",
    "IpvsTimeouts",
    "Row",
    "Table",
    "bits_to_flags",
    "flags_to_bits",
]

Row = tuple[IpvsService, Sequence[IpvsDestination]]
Table = Sequence[Row]
Change = tuple[str, IpvsService, Optional[IpvsDestination]]  # add, set or delete


@dataclass(frozen=True)
class IpvsInfo:
    """The version of IPVS as the kernel writes it (1.2.1), and the size of its connection table."""

    version: str
    table_size: int


@dataclass(frozen=True)
class IpvsTimeouts:
    """How long a connection is kept without packets, in seconds; 0 in `set` leaves it as it is."""

    tcp_s: int = 0
    tcp_fin_s: int = 0
    udp_s: int = 0


class Held(NamedTuple):
    """A row of the table as it was read last, and the request for its destinations."""

    asked: bytes
    row: Row


_rows: dict[IpvsService, Held] = {}


def _alike(one: Row, other: Row) -> bool:
    """Say whether two rows hold the very same things: the figures count, too."""
    same = one[0] is other[0] and len(one[1]) == len(other[1])
    return same and all(map(is_, one[1], other[1]))


@final
class Ipvs:
    """IPVS of the network namespace in which it was opened. Every method raises NetlinkError."""

    def __init__(self, timeout_s: float = 10.0) -> None:
        """Open it; the look-up of the family loads ip_vs when the caller is root."""
        self._netlink = Netlink(NETLINK_GENERIC, timeout_s)
        try:
            self._type = family(self._netlink, FAMILY)
        except BaseException:
            self._netlink.close()
            raise

    @staticmethod
    def available() -> str:
        """Return why there is no IPVS here; an empty text when there is."""
        try:
            with Ipvs() as ipvs:
                ipvs.info()
        except OSError as error:
            if error.errno == errno.ENOENT:
                return "this kernel has no IPVS: load the module ip_vs (modprobe ip_vs)"
            if error.errno == errno.EPERM:
                return "IPVS needs root or CAP_NET_ADMIN"
            return f"IPVS cannot be reached: {error.strerror or error}"
        return ""

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def __enter__(self) -> Ipvs:
        """Return it open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.close()

    def services(self) -> list[IpvsService]:
        """Return every virtual service of this namespace, in the kernel's order (by hash)."""
        found = map(LEARNED.service, self._netlink.dump(self._type, body(GET_SERVICE)))
        return [service for service in found if service]

    def destinations(self, service: IpvsService) -> list[IpvsDestination]:
        """Return the destinations of a service, the newest first.

        An unknown service gives an empty list, as the kernel does. What changes during the dump
        may be missed or seen twice: the kernel does not tell (net/netfilter/ipvs/ip_vs_ctl.c).
        """
        return self._behind(service, body(GET_DEST, service_key(service)))

    def _behind(self, service: IpvsService, asked: bytes) -> list[IpvsDestination]:
        reader = Destinations(service.family)
        self._netlink.dump_into(reader, self._type, asked)
        return reader.found

    def table(self) -> Table:
        """Return every service with its destinations.

        A row in which nothing changed since this process read it last is the very same one, so
        that who made something of it need not make it again.
        """
        now: dict[IpvsService, Held] = {}
        for service in self.services():
            held = _rows.get(service)
            asked = held.asked if held else body(GET_DEST, service_key(service))
            row = (service, self._behind(service, asked))
            now[service] = held if held and _alike(held.row, row) else Held(asked, row)
        _rows.clear()  # another thread may read a table meanwhile: it makes anew what it misses
        _rows.update(now)
        return [held.row for held in now.values()]

    def _told(self, command: int, *kinds: int) -> list[int]:
        """Ask for numbers of IPVS as a whole; what a kernel does not tell is 0."""
        found: dict[int, bytes] = {}
        for reply in self._netlink.request(self._type, body(command)):
            found.update(attributes(reply, GENL.size))
        return [number(found.get(kind, b"")) for kind in kinds]

    def info(self) -> IpvsInfo:
        """Return the version and the size of the connection table."""
        version, table_size = self._told(GET_INFO, INFO_VERSION, INFO_TABLE_SIZE)
        words = (version >> 16 & 0xFF, version >> 8 & 0xFF, version & 0xFF)
        return IpvsInfo(".".join(map(str, words)), table_size)

    def timeouts(self) -> IpvsTimeouts:
        """Return the three idle times."""
        return IpvsTimeouts(*self._told(GET_CONFIG, CMD_TCP, CMD_TCP_FIN, CMD_UDP))

    def set_timeouts(self, timeouts: IpvsTimeouts) -> None:
        """Set those of the three that are not 0; EINVAL when one is out of the kernel's range."""
        wanted = (
            (CMD_TCP, timeouts.tcp_s),
            (CMD_TCP_FIN, timeouts.tcp_fin_s),
            (CMD_UDP, timeouts.udp_s),
        )
        given = [attribute(kind, struct.pack("=I", value)) for kind, value in wanted if value]
        if given:
            self._netlink.request(self._type, body(SET_CONFIG, *given))

    def zero(self, service: Optional[IpvsService] = None) -> None:
        """Set the counters of one service, or of all of them, back to 0."""
        self._netlink.request(self._type, body(ZERO, *([service_key(service)] if service else ())))

    def daemons(self) -> list[IpvsDaemon]:
        """Return the sync daemons of this namespace: a master, a backup, both or none."""
        dumped = self._netlink.dump(self._type, body(GET_DAEMON))
        return [found for found in map(parse_daemon, dumped) if found]

    def start_daemon(self, wanted: IpvsDaemon) -> None:
        """Start a sync daemon; EEXIST when one of that state runs, ENODEV without the link."""
        self._netlink.request(self._type, body(NEW_DAEMON, daemon(wanted)))

    def stop_daemon(self, running: IpvsDaemon) -> None:
        """Stop the sync daemon of that state; ESRCH when none runs."""
        self._netlink.request(self._type, body(DEL_DAEMON, daemon(running)))

    def change(self, changes: Sequence[Change]) -> dict[int, int]:
        """Apply (command, service, destination or None) in order, in as few sends as possible.

        Return {index: errno} of those that the kernel refused; the others took effect: ENOENT
        (no such scheduler, engine or destination), ESRCH (no such service), EEXIST, EINVAL.
        """
        return self.send([change_body(*change) for change in changes])

    def send(self, bodies: Sequence[bytes]) -> dict[int, int]:
        """Apply changes whose bodies were made before; return as `change` does."""
        return self._netlink.batch(self._type, bodies)
