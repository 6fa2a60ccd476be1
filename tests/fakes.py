"""All the fakes there are: hosts made of dicts, with a ledger, a journal and ways to break."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random

from onearm.errors import Unreachable
from onearm.facts import (
    AddressFact,
    DestinationFact,
    HostFacts,
    LinkFact,
    PathFact,
    RouteFact,
    ServiceFact,
)
from onearm.model import Destination, Mark, Seen, Service, state_key


class Killed(BaseException):
    """The run ended here, as by kill -9."""


class FakeHost:
    """A host that keeps what it is told. `fails_after` actions it is lost; `fuel` is shared."""

    def __init__(self, name, address, spec_name="default"):
        self.name, self.address, self.spec_name = name, ip_address(address), spec_name
        self.things, self.marks, self.journal = {}, {}, []
        self.fails_after, self.fuel, self.count = None, None, 0
        self.random, self.after_each = Random(0), lambda: None  # noqa: S311 - an order, not a secret
        self.connections: dict = {}

    def observe(self, wanted):
        if self.fails_after == 0:
            raise Unreachable(f"{self.name}: no answer")
        ours = {k for k, mark in self.marks.items() if self.spec_name in mark.names}
        return {
            key: seen
            for key in {*wanted, *ours}
            if (seen := self._see(key, wanted=key in wanted)) is not None
        }

    def _see(self, key, *, wanted):
        mark = self.marks.get(key)
        thing = self.things.get(key)
        if thing is None:
            return (
                None if wanted or mark is None else Seen(mark.resource, mark.names, mark.resource)
            )
        if mark is None:
            return Seen(thing)
        noted = {
            f: getattr(mark.resource, f)
            for f, spec in type(thing).__dataclass_fields__.items()
            if not spec.compare
        }
        return Seen(replace(thing, **noted), mark.names, mark.resource)

    def apply(self, batch, done: Callable):
        actions = list(batch)
        self.random.shuffle(actions)
        for action in actions:
            self._fail_or_burn()
            self._do(action)
            self.journal.append(action)
            self.after_each()
            done(action)
        return {}

    def _fail_or_burn(self):
        self.count += 1
        if self.fails_after is not None and self.count > self.fails_after:
            raise Unreachable(f"{self.name}: lost")
        self._burn()

    def _burn(self):
        if self.fuel is not None:
            self.fuel[0] -= 1
            if self.fuel[0] < 0:
                raise Killed

    def _do(self, action):
        key = state_key(action.resource)
        if action.after is not None:
            old = self.marks.get(key)
            names = tuple(sorted({*(old.names if old else ()), self.spec_name}))
            self.marks[key] = Mark(action.after, names)
            self._burn()
            self.things[key] = action.after
            return
        mark = self.marks.get(key)
        rest = mark.without(self.spec_name) if mark else None
        if rest is not None and rest.names:
            self.marks[key] = rest
            return
        self.things.pop(key, None)
        self._burn()
        self.marks.pop(key, None)

    def facts(self, servers=()):
        network = ip_network(f"{self.address}/27", strict=False)
        return HostFacts(
            hostname=self.name,
            links=(LinkFact(1, "lo", loopback=True, up=True), self._eth0()),
            addresses=(AddressFact("eth0", self.address, 27),),
            routes=(RouteFact(network, "eth0"), RouteFact(ip_network("0.0.0.0/0"), "eth0")),
            paths=tuple(PathFact(a, "eth0", source=self.address) for a in servers),
            services=tuple(
                self._service(t) for t in self.things.values() if isinstance(t, Service)
            ),
            marks=tuple(self.marks.values()),
            sysctls={"net/ipv4/vs/conntrack": "0"},
        )

    def _eth0(self):
        return LinkFact(2, "eth0", mac=f"02:00:00:00:00:{int(self.address) & 255:02x}", up=True)

    def _service(self, service):
        return ServiceFact(
            service.protocol,
            service.vip,
            service.port,
            service.mark,
            service.scheduler,
            destinations=tuple(
                DestinationFact(
                    d.server, d.port, d.weight, d.forwarding, self.connections.get(d.key, 0)
                )
                for d in self.things.values()
                if isinstance(d, Destination) and d.service_key == service.key
            ),
        )
