"""The nft rules of a port and of a stage, a bridge with a conntrack of its own, by driver.

Where the drivers differ: openvswitch and OVN drop what conntrack calls INVALID before any rule is
asked, iptables only after; openvswitch tracks all ports of a compute node in one zone, the others
each port in its own; OVN alone asks where a frame goes as well; openvswitch tracks stateless ports
too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onearm.lab import enforce_match as match
from onearm.lab.enforce_state import IPTABLES, OPENVSWITCH, OVN, REASONS, PortState, States, tracked

TABLE = "bridge enforce"
UPLINK = "uplink"
REPLIES = ("ct state established ct direction reply return", "ct state related return")
DISCOVERY = "130, 131, 132, 135, 136, 143"  # of ICMPv6: always passes, with one more each way
SOLICIT, ADVERTISE = "133", "134"  # of routers
GROUP_IPV4, GROUP_IPV6 = ("255.255.255.255", "224.0.0.0/4"), ("ff00::/8",)
CHAINS = ("src", "dst", "out", "in")


def frame(hosts: tuple[str, ...]) -> str:
    """Build a stage's table, once: its chains, and its counters, which outlive every change."""
    lines = [f"table {TABLE} {{"]
    lines += [f" counter {host}/{reason} {{ }}" for host in hosts for reason in REASONS]
    lines += [f" chain {host}-{which} {{ }}" for host in hosts for which in CHAINS]
    for name, hook, priority in BASES:
        lines.append(f" chain {name} {{ type filter hook {hook} priority {priority}; }}")
    return "\n".join([*lines, "}\n"])


# Connections are tracked at -200. What a host sends is judged before the bridge learns from it.
BASES = (("tracking", "prerouting", -300), ("egress", "prerouting", 0), ("ingress", "forward", 0))


def rules(mode: str, states: States, hosts: tuple[str, ...]) -> str:
    """Build what replaces a stage's rules in one transaction."""
    here = {host: states[host] for host in hosts}
    followed = any(tracked(mode, state) for state in states.values())
    chains: dict[str, list[str]] = {"tracking": list(_tracking(mode, here, followed=followed))}
    for way, link, base in (("out", "iifname", "egress"), ("in", "oifname", "ingress")):
        chains[base] = [f'{link} "{host}" jump {host}-{way}' for host in hosts]
    for host, state in here.items():
        guarded = _guarded(mode, host, state) if state.port_security else {}
        if not state.port_security and mode == OVN and followed:
            guarded = {"out": [_invalid(host)], "in": [_invalid(host)]}
        chains.update({f"{host}-{which}": lines for which, lines in guarded.items()})
    text = "".join(
        f" chain {name} {{\n" + "".join(f"  {line}\n" for line in lines) + " }\n"
        for name, lines in chains.items()
    )
    return f"flush table {TABLE}\ntable {TABLE} {{\n{text}}}\n"


def _tracking(mode: str, here: Mapping[str, PortState], *, followed: bool) -> Iterator[str]:
    """Take out of conntrack what the driver never sends through it."""
    if mode != OPENVSWITCH:
        for state in here.values():  # one port
            if not (tracked(mode, state) or (mode == OVN and followed and not state.port_security)):
                yield "notrack"
        return
    guarded = ", ".join(mac for s in here.values() if s.port_security for mac in s.macs)
    elsewhere = f"ether daddr != {{ {guarded} }} " if guarded else ""
    for link in (UPLINK, *(host for host, s in here.items() if not s.port_security)):
        yield f'iifname "{link}" {elsewhere}notrack'


def _guarded(mode: str, host: str, state: PortState) -> dict[str, list[str]]:
    """Build the chains of a port with port security.

    What a bridge floods to a port that it is not for is dropped uncounted: nobody sent it there.
    """
    chains = {"src": list(_sources(mode, host, state)), "dst": list(_targets(host, state))}
    for way, direction, extra in (("out", "egress", SOLICIT), ("in", "ingress", ADVERTISE)):
        mine = f"ether daddr & 01:00:00:00:00:00 == 0 ether daddr != {{ {', '.join(state.macs)} }}"
        first = {"out": [f"jump {host}-src"], "in": [f"{mine} drop"]}[way]
        first += [f"jump {host}-dst"] if way == "in" and mode == OVN else []
        before, after = _states(mode, host, state)
        matches = [m for r in state.rules if r.direction == direction for m in match.rule(mode, r)]
        chains[way] = [
            *first,
            "ether type arp return",
            f"ether type ip6 icmpv6 type {{ {DISCOVERY}, {extra} }} return",
            *(f"ether type {{ ip, ip6 }} {line}" for line in before),
            *(f"{m} return" for m in matches),
            *(f"ether type {{ ip, ip6 }} {line}" for line in after),
            _drop(host, f"no-rule-{way}"),
        ]
    return chains


def _drop(host: str, reason: str) -> str:
    return f'counter name "{host}/{reason}" drop'


def _invalid(host: str) -> str:
    return f"ether type {{ ip, ip6 }} ct state invalid {_drop(host, 'invalid')}"


def _states(mode: str, host: str, state: PortState) -> tuple[list[str], list[str]]:
    """Say what conntrack decides before the rules are asked, and after."""
    if not tracked(mode, state):
        return [], []
    invalid = f"ct state invalid {_drop(host, 'invalid')}"
    if mode == IPTABLES:
        return list(REPLIES), [invalid]
    return [invalid, *REPLIES], []


def _sources(mode: str, host: str, state: PortState) -> Iterator[str]:
    """Let a frame through that comes from where the port is, or from a pair."""
    yield f"ether saddr != {{ {', '.join(state.macs)} }} {_drop(host, 'spoof-out')}"
    for mac, network in match.own(state):
        heard = match.arp(network)
        if heard:  # OVN looks at the MAC inside as well
            inside = f" arp saddr ether {mac}" if mode == OVN else ""
            yield f"ether saddr {mac} {heard}{inside} return"
    yield f"ether type arp {_drop(host, 'arp-spoof')}"
    for mac, network in match.own(state):
        yield f"ether saddr {mac} {match.ip(network, 'saddr')} return"
    for mac in state.macs:
        yield f"ether saddr {mac} ether type ip6 ip6 saddr {match.link_local(mac)} return"
    yield "ether type ip6 ip6 saddr :: icmpv6 type { 131, 135, 143 } return"
    yield _drop(host, "spoof-out")


def _targets(host: str, state: PortState) -> Iterator[str]:
    """Let a frame through that goes to where the port is (OVN)."""
    yield "ether type arp return"
    for _, network in match.own(state):
        yield f"{match.ip(network, 'daddr')} return"
    yield from (f"ether type ip ip daddr {group} return" for group in GROUP_IPV4)
    yield from (f"ether type ip6 ip6 daddr {group} return" for group in GROUP_IPV6)
    for mac in state.macs:
        yield f"ether type ip6 ip6 daddr {match.link_local(mac)} return"
    yield _drop(host, "spoof-in")
