"""`onearm render`: what apply would do on one host, as text for other tooling; reaches nobody."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from onearm.boot import files, forms, script
from onearm.boot.forms import Handout
from onearm.boot.share import share
from onearm.desire import DIRECTOR_SYSCTLS, desire
from onearm.errors import UsageError
from onearm.facts import HostFacts
from onearm.model import IPV4, Address, ArpSilence
from onearm.spec import Host, Spec, load
from onearm.ways import TUNNEL_SYSCTLS, holding, holds

WRITTEN = "systemd"  # the form that is files, so that a folder can take it


def render_command(
    path: Path, *, host: str, form: str, links: tuple[str, ...], output: Path | None
) -> int:
    """Print it, or write its files below a folder; returns the exit code."""
    if output is not None and form != WRITTEN:
        raise UsageError(
            f"--output takes the files of --as {WRITTEN}: {form} is one text, print it"
        )
    handout = handed(load(path), host, links)
    if output is None:
        sys.stdout.write(forms.FORMS[form](handout))
    else:
        _write(handout, output)
    return 0


def handed(spec: Spec, name: str, links: tuple[str, ...] = ()) -> Handout:
    """Make what one host of a spec is handed."""
    for host in spec.real_servers:
        if host.name == name:
            text = _real_server(spec, host, links)
            return Handout(spec.name, name, text, tuple(files.unit(spec.name, text)))
    for host in spec.directors:
        if host.name == name:
            text = _director(spec, host, links)
            made = files.unit(spec.name, text, director=True)
            return Handout(spec.name, name, text, tuple(made))
    known = ", ".join(one.name for one in (*spec.directors, *spec.real_servers))
    raise UsageError(f"--for {name}: the spec has no such host, it has {known}")


def _real_server(spec: Spec, host: Host, links: tuple[str, ...]) -> str:
    held = holds(spec, ()).get(host.name, set())
    if not held:
        masq = any(s.way(host.name).method == "masq" for s in spec.services if host.name in s.hosts)
        needs = "its default route over the director is all that masq needs"
        rest = needs if masq else "there is nothing to do"
        raise UsageError(f"--for {host.name}: no service of the spec has it hold a VIP: {rest}")
    vips = tuple(sorted({hold.vip for hold in held}, key=int))
    made = holding(spec, host, HostFacts(), held)
    return script.real_server(share(spec.name, made, _silences(host, vips, links)))


def _silences(
    host: Host, vips: tuple[Address, ...], links: tuple[str, ...]
) -> tuple[ArpSilence, ...]:
    four = [vip for vip in vips if vip.version == IPV4]
    if host.arp == "sysctl" or not four:
        return ()
    own = host.own(IPV4)
    if not links:
        raise UsageError(
            f"--for {host.name}: its silence by {host.arp} is a rule for each link, and nobody"
            " looks at the host here: say which, as in --link eth0"
        )
    return tuple(ArpSilence(link, host.arp, vip, own) for link in links for vip in four)


def _director(spec: Spec, host: Host, links: tuple[str, ...]) -> str:
    if len(links) > 1:
        raise UsageError(f"--for {host.name}: a director announces its VIPs on one --link")
    facts = {host.name: HostFacts(sysctls=DIRECTOR_SYSCTLS | TUNNEL_SYSCTLS)}
    world = desire(spec, facts, datetime.now(timezone.utc))
    vips = dict.fromkeys(vip for service in spec.services for vip in service.vips)
    near = spec.real_servers[0].address
    return script.director(spec.name, vips, world[host.name].values(), near, "".join(links))


def _write(handout: Handout, folder: Path) -> None:
    for one in handout.files:
        path = folder / one.path.lstrip("/")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.loads(one.text), encoding="utf-8")
            path.chmod(one.mode)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}): choose another folder"
            ) from error
        sys.stdout.write(f"{path}\n")
