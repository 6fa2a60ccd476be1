"""From where connections are opened: what the spec's clients admit, and who may not be one."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from onearm import probe
from onearm.errors import Refused
from onearm.facts import AddressFact, PathFact
from onearm.session import Session
from worlds import SPEC, VIP, host

OWN = ip_address("203.0.113.10")
SECOND = AddressFact("eth0", ip_address("198.51.100.7"), 24)


def facts(*more):
    found = host(OWN)
    way = PathFact(VIP, "eth0", source=OWN)
    return replace(found, addresses=(*found.addresses, *more), paths=(way,))


class Machine:
    """A client as it is met: it answers with its facts."""

    def __init__(self, found):
        self.found = found

    def look(self, _question):
        return self.found

    def close(self):
        """Have no process."""


def met(monkeypatch, clients, *machines):
    waiting = iter(machines)
    monkeypatch.setattr(probe, "RemotePlace", lambda *_: Machine(next(waiting)))
    known = replace(SPEC, clients=tuple(map(ip_network, clients)))
    session = Session(known)
    return probe.meet(session, {f"c{n}": [] for n in range(len(machines))})


def sources(found):
    return [[str(address) for address in client.sources] for client in found]


def test_only_addresses_of_clients_are_used_and_arp_is_asked_from_any(monkeypatch):
    found, failed = met(monkeypatch, ["198.51.100.0/24"], facts(SECOND), facts())
    assert not failed
    assert sources(found) == [["198.51.100.7"], []]
    assert [client.stands[4].address for client in found] == [OWN, OWN]
    found, _ = met(monkeypatch, ["0.0.0.0/0"], facts(SECOND))
    assert sources(found) == [["203.0.113.10", "198.51.100.7"]]


def test_no_client_at_all_within_the_prefixes_is_refused(monkeypatch):
    with pytest.raises(Refused, match=r"c0, c1: no address there is in the spec's `clients`"):
        met(monkeypatch, ["192.0.2.0/24"], facts(), facts(SECOND))


def test_a_host_of_the_spec_is_no_client(monkeypatch):
    own = AddressFact("eth0", SPEC.directors[0].address, 27)
    with pytest.raises(Refused, match="is d itself"):
        met(monkeypatch, ["0.0.0.0/0"], facts(own))
