"""Generic netlink: the number by which the kernel knows a family."""

from __future__ import annotations

import errno

from onearm.kernel.ipvs_messages import GENL
from onearm.kernel.netlink import Netlink, NetlinkError, attributes, number, text_attribute

# include/uapi/linux/genetlink.h
CTRL_TYPE, CTRL_GETFAMILY, CTRL_FAMILY_ID, CTRL_FAMILY_NAME = 16, 3, 1, 2


def family(netlink: Netlink, name: str) -> int:
    """Look a family up; as root this loads a module that says it brings it. ENOENT: not there."""
    asked = GENL.pack(CTRL_GETFAMILY, 1, 0) + text_attribute(CTRL_FAMILY_NAME, name)
    for reply in netlink.request(CTRL_TYPE, asked):
        found = attributes(reply, GENL.size).get(CTRL_FAMILY_ID)
        if found:
            return number(found)
    raise NetlinkError(errno.ENOENT, f"no family {name}")
