"""The stages that ports pass on their way to the bridge: network namespaces, one per zone.

A guest kernel may lack conntrack zones, so each zone is the conntrack of a namespace: a bridge of
its own between a host's link and the lab's bridge. What is here writes shell for the segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onearm.lab import enforce_rules
from onearm.lab.enforce_rules import UPLINK
from onearm.lab.enforce_state import OPENVSWITCH, OVN, States
from onearm.lab.topology import BRIDGE, GUARDED

HELD = "/run/enforce"  # says which stages stand
NAMESPACES = "/run/netns"
STAGE = "stage"  # the bridge in each
ROUTER = "router"
QUIET = (
    "for call in iptables ip6tables arptables; do"
    " file=/proc/sys/net/bridge/bridge-nf-call-$call; [ ! -e $file ] || echo 0 > $file; done\n"
    "for which in all default; do"
    " file=/proc/sys/net/ipv6/conf/$which/disable_ipv6; [ ! -e $file ] || echo 1 > $file; done\n"
)


@dataclass(frozen=True)
class Plan:
    """What stands for a mode and states: hosts and rules by stage; stages that OVN floods."""

    mode: str
    hosts: dict[str, tuple[str, ...]]
    rules: dict[str, str]
    flooded: tuple[str, ...]
    macs: dict[str, str]

    @property
    def layout(self) -> str:
        """Name everything that a change of rules cannot change."""
        stages = ";".join(f"{stage}={','.join(hosts)}" for stage, hosts in self.hosts.items())
        macs = ",".join(self.macs.values()) if self.flooded else ""
        return f"{self.mode} {stages} {','.join(self.flooded)} {macs}"


def plan(mode: str, states: States) -> Plan:
    """Give each port its stage: one per compute node in openvswitch, else one of its own."""
    hosts: dict[str, tuple[str, ...]] = {}
    nodes = sorted({state.compute for state in states.values()})
    for host, state in states.items():
        shared = mode == OPENVSWITCH
        stage = f"node-{nodes.index(state.compute)}" if shared else f"q-{host}"
        hosts[stage] = (*hosts.get(stage, ()), host)
    rules = {stage: enforce_rules.rules(mode, states, hosts[stage]) for stage in hosts}
    open_ports = [host for host, state in states.items() if not state.port_security]
    flooded = tuple(f"q-{host}" for host in open_ports) if mode == OVN else ()
    macs = {host: state.mac for host, state in states.items()}
    return Plan(mode, hosts, rules, flooded, macs)


def script(wanted: Plan, stages: tuple[str, ...]) -> str:
    """Write what brings these stages' rules; all are built anew where others stand."""
    rules = "".join(_inside(stage, f"nft -f -{_here(wanted.rules[stage])}") for stage in stages)
    return (
        f"if [ \"$(head -n 1 {HELD} 2>/dev/null)\" = '{wanted.layout}' ]; then\n:\n{rules}"
        f"else\n{removal()}{''.join(_build(wanted))}fi\n"
    )


def removal() -> str:
    """Write what takes the ports out of their stages; they stay down until somebody wants them."""
    return (
        f"if [ -e {HELD} ]; then\n"
        f"tail -n +2 {HELD} | while read -r stage port; do\n"
        f" nsenter --net={NAMESPACES}/$stage ip link set $port nomaster netns 1"
        " 2>/dev/null || true\n"
        f"done\n"
        f"rm -f {HELD}\n"
        f"fi\n"
        f"for stage in $(ls {NAMESPACES} 2>/dev/null); do\n"
        f" ip link del up-$stage 2>/dev/null || true\n"  # a namespace's end takes it along too late
        f" ip netns del $stage\n"
        "done\n"
        f"bridge link set dev {ROUTER} learning on\n"
    )


def plain() -> str:
    """Write what gives the bridge its ports back, unguarded."""
    lines = "\n".join(f"link set {host} master {BRIDGE} up" for host in GUARDED)
    return f"if [ -e {HELD} ]; then\n{removal()}ip -batch -{_here(lines)}fi\n"


def counting() -> str:
    """Write what prints each stage's counters, one JSON document a line."""
    return (
        f"for stage in $(ls {NAMESPACES} 2>/dev/null); do\n"
        f" nsenter --net={NAMESPACES}/$stage nft -j list counters\n"
        "done\n"
    )


def _here(text: str) -> str:
    return f" <<'NFT'\n{text.rstrip()}\nNFT\n"


def _inside(stage: str, command: str) -> str:
    return f"nsenter --net={NAMESPACES}/{stage} {command}"


def _build(wanted: Plan) -> Iterator[str]:
    """Build every stage, its rules before its ports; a host is cut off meanwhile."""
    ports = "".join(f"\n{stage} {host}" for stage in wanted.hosts for host in wanted.hosts[stage])
    yield f"echo 'half built{ports}' > {HELD}\n"
    yield "modprobe nf_conntrack_bridge 2>/dev/null || true\n"
    for stage, hosts in wanted.hosts.items():
        yield "ip -batch -" + _here(
            f"netns add {stage}\n"
            f"link add up-{stage} type veth peer name {UPLINK} netns {stage}\n"
            f"link set up-{stage} master {BRIDGE} up\n"
        )
        table = enforce_rules.frame(hosts) + wanted.rules[stage]
        yield (
            _inside(stage, "sh -es")
            + f" <<'SH'\n{QUIET}ip -batch -"
            + _here(
                f"link add {STAGE} type bridge mcast_snooping 0 forward_delay 0\n"
                f"link set {UPLINK} master {STAGE} up\n"
                f"link set {STAGE} up\n"
            )
            + f"nft -f -{_here(table)}SH\n"
        )
        yield "ip -batch -" + _here("\n".join(f"link set {h} netns {stage}" for h in hosts))
        joining = "\n".join(f"link set {host} master {STAGE} up" for host in hosts)
        yield _inside(stage, "ip -batch -") + _here(joining)
    yield from _flood(wanted)
    yield f"echo '{wanted.layout}{ports}' > {HELD}\n"


def _flood(wanted: Plan) -> Iterator[str]:
    """Flood what goes to the router to ports without port security, as OVN does.

    It does not know the router's MAC, and a port without port security is one where anything may
    be; every port that it does know, it floods nothing to.
    """
    if not wanted.flooded:
        return
    yield f"bridge link set dev {ROUTER} learning off\n"
    yield f"ip link set dev {ROUTER} type bridge_slave fdb_flush\n"
    for stage, hosts in wanted.hosts.items():
        if stage in wanted.flooded:
            yield _inside(stage, f"bridge link set dev {UPLINK} learning off") + "\n"
        else:
            yield f"bridge link set dev up-{stage} flood off\n"
        for host in hosts:
            mac = wanted.macs[host]
            yield f"bridge fdb replace {mac} dev up-{stage} master static\n"
