"""A round reads the table once: what was looked at is what is observed, and nothing older is."""

from ipaddress import ip_address

import pytest

from onearm.daemon import local
from onearm.facts import HostFacts
from onearm.ledger import Ledger
from onearm.model import Destination, Service, state
from onearm.places import director, host
from onearm.places.look import Question
from test_director_table import Kernel, create

VIP = ip_address("203.0.113.2")
WEB = Service("tcp", VIP, 80, "rr")
ONE = Destination("tcp", VIP, 80, ip_address("203.0.113.4"))


@pytest.fixture
def place(monkeypatch, tmp_path):
    """A place above a kernel that counts how often its table is read."""
    kernel, reads = Kernel(), []
    kernel.table = lambda: (reads.append(1), Kernel.table(kernel))[1]
    monkeypatch.setattr(director, "Ipvs", kernel)
    monkeypatch.setattr(local.look, "look", lambda _question, table: (table(), HostFacts())[1])
    monkeypatch.setattr(host, "Ledger", lambda: Ledger(tmp_path / "ledger.json"))
    found = local.LocalPlace("default")
    found.reads = reads
    assert list(director.apply(create(WEB), {})) == [(create(WEB)[0], None)]
    return found


def test_the_first_observation_after_a_look_is_of_what_was_looked_at(place):
    place.look(Question())
    assert set(place.observe(state([WEB]))) == set(state([WEB]))
    assert len(place.reads) == 1


def test_later_observations_read_anew(place):
    place.look(Question())
    place.observe(state([WEB]))
    list(director.apply(create(ONE), {}))
    assert set(place.observe(state([WEB, ONE]))) == set(state([WEB, ONE]))
    assert len(place.reads) == 2


def test_an_old_look_is_not_what_stands(place, monkeypatch):
    place.look(Question())
    list(director.apply(create(ONE), {}))
    monkeypatch.setattr(local, "FRESH_S", 0)
    late = local.time.monotonic() + 5
    monkeypatch.setattr(local.time, "monotonic", lambda: late)
    assert set(place.observe(state([ONE]))) == set(state([ONE]))
