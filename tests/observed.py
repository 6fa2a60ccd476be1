"""Observations of a healthy world, and ways to bend them: what the rules of doctor look at."""

from dataclasses import replace
from ipaddress import ip_address

import worlds
from onearm.desire import DIRECTOR_SYSCTLS
from onearm.doctor.observations import Observations
from onearm.doctor.rank import diagnose
from onearm.evidence import Evidence, Trial
from onearm.facts import (
    AddressFact,
    DaemonFact,
    DestinationFact,
    LinkFact,
    OutFact,
    ServiceFact,
)
from onearm.finding import Finding
from onearm.kernel.frames import Frame
from onearm.model import (
    GROUP_MARKS,
    NEUTRON,
    Action,
    CheckMark,
    Drain,
    Mark,
    Service,
)
from onearm.spec import Check, End, Forwarding, Member
from onearm.traffic import Attempt
from onearm.verdicts import FAIL
from onearm.verify import Property
from onearm.vitals import BackFact, Listener, RulesFact, Vitals

VIP, CLIENT, ROUTER = worlds.VIP, ip_address("198.51.100.10"), ip_address("203.0.113.1")
ADDRESSES = {"d": ip_address("203.0.113.3"), "r1": ip_address("203.0.113.4")} | {
    "r2": ip_address("203.0.113.5")
}
DUMMY = LinkFact(7, "eth-vip", kind="dummy", mac="02:00:00:00:07:07", mtu=1500, up=True)
SILENT = {"net/ipv4/conf/eth0/arp_ignore": "1", "net/ipv4/conf/eth0/arp_announce": "2"}

STATEFUL = RulesFact(
    "iptables-legacy",
    "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
    "-A INPUT -d 203.0.113.2/32 -p tcp -m tcp --dport 80 -j ACCEPT\n-A INPUT -p icmp -j ACCEPT\n"
    "COMMIT",
)


def healthy():
    """Give the observations of a converged reference, nothing sent."""
    facts = worlds.facts()
    table = ServiceFact(
        "tcp",
        VIP,
        80,
        0,
        "rr",
        destinations=tuple(
            DestinationFact(ADDRESSES[name], 80, 1, "direct") for name in ("r1", "r2")
        ),
    )
    director = facts["d"]
    facts["d"] = replace(
        director,
        addresses=(*director.addresses, AddressFact("eth0", VIP, 32)),
        services=(table,),
        sysctls=dict(DIRECTOR_SYSCTLS),
    )
    for name in ("r1", "r2"):
        own = facts[name]
        facts[name] = replace(
            own,
            links=(*own.links, DUMMY),
            addresses=(*own.addresses, AddressFact("eth-vip", VIP, 32)),
            sysctls=dict(SILENT),
        )
    back = (BackFact(CLIENT, VIP, "eth0", ROUTER, 1500),)
    ears = (Listener("tcp", ip_address("0.0.0.0"), 80),)
    vitals = {"d": Vitals()} | {n: Vitals(listeners=ears, back=back) for n in ("r1", "r2")}
    return Observations(spec=worlds.SPEC, facts=facts, vitals=vitals)


def ids(o):
    return [f.id for f in diagnose(o).findings]


def with_facts(name, **changed):
    o = healthy()
    return replace(o, facts=o.facts | {name: replace(o.facts[name], **changed)})


def with_vitals(name, **changed):
    o = healthy()
    return replace(o, vitals={**o.vitals, name: replace(o.vitals[name], **changed)})


def with_service(**changed):
    """Change the director's table as it was read."""
    (table,) = healthy().facts["d"].services
    return with_facts("d", services=(replace(table, **changed),))


def grouped():
    """Let the service be a group that the kernel knows by a mark, which no rule gives to packets.

    Nothing is sent: what connections would show stands in the table's row.
    """
    service = replace(worlds.SERVICE, ends=(End(VIP, 80, 90),))
    o = with_service(fwmark=GROUP_MARKS[0])
    spec = replace(o.spec, services=(service,))
    return replace(o, spec=spec, evidence=None, properties=())


def checking(o, **how):
    """Let the spec have a check."""
    service = replace(worlds.SERVICE, check=Check(**how))
    return replace(o, spec=replace(o.spec, services=(service,)))


def with_link(name, link, **changed):
    found = healthy().facts[name].links
    return with_facts(
        name, links=tuple(replace(k, **changed) if k.name == link else k for k in found)
    )


def preflight(identity, severity="error"):
    return replace(healthy(), preflight=(Finding(identity, severity, "d", "seen", "cure"),))


def stranger():
    others = healthy().facts["d"].services[0].destinations
    more = DestinationFact(ip_address("203.0.113.9"), 80, 1, "direct")
    return with_service(destinations=(*others, more))


def pending(*resources, place=NEUTRON):
    return replace(healthy(), pending=tuple(Action(place, None, r) for r in resources))


DOWN = OutFact("tcp", VIP, 80, "r1", "down", "connection refused")
ISOLATED = replace(DOWN, reason=f"isolated: it answers ARP for the VIP {VIP}")
MARK = Mark(CheckMark(0x6F610001, ADDRESSES["r1"], "r1"), ("default",))


def daemon(*out, o=None, gone=(), name="default", **changed):
    """Let a daemon run on the director, that holds some out; those `gone` are not in the table."""
    o = o or healthy()
    (table,) = o.facts["d"].services
    kept = tuple(d for d in table.destinations if d.server not in [ADDRESSES[n] for n in gone])
    seen = replace(
        o.facts["d"],
        daemon=DaemonFact(name, "/etc/onearm/default.yaml", converged=True, out=out),
        services=(replace(table, destinations=kept),),
        **changed,
    )
    return replace(o, facts={**o.facts, "d": seen})


def drained(*names):
    """Let some be drained by hand, with no daemon."""
    drains = tuple(Drain(name, "2026-01-01T00:00:00+00:00") for name in names)
    marks = (Mark(Service("tcp", VIP, 80, "rr", drains=drains), ("default",)),)
    (table,) = healthy().facts["d"].services
    kept = tuple(d for d in table.destinations if d.server not in [ADDRESSES[n] for n in names])
    return with_facts("d", marks=marks, services=(replace(table, destinations=kept),))


def tunneled(*, link=True, **changed):
    """Let r1 be behind an ipip tunnel, all right but for what is changed of its link."""
    o = healthy()
    way = Forwarding("tunnel", "ipip")
    members = (Member("r1", forwarding=way), Member("r2"))
    spec = replace(o.spec, services=(replace(worlds.SERVICE, members=members),))
    (table,) = o.facts["d"].services
    to_r1, to_r2 = table.destinations
    to_r1 = replace(to_r1, forwarding="tunnel", tunnel="ipip")
    end = replace(LinkFact(7, "ipip-vip", kind="ipip", up=True), **changed)
    own = o.facts["r1"]
    held = tuple(replace(a, link="ipip-vip") if a.address == VIP else a for a in own.addresses)
    facts = {
        "d": replace(o.facts["d"], services=(replace(table, destinations=(to_r1, to_r2)),)),
        "r1": replace(own, links=(*own.links, *([end] if link else [])), addresses=held),
    }
    return replace(o, spec=spec, facts={**o.facts, **facts})


def stuck():
    """Let a connection come to r1 in its tunnel and not out of it."""
    o = tunneled()
    attempt = Attempt(CLIENT, 40000, "timeout")
    d = o.facts["d"].link("eth0").mac
    client = "02:00:00:00:00:c0"
    ends = {"kind": "tcp", "source": str(CLIENT), "source_port": 40000, "tcp_flags": 2}
    ends |= {"target": str(VIP), "target_port": 80}
    came = Frame("eth0", outgoing=False, to_us=True, **ends, source_mac=client)
    wrap = {"tunnel": "ipip", "outer_source": str(worlds.DIRECTOR.address)}
    wrap["outer_target"] = str(ADDRESSES["r1"])
    sent = Frame("eth0", outgoing=True, to_us=False, **ends, **wrap, source_mac=d)
    got = replace(sent, outgoing=False, to_us=True)
    evidence = Evidence(
        trials=[Trial(o.spec.services[0], "client", (attempt,))],
        frames={"d": [came, sent], "r1": [got], "r2": [], "client": []},
        machines=dict(o.facts),
    )
    return replace(o, evidence=evidence)


def failed(identity):
    return replace(healthy(), properties=(Property(identity, str(VIP), FAIL, "seen"),))


def fragmenting(o):
    """Let the director cut packets for tunnels into fragments."""
    sysctls = {**o.facts["d"].sysctls, "net/ipv4/vs/pmtu_disc": "0"}
    return replace(o, facts={**o.facts, "d": replace(o.facts["d"], sysctls=sysctls)})


def strict(o):
    """Let r1 filter strictly by reverse path, on all links."""
    sysctls = {**o.facts["r1"].sysctls, "net/ipv4/conf/all/rp_filter": "1"}
    return replace(o, facts={**o.facts, "r1": replace(o.facts["r1"], sysctls=sysctls)})
