"""A real server's UDP ports of generic UDP encapsulation: shown, opened and closed."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from onearm.errors import Denied, Missing
from onearm.kernel import fou
from onearm.model import Action, GuePort, Resource

NOT_THERE = (errno.EINVAL, errno.ENOENT)


def read(wanted: Iterable[GuePort]) -> list[Resource]:
    """Show the ports that stand; a kernel without fou has none."""
    ports = {resource.port for resource in wanted}
    if not ports:
        return []
    return [GuePort(port, kind) for port, kind in _ports().items() if port in ports]


def _ports() -> dict[int, str]:
    try:
        return fou.ports()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return {}


def put(action: Action, wanted: GuePort) -> None:
    """Open or close a port; doing it twice is the same as once."""
    if action.after is None:
        _close(wanted.port)
        return
    reason = fou.available()
    if reason:
        raise Missing(reason)
    standing = fou.ports().get(wanted.port)
    if standing is None:
        fou.add(wanted.port)
    elif standing != wanted.kind:
        raise Denied(
            f"UDP port {wanted.port} takes plain {standing} here, not GUE: ip fou del port"
            f" {wanted.port}, or choose another port in the spec"
        )


def _close(port: int) -> None:
    try:
        fou.delete(port)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
