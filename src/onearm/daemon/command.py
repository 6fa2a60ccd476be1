"""`onearm director`: become the one writer of this host, give up all other rights, and run."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import onearm
from onearm import spec as spec_module
from onearm.daemon.core import Core
from onearm.daemon.source import Source
from onearm.errors import Denied, PlaceError, UsageError
from onearm.kernel import capabilities
from onearm.kernel.faults import translate
from onearm.kernel.ipvs import Ipvs
from onearm.kernel.links import Links
from onearm.places import lock
from onearm.serve.shows import Shows
from onearm.spec import Spec

PRIVILEGED_PORTS = 1024


@dataclass(frozen=True)
class Options:
    """How the daemon runs; all but the spec has a default."""

    host: str | None = None
    adopt: bool = False
    withdraw: bool = False
    listen: str | None = None
    web_names: tuple[str, ...] = ()
    metrics_file: Path | None = None


def director_command(path: Path, options: Options) -> int:
    """Run until told to end; raises what forbids to begin."""
    path = path.absolute()
    spec = spec_module.load(path)
    host = options.host or own_name(spec)
    if host not in {director.name for director in spec.directors}:
        raise UsageError(f"{path}: {host!r} is none of its directors: correct --host")
    missing = Ipvs.available()
    if missing:
        raise PlaceError(f"{host}: {missing}")
    lock.take(f"the daemon of the spec {spec.name!r}")
    core = Core(Source(path, host, spec), onearm.__version__, options.adopt)
    shows = Shows(
        spec.name,
        lambda: core.latest,
        core.ask,
        listen=options.listen,
        web_names=options.web_names,
        metrics_file=options.metrics_file,
    )
    _drop_rights(options)
    shows.open()
    try:
        _signals(core, options)
        core.run()
    finally:
        shows.close()
    return 0


def own_name(spec: Spec) -> str:
    """Say which director of the spec this host is: by its name, else by an address of its own."""
    name = socket.gethostname()
    if name in {director.name for director in spec.directors}:
        return name
    with Links() as links:
        held = {fact.address for fact in links.addresses()}
    found = [director.name for director in spec.directors if director.address in held]
    if len(found) != 1:
        raise UsageError(
            f"this host, {name!r}, is none of the spec's directors by its name or its addresses:"
            " say which with --host"
        )
    return found[0]


def _drop_rights(options: Options) -> None:
    """Keep what programs the kernel's network and sends ARP, and nothing else."""
    wanted = {capabilities.NET_ADMIN, capabilities.NET_RAW}
    port = (options.listen or "").rpartition(":")[2]
    if port.isdecimal() and int(port) < PRIVILEGED_PORTS:
        wanted.add(capabilities.NET_BIND_SERVICE)
    try:
        capabilities.keep_only(wanted)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise Denied(
                "the daemon needs CAP_NET_ADMIN and CAP_NET_RAW (and CAP_NET_BIND_SERVICE for a"
                f" --listen below {PRIVILEGED_PORTS}), and CAP_SETPCAP to give up the rest unless"
                " SECBIT_NOROOT is set: run it as root, or by the systemd unit"
            ) from error
        raise translate(error, "giving up capabilities") from error


def _signals(core: Core, options: Options) -> None:
    def on(number: int, *event: object) -> None:
        def handle(_number: int, _frame: FrameType | None) -> None:
            core.tell(event)

        handler: Callable[[int, FrameType | None], None] = handle
        signal.signal(number, handler)

    on(signal.SIGTERM, "stop", options.withdraw)
    on(signal.SIGINT, "stop", options.withdraw)
    on(signal.SIGHUP, "hup")
