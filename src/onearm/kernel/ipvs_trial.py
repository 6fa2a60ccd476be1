"""What IPVS of this kernel knows beyond its core: schedulers and persistence engines, tried."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from onearm import errors
from onearm.kernel import tools
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import PERSISTENT, Ipvs, IpvsService

MODULES = "/sys/module"
SCHEDULER, ENGINE = "scheduler", "persistence engine"
TRIAL_VIP = IPv4Address("192.0.2.1")
TRIAL_MARK = 1  # nothing else is in the namespace


def lacking(kind: str, names: Iterable[str], modules: str = MODULES) -> str:
    """Say which schedulers (or persistence engines) this kernel lacks; empty when it has them all.

    Their modules are loaded here and by name. Were it left to the kernel, it would hold its lock on
    all of IPVS while it loads, and stand still for ever if a network namespace ends at that moment:
    ip_vs_lblc waits for the end, which waits for the lock (seen on 6.1).
    """
    unsure = [name for name in names if not _loaded(_module(kind, name), modules)]
    return tools.apart(lambda: _refused(kind, unsure)) if unsure else ""


def _module(kind: str, name: str) -> str:
    return f"ip_vs_{name}" if kind == SCHEDULER else f"ip_vs_pe_{name}"


def lacking_sctp() -> str:
    """Say why IPVS of this kernel cannot balance SCTP; empty when it can.

    The kernel takes a service of any protocol, and calls those that it knows by their names.
    """

    def work() -> str:
        service = IpvsService(
            protocol=socket.IPPROTO_SCTP, address=TRIAL_VIP, port=1, scheduler="rr"
        )
        with Ipvs() as ipvs:
            for code in ipvs.change([("add", service, None)]).values():
                return str(translate(code, "a virtual service of SCTP"))
        shown = Path("/proc/thread-self/net/ip_vs").read_text(encoding="ascii")
        if any(line.startswith("SCTP ") for line in shown.splitlines()):
            return ""
        return "IPVS of this kernel is built without SCTP (CONFIG_IP_VS_PROTO_SCTP)"

    return tools.apart(work)


def _loaded(module: str, modules: str) -> bool:
    if Path(modules, module).exists():
        return True
    try:
        code, _, _ = tools.attempt(["modprobe", "-q", module])
    except errors.PlaceError:
        return False  # no such tool here: the kernel itself is asked
    return not code


def _refused(kind: str, names: Sequence[str]) -> str:
    """Build a service by each that is no module, and name those that are not known."""
    with Ipvs() as ipvs:
        refused = ipvs.change(
            [("add", _trial(kind, n, name), None) for n, name in enumerate(names)]
        )
    for n, code in refused.items():
        if code != errno.ENOENT:
            return str(translate(code, f"a virtual service with the {kind} {names[n]}"))
    unknown = [names[n] for n in refused]
    if not unknown:
        return ""
    modules = " ".join(_module(kind, name) for name in unknown)
    return (
        f"this kernel has no {kind} {' and no '.join(unknown)}: {modules} is neither built in"
        " nor can it be loaded"
    )


def _trial(kind: str, number: int, name: str) -> IpvsService:
    mark = TRIAL_MARK + number
    if kind == SCHEDULER:
        return IpvsService(fwmark=mark, scheduler=name)
    return IpvsService(fwmark=mark, flags=PERSISTENT, timeout_s=1, pe=name)
