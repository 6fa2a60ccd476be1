"""Resources and actions in people's words; pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from onearm.facts import tunnel_words
from onearm.model import (
    Action,
    AnnouncedVip,
    ArpSilence,
    BootFile,
    BootVip,
    CheckMark,
    Destination,
    GuePort,
    HeldVip,
    Link,
    Mark,
    MarkRule,
    Resource,
    Service,
    SpecFile,
    Sysctl,
    Timeout,
    TunnelLink,
)
from onearm.model import endpoint as with_port
from onearm.words_cloud import CLOUD_NAMES, cloud_reason

TEXTS = (SpecFile, BootFile, BootVip)
SIGNS = {"create": "+", "update": "~", "delete": "-", "keep": "="}


def name(resource: Resource) -> str:
    """Name a resource by what identifies it."""
    return _NAMES[type(resource)](resource)


def describe(action: Action, mark: Mark | None = None) -> str:
    """Say what an action does, in one line without the place.

    `mark` is that of the thing: it says who else wants it, and what was there before us.
    """
    before, after, resource = action.before, action.after, action.resource
    if after is None and mark is not None and len(mark.names) > 1:
        return f"release {name(resource)} (another spec keeps it)"
    if after is None and isinstance(resource, (Sysctl, Timeout)) and mark is not None and mark.was:
        return f"restore {name(resource)} to {', '.join(mark.was.values())}"
    if _only_told(before, after):
        return f"note that the VIP was announced since {name(resource)} stands"
    if action.verb == "keep":
        return _kept(resource)
    if action.verb == "update" and before is not None:
        return f"update {name(resource)}: {changed(before, resource)}"
    return f"{action.verb} {name(resource)}{_values(resource) if after is not None else ''}"


def _only_told(before: Resource | None, after: Resource | None) -> bool:
    """Say whether an update does nothing but note that the VIP was announced."""
    if not isinstance(before, ArpSilence) or before == after:
        return False
    return replace(before, announced=True) == after


def _kept(resource: Resource) -> str:
    if isinstance(resource, AnnouncedVip):
        return f"announce {resource.vip} again on {resource.link} (gratuitous ARP)"
    return f"note {name(resource)} as ours"


def changed(before: Resource, after: Resource) -> str:
    """List the fields that differ, from what to what."""
    if isinstance(before, TEXTS) and isinstance(after, TEXTS) and before.text != after.text:
        return _lines_changed(before.text, after.text)
    pairs = [
        f"{field} {_shown(getattr(before, field), field)} -> {_shown(getattr(after, field), field)}"
        for field, spec in type(after).__dataclass_fields__.items()
        if spec.compare and getattr(before, field) != getattr(after, field)
    ]
    return ", ".join(pairs)


def file_lines(action: Action) -> list[str]:
    """List the lines of a boot file that come and go, `+` or `-` before each."""
    if not isinstance(action.resource, (BootFile, BootVip)):
        return []
    texts = [one.text if isinstance(one, TEXTS) else '""' for one in (action.before, action.after)]
    return [line for line in _diff(*texts) if line[0] in "+-"]


def _diff(before: str, after: str) -> list[str]:
    """Compare two texts by lines; each is quoted on one."""
    return list(difflib.unified_diff(_lines(before), _lines(after), n=0, lineterm=""))[2:]


def _lines(quoted: str) -> list[str]:
    """Split a text that may be a host's: one that is not quoted as ours are stays as it is."""
    try:
        return str(json.loads(quoted)).splitlines()
    except ValueError:
        return [quoted]


def _lines_changed(before: str, after: str) -> str:
    """Count the lines of a text that come and go."""
    lines = _diff(before, after)
    count = {sign: sum(line.startswith(sign) for line in lines) for sign in "+-"}
    return f"{count['+']} lines new, {count['-']} lines gone"


def _shown(value: Any, field: str) -> str:
    if field == "mode":
        return f"{value:04o}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    if value in (None, ""):
        return "none"
    return str(value)


def _values(resource: Resource) -> str:
    if isinstance(resource, Sysctl):
        return f" = {resource.value}"
    if isinstance(resource, Timeout):
        return f" = {resource.seconds} s"
    if isinstance(resource, Service):
        flags = f" ({', '.join(resource.flags)})" if resource.flags else ""
        return f" {resource.scheduler}{flags}{_persistence(resource)}"
    if isinstance(resource, TunnelLink):
        return f" from {resource.remote or 'anybody'} to {resource.local}"
    if isinstance(resource, MarkRule):
        return f" = {resource.mark:#x}"
    return _taken(resource) if isinstance(resource, Destination) else ""


def _taken(destination: Destination) -> str:
    """Say how much a destination takes, and how packets get there."""
    most = f", at most {destination.upper} connections" if destination.upper else ""
    again = f", again with {destination.lower}" if destination.lower else ""
    return f" weight {destination.weight}{_way(destination)}{most}{again}"


def _way(destination: Destination) -> str:
    if destination.forwarding == "direct":
        return ""
    kind = tunnel_words(destination.tunnel, destination.tunnel_port)
    port = f"to its port {destination.own_port}" if destination.own_port else ""
    return f" by {' '.join(word for word in (destination.forwarding, kind, port) if word)}"


def _persistence(service: Service) -> str:
    if not service.persistence_s:
        return ""
    mask = service.persistence_mask
    clients = f", clients by /{mask}" if mask is not None else ""
    engine = f", by {service.engine}" if service.engine else ""
    return f", persistent for {service.persistence_s} s{clients}{engine}"


def endpoint(resource: Service | Destination) -> str:
    """Write VIP, port and protocol of a service."""
    return f"{with_port(resource.vip, resource.port)}/{resource.protocol}"


def _service(service: Service) -> str:
    group = f" by mark {service.mark:#x}" if service.mark else ""
    return f"virtual service {endpoint(service)}{group}"


def _mark_rule(rule: MarkRule) -> str:
    return f"mark of {with_port(rule.vip, rule.port, rule.last)}/{rule.protocol}"


def _silence(silence: ArpSilence) -> str:
    about = f" about {silence.vip}" if silence.vip else ""
    part = "" if silence.deaf else " (own requests only)"
    return f"ARP silence on {silence.link}{about} by {silence.policy}{part}"


_NAMES: dict[type, Callable[[Any], str]] = {
    Sysctl: lambda r: f"sysctl {r.name.replace('/', '.')}",
    Timeout: lambda r: f"IPVS timeout {r.name}",
    Link: lambda r: f"{r.kind} link {r.name}",
    GuePort: lambda r: f"{r.kind} on UDP port {r.port}",
    TunnelLink: lambda r: f"{r.kind} tunnel link {r.name}",
    ArpSilence: _silence,
    HeldVip: lambda r: f"VIP {r.vip}/{r.prefix_length} on {r.link}",
    Service: _service,
    MarkRule: _mark_rule,
    CheckMark: lambda r: f"check mark {r.mark:#x} of {r.host or r.server}",
    SpecFile: lambda r: f"spec {r.path} of the daemon",
    BootFile: lambda r: f"file {r.path}",
    BootVip: lambda r: f"file {r.path}",
    Destination: lambda r: f"destination {r.host or r.server} of {endpoint(r)}",
    AnnouncedVip: lambda r: f"VIP {r.vip}/{r.prefix_length} on {r.link}, announced",
    **CLOUD_NAMES,
}


def reason(action: Action) -> str:
    """Say why, where it is not obvious."""
    why = _REASONS.get(type(action.resource))
    return why(action, action.resource) if why else cloud_reason(action)


def _sysctl_reason(action: Action, sysctl: Sysctl) -> str:
    said = _SYSCTL_REASONS.get(sysctl.name, "")
    if sysctl.name.endswith("/accept_local"):
        said = "replies to checks come in the VIP's name, which is local here"
    if sysctl.name.endswith("/send_redirects"):
        said = "a redirect would send replies from behind masq past the director"
    return said if action.verb in ("create", "update") else ""


def _boot_reason(action: Action, one: BootFile) -> str:
    if action.verb != "create":
        return ""
    if one.path.startswith("/etc/sysctl.d/"):
        return "silent after a reboot before it holds the VIP, on links that appear later, too"
    return ""


def _drain_reason(_action: Action, destination: Destination) -> str:
    drains = destination.draining_since and not destination.weight
    return "drains: no new connections, the present ones may end" if drains else ""


def _at(verb: str, text: str) -> Callable[[Action, Any], str]:
    return lambda action, _resource: text if action.verb == verb else ""


_REASONS: dict[type, Callable[[Action, Any], str]] = {
    Timeout: _at("create", "an idle connection is forgotten after it; for every service here"),
    Sysctl: _sysctl_reason,
    Destination: _drain_reason,
    BootFile: _boot_reason,
    BootVip: _at("create", "holds the VIP after a reboot, before anybody reaches it"),
    SpecFile: lambda *_: "the daemon there carries it out, and answers when it stands",
    CheckMark: _at("create", "checks reach it as clients do, with the VIP as destination"),
    TunnelLink: _at("create", "takes out of the tunnel what the director sends"),
    MarkRule: _at("create", "packets for it belong to the group of that mark"),
    HeldVip: _at("create", "accepts packets for the VIP, in silence"),
    AnnouncedVip: _at("create", "last of all: clients come when all the rest stands"),
}
_SYSCTL_REASONS = {
    "net/ipv4/vs/conntrack": "it would see one way only and call packets invalid",
    "net/ipv4/vs/expire_nodest_conn": "else packets of a removed server vanish silently",
    "net/ipv4/vs/expire_quiescent_template": "else sticky clients never leave a drained server",
    "net/ipv4/vs/conn_reuse_mode": "a re-used client port gets a fresh choice of server",
    "net/ipv4/vs/pmtu_disc": "else full packets for a tunnel are cut into fragments",
    "net/ipv4/ip_forward": "replies from behind masq go through the director",
}
