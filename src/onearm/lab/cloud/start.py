"""`onearm lab up --cloud`: a lab with a real Neutron beside it; what starts and ends the keeper."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from onearm.errors import PlaceError, UsageError
from onearm.lab import client, ovn, paths
from onearm.lab.cloud import files, install, keeper, network
from onearm.lab.cloud.api import Api
from onearm.lab.cloud.enforcement import EMULATED, ENFORCERS, REAL, Wanted

HOME = "cloud"
WAIT_S, POLL_S = 30.0, 0.02


class CloudInfo(NamedTuple):
    """A lab's cloud."""

    url: str
    clouds_yaml: str  # for OS_CLIENT_CONFIG_FILE
    clouds: list[str]  # an identity each
    network: str
    firewall: str  # the driver whose port security is enforced
    compute: str  # apart or together
    enforce: str  # emulated, or ovn for OVN itself


def up(name: str | None, asked: Wanted) -> tuple[client.LabInfo, CloudInfo]:
    """Start a lab and its cloud; one that runs is brought to this firewall and placement."""
    if asked.enforce == REAL:
        ovn.need_tools()
    install.environment()  # may take minutes, once; before anything runs
    lab = client.up(name)
    directory = Path(lab.directory) / HOME
    directory.mkdir(mode=0o700, exist_ok=True)
    url = _running(directory)
    if lab.already:
        _refuse_another(lab.name, asked.enforce, running=bool(url))
    if url:
        nodes = ENFORCERS[asked.enforce](lab.name, directory).nodes(asked.compute)
        network.place(Api(url, files.IDENTITIES[0]), nodes)
    mark = _wish(directory, asked)
    if not url:
        url = _start(lab.name)
        (directory / "url").write_text(url)
    _wait_for(directory, mark)
    names = [identity.name for identity in files.IDENTITIES]
    yaml = str(directory / "clouds.yaml")
    return lab, CloudInfo(
        url, yaml, names, network.NETWORK, asked.firewall, asked.compute, asked.enforce
    )


def _refuse_another(name: str, enforce: str, *, running: bool) -> None:
    """Keep a running lab's enforcement: a segment that is OVN's is never a bridge again."""
    stands = ovn.stands(name)
    again = f"end it first, with: onearm lab down --name {name}"
    if stands and not running:
        raise UsageError(f"lab {name} runs OVN without the Neutron that drove it; {again}")
    if running and stands != (enforce == REAL):
        now, other = (REAL, EMULATED) if stands else (EMULATED, REAL)
        raise UsageError(f"lab {name} runs with --enforce {now}, not {other}; {again}")


def _wish(directory: Path, asked: Wanted) -> str:
    """Tell the keeper how it is wanted; return what it writes down when it is so."""
    mark = str(uuid.uuid4())
    new = directory / f"{keeper.WISHES}.new"
    new.write_text(json.dumps({**asked._asdict(), "asked": mark}))
    new.replace(directory / keeper.WISHES)
    return mark


def _running(directory: Path) -> str:
    """Give the address of the Neutron that runs; empty for none."""
    lock = paths.lock(directory)
    if lock is None:
        with contextlib.suppress(FileNotFoundError):
            return (directory / "url").read_text()
        raise PlaceError(f"the cloud in {directory} is just starting or ending; try again")
    os.close(lock)
    return ""


def _start(name: str) -> str:
    said = client.spawn("cloud.keeper", name)
    return str(said["url"])


def _wait_for(directory: Path, asked: str) -> None:
    """Wait until port security is in force as it was asked for."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            if (directory / keeper.DONE).read_text() == asked:
                return
        time.sleep(POLL_S)
    raise PlaceError(f"port security is not in force; {directory}/{keeper.LOG} says why")


def end(lab_directory: Path) -> None:
    """End the cloud of a lab that is about to end, and wait for it."""
    directory = lab_directory / HOME
    until = time.monotonic() + WAIT_S
    while directory.is_dir() and time.monotonic() < until:
        lock = paths.lock(directory)
        if lock is not None:
            os.close(lock)
            return
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
        time.sleep(POLL_S)
