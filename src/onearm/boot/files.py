"""The files by which a host's own tools bring its share up at boot, for each of them; pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from onearm.boot import script
from onearm.boot.script import header
from onearm.model import IPV4, IPV6, VIP_LINK, Address, ArpSilence, BootFile, BootVip

NETWORKD = "/etc/systemd/network"
UNITS = "/etc/systemd/system"
PLAIN, RUNS, SECRET = 0o644, 0o755, 0o600
Files = list["BootFile | BootVip"]


@dataclass(frozen=True)
class Share:
    """What one spec has a real server hold: its VIPs, and the links that are silent about them."""

    name: str
    vips: tuple[Address, ...]
    silences: tuple[ArpSilence, ...] = ()

    @property
    def by_rules(self) -> bool:
        """Whether packet filter rules silence the links, which only a script can bring back."""
        return any(silence.policy != "sysctl" for silence in self.silences)


def real_server(manager: str, share: Share) -> Files:
    """List the files of a real server whose links that manager brings up.

    Silence by rules and the VIPs are one script then: no tool but a script can order the two.
    """
    if not share.vips:
        return []
    if share.by_rules or manager == "unit":
        guard = _networkd_link() if manager == "networkd" else []
        return [*guard, *unit(share.name, _script(share))]
    return [*_silence(share), *MANAGERS[manager](share)]


def kept(name: str, network_file: str) -> Files:
    """List what keeps systemd-networkd from removing the VIP of a director when it starts anew."""
    path = f"{NETWORKD}/{PurePosixPath(network_file).name}.d/onearm-{name}.conf"
    why = (
        "# A start of systemd-networkd would remove the VIP: it came by other hands than its own.\n"
    )
    return [_file(path, header(name) + why + "[Network]\nKeepConfiguration=static\n")]


def _file(path: str, text: str, mode: int = PLAIN) -> BootFile:
    return BootFile(path, json.dumps(text), mode)


def _vips(path: str, text: str, mode: int = PLAIN) -> BootVip:
    return BootVip(path, json.dumps(text), mode)


def _silence(share: Share) -> Files:
    """Write the sysctls: `default` is what a link has from its first moment, whenever it appears.

    The kernel copies `default` to the links that are there and were never set; those of now are
    named all the same, for a value of their own in another file would count. Ours is read last.
    """
    if all(vip.version == IPV6 for vip in share.vips):
        return []
    lines = [header(share.name), "net/ipv4/conf/default/arp_ignore = 1\n"]
    lines += ["net/ipv4/conf/default/arp_announce = 2\n"]
    for silence in share.silences:
        conf = f"net/ipv4/conf/{silence.link}"
        lines += [f"{conf}/arp_ignore = 1\n"] if silence.deaf else []
        lines += [f"{conf}/arp_announce = 2\n"] if silence.mute else []
    return [_file(f"/etc/sysctl.d/99-zz-onearm-{share.name}.conf", "".join(lines))]


def _networkd_link() -> Files:
    """Make the link, and let nothing else configure it; all specs of a host share these two."""
    head = header("")
    netdev = f"{head}[NetDev]\nName={VIP_LINK}\nKind=dummy\n"
    network = (
        f"{head}[Match]\nName={VIP_LINK}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n"
        "ConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        "KeepConfiguration=static\n"
    )
    # The first file by name that matches a link is its only one: `Name=e*` in another must not be.
    base = f"{NETWORKD}/00-onearm-{VIP_LINK}"
    return [_file(f"{base}.netdev", netdev), _file(f"{base}.network", network)]


def _networkd(share: Share) -> Files:
    parts = [header(share.name)]
    for vip in share.vips:
        more = "DuplicateAddressDetection=none\nPreferredLifetime=0\n"
        said = f"[Address]\nAddress={vip}/{vip.max_prefixlen}\n"
        parts.append(said + (more if vip.version == IPV6 else ""))
    path = f"{NETWORKD}/00-onearm-{VIP_LINK}.network.d/{share.name}.conf"
    return [*_networkd_link(), _vips(path, "\n".join(parts))]


def _networkmanager(share: Share) -> Files:
    """Write a connection; it has no parts, so that two specs of one host cannot differ in it."""
    own = uuid.uuid5(uuid.NAMESPACE_URL, f"onearm:{VIP_LINK}:{share.name}")
    text = (
        f"{header(share.name)}[connection]\nid=onearm-{share.name}\nuuid={own}\ntype=dummy\n"
        f"interface-name={VIP_LINK}\nautoconnect=true\n\n[dummy]\n\n"
        + _method("ipv4", [vip for vip in share.vips if vip.version == IPV4])
        + "\n"
        + _method("ipv6", [vip for vip in share.vips if vip.version == IPV6])
    )
    path = f"/etc/NetworkManager/system-connections/onearm-{VIP_LINK}.nmconnection"
    return [_vips(path, text, SECRET)]


def _method(family: str, vips: Sequence[Address]) -> str:
    if not vips:
        return f"[{family}]\nmethod=disabled\n"
    rows = [f"address{n}={vip}/{vip.max_prefixlen}\n" for n, vip in enumerate(vips, 1)]
    return f"[{family}]\nmethod=manual\n{''.join(rows)}never-default=true\n"


def _ifupdown(share: Share) -> Files:
    """Write a stanza without `down`: a restart of networking takes no VIP away."""
    there = f"ip link show dev {VIP_LINK} >/dev/null 2>&1"
    lines = [
        f"auto {VIP_LINK}",
        f"iface {VIP_LINK} inet manual",
        f"    pre-up {there} || ip link add {VIP_LINK} type dummy",
        f"    up ip link set {VIP_LINK} up",
    ]
    for vip in share.vips:
        more = " nodad preferred_lft 0" if vip.version == IPV6 else ""
        lines.append(f"    up ip address replace {vip}/{vip.max_prefixlen} dev {VIP_LINK}{more}")
    text = header(share.name) + "\n".join(lines) + "\n"
    return [_vips(f"/etc/network/interfaces.d/onearm-{share.name}", text)]


def _script(share: Share) -> str:
    return script.real_server(share.name, share.vips, share.silences)


def script_path(name: str) -> str:
    """Say where the script of a spec lies."""
    return f"/etc/onearm/boot/{name}.sh"


def unit(name: str, text: str, *, director: bool = False) -> Files:
    """List a script and the unit that runs it: before the network for real servers, after it for
    directors. A target's drop-in enables it: a plain file, as all of ours are.
    """
    service = f"onearm-{name}.service"
    order = AFTER_NETWORK if director else BEFORE_NETWORK
    what = "what the director" if director else "the VIPs that a real server"
    said = (
        f"{header(name)}[Unit]\nDescription=onearm: {what} of {name} has\n{order}"
        f"ConditionPathExists={script_path(name)}\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart=/bin/sh {script_path(name)}\n"
    )
    wants = f"{header(name)}[Unit]\nWants={service}\n"
    return [
        _file(f"{UNITS}/{service}", said),
        _file(f"{UNITS}/multi-user.target.d/onearm-{name}.conf", wants),
        _vips(script_path(name), text, RUNS),
    ]


BEFORE_NETWORK = (
    "DefaultDependencies=no\nAfter=local-fs.target systemd-sysctl.service\n"
    "Before=network-pre.target\nWants=network-pre.target\n"
)
AFTER_NETWORK = "After=network-online.target\nWants=network-online.target\n"
MANAGERS: dict[str, Callable[[Share], Files]] = {
    "networkd": _networkd,
    "networkmanager": _networkmanager,
    "ifupdown": _ifupdown,
}


def names() -> Iterable[str]:
    """List the ways that a spec may name."""
    return (*MANAGERS, "unit")
