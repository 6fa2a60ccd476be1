"""A host's share of a spec as one POSIX shell script that may run any number of times; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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


def real_server(name: str, vips: Sequence[Address], silences: Iterable[ArpSilence] = ()) -> str:
    """Write what a real server holds, in silence by `silences`, or on every link by sysctl."""
    rules = [silence for silence in silences if silence.policy != "sysctl"]
    if rules:
        quiet = "".join(map(_rule, rules))
    else:
        four = any(vip.version != IPV6 for vip in vips)
        quiet = EVERY_LINK.format(link=VIP_LINK) if four else ""
    held = "".join(_held(vip) for vip in vips)
    return "\n".join([SHELL + header(name) + ABOUT, CHANGES + quiet, _held_link() + held])


def _held_link() -> str:
    return HELD.format(link=VIP_LINK)


def _held(vip: Address) -> str:
    options = " nodad preferred_lft 0" if vip.version == IPV6 else ""
    return f"hold {vip}/{vip.max_prefixlen} {VIP_LINK}{options}\n"


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
    whole = f"{vip}/{vip.max_prefixlen}"
    options = " nodad preferred_lft 0" if vip.version == IPV6 else ""
    told = (ANNOUNCE6 if vip.version == IPV6 else ANNOUNCE4).format(vip=vip)
    return (
        f'if [ -z "$(ip -o address show dev "$link" to {whole})" ]; then\n'
        f'    hold {whole} "$link"{options}\n{told}fi\n'
    )
