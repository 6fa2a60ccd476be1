"""Our marks as Neutron's tags; pure.

`onearm:NAME` stands on all that is ours. A host's port says more, one tag per thing:
`onearm:NAME:pair:203.0.113.2_32` (an underscore, for a slash cannot stand in a tag's address),
`onearm:NAME:group:stateful:GROUP`, `onearm:NAME:only:stateless:GROUP`, `onearm:NAME:psec:off`; and
what was there before, for whoever leaves last: `onearm::was-group:ID`, `onearm::was-pair:TEXT`,
`onearm::was-pair:TEXT@MAC`, `onearm::was-unfiltered`. A group's tags also tell of rules that are
shared: `onearm:NAME:rule:DIGEST`, `onearm:NAME:not:DIGEST`. Tags are added and removed one by
one, never replaced as a list: Neutron guards that by no revision, and others' would be lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_interface
from urllib.parse import quote, unquote

from onearm.model import (
    AddressPair,
    GroupMembership,
    GroupRule,
    Key,
    Network,
    PortSecurity,
    Resource,
    state_key,
)

OURS = "onearm:"
BIRTH = "onearm:"  # in the description of what we create: marks it in the very request
WAS_GROUP, WAS_PAIR, WAS_UNFILTERED = "was-group:", "was-pair:", "was-unfiltered"
WAS_HERE = "was-here"
SUFFIX = ".json"  # Neutron strips it from the end of an address
DIGEST = 16

Holders = dict[str, Resource]


@dataclass(frozen=True)
class Was:
    """One thing that was there before us: a group's id, a pair's text and MAC, or no filtering."""

    group: str = ""
    pair: str = ""
    mac: str = ""  # empty: the port's own
    unfiltered: bool = False
    here: bool = False  # the whole thing stood before us

    @property
    def tag(self) -> str:
        if self.group:
            return _safe(f"{OURS}:{WAS_GROUP}{self.group}")
        if self.pair:
            at = f"@{self.mac.replace(':', '-')}" if self.mac else ""
            return _safe(f"{OURS}:{WAS_PAIR}{self.pair.replace('/', '_')}{at}")
        return f"{OURS}:{WAS_UNFILTERED if self.unfiltered else WAS_HERE}"


@dataclass
class Marks:
    """The marks of one port: who wants what there, and what was there before."""

    names: set[str] = field(default_factory=set)
    wants: dict[Key, Holders] = field(default_factory=dict)
    was: set[Was] = field(default_factory=set)

    def holders(self, resource: Resource) -> tuple[str, ...]:
        return tuple(sorted(self.wants.get(state_key(resource), ())))

    def tags(self) -> set[str]:
        """Write them as tags."""
        names = self.names | {name for held in self.wants.values() for name in held}
        things = {tag(n, r) for held in self.wants.values() for n, r in held.items()}
        return {tag(name) for name in names} | things | {w.tag for w in self.was}


def _safe(text: str) -> str:
    return f"{text}~" if text.endswith(SUFFIX) else text


def tag(name: str, resource: Resource | None = None) -> str:
    """Write a mark: of the whole thing, or of one resource on a port."""
    return _safe(f"{OURS}{name}{_thing(resource)}")


def _thing(resource: Resource | None) -> str:
    if isinstance(resource, AddressPair):
        return f":pair:{pair_text(resource).replace('/', '_')}"
    if isinstance(resource, GroupMembership):
        kind = "only" if resource.only else "group"
        flow = "stateful" if resource.stateful else "stateless"
        return f":{kind}:{flow}:{quote(resource.group, safe='')}"
    if isinstance(resource, PortSecurity):
        return f":psec:{'on' if resource.enabled else 'off'}"
    return ""


def pair_text(pair: AddressPair) -> str:
    """Write a pair as Neutron stores it: bare only for one address, and only if so wanted."""
    whole = pair.network.prefixlen == pair.network.max_prefixlen
    return str(pair.network.network_address) if pair.bare and whole else str(pair.network)


def pair_of(port_id: str, text: str) -> AddressPair:
    """Read a pair as Neutron stores it; host bits do not count. ValueError if it is none."""
    network: Network = ip_interface(text).network
    return AddressPair(port_id, network, bare="/" not in text)


def read(tags: Iterable[str], port_id: str) -> Marks:
    """Read the tags of a port. What is not ours, or of a kind we do not know, is passed over."""
    marks = Marks()
    for text in tags:
        if not text.startswith(OURS):
            continue
        plain = text[:-1] if text.endswith(f"{SUFFIX}~") else text
        name, _, thing = plain[len(OURS) :].partition(":")
        if not name:
            found = _was(thing)
            if found is not None:
                marks.was.add(found)
        elif not thing:
            marks.names.add(name)
        else:
            resource = _resource(thing, port_id)
            if resource is not None:
                marks.wants.setdefault(state_key(resource), {})[name] = resource
    return marks


def _was(thing: str) -> Was | None:
    if thing.startswith(WAS_GROUP):
        return Was(group=thing[len(WAS_GROUP) :])
    if thing.startswith(WAS_PAIR):
        text, _, mac = thing[len(WAS_PAIR) :].partition("@")
        return Was(pair=text.replace("_", "/"), mac=mac.replace("-", ":"))
    if thing == WAS_UNFILTERED:
        return Was(unfiltered=True)
    return Was(here=True) if thing == WAS_HERE else None


def _resource(thing: str, port_id: str) -> Resource | None:
    kind, _, rest = thing.partition(":")
    if kind == "pair":
        try:
            return pair_of(port_id, rest.replace("_", "/"))
        except ValueError:
            return None
    if kind in ("group", "only"):
        flow, _, group = rest.partition(":")
        return GroupMembership(port_id, unquote(group), flow == "stateful", kind == "only")
    return PortSecurity(port_id, enabled=rest == "on") if kind == "psec" else None


def whole_names(tags: Iterable[str], description: str) -> tuple[str, ...]:
    """Name the specs that share a thing of ours; before its tags are set, its birth mark tells."""
    names = sorted(read(tags, "").names)
    if not names and (born := birth_name(description)):
        return (born,)
    return tuple(names)


def birth(name: str, text: str = "") -> str:
    """Write a description that marks what is created with it."""
    return f"{text} ({BIRTH}{name})".strip()


def birth_name(description: str | None) -> str:
    """Read who created a thing; empty if it was not us."""
    text = description or ""
    start = text.rfind(f"({BIRTH}")
    return text[start + len(BIRTH) + 1 : -1] if start >= 0 and text.endswith(")") else ""


def unborn(description: str | None) -> str:
    """Return a description without the mark in it."""
    text = description or ""
    return text[: text.rfind(f"({BIRTH}")].rstrip() if birth_name(text) else text


def digest(rule: GroupRule) -> str:
    """Name a rule in few letters, for the tags of its group."""
    text = "|".join(str(part) for part in rule.key)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST]


def rule_tag(name: str, kind: str, rule: GroupRule) -> str:
    """Write that a name shares a rule it did not create (`rule`), or left one it did (`not`)."""
    return f"{OURS}{name}:{kind}:{digest(rule)}"


def rule_names(tags: Iterable[str], creator: str, rule: GroupRule) -> tuple[str, ...]:
    """Name the specs that want a rule."""
    short = digest(rule)
    found = {creator} if creator else set()
    left = set()
    for text in tags:
        name, _, thing = text.removeprefix(OURS).partition(":")
        if text.startswith(OURS) and thing == f"rule:{short}":
            found.add(name)
        elif text.startswith(OURS) and thing == f"not:{short}":
            left.add(name)
    return tuple(sorted(found - left))
