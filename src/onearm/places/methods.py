"""The kernel's forwarding methods and kinds of tunnels, and our words for them."""

from __future__ import annotations

from onearm.kernel.ipvs import DIRECT, LOCAL, MASQ, TUNNEL, IpvsDestination

FORWARDING = {"direct": DIRECT, "tunnel": TUNNEL, "masq": MASQ, "local": LOCAL}
METHODS = {number: name for name, number in FORWARDING.items()}
TUNNELS = {"": 0, "ipip": 0, "gue": 1, "gre": 2}  # IP_VS_CONN_F_TUNNEL_TYPE_*


def tunnel_name(found: IpvsDestination) -> str:
    """Name the kind of tunnel of a destination, with flags that none of ours has; "" for none."""
    if found.forwarding != TUNNEL:
        return ""
    names = {number: name for name, number in TUNNELS.items() if name}
    flags = f" flags {found.tunnel_flags}" if found.tunnel_flags else ""
    return names.get(found.tunnel_type, str(found.tunnel_type)) + flags
