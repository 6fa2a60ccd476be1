"""The five safety rules, from any spec to any spec, with places failing and kills anywhere."""

import contextlib
import os
from dataclasses import replace
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import clouds
from fakes import FakeHost, Killed
from onearm import diff as diff_module
from onearm import reconcile
from onearm.desire import desire
from onearm.model import (
    GROUP_MARKS,
    NEUTRON,
    AddressPair,
    AnnouncedVip,
    ArpSilence,
    BootFile,
    BootVip,
    Destination,
    GuePort,
    HeldVip,
    MarkRule,
    Service,
    TunnelLink,
)
from onearm.reconcile import Run
from onearm.spec import Cloud, End, Forwarding, Host, Member, Spec, VirtualService

EXAMPLES = int(os.environ.get("EXAMPLES", "60"))  # many more: EXAMPLES=5000 make test
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
DIRECTORS = {"d1": "203.0.113.3", "d2": "203.0.113.9"}
SERVERS = {f"r{n}": f"203.0.113.{n + 3}" for n in (1, 2, 3, 4)}
VIPS = ["203.0.113.2", "203.0.113.20"]
PORTS = [("tcp", 80), ("tcp", 443), ("udp", 53)]
LINK = "eth0"
MASQ = Forwarding("masq")
WAYS = [None, Forwarding("tunnel", "ipip"), Forwarding("tunnel", "gre")]
WAYS += [Forwarding("tunnel", "gue", port) for port in (6080, 6081)]


MEMBERS = st.dictionaries(st.sampled_from(sorted(SERVERS)), st.integers(0, 2), min_size=1).map(
    lambda members: tuple(Member(*pair) for pair in sorted(members.items()))
)


def settled(draw, masq, spec):
    """Let each real server be reached by some way; one behind masq is so in every service."""
    services = tuple(
        replace(
            service,
            members=tuple(
                replace(m, forwarding=MASQ if m.host in masq else draw(st.sampled_from(WAYS)))
                for m in service.members
            ),
        )
        for service in spec.services
    )
    return replace(spec, services=services)


@st.composite
def endpoints(draw):
    """Share some endpoints out to services: most have one, and one or two may be groups."""
    found = draw(st.sets(st.tuples(st.sampled_from(VIPS), st.sampled_from(PORTS)), max_size=4))
    shared: dict = {}
    for vip, (protocol, port) in sorted(found):
        group = draw(st.sampled_from(["alone", "one", "two"])) if protocol == "tcp" else "alone"
        key = (protocol, group, (vip, port) if group == "alone" else ())
        shared.setdefault(key, []).append(End(ip_address(vip), port, port))
    return [(protocol, tuple(ends)) for (protocol, _, _), ends in shared.items()]


@st.composite
def specs(draw):
    director = draw(st.sampled_from(sorted(DIRECTORS)))
    masq = draw(st.sets(st.sampled_from(sorted(SERVERS)), max_size=1))
    arp = {name: draw(st.sampled_from(["sysctl", "nft"])) for name in SERVERS}
    services = []
    for protocol, ends in draw(endpoints()):
        services.append(
            VirtualService(
                ends[0].vip,
                ends[0].port,
                protocol,
                draw(st.sampled_from(["rr", "sh"])),
                (),
                draw(MEMBERS),
                draw(st.sampled_from([0, 300])),
                ends=ends if len(ends) > 1 else (),
            )
        )
    return settled(
        draw,
        masq,
        Spec(
            directors=(Host(director, ip_address(DIRECTORS[director])),),
            real_servers=tuple(Host(n, ip_address(a), arp[n]) for n, a in SERVERS.items()),
            services=tuple(services),
            clients=(ip_network("0.0.0.0/0"),),
            boot=draw(st.sampled_from(["off", "networkd", "ifupdown", "unit"])),
        ),
    )


def handed_on(members):
    """Give one other server, or two, all the work of these; they stay, with nothing to do."""
    idle = {member.host: 0 for member in members}
    others = sorted(SERVERS.keys() - idle)
    taken = st.dictionaries(st.sampled_from(others), st.integers(1, 2), min_size=1, max_size=2)
    everyone = taken.map(lambda new: sorted({**idle, **new}.items()))
    return everyone.map(lambda pairs: tuple(Member(*pair) for pair in pairs)) if others else MEMBERS


@st.composite
def relatives(draw, old):
    """Give the same services with other members and weights: what must go on is at stake in all."""
    services = tuple(
        replace(service, members=draw(MEMBERS | handed_on(service.members)))
        for service in old.services
    )
    masq = {m.host for s in old.services for m in s.members if m.forwarding == MASQ}
    return settled(draw, masq, replace(old, services=services))


def pairs(made):
    """Give two specs that need have nothing in common, or two of which one follows the other."""
    return st.tuples(made, made) | made.flatmap(lambda old: st.tuples(st.just(old), relatives(old)))


class Fleet:
    """All hosts of a test, and the rules that must hold after every single action."""

    def __init__(self, random):
        self.hosts = {n: FakeHost(n, a) for n, a in (DIRECTORS | SERVERS).items()}
        self.cloud = FakeHost(NEUTRON, "192.0.2.1")
        self.continued, self.both = set(), set()
        for host in (*self.hosts.values(), self.cloud):
            # one of its own: hosts work in threads, whose turns hypothesis cannot repeat
            host.random, host.after_each = Random(random.getrandbits(32)), self.check  # noqa: S311

    def facts(self):
        servers = [ip_address(a) for a in SERVERS.values()]
        return {n: h.facts(servers if n in DIRECTORS else ()) for n, h in self.hosts.items()}

    @property
    def places(self):
        return {**self.hosts, NEUTRON: self.cloud}

    def cloud_facts(self):
        ports = [clouds.port(name, address) for name, address in (DIRECTORS | SERVERS).items()]
        return clouds.cloud(ports, marks=tuple(self.cloud.marks.values()))

    def run(self, spec, **options):
        seen = self.cloud_facts() if spec.openstack else None
        desired = desire(spec, self.facts(), NOW, seen)
        places = self.places if spec.openstack else self.hosts
        self.check_pairs = bool(spec.openstack)
        return Run(spec.name, desired, places, **options).converge()

    def between(self, old, new):
        """Say what must go on from `old` to `new`: services with weight, and services at all."""
        same = old.directors == new.directors

        def fed(spec):
            return {
                (s.protocol, end.vip, end.port)
                for s in spec.services
                for end in s.endpoints
                if any(m.weight for m in s.members)
            }

        def there(spec):
            return {(s.protocol, e.vip, e.port) for s in spec.services for e in s.endpoints}

        self.continued = fed(old) & fed(new) if same else set()
        self.both = there(old) & there(new)

    def check(self):
        for host in self.hosts.values():
            things = list(host.things.values())
            for held in (t for t in things if isinstance(t, HeldVip)):
                assert silent(things, held.vip), f"{host.name} holds {held.vip} unsilenced"
            self.check_reboot(host, things)
            for d in (t for t in things if isinstance(t, Destination) and t.weight):
                target = next(h for h in self.hosts.values() if h.address == d.server)
                if d.forwarding == "masq":
                    continue
                self.check_way(target, d)
                holds = {t.vip for t in target.things.values() if isinstance(t, HeldVip)}
                assert d.vip in holds, f"{host.name} feeds {target.name}, which lacks {d.vip}"
                assert self.paired(target, d.vip), f"{target.name} may not answer as {d.vip}"
            self.check_announced(host, things)
        for vip in VIPS:
            holders = [h.name for h in self.hosts.values() if announces(h, ip_address(vip))]
            assert len(holders) <= 1, f"{holders} both announce {vip}"

    @staticmethod
    def check_reboot(host, things):
        """What a reboot brings back is silent as well, and no more than what stands."""
        held = {str(t.vip) for t in things if isinstance(t, HeldVip)}
        quiet = any(isinstance(t, BootFile) and "/sysctl.d/" in t.path for t in things)
        for file in (t for t in things if isinstance(t, BootVip)):
            brought = {vip for vip in VIPS if f" {vip}/" in file.text or f"={vip}/" in file.text}
            assert brought <= held, f"{host.name} would hold {brought - held} after a reboot"
            by_itself = "arp_ignore" in file.text or "nft" in file.text
            assert quiet or by_itself, f"{host.name} would hold {brought} unsilenced"

    def check_way(self, target, d):
        """Say whether what comes in a tunnel is taken out of it."""
        things = target.things.values()
        links = {t.kind for t in things if isinstance(t, TunnelLink)}
        ports = {t.port for t in things if isinstance(t, GuePort)}
        if d.tunnel:
            assert ("gre" if d.tunnel == "gre" else "ipip") in links, (
                f"{target.name} lacks a tunnel"
            )
            assert d.tunnel != "gue" or d.tunnel_port in ports, f"{target.name} takes no GUE"

    def paired(self, host, vip):
        """Say whether Neutron lets a host send as the VIP, where there is one."""
        pairs = (t for t in self.cloud.things.values() if isinstance(t, AddressPair))
        found = {(pair.port_id, pair.network) for pair in pairs}
        return not self.check_pairs or (f"p-{host.name}", ip_network(vip)) in found

    def check_announced(self, host, things):
        for announced in (t for t in things if isinstance(t, AnnouncedVip)):
            services = {t.key for t in things if isinstance(t, Service)}
            fed = {t.service_key for t in things if isinstance(t, Destination) and t.weight}
            for key in self.both:
                if key[1] == announced.vip:
                    served = leads_to(key, things)
                    assert served in services, f"{host.name} announces without service {key}"
            for key in self.continued:
                if key[1] == announced.vip:
                    served = leads_to(key, things)
                    assert served in fed, f"{host.name} has no weight left behind {key}"


def leads_to(endpoint, things):
    """Give the key of the service that the kernel finds: by a mark, or by the packet's own end."""
    rules = [t for t in things if isinstance(t, MarkRule) and t.key == (*endpoint, endpoint[2])]
    groups = [t.key for t in things if isinstance(t, Service) and t.mark]
    return next((key for r in rules for key in groups if key[3] == r.mark), endpoint)


def silent(things, vip):
    return any(
        isinstance(t, ArpSilence) and t.link == LINK and t.deaf and t.mute and t.vip in (None, vip)
        for t in things
    )


def announces(host, vip):
    return any(isinstance(t, AnnouncedVip) and t.vip == vip for t in host.things.values())


def things(fleet):
    """Give what stands everywhere; which number a group's mark has is nobody's concern."""
    return {name: renumbered(place.things.values()) for name, place in fleet.places.items()}


def renumbered(things):
    groups = [t for t in things if isinstance(t, Service) and t.mark]
    order = sorted(groups, key=lambda t: str(t.key[:3]))
    numbers = {t.mark: GROUP_MARKS[n] for n, t in enumerate(order)}
    return {
        replace(t, mark=numbers[t.mark]) if getattr(t, "mark", 0) in numbers else t for t in things
    }


def converged(fleet, spec):
    outcome = fleet.run(spec)
    assert not len(outcome.left) and not outcome.out
    again = fleet.run(spec)
    assert not again.done, "a second run does nothing"


EVERYTHING = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=False
)


def from_any_to_any(change, random, fails):
    old, new = change
    fleet = Fleet(random)
    converged(fleet, old)
    fleet.between(old, new)
    # A director that cannot be seen may hold the VIP; preflight refuses that, by asking in ARP.
    if old.directors != new.directors:
        fails = {name: n for name, n in fails.items() if name not in DIRECTORS}
    for name, n in fails.items():
        fleet.places[name].fails_after = n + fleet.places[name].count if n else 0
    fleet.run(new)
    for place in fleet.places.values():
        place.fails_after = None
    converged(fleet, new)
    fleet.continued = fleet.both = set()
    converged(fleet, replace(new, services=()))
    assert not any(place.things or place.marks for place in fleet.places.values())


def killed_anywhere(change, random, fuel):
    old, new = change
    fleet = Fleet(random)
    converged(fleet, old)
    fleet.between(old, new)
    shared = [fuel]
    for place in fleet.places.values():
        place.fuel = shared
    with contextlib.suppress(Killed):
        fleet.run(new)
    for place in fleet.places.values():
        place.fuel = None
    converged(fleet, new)
    clean = Fleet(random)
    converged(clean, new)
    assert things(fleet) == things(clean), "nothing of the old is left"


FAILS = st.dictionaries(st.sampled_from(sorted(DIRECTORS | SERVERS)), st.integers(0, 4), max_size=3)
# a generator of its own, for places work in threads: drawn from hypothesis, their order would count
RANDOM = st.integers(0, 2**32).map(Random)


@EVERYTHING
@given(pairs(specs()), RANDOM, FAILS)
def test_any_to_any_with_places_failing(change, random, fails):
    from_any_to_any(change, random, fails)


@EVERYTHING
@given(pairs(specs()), RANDOM, st.integers(0, 60))
def test_killed_anywhere(change, random, fuel):
    killed_anywhere(change, random, fuel)


def in_a_cloud(found):
    """Give specs of a cloud: hosts and the cloud fail and are killed alike."""
    return found.map(
        lambda spec: replace(spec, openstack=Cloud(network="public", director_groups="replace"))
    )


CLOUD_FAILS = st.dictionaries(
    st.sampled_from([NEUTRON, *sorted(DIRECTORS | SERVERS)]), st.integers(0, 30), max_size=3
)


@EVERYTHING
@given(pairs(in_a_cloud(specs())), RANDOM, CLOUD_FAILS)
def test_any_to_any_in_a_cloud(change, random, fails):
    from_any_to_any(change, random, fails)


@EVERYTHING
@given(pairs(in_a_cloud(specs())), RANDOM, st.integers(0, 120))
def test_killed_anywhere_in_a_cloud(change, random, fuel):
    killed_anywhere(change, random, fuel)


@EVERYTHING
@given(specs(), st.data(), RANDOM, st.sets(st.sampled_from(sorted(SERVERS)), min_size=1))
def test_weights_change_while_others_are_out(old, data, random, sick):
    services = tuple(
        VirtualService(
            s.vip,
            s.port,
            s.protocol,
            s.scheduler,
            s.flags,
            tuple(replace(m, weight=m.weight and data.draw(st.integers(1, 2))) for m in s.members),
            s.drain_s,
            ends=s.ends,
        )
        for s in old.services
    )
    new = Spec(
        directors=old.directors,
        real_servers=old.real_servers,
        services=services,
        clients=old.clients,
        boot=old.boot,
    )
    fleet = Fleet(random)
    converged(fleet, old)
    for name in sick:
        fleet.hosts[name].fails_after = 0
    fleet.run(new)
    clean = Fleet(random)
    converged(clean, new)
    assert things(fleet) == things(clean)


def swap(m, one, other):
    """Let two kinds change places in the order."""
    change = {one: other, other: one}
    order = tuple(tuple(change.get(kind, kind) for kind in kinds) for kinds in diff_module.ORDER)
    m.setattr(diff_module, "ORDER", order)
    m.setattr(diff_module, "STEP", {kind: n for n, kinds in enumerate(order) for kind in kinds})


def forget_the_cloud(m):
    held = reconcile.held

    def blind(action, out, *rest):
        return held(action, {n: error for n, error in out.items() if n != NEUTRON}, *rest)

    m.setattr(reconcile, "held", blind)


FAULTS = {
    "the VIP before its silence": lambda m: swap(m, ArpSilence, HeldVip),
    "destinations before the VIP": lambda m: swap(m, Destination, HeldVip),
    "a taking down in the order of building": lambda m: m.setattr(
        diff_module, "turn", lambda action: diff_module.STEP[type(action.resource)]
    ),
    "marks before destinations": lambda m: swap(m, MarkRule, Destination),
    "weight to 0 as a building": lambda m: m.setattr(
        diff_module, "builds", lambda action: action.after is not None
    ),
    "places that are out are forgotten": lambda m: m.setattr(reconcile, "held", lambda *_: False),
}
BOOT_FAULTS = {
    "boot files before the VIP": lambda m: swap(m, HeldVip, BootVip),
    "silence at boot after the VIP's": lambda m: swap(m, BootFile, BootVip),
}
CLOUD_FAULTS = {
    "pairs after destinations": lambda m: swap(m, AddressPair, Destination),
    "a cloud that is out is forgotten": forget_the_cloud,
}


def broke_a_rule(error):
    """Say whether a search ended by a broken rule, and not by what was planted going off alone."""
    several = getattr(error, "exceptions", ())
    return isinstance(error, AssertionError) or any(map(broke_a_rule, several))


def caught(check, made, last, most=2000):
    one_is_enough = {"max_examples": most, "report_multiple_bugs": False, "database": None}
    search = settings(EVERYTHING, phases=[Phase.generate], **one_is_enough)(
        given(pairs(made), RANDOM, last)(check)
    )
    try:
        search()
    except Exception as error:  # noqa: BLE001 - several broken rules come as a group
        return broke_a_rule(error)
    return False


@pytest.mark.parametrize("fault", [*FAULTS, *BOOT_FAULTS])
def test_a_planted_fault_is_caught(fault, monkeypatch):
    (FAULTS | BOOT_FAULTS)[fault](monkeypatch)
    checks = ((from_any_to_any, FAILS), (killed_anywhere, st.integers(0, 60)))
    turns = ((most, *check) for most in (100, 400, 2000) for check in checks)  # either may see it
    found = any(caught(check, specs(), last, most) for most, check, last in turns)
    assert found, f"not noticed: {fault}"


@pytest.mark.parametrize("fault", CLOUD_FAULTS)
def test_a_fault_planted_in_a_cloud_is_caught(fault, monkeypatch):
    CLOUD_FAULTS[fault](monkeypatch)
    assert caught(from_any_to_any, in_a_cloud(specs()), CLOUD_FAILS), f"not noticed: {fault}"
