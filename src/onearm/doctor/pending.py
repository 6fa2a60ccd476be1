"""What the spec wants and does not stand, in the cloud and on hosts; rules, pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onearm.doctor.clue import Clue
from onearm.doctor.observations import Observations
from onearm.model import (
    NEUTRON,
    Action,
    AddressPair,
    GroupMembership,
    GroupRule,
    PortSecurity,
    SecurityGroup,
    VipPort,
)
from onearm.words import describe

GROUPS = (SecurityGroup, GroupRule, GroupMembership)


def _in_cloud(o: Observations, kinds: tuple[type, ...]) -> Iterator[Action]:
    for action in o.pending:
        changes = action.after is not None and action.verb != "keep"
        if action.place == NEUTRON and changes and isinstance(action.resource, kinds):
            yield action


def cloud(why: str, *kinds: type) -> Callable[[Observations], Iterator[Clue]]:
    """Make the rule for things of some kinds that the spec wants in Neutron."""

    def rule(o: Observations) -> Iterator[Clue]:
        servers = {host.name for host in o.spec.real_servers}
        by_host: dict[str, list[Action]] = {}
        for action in _in_cloud(o, kinds):
            by_host.setdefault(getattr(action.resource, "host", ""), []).append(action)
        for host, actions in sorted(by_host.items()):
            wanted = [describe(action) for action in actions]
            yield Clue(
                NEUTRON,
                f"Neutron is not as the spec says{f' for {host}' if host else ''}:"
                f" {'; '.join(wanted[:SHOWN])}{_more(wanted)}",
                "nothing to do in onearm plan",
                why,
                "onearm apply SPEC",
                about=host,
                touches=(host,) if host in servers else (),
            )

    return rule


SHOWN = 3


def _more(wanted: list[str]) -> str:
    return f"; and {len(wanted) - SHOWN} more" if len(wanted) > SHOWN else ""


pairs = cloud(
    "port security drops what a port sends from an address that is neither its own nor a pair:"
    " at the director the clients' addresses, at a real server the VIP",
    AddressPair,
)
groups = cloud(
    "packets keep the client's address, so groups must admit clients at the VIP's port; and a"
    " director's group must not track them, since it never sees the replies",
    *GROUPS,
)
filtering = cloud("the director's port filters what only passes unfiltered", PortSecurity)
reservation = cloud("nobody keeps Neutron from giving the VIP to somebody else", VipPort)


def hosts(o: Observations) -> Iterator[Clue]:
    """Note changes that the plan has for hosts; where they break anything, another rule says so."""
    by_host: dict[str, list[Action]] = {}
    for action in o.pending:
        if action.place != NEUTRON and action.verb != "keep":
            by_host.setdefault(action.place, []).append(action)
    for host, actions in sorted(by_host.items()):
        wanted = [describe(action) for action in actions]
        yield Clue(
            host,
            f"{host} is not as the spec says: {'; '.join(wanted[:SHOWN])}{_more(wanted)}",
            "nothing to do in onearm plan",
            "",
            "onearm apply SPEC",
            touches=(host,) if host in {h.name for h in o.spec.real_servers} else (),
        )
