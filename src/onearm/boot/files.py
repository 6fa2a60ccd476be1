"""The files by which a host's own tools bring its share up at boot, for each of them; pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from onearm.boot import script
from onearm.boot.script import header
from onearm.boot.share import Share, Tunnel, whole
from onearm.model import IPV4, IPV6, VIP_LINK, Address, BootFile, BootVip

NETWORKD = "/etc/systemd/network"
UNITS = "/etc/systemd/system"
PLAIN, RUNS, SECRET = 0o644, 0o755, 0o600
Files = list["BootFile | BootVip"]


def real_server(manager: str, share: Share) -> Files:
    """List the files of a real server whose links that manager brings up.

    Silence by rules and the VIPs are one script: no tool but a script can order the two.
    """
    if not share.all_vips:
        return []
    if share.by_rules or not _can(manager, share):
        guard = _networkd_links(share) if manager == "networkd" else []
        return [*guard, *unit(share.name, script.real_server(share))]
    return [*_modules(share), *_silence(share), *MANAGERS[manager](share)]


def _can(manager: str, share: Share) -> bool:
    """Say whether a manager's own files bring such a share back; else a script does.

    NetworkManager has no word for a tunnel from anybody, nor for UDP ports. systemd-networkd has
    one for those, but its netdev of kind fou fails with GUE (ERANGE in 252).
    """
    return {"networkd": not share.ports, "networkmanager": not share.tunnels}.get(
        manager, manager != "unit"
    )


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
    if all(vip.version == IPV6 for vip in share.all_vips):
        return []
    lines = [header(share.name), "net/ipv4/conf/default/arp_ignore = 1\n"]
    lines += ["net/ipv4/conf/default/arp_announce = 2\n"]
    for silence in share.silences:
        conf = f"net/ipv4/conf/{silence.link}"
        lines += [f"{conf}/arp_ignore = 1\n"] if silence.deaf else []
        lines += [f"{conf}/arp_announce = 2\n"] if silence.mute else []
    # A link that is not there yet is none of systemd-sysctl's failures: udev sets it when it comes.
    lines += [f"-net/ipv4/conf/{one.link.name}/rp_filter = 2\n" for one in share.tunnels]
    return [_file(f"/etc/sysctl.d/99-zz-onearm-{share.name}.conf", "".join(lines))]


def _modules(share: Share) -> Files:
    """Name the one module that no kernel loads by itself."""
    path = f"/etc/modules-load.d/onearm-{share.name}.conf"
    return [_file(path, header(share.name) + "fou\n")] if share.ports else []


def _networkd_links(share: Share) -> Files:
    """Make the links, and let nothing else configure them; all specs of a host share these."""
    found = _networkd_link(VIP_LINK, "Kind=dummy\n") if share.vips else []
    for one in share.tunnels:
        found += _networkd_link(one.link.name, _networkd_tunnel(one))
    return found


def _networkd_tunnel(one: Tunnel) -> str:
    return (
        f"Kind={one.link.kind}\n\n[Tunnel]\nIndependent=yes\n"
        f"Local={one.link.local}\nRemote={one.remote}\n"
    )


def _networkd_link(name: str, kind: str) -> Files:
    head = header("")
    netdev = f"{head}[NetDev]\nName={name}\n{kind}"
    network = (
        f"{head}[Match]\nName={name}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n"
        "ConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        "KeepConfiguration=static\n"
    )
    # The first file by name that matches a link is its only one: `Name=e*` in another must not be.
    base = f"{NETWORKD}/00-onearm-{name}"
    return [_file(f"{base}.netdev", netdev), _file(f"{base}.network", network)]


def _networkd(share: Share) -> Files:
    holders = [(VIP_LINK, share.vips), *((one.link.name, one.vips) for one in share.tunnels)]
    held = [_networkd_vips(share.name, link, vips) for link, vips in holders if vips]
    return [*_networkd_links(share), *held]


def _networkd_vips(name: str, link: str, vips: Sequence[Address]) -> BootVip:
    parts = [header(name)]
    for vip in vips:
        more = "DuplicateAddressDetection=none\nPreferredLifetime=0\n"
        said = f"[Address]\nAddress={whole(vip)}\n"
        parts.append(said + (more if vip.version == IPV6 else ""))
    return _vips(f"{NETWORKD}/00-onearm-{link}.network.d/{name}.conf", "\n".join(parts))


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
    rows = [f"address{n}={whole(vip)}\n" for n, vip in enumerate(vips, 1)]
    return f"[{family}]\nmethod=manual\n{''.join(rows)}never-default=true\n"


def _ifupdown(share: Share) -> Files:
    """Write a stanza without `down`: a restart of networking takes no VIP away."""
    stanzas = [_stanza(VIP_LINK, "type dummy", [], share.vips)] if share.vips else []
    for one in share.tunnels:
        name = one.link.name
        made = f"type {one.link.kind} local {one.link.local} remote {one.remote}"
        first = [f"echo 2 >/proc/sys/net/ipv4/conf/{name}/rp_filter"]
        if one.link.kind == "ipip":
            first += [
                f"{script.GUE_STANDS.format(port=port)} || ip fou add port {port} gue"
                for port in share.ports
            ]
        stanzas.append(_stanza(name, made, first, one.vips))
    text = header(share.name) + "\n".join(stanzas)
    return [_vips(f"/etc/network/interfaces.d/onearm-{share.name}", text)]


def _stanza(link: str, made: str, first: Sequence[str], vips: Sequence[Address]) -> str:
    there = f"ip link show dev {link} >/dev/null 2>&1"
    lines = [
        f"auto {link}",
        f"iface {link} inet manual",
        f"    pre-up {there} || ip link add {link} {made}",
        *(f"    pre-up {one}" for one in first),
        f"    up ip link set {link} up",
    ]
    for vip in vips:
        more = " nodad preferred_lft 0" if vip.version == IPV6 else ""
        lines.append(f"    up ip address replace {whole(vip)} dev {link}{more}")
    return "\n".join(lines) + "\n"


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
