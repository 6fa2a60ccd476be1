"""What IPVS of this kernel knows beyond its core: schedulers, tried before they are needed."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from pathlib import Path

from onearm import errors
from onearm.kernel import tools
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import Ipvs, IpvsService

MODULES = "/sys/module"
TRIAL_MARK = 1  # nothing else is in the namespace


def lacking_schedulers(names: Iterable[str], modules: str = MODULES) -> str:
    """Say which schedulers this kernel lacks, and what to do; empty when it has them all.

    Their modules are loaded here and by name. Were it left to the kernel, it would hold its lock on
    all of IPVS while it loads, and stand still for ever if a network namespace ends at that moment:
    ip_vs_lblc waits for the end, which waits for the lock (seen on 6.1).
    """
    unsure = [name for name in names if not _loaded(f"ip_vs_{name}", modules)]
    return tools.apart(lambda: _refused(unsure)) if unsure else ""


def _loaded(module: str, modules: str) -> bool:
    if Path(modules, module).exists():
        return True
    try:
        code, _, _ = tools.attempt(["modprobe", "-q", module])
    except errors.PlaceError:
        return False  # no such tool here: the kernel itself is asked
    return not code


def _refused(names: Sequence[str]) -> str:
    """Build a service by each scheduler that is no module, and name those that are not known."""
    with Ipvs() as ipvs:
        refused = ipvs.change(
            [
                ("add", IpvsService(fwmark=TRIAL_MARK + n, scheduler=name), None)
                for n, name in enumerate(names)
            ]
        )
    for n, code in refused.items():
        if code != errno.ENOENT:
            return str(translate(code, f"a virtual service with the scheduler {names[n]}"))
    unknown = [names[n] for n in refused]
    if not unknown:
        return ""
    modules = " ".join(f"ip_vs_{name}" for name in unknown)
    return (
        f"this kernel has no scheduler {' and no '.join(unknown)}: {modules} is neither built in"
        " nor can it be loaded"
    )
