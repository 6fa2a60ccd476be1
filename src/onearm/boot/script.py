"""A host's share of a spec as one POSIX shell script that may run any number of times; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onearm.boot.share import Share, Tunnel, whole
from onearm.commands import commands, shell_line
from onearm.model import (
    IPV6,
    VIP_LINK,
    Action,
    Address,
    ArpSilence,
    Destination,
    MarkRule,
    Resource,
    Service,
    Sysctl,
    Timeout,
    endpoint,
)

SHELL = "#!/bin/sh\n"
SET = {"-A": "-E", "-a": "-e"}  # of ipvsadm: from adding to setting what stands
ABOUT = """\
# What a host of this spec has to have, set by itself. Run it as root, as often as you like: it says
# what it changed, and a run that says nothing changed nothing. It takes nothing away.
set -eu
"""
CHANGES = """\
put() {  # FILE VALUE: set what differs; a link may go meanwhile
    [ "$(cat "$1" 2>/dev/null)" = "$2" ] ||
        { echo "$2" 2>/dev/null >"$1" && echo "$1 = $2"; } || [ ! -e "$1" ]
}
hold() {  # ADDRESS LINK OPTION...: add what is not there
    if [ -z "$(ip -o address show dev "$2" to "$1")" ]; then
        address=$1 link=$2
        shift 2
        ip address add "$address" dev "$link" "$@"
        echo "$address on $link"
    fi
}
"""
TELL = """\
tell() {  # COMMAND...: neighbours learn it at once; without that tool they learn it later
    "$@" || echo "could not be told: $*" >&2
}
"""
EVERY_LINK = """\
# Silence comes first: links answer ARP for their own addresses alone, and never ask in a VIP's
# name. Links that appear later begin with the values of `default`.
for conf in default $(ls /proc/sys/net/ipv4/conf); do
    case $conf in all | lo | {link}) continue ;; esac
    put "/proc/sys/net/ipv4/conf/$conf/arp_ignore" 1
    put "/proc/sys/net/ipv4/conf/$conf/arp_announce" 2
done
"""
HELD = """\
# The VIPs: local here, so that packets for them are taken, on a link that nobody is connected to.
if ! ip link show dev {link} >/dev/null 2>&1; then
    ip link add {link} type dummy
    echo "link {link}"
fi
ip link set {link} up
"""
GUE_STANDS = "ip fou show 2>/dev/null | grep -q '^port {port} gue'"
GUE = """\
# Where packets come in UDP: no kernel loads that module by itself.
if ! {stands}; then
    modprobe -q fou || true
    ip fou add port {port} gue
    echo "UDP port {port} takes gue"
fi
"""
TUNNEL = """\
# The end of tunnels: what comes from {remote} is taken out, and handled as come by this link.
if ! ip link show dev {link} >/dev/null 2>&1; then
    ip link add {link} type {kind} local {local} remote {remote}
    echo "link {link}"
elif ! ip -d link show dev {link} | grep -qF ' remote {remote} local {local} '; then
    ip link change {link} type {kind} local {local} remote {remote}
    echo "link {link} takes packets from {remote} to {local}"
fi
# Replies never leave by it: a strict reverse path filter (1) would drop all. The greater value of
# `all` and the link counts.
put /proc/sys/net/ipv4/conf/{link}/rp_filter 2
ip link set {link} up
"""
LOOKS = {
    "nft": "nft list table arp onearm 2>/dev/null | grep -qF '\"onearm {vip} {link}\"'",
    "arptables": "arptables-legacy -L -n -v | grep -F -- '-i {link} ' | grep -qwF '{vip}'",
}
FIND_LINK = """\
# The link by which the real servers are reached, where the VIP is announced.
link=$(ip -o route get {server} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')
if [ -z "$link" ]; then
    echo "{server} cannot be reached: no link leads there" >&2
    exit 1
fi
"""
ANNOUNCE4 = """\
    tell arping -q -c 2 -U -I "$link" {vip}
    tell arping -q -c 2 -A -I "$link" {vip}
"""
ANNOUNCE6 = """\
    tell ndptool -t na -U -i "$link" -T {vip} send
"""


def header(name: str) -> str:
    """Begin every file of ours."""
    whom = f" for {name}" if name else ""
    return f"# made by onearm{whom}; changes are overwritten\n"


def real_server(share: Share) -> str:
    """Write what a real server holds, in silence by its rules, or on every link by sysctl."""
    rules = [silence for silence in share.silences if silence.policy != "sysctl"]
    if rules:
        quiet = "".join(map(_rule, rules))
    else:
        four = any(vip.version != IPV6 for vip in share.all_vips)
        quiet = EVERY_LINK.format(link=VIP_LINK) if four else ""
    parts = [SHELL + header(share.name) + ABOUT, CHANGES + quiet]
    parts += [_gue(port) for port in share.ports]
    parts += [_tunnel(one) for one in share.tunnels]
    if share.vips:
        parts.append(HELD.format(link=VIP_LINK) + _held(VIP_LINK, share.vips))
    return "\n".join(parts)


def _held(link: str, vips: Iterable[Address]) -> str:
    options = {vip: " nodad preferred_lft 0" if vip.version == IPV6 else "" for vip in vips}
    return "".join(f"hold {whole(vip)} {link}{more}\n" for vip, more in options.items())


def _gue(port: int) -> str:
    return GUE.format(port=port, stands=GUE_STANDS.format(port=port))


def _tunnel(one: Tunnel) -> str:
    link = one.link
    said = {"link": link.name, "kind": link.kind, "local": link.local, "remote": one.remote}
    return TUNNEL.format(**said) + _held(link.name, one.vips)


def _rule(silence: ArpSilence) -> str:
    """Add a silence's rules unless they stand: nft shows our comment, arptables the VIP."""
    link, vip = silence.link, silence.vip
    typed = "".join(f"    {shell_line(a)}\n" for a in commands(Action("", None, silence)))
    look = LOOKS[silence.policy].format(link=link, vip=vip)
    said = f'    echo "silence on {link} about {vip}"\n'
    return f"# {link} says nothing of {vip} in ARP.\nif ! {look}; then\n{typed}{said}fi\n"


def director(
    name: str, vips: Iterable[Address], resources: Iterable[Resource], server: Address, link: str
) -> str:
    """Write a director's table and, last of all, its VIPs; `link` empty is found by the route."""
    found = list(resources)
    parts = [
        SHELL + header(name) + ABOUT,
        CHANGES + TELL + (f"link={link}\n" if link else FIND_LINK.format(server=server)),
        "# ip_vs, its sysctls and timeouts.\nipvsadm -L -n >/dev/null\n" + "".join(_tuned(found)),
        "# Services and their real servers: added, or set where they stand.\n"
        + "".join(_table(found)),
        *_marked(found),
        "# Last of all, for clients come when all the rest stands: the VIPs, and where they are.\n"
        + "".join(map(_announced, vips)),
    ]
    return "\n".join(parts)


def _tuned(resources: Sequence[Resource]) -> Iterator[str]:
    for resource in resources:
        if isinstance(resource, Sysctl):
            yield f"put /proc/sys/{resource.name} {resource.value}\n"
        elif isinstance(resource, Timeout):
            yield f"{_typed(resource)}\n"
    if any(isinstance(one, Destination) and one.forwarding == "masq" for one in resources):
        yield 'put "/proc/sys/net/ipv4/conf/$link/send_redirects" 0\n'


def _table(resources: Sequence[Resource]) -> Iterator[str]:
    for service in (r for r in resources if isinstance(r, Service)):
        yield _added_or_set(service)
        for one in resources:
            if isinstance(one, Destination) and one.service_key == service.key:
                yield f"# {one.host} of {endpoint(one.vip, one.port)}/{one.protocol}\n"
                yield _added_or_set(one)


def _marked(resources: Sequence[Resource]) -> list[str]:
    """Write the rules that mark the packets of groups, as iptables has them."""
    lines = []
    for rule in (r for r in resources if isinstance(r, MarkRule)):
        (words,) = commands(Action("", None, rule))
        look = ["-C" if word == "-A" else word for word in words]
        lines.append(f"{shell_line(look)} 2>/dev/null ||\n    {shell_line(words)}\n")
    return ["# The marks by which the kernel knows groups.\n" + "".join(lines)] if lines else []


def _added_or_set(resource: Resource) -> str:
    tool, verb, *words = commands(Action("", None, resource))[0]
    edit = shell_line([tool, SET[verb], *words])
    return f"{shell_line([tool, verb, *words])} 2>/dev/null ||\n    {edit}\n"


def _typed(resource: Resource) -> str:
    return shell_line(commands(Action("", None, resource))[0])


def _announced(vip: Address) -> str:
    held = _held('"$link"', [vip])
    told = (ANNOUNCE6 if vip.version == IPV6 else ANNOUNCE4).format(vip=vip)
    return (
        f'if [ -z "$(ip -o address show dev "$link" to {whole(vip)})" ]; then\n    {held}{told}fi\n'
    )
