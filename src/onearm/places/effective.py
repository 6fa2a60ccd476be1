"""The value of a link's sysctl that the kernel acts on."""

from __future__ import annotations

from onearm.kernel import sysctl


def effective(link: str, parameter: str) -> str:
    """Give the greater of `all` and the link (IN_DEV_MAXCONF, include/linux/inetdevice.h)."""
    values = [sysctl.read(f"net/ipv4/conf/{where}/{parameter}") for where in ("all", link)]
    return max((v for v in values if v is not None and v.isdigit()), key=int, default="0")
