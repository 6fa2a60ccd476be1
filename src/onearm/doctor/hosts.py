"""Whether each host is there, is the one that the spec means, and shows itself; rules, pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.finding import NOTE


def unreachable(o: Observations) -> Iterator[Clue]:
    """Find hosts that did not answer."""
    for name, why in o.out.items():
        yield Clue(
            name,
            why,
            "an answer",
            "what nobody can look at may be wrong; the rest is judged without it",
            f"see that {name} is up and can be reached as `reach` says",
            touches=(name,) if name in {h.name for h in o.spec.real_servers} else (),
        )


def preflight(identity: str) -> Callable[[Observations], Iterator[Clue]]:
    """Make the rule for a finding that plan has as well."""

    def rule(o: Observations) -> Iterator[Clue]:
        servers = {host.name for host in o.spec.real_servers}
        for found in o.preflight:
            if found.id == identity:
                touched = (found.party,) if found.party in servers else ()
                yield Clue(found.party, found.said, "", "", found.cure, touches=touched)

    return rule


def client_route(o: Observations) -> Iterator[Clue]:
    """Find clients from which nothing could be tried."""
    for name, why in o.untried.items():
        yield Clue(
            name,
            why,
            "a client with a route to the VIP, that is neither director nor real server",
            "",
            "give another client with --client PREFIX, or repair its route",
            severity="" if name in o.no_route else NOTE,
        )


def nic_down(o: Observations) -> Iterator[Clue]:
    """Find hosts whose NIC in the VIP's network is down, though they are reached another way."""
    servers = {host.name for host in o.spec.real_servers}
    for host in (*o.spec.directors, *o.spec.real_servers):
        nic = o.nic(host) if host.name in o.facts else None
        if nic is not None and not nic.up:
            yield Clue(
                host.name,
                f"{nic.name} of {host.name}, which holds {host.address}, is down",
                "up",
                "nothing comes in and nothing goes out by it, and its routes are gone",
                f"ip link set {nic.name} up; see that its routes are there again (ip route)",
                touches=(host.name,) if host.name in servers else (),
            )


def client_is_local(o: Observations) -> Iterator[Clue]:
    """Find hosts that hold a client's own address: for them its packets are martians."""
    tried = {
        a.source for trial in (o.evidence.trials if o.evidence else ()) for a in trial.attempts
    }
    servers = {host.name for host in o.spec.real_servers}
    for host in (*o.spec.directors, *o.spec.real_servers):
        facts = o.facts.get(host.name)
        for client in sorted(tried, key=lambda a: (a.version, int(a))) if facts else ():
            for held in facts.holds(client) if facts else ():
                yield Clue(
                    host.name,
                    f"{host.name} holds {client} on {held.link}, which is a client's address",
                    "an address that nobody else has",
                    "a packet from an address of the host itself is a martian, so it is dropped",
                    f"ip address del {client}/{held.prefix_length} dev {held.link}",
                    about=str(client),
                    touches=(host.name,) if host.name in servers else (),
                )


def unseen(o: Observations) -> Iterator[Clue]:
    """Name what could not be looked at on a host that answers."""
    for name, vitals in o.vitals.items():
        for what, why in vitals.cannot.items():
            yield Clue(
                name,
                f"{name}: its {what} could not be looked at: {why}",
                "",
                "what depends on it is not judged",
                "run as root there, or install the tool",
                about=what,
            )
