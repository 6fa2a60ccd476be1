"""UDP ports on which the kernel takes packets out of generic UDP encapsulation (ip-fou(8))."""

from __future__ import annotations

import errno
import socket
import struct
from typing import final

from onearm.kernel.generic import family
from onearm.kernel.ipvs_messages import GENL
from onearm.kernel.netlink import NETLINK_GENERIC, Netlink, attribute, attributes, number

# include/uapi/linux/fou.h
FAMILY, ADD, DELETE, GET = "fou", 1, 2, 3
PORT, AF, TYPE = 1, 2, 4
DIRECT, GUE = 1, 2
KINDS = {DIRECT: "fou", GUE: "gue"}
MISSING = (
    "this kernel takes no packets out of UDP: load the module fou (modprobe fou; for every boot"
    " /etc/modules-load.d), or take a kernel built with CONFIG_NET_FOU"
)


def _body(command: int, *parts: bytes) -> bytes:
    return GENL.pack(command, 1, 0) + b"".join(parts)


def _port(port: int) -> bytes:
    return attribute(PORT, struct.pack("!H", port)) + attribute(AF, bytes([socket.AF_INET]))


def parse_port(payload: bytes) -> tuple[int, str]:
    """Read one reply of GET: the port, and gue or fou; 0 for one of another family."""
    found = attributes(payload, GENL.size)
    if number(found.get(AF, bytes([socket.AF_INET]))) != socket.AF_INET:
        return 0, ""
    kind = KINDS.get(number(found.get(TYPE, b"")), "")
    return number(found.get(PORT, b""), "big"), kind


def available() -> str:
    """Return why this kernel cannot; an empty text when it can."""
    try:
        ports()
    except OSError as error:
        return MISSING if error.errno == errno.ENOENT else f"fou: {error.strerror or error}"
    return ""


def ports() -> dict[int, str]:
    """List the IPv4 ports that stand, each with its kind. Raises NetlinkError (ENOENT: no fou)."""
    with _Fou() as fou:
        found = (parse_port(reply) for reply in fou.netlink.dump(fou.number, _body(GET)))
        return {port: kind for port, kind in found if port}


def add(port: int) -> None:
    """Take GUE on a port. EADDRINUSE: somebody has it."""
    with _Fou() as fou:
        fou.netlink.request(fou.number, _body(ADD, _port(port), attribute(TYPE, bytes([GUE]))))


def delete(port: int) -> None:
    """Take nothing on it any more. EINVAL: nobody did."""
    with _Fou() as fou:
        fou.netlink.request(fou.number, _body(DELETE, _port(port)))


@final
class _Fou:
    """The family's socket for one task."""

    def __enter__(self) -> _Fou:
        """Open it."""
        self.netlink = Netlink(NETLINK_GENERIC)
        try:
            self.number = family(self.netlink, FAMILY)
        except BaseException:
            self.netlink.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.netlink.close()
