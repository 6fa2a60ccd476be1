"""A sane cloud that tests bend: the ports of worlds.SPEC in `default`, with SSH open."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from onearm.cloud_facts import CloudFacts, GroupFact, NetworkFact, PairFact, PortFact, RuleFact
from onearm.spec import Cloud
from worlds import DIRECTOR, SERVERS, SPEC, VIP

ANY = ip_network("0.0.0.0/0")
EXTENSIONS = (
    "allowed-address-pairs",
    "port-security",
    "security-group",
    "standard-attr-tag",
    "stateful-security-group",
)


def spec(**more):
    base = {"cloud": "lab", "network": "public"}
    return replace(SPEC, openstack=Cloud(**{**base, **more}))


def port(host, address, groups=("g-default",), **more):
    mac = f"fa:16:3e:00:00:{int(ip_address(address)) & 255:02x}"
    return PortFact(
        f"p-{host}",
        host,
        host,
        mac,
        "n-1",
        addresses=(ip_address(address),),
        subnets=("s-1",),
        groups=tuple(groups),
        **more,
    )


def rule(group, direction="ingress", number=0, **more):
    base = {"ethertype": "IPv4", **more}
    return RuleFact(f"{group}-{number}", group, direction, **base)


def group(name, *rules, stateful=True, **more):
    found = tuple(rule(f"g-{name}", number=n, **fields) for n, fields in enumerate(rules))
    return GroupFact(f"g-{name}", name, "project", stateful=stateful, rules=found, **more)


OUT = {"direction": "egress"}
OUT6 = {"direction": "egress", "ethertype": "IPv6"}
SSH = {"protocol": "tcp", "port_min": 22, "port_max": 22, "remote": ip_network("192.0.2.0/24")}
AMONG = {"remote_group_id": "g-default"}
DEFAULT = group("default", OUT, OUT6, AMONG, SSH)


def cloud(ports=None, groups=(DEFAULT,), **more):
    """Give the facts of a cloud; who is in which group, and who refers to it, follows."""
    if ports is None:
        ports = [port(h.name, str(h.address)) for h in (DIRECTOR, *SERVERS)]
    members = {g.id: tuple(p.id for p in ports if g.id in p.groups) for g in groups}
    rules = [r for g in groups for r in g.rules if r.remote_group_id]
    base = {
        "project_id": "project",
        "roles": ("member",),
        "extensions": EXTENSIONS,
        "network": NetworkFact("n-1", "public", "project", mtu=1500),
        "ports": tuple(ports),
        "groups": tuple(groups),
        "members": members,
        "referenced_by": {
            key: tuple(r for r in rules if r.remote_group_id == key)
            for key in {r.remote_group_id for r in rules}
        },
        "firewall": "ovn",
        "pairs_right": True,
        "port_security_right": True,
    }
    return CloudFacts(**{**base, **more})


def without(facts, host):
    """Give the ports but for one host's."""
    return [p for p in facts.ports if p.host != host]


def pairs(*texts, mac=""):
    return tuple(PairFact(text, mac) for text in texts)


__all__ = ["ANY", "DIRECTOR", "SERVERS", "VIP", "cloud", "group", "pairs", "port", "rule", "spec"]
